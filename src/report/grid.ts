// Results ordered as the heat map shows them: a row per type, a column per layer, the best expert where a cell has many.
import type { Estimator, ModuleResult, ScanResults } from "../snr/results.ts";

/** Among which modules a colour ranks: those of its own type, or all of the model. */
export type Comparison = "type" | "model";

/** All modules of one type in one layer: one, or the experts of a mixture. */
export interface GridCell {
  readonly modules: readonly ModuleResult[];
  /** Highest score among them; null when none has one. */
  readonly score: number | null;
  /** Share of the compared cells that score lower, 0 to 1, ties in the middle; null without a score. */
  readonly rank: number | null;
}

/** The cells of one type, by layer. */
export interface GridRow {
  readonly type: string;
  readonly cells: ReadonlyMap<number, GridCell>;
  readonly min: number;
  readonly max: number;
}

/** The scored modules of a model by type and layer. */
export interface LayerGrid {
  /** Layers that hold a scored module, ascending. */
  readonly layers: readonly number[];
  /** Types with at least one score, in the order of the results. */
  readonly rows: readonly GridRow[];
  /** Scored modules outside the layers: embeddings, heads. */
  readonly outside: readonly ModuleResult[];
  /** Whether a cell stands for several experts. */
  readonly aggregated: boolean;
}

/** The module's score by an estimator; null when it has none. */
export function scoreOf(module: ModuleResult, estimator: Estimator): number | null {
  return module.snr?.[estimator] ?? null;
}

/** Modules by type, both in the order of the results. */
export function byType(modules: readonly ModuleResult[]): [type: string, modules: ModuleResult[]][] {
  const types = new Map<string, ModuleResult[]>();
  for (const module of modules) {
    const list = types.get(module.type);
    if (list) list.push(module);
    else types.set(module.type, [module]);
  }
  return [...types];
}

/** Orders the scored modules of `results` by type and layer. */
export function layerGrid(results: ScanResults, estimator: Estimator, compare: Comparison): LayerGrid {
  const ranked = results.modules.filter((module) => module.skipped === undefined);
  const types = byType(ranked.filter((module) => module.layer !== null));
  const unranked = types.map(([type, modules]) => ({ type, cells: cellsByLayer(modules, estimator) }));
  const all = unranked.flatMap(({ cells }) => scores(cells)).sort((a, b) => a - b);
  const rows = unranked.flatMap(({ type, cells }): GridRow[] => {
    const own = scores(cells);
    const [min, max] = [own[0], own.at(-1)];
    if (min === undefined || max === undefined) return [];
    return [{ type, cells: withRanks(cells, compare === "type" ? own : all), min, max }];
  });
  const layers = new Set(rows.flatMap((row) => [...row.cells.keys()]));
  return {
    layers: [...layers].sort((a, b) => a - b),
    rows,
    outside: ranked.filter((module) => module.layer === null && scoreOf(module, estimator) !== null),
    aggregated: rows.some((row) => [...row.cells.values()].some((cell) => cell.modules.length > 1)),
  };
}

type UnrankedCell = Omit<GridCell, "rank">;

function cellsByLayer(modules: readonly ModuleResult[], estimator: Estimator): Map<number, UnrankedCell> {
  const layers = new Map<number, ModuleResult[]>();
  for (const module of modules) {
    if (module.layer === null) continue;
    const list = layers.get(module.layer);
    if (list) list.push(module);
    else layers.set(module.layer, [module]);
  }
  const cells = new Map<number, UnrankedCell>();
  for (const [layer, list] of layers) cells.set(layer, { modules: list, score: best(list, estimator) });
  return cells;
}

function best(modules: readonly ModuleResult[], estimator: Estimator): number | null {
  let highest: number | null = null;
  for (const module of modules) {
    const score = scoreOf(module, estimator);
    if (score !== null && (highest === null || score > highest)) highest = score;
  }
  return highest;
}

/** The scores of a row, ascending. */
function scores(cells: ReadonlyMap<number, UnrankedCell>): number[] {
  const list = [...cells.values()].flatMap((cell) => (cell.score === null ? [] : [cell.score]));
  return list.sort((a, b) => a - b);
}

function withRanks(
  cells: ReadonlyMap<number, UnrankedCell>,
  among: readonly number[],
): Map<number, GridCell> {
  const ranked = new Map<number, GridCell>();
  for (const [layer, cell] of cells)
    ranked.set(layer, { ...cell, rank: cell.score === null ? null : rankOf(cell.score, among) });
  return ranked;
}

/** Position of `score` in the ascending list that holds it, 0 to 1; the only one is at the top. */
function rankOf(score: number, ascending: readonly number[]): number {
  if (ascending.length === 1) return 1;
  const first = ascending.indexOf(score);
  const last = ascending.lastIndexOf(score);
  return (first + last) / 2 / (ascending.length - 1);
}
