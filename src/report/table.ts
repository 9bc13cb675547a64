// The table of types: how many modules, how their scores spread, which layers stand out.
import type { Estimator, ModuleResult, ScanResults } from "../snr/results.ts";
import { byType, scoreOf } from "./grid.ts";
import { drawNote } from "./heat-map.ts";
import { bold, ellipsis, type ReportStyle, reportWidth } from "./paint.ts";
import { keepTail, pad, printable, widest } from "./text.ts";
import { formatNumber, formatScore } from "./units.ts";

/** Options of {@link renderTable}. */
export interface TableOptions extends ReportStyle {
  /** Whose scores are shown. Default `spectrum`. */
  readonly estimator?: Estimator;
}

/** A line per type, and below it how many modules have no score and why; lines end in a newline. */
export function renderTable(results: ScanResults, options: TableOptions): string {
  const estimator = options.estimator ?? "spectrum";
  const ranked = results.modules.filter((module) => module.skipped === undefined);
  const types = byType(ranked).map(([type, modules]) => summarize(type, modules, estimator));
  const lines = types.length === 0 ? [] : drawTable(types, options);
  lines.push(...drawCounts(results, ranked, estimator, options));
  return lines.map((line) => `${line}\n`).join("");
}

interface TypeSummary {
  readonly type: string;
  readonly modules: number;
  readonly min: number | null;
  readonly median: number | null;
  readonly max: number | null;
  /** Medians over the modules that state them. */
  readonly spikes: number | null;
  readonly stableRank: number | null;
  /** Layers of the three highest scores, best first. */
  readonly bestLayers: readonly number[];
}

function summarize(type: string, modules: readonly ModuleResult[], estimator: Estimator): TypeSummary {
  const scores = sorted(modules.map((module) => scoreOf(module, estimator)));
  const best = modules
    .filter((module) => module.layer !== null && scoreOf(module, estimator) !== null)
    .sort((a, b) => (scoreOf(b, estimator) ?? 0) - (scoreOf(a, estimator) ?? 0))
    .flatMap((module) => (module.layer === null ? [] : [module.layer]));
  return {
    type,
    modules: modules.length,
    min: scores[0] ?? null,
    median: median(scores),
    max: scores.at(-1) ?? null,
    spikes: median(sorted(modules.map((module) => module.spikes))),
    stableRank: median(sorted(modules.map((module) => module.stableRank))),
    bestLayers: [...new Set(best)].slice(0, 3),
  };
}

interface Column {
  readonly title: string;
  readonly align: "left" | "right";
  /** Columns with a higher number leave first when the terminal is narrow. */
  readonly leaves: number;
  cell(summary: TypeSummary): string;
}

const COLUMNS: readonly Column[] = [
  { title: "modules", align: "right", leaves: 3, cell: (row) => String(row.modules) },
  { title: "min SNR", align: "right", leaves: 4, cell: (row) => formatScore(row.min) },
  { title: "median", align: "right", leaves: 2, cell: (row) => formatScore(row.median) },
  { title: "max", align: "right", leaves: 0, cell: (row) => formatScore(row.max) },
  { title: "spikes", align: "right", leaves: 5, cell: (row) => formatNumber(row.spikes) },
  { title: "stable rank", align: "right", leaves: 6, cell: (row) => formatNumber(row.stableRank) },
  { title: "best layers", align: "left", leaves: 1, cell: (row) => row.bestLayers.join(", ") || "-" },
];

const GAP = 2;
const SHORTEST_LABEL = 12;

function drawTable(types: readonly TypeSummary[], style: ReportStyle): string[] {
  const width = reportWidth(style);
  const longest = widest(
    types.map((row) => printable(row.type)),
    4,
  );
  const shown = chooseColumns(
    types,
    width - Math.min(longest, Math.max(SHORTEST_LABEL, Math.floor(width * 0.36))),
  );
  const rest = shown.reduce((sum, column) => sum + GAP + column.width, 0);
  const labelWidth = Math.min(longest, width - rest);
  const line = (label: string, cells: readonly string[]) =>
    [pad(label, labelWidth), ...cells].join(" ".repeat(GAP)).trimEnd();
  const header = line(
    "type",
    shown.map(({ column, width: cells }) => pad(column.title, cells, column.align)),
  );
  const body = types.map((row) =>
    line(
      keepTail(printable(row.type), labelWidth, ellipsis(style)),
      shown.map(({ column, width: cells }) => pad(column.cell(row), cells, column.align)),
    ),
  );
  return [bold(header, style), ...body];
}

/** The most important columns that fit into `room`, in their order, with their widths. Empty ones are left out. */
function chooseColumns(types: readonly TypeSummary[], room: number): { column: Column; width: number }[] {
  const measured = COLUMNS.filter((column) => types.some((row) => column.cell(row) !== "-")).map(
    (column) => ({
      column,
      width: widest(
        types.map((row) => column.cell(row)),
        column.title.length,
      ),
    }),
  );
  const kept = new Set<Column>();
  let left = room;
  for (const { column, width } of [...measured].sort((a, b) => a.column.leaves - b.column.leaves)) {
    if (width + GAP > left) break;
    kept.add(column);
    left -= width + GAP;
  }
  return measured.filter(({ column }) => kept.has(column));
}

function drawCounts(
  results: ScanResults,
  ranked: readonly ModuleResult[],
  estimator: Estimator,
  style: ReportStyle,
): string[] {
  const scored = ranked.filter((module) => scoreOf(module, estimator) !== null).length;
  const reasons = new Map<string, number>();
  for (const module of results.modules) {
    const reason =
      module.skipped ?? (scoreOf(module, estimator) === null ? noScore(module, estimator) : null);
    if (reason !== null) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  }
  const lines = drawNote(`${scored} of ${results.modules.length} modules have a score.`, style);
  for (const [reason, count] of [...reasons].sort(([, a], [, b]) => b - a))
    lines.push(...drawNote(`${count} without: ${printable(reason)}`, style));
  return lines;
}

function noScore(module: ModuleResult, estimator: Estimator): string {
  return module.unscored?.[estimator] ?? `no ${estimator} score`;
}

function sorted(values: readonly (number | null | undefined)[]): number[] {
  return values.filter((value) => value !== null && value !== undefined).sort((a, b) => a - b);
}

function median(ascending: readonly number[]): number | null {
  const middle = (ascending.length - 1) / 2;
  const [low, high] = [ascending[Math.floor(middle)], ascending[Math.ceil(middle)]];
  return low === undefined || high === undefined ? null : (low + high) / 2;
}
