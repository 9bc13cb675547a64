// The heat map: a row per type, a column per layer. Scores of different types differ in scale, so a colour is a rank.
import type { Estimator, ScanResults } from "../snr/results.ts";
import { type GridCell, type GridRow, type LayerGrid, layerGrid, scoreOf } from "./grid.ts";
import {
  bold,
  dim,
  ellipsis,
  heat,
  type ReportStyle,
  reportWidth,
  SHADES,
  shade,
  shadeCell,
} from "./paint.ts";
import { displayWidth, keepTail, pad, printable, widest, wrap } from "./text.ts";
import { formatScore } from "./units.ts";

/** Options of {@link renderHeatMap}. */
export interface HeatMapOptions extends ReportStyle {
  /** Whose scores are shown. Default `spectrum`. */
  readonly estimator?: Estimator;
}

/** The heat map of a scan, with its legend; lines are at most `width` cells wide and end in a newline. */
export function renderHeatMap(results: ScanResults, options: HeatMapOptions): string {
  const estimator = options.estimator ?? "spectrum";
  const grid = layerGrid(results, estimator, "type");
  const lines =
    grid.rows.length === 0
      ? drawNote("No layer holds a scored module: there is nothing to map.", options)
      : [
          ...drawGrid(grid, options, (cell, width) => drawCell(cell, width, options)),
          "",
          ...drawLegend(options, "the type", grid.aggregated),
        ];
  const outside = grid.outside.map((module) => nameScore(module.name, scoreOf(module, estimator)));
  if (outside.length > 0) lines.push(...drawNote(`Outside the layers: ${enumerate(outside)}`, options));
  return lines.map((line) => `${line}\n`).join("");
}

/** The lines of a grid, wrapped into bands of layers where they do not fit; `draw` fills a cell of `width` columns. */
export function drawGrid(
  grid: LayerGrid,
  style: ReportStyle,
  draw: (cell: GridCell, width: number) => string,
): string[] {
  const layout = layOut(grid, style);
  const lines: string[] = [];
  for (let begin = 0; begin < grid.layers.length; begin += layout.perBand) {
    const band = grid.layers.slice(begin, begin + layout.perBand);
    const withRange = begin === 0;
    if (begin > 0) lines.push("");
    lines.push(drawHeader(band, layout, withRange, style));
    for (const row of grid.rows) lines.push(drawRow(row, band, layout, withRange, draw, style));
  }
  if (grid.layers.length > layout.perBand)
    lines.push(...drawNote(`${grid.layers.length} layers, continued below each other.`, style));
  return lines;
}

/** What the colours mean; `among` names what a rank compares with. */
export function drawLegend(style: ReportStyle, among: string, aggregated: boolean): string[] {
  const width = reportWidth(style);
  const narrow = width < 40;
  const steps = narrow ? 12 : 16;
  const scale =
    style.color === "none"
      ? [...SHADES].join(narrow ? "" : " ")
      : Array.from({ length: steps }, (_, i) => heat(i / (steps - 1), " ", style)).join("");
  const text = `rank of the score within ${among}`;
  const oneLine = displayWidth(scale) + 12 + text.length <= width;
  const lines = oneLine
    ? [`low ${scale} high   ${dim(text, style)}`]
    : [`low ${scale} high`, ...drawNote(text, style)];
  if (aggregated) lines.push(...drawNote("A cell with several experts shows the highest of them.", style));
  return lines;
}

/** A remark below a picture. */
export function drawNote(text: string, style: ReportStyle): string[] {
  return wrap(text, reportWidth(style), "  ").map((line) => dim(line, style));
}

/** A module's name and score, as the notes list them. */
export function nameScore(name: string, score: number | null): string {
  return score === null ? printable(name) : `${printable(name)} ${formatScore(score)}`;
}

/** At most twelve of the texts, and how many more there are. */
export function enumerate(texts: readonly string[]): string {
  const rest = texts.length - 12;
  return texts.slice(0, 12).join(", ") + (rest > 0 ? ` and ${rest} more` : "");
}

interface GridLayout {
  readonly labelWidth: number;
  readonly cellWidth: number;
  readonly perBand: number;
  /** Widths of the lowest and highest score at the row's end; null where there is no room. */
  readonly range: readonly [low: number, high: number] | null;
}

function layOut(grid: LayerGrid, style: ReportStyle): GridLayout {
  const width = reportWidth(style);
  const longest = widest(
    grid.rows.map((row) => printable(row.type)),
    6,
  );
  const labelWidth = Math.min(longest, Math.max(10, Math.floor(width * 0.36)));
  const range: GridLayout["range"] =
    width < 50
      ? null
      : [
          widest(
            grid.rows.map((row) => formatScore(row.min)),
            3,
          ),
          widest(
            grid.rows.map((row) => formatScore(row.max)),
            4,
          ),
        ];
  const room = width - labelWidth - 1 - (range ? range[0] + range[1] + 4 : 0);
  const count = grid.layers.length;
  const bands = Math.ceil(count / room);
  const cellWidth = Math.min(4, Math.max(1, Math.floor(room / count)));
  return { labelWidth, range, cellWidth, perBand: Math.ceil(count / bands) };
}

function drawHeader(
  band: readonly number[],
  layout: GridLayout,
  withRange: boolean,
  style: ReportStyle,
): string {
  const ticks = drawTicks(band, layout);
  const label = pad(keepTail("layer", layout.labelWidth), layout.labelWidth);
  if (!withRange || !layout.range) return dim(`${label} ${ticks}`.trimEnd(), style);
  const gridWidth = layout.perBand * layout.cellWidth;
  return dim(
    `${label} ${pad(ticks, gridWidth)}  ${pad("low", layout.range[0], "right")}  ${pad("high", layout.range[1], "right")}`,
    style,
  );
}

/** Layer numbers over the cells that they name, as many as fit. */
function drawTicks(band: readonly number[], { cellWidth }: GridLayout): string {
  const digits = String(band.at(-1) ?? 0).length;
  const step = [1, 2, 5, 10, 20, 50].find((every) => every * cellWidth > digits) ?? 100;
  const end = band.length * cellWidth;
  let ticks = "";
  for (const [index, layer] of band.entries()) {
    const position = index * cellWidth;
    const text = String(layer);
    const free = index === 0 || (ticks.length < position && layer % step === 0);
    if (free && position + text.length <= end) ticks = pad(ticks, position) + text;
  }
  return ticks;
}

function drawRow(
  row: GridRow,
  band: readonly number[],
  layout: GridLayout,
  withRange: boolean,
  draw: (cell: GridCell, width: number) => string,
  style: ReportStyle,
): string {
  const label = pad(keepTail(printable(row.type), layout.labelWidth, ellipsis(style)), layout.labelWidth);
  const cells = band.map((layer) => {
    const cell = row.cells.get(layer);
    return cell ? draw(cell, layout.cellWidth) : " ".repeat(layout.cellWidth);
  });
  const line = `${label} ${cells.join("")}`;
  if (!withRange || !layout.range) return line;
  const low = pad(formatScore(row.min), layout.range[0], "right");
  const high = pad(formatScore(row.max), layout.range[1], "right");
  const gap = " ".repeat((layout.perBand - band.length) * layout.cellWidth);
  return `${line}${gap}  ${dim(low, style)}  ${bold(high, style)}`;
}

function drawCell(cell: GridCell, width: number, style: ReportStyle): string {
  if (cell.rank === null) return shadeCell("?", width);
  return style.color === "none"
    ? shadeCell(shade(cell.rank), width)
    : heat(cell.rank, " ".repeat(width), style);
}
