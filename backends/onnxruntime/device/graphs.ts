// The graphs of a device. A Gram matrix: chunks of the matrix in their own dtype, decoded and multiplied there. Stage one: the
// trailing matrix, updated and multiplied there.
import { Graph, type Value } from "../../../src/onnx/graph.ts";
import { add, cast, div, mul, sub } from "../../../src/onnx/operators/elementwise.ts";
import { gatherRows } from "../../../src/onnx/operators/indexing.ts";
import { concat, pad, reshape, slice } from "../../../src/onnx/operators/layout.ts";
import { gemm } from "../../../src/onnx/operators/matrices.ts";
import { blocksElements } from "../singular-values/blocks.ts";
import type { ElementType } from "../singular-values/products.ts";
import type { DeviceMatrix } from "./protocol.ts";

/** Columns of a product, several block columns: a device wants large ones. Above the diagonal they are thrown away. */
const GROUP = 512;
/** How many numbers 16 bits can say. */
export const CODES = 2 ** 16;
/** Codes in a word, which divide the rows (tall) or columns (wide) of a chunk. */
export const PAIR = 2;

/** `sum`: the product of the chunk with itself, the lower half of it in block columns. */
export function productGraph(matrix: DeviceMatrix, type: ElementType): Graph {
  const g = new Graph();
  g.output("sum", product(g, matrix, type));
  return g;
}

/** The same product, and `rest`, zeros: what {@link addingGraph} begins with. */
export function beginningGraph(matrix: DeviceMatrix, type: ElementType): Graph {
  const g = new Graph();
  const sum = product(g, matrix, type);
  g.output("sum", sum);
  g.output("rest", sub(g, sum, sum));
  return g;
}

/**
 * Adds the product to `sum_before`, and to `rest_before` what rounding loses of that: both together are as exact as
 * numbers of twice the length (Knuth, The Art of Computer Programming 2, 4.2.2, theorem B). Each operation is a node, hence a
 * shader of its own, so that no compiler simplifies it.
 */
export function addingGraph(matrix: DeviceMatrix, type: ElementType): Graph {
  const g = new Graph();
  const elements = [blocksElements(matrix.order, matrix.width)];
  const before = g.input("sum_before", type, elements);
  const rest = g.input("rest_before", type, elements);
  const part = product(g, matrix, type);
  const sum = add(g, before, part);
  const added = sub(g, sum, before);
  const lost = add(g, sub(g, before, sub(g, sum, added)), sub(g, part, added));
  g.output("sum", sum);
  g.output("rest", add(g, rest, lost));
  return g;
}

/** `sum` and `rest` as they were kept: outputs of a graph are what can be read back. */
export function takingGraph(matrix: DeviceMatrix, type: ElementType): Graph {
  const g = new Graph();
  const elements = [blocksElements(matrix.order, matrix.width)];
  for (const name of ["sum", "rest"]) g.output(name, g.input(`${name}_before`, type, elements));
  return g;
}

/**
 * A panel of stage one, of half the update's columns: `square`, which is `square_before` without the panel's rows and
 * columns, plus `left` `right`^T; `y`, its product with `v`; and `panel`, its first columns.
 */
export function stepGraph(half: number): Graph {
  const g = new Graph();
  const whole = g.input("square_before", "float32", ["s", "s"]);
  const [begin, end] = [g.constant("int64", [1], [half]), g.constant("int64", [1], [END])];
  const rows = slice(g, whole, { axis: 0, begin, end, size: "t" });
  const below = slice(g, rows, { axis: 1, begin, end, size: "t" });
  const square = updated(g, below, { half, rows: "t" });
  g.output("y", gemm(g, [square, g.input("v", "float32", ["t", half])]));
  g.output("panel", range(g, square, { axis: 1, from: 0, to: half }));
  g.output("square", square);
  return g;
}

/** `square`, which is `square_before` plus `left` `right`^T. */
export function restGraph(half: number): Graph {
  const g = new Graph();
  g.output("square", updated(g, g.input("square_before", "float32", ["s", "s"]), { half, rows: "s" }));
  return g;
}

/** Past every end. */
const END = 2 ** 31 - 1;

function updated(g: Graph, square: Value, { half, rows }: { half: number; rows: string }): Value {
  const [left, right] = [
    g.input("left", "float32", [rows, 2 * half]),
    g.input("right", "float32", [rows, 2 * half]),
  ];
  return gemm(g, [left, right], { transposeB: true, plus: square });
}

function product(g: Graph, matrix: DeviceMatrix, type: ElementType): Value {
  const { order, width, wide } = matrix;
  const axis = wide ? 0 : 1;
  const whole = decoded(g, matrix, type);
  const parts: Value[] = [];
  for (let from = 0; from < order; from += GROUP) {
    const to = Math.min(order, from + GROUP);
    const below = range(g, whole, { axis, from, to: order });
    const pair = [below, range(g, below, { axis, from: 0, to: to - from })] as const;
    const group = gemm(g, pair, { transposeA: !wide, transposeB: wide });
    for (let column = from; column < to; column += width) {
      const columns = Math.min(width, order - column);
      const rows = range(g, group, { axis: 0, from: column - from, to: order - from });
      const block = range(g, rows, { axis: 1, from: column - from, to: column - from + columns });
      parts.push(reshape(g, block, [(order - column) * columns]));
    }
  }
  return concat(g, parts, { axis: 0, size: blocksElements(order, width) });
}

/** The chunk in numbers, with rows or columns of zeros up to the order. */
function decoded(g: Graph, matrix: DeviceMatrix, type: ElementType): Value {
  const { n, order, wide, elements } = matrix;
  const axis = wide ? 0 : 1;
  const depth = `${PAIR}*pairs`;
  const shape = wide ? [n, depth] : [depth, n];
  const chunk =
    elements === "codes"
      ? reshape(g, lookedUp(g, matrix, type), shape)
      : cast(g, g.input("chunk", elements, shape), type);
  if (order === n) return chunk;
  const before = g.constant("int64", [1], [0]);
  return pad(g, chunk, { axis, before, after: g.constant("int64", [1], [order - n]), size: order });
}

/** Codes, two in a word and the first one in its lower half, as what the table says: words x 2. */
function lookedUp(g: Graph, { n }: DeviceMatrix, type: ElementType): Value {
  const count = `${n}*pairs`;
  const words = g.input("chunk", "uint32", [count]);
  const table = g.input("table", type, [CODES]);
  const base = g.constant("uint32", [], [CODES]);
  const high = div(g, words, base);
  const low = sub(g, words, mul(g, high, base));
  const halves = [low, high].map((half) => reshape(g, cast(g, half, "int32"), [count, 1]));
  return gatherRows(g, table, concat(g, halves, { axis: 1, size: PAIR }));
}

interface Cut {
  readonly axis: number;
  readonly from: number;
  readonly to: number;
}

function range(g: Graph, x: Value, { axis, from, to }: Cut): Value {
  const [begin, end] = [g.constant("int64", [1], [from]), g.constant("int64", [1], [to])];
  return slice(g, x, { axis, begin, end, size: to - from });
}
