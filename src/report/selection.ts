// What a selection trains: the heat map with the selected modules marked, and their share of the parameters.

import type { Selection } from "../select/selection.ts";
import type { ScanResults } from "../snr/results.ts";
import { type GridCell, layerGrid, scoreOf } from "./grid.ts";
import { drawGrid, drawLegend, drawNote, enumerate, nameScore } from "./heat-map.ts";
import { bar, bold, gray, heat, type ReportStyle, reportWidth, shadeCell } from "./paint.ts";
import { pad, wrap } from "./text.ts";
import { formatCount, formatShare } from "./units.ts";

/**
 * The selection over the results it was made from; lines are at most `width` cells wide and end in a newline.
 * Selected cells keep their colour and carry a mark, the others turn grey.
 */
export function renderSelection(selection: Selection, results: ScanResults, style: ReportStyle): string {
  const compare = selection.strategy === "per-type" ? "type" : "model";
  const grid = layerGrid(results, selection.estimator, compare);
  const selected = new Set(selection.modules.map((module) => module.name));
  const lines = [...drawShare(selection, style), ""];
  if (grid.rows.length > 0) {
    lines.push(...drawGrid(grid, style, (cell, width) => drawCell(cell, selected, width, style)), "");
    const among = compare === "type" ? "the type" : "the model";
    if (style.color !== "none") lines.push(...drawLegend(style, among, grid.aggregated));
    lines.push(...drawNote(marksLegend(style, grid.aggregated), style));
  }
  const outside = selection.modules.filter((module) => module.layer === null);
  if (outside.length > 0) {
    const names = outside.map((module) => nameScore(module.name, module.snr));
    lines.push(...drawNote(`Trained, outside the layers: ${enumerate(names)}`, style));
  }
  const left = grid.outside.filter((module) => !selected.has(module.name));
  if (left.length > 0) {
    const names = left.map((module) => nameScore(module.name, scoreOf(module, selection.estimator)));
    lines.push(...drawNote(`Not trained, outside the layers: ${enumerate(names)}`, style));
  }
  return lines.map((line) => `${line}\n`).join("");
}

function drawShare(selection: Selection, style: ReportStyle): string[] {
  const width = reportWidth(style);
  const { trainable, total, share } = selection.parameters;
  const rule = `${selection.strategy}, top ${selection.topPercent}%, ${selection.estimator} score`;
  const count = selection.modules.length;
  const lines = wrap(`${count} ${count === 1 ? "module" : "modules"} will train (${rule}).`, width).map(
    (line) => bold(line, style),
  );
  if (trainable === null) {
    lines.push(...drawNote("Their share of the parameters is unknown: the results hold no shapes.", style));
  } else if (total === null || share === null) {
    lines.push(...wrap(`They hold ${formatCount(trainable)} parameters.`, width));
  } else {
    const text = `${formatShare(share)} of the parameters: ${formatCount(trainable)} of ${formatCount(total)}`;
    const room = Math.min(30, width - text.length - 1);
    if (room >= 8) lines.push(`${bar(share, room, style)} ${text}`);
    else lines.push(...wrap(text, width));
  }
  return lines;
}

/** How many of a cell's modules are selected. */
function chosen(cell: GridCell, selected: ReadonlySet<string>): "all" | "some" | "none" {
  const count = cell.modules.filter((module) => selected.has(module.name)).length;
  return count === 0 ? "none" : count === cell.modules.length ? "all" : "some";
}

function drawCell(cell: GridCell, selected: ReadonlySet<string>, width: number, style: ReportStyle): string {
  const mark = marks(style)[chosen(cell, selected)];
  if (style.color === "none") return shadeCell(cell.rank === null && mark === "." ? "?" : mark, width);
  if (cell.rank === null) return shadeCell(mark === " " ? "?" : mark, width);
  const text = pad(" ".repeat(Math.floor((width - 1) / 2)) + mark, width);
  return mark === " " ? gray(cell.rank, text, style) : heat(cell.rank, text, style);
}

function marks(style: ReportStyle): { readonly all: string; readonly some: string; readonly none: string } {
  const none = style.color === "none" ? "." : " ";
  return style.unicode === false || style.color === "none"
    ? { all: "#", some: "+", none }
    : { all: "●", some: "○", none };
}

function marksLegend(style: ReportStyle, aggregated: boolean): string {
  const { all, some, none } = marks(style);
  const experts = aggregated ? `, ${some} some of its experts` : "";
  return none === " "
    ? `${all} trained${experts}, grey: not trained`
    : `${all} trained${experts}, ${none} not trained`;
}
