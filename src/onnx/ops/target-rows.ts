// Which rows the head computes, and in which chunks: those whose target counts, or all of them.
import type { Graph, Value } from "../graph.ts";
import {
  add,
  cast,
  clip,
  div,
  greater,
  mul,
  plus,
  scalar,
  scale,
  sub,
  where,
} from "../operators/elementwise.ts";
import { gatherRows, scatterElements } from "../operators/indexing.ts";
import { dimOf, reshape, slice } from "../operators/layout.ts";
import { cumulativeSum, total } from "../operators/reductions.ts";
import { cuts } from "./attention-plan.ts";
import type { CrossEntropyInputs } from "./cross-entropy.ts";
import type { NextTokens } from "./next-tokens.ts";

/** What {@link targetRows} and {@link allRows} read. */
export interface RowsInputs {
  /** [rows, size] */
  readonly hidden: Value;
  readonly next: NextTokens;
  /** Chunks of nearly equal length that the rows are cut into. */
  readonly chunks: number;
}

/** Rows of hidden states, what they are to predict, and where their chunks are. */
export type HeadRows = Pick<CrossEntropyInputs, "hidden" | "next" | "bounds">;

/** All rows, as they are. */
export function allRows(g: Graph, { hidden, next, chunks }: RowsInputs): HeadRows {
  return { hidden, next, bounds: cuts(g, g.dimension(dimOf(hidden, 0)), chunks) };
}

/**
 * The rows whose target counts, in their order: y_j = x_(r_j). A gradient goes back to where the row came from, and that of a
 * row without a target is 0. Where fewer rows than chunks have a target, rows without one follow, with their count of 0.
 */
export function targetRows(g: Graph, { hidden, next, chunks }: RowsInputs): HeadRows {
  const { counts, targets, perItem } = next;
  const { order, place } = targetsFirst(g, counts);
  // WebGPU computes sizes that data decide in int32 alone, and reads them back as a slice's bounds.
  const size = (sum: Value) => reshape(g, cast(g, sum, "int32"), [1]);
  const end = size(clip(g, total(g, counts), [chunks, null]));
  const begin = g.constant("int32", [1], [0]);
  const taken = slice(g, order, { axis: 0, begin, end, size: "targets" });
  const rows = cast(g, reshape(g, taken, ["targets"]), "int32");
  const output = g.record({
    inputs: [hidden],
    output: gatherRows(g, hidden, rows),
    gradient({ dy, into }) {
      into(hidden, (sum) => plus(g, sum, mul(g, gatherRows(g, dy, place), cast(g, counts, dy.type))));
    },
  });
  const ofRows = (x: Value) => gatherRows(g, x, rows);
  const predicted = { targets: ofRows(targets), counts: ofRows(counts), perItem };
  const bounds = fewCuts(g, { end, all: size(total(g, ones(g, counts))), chunks });
  return { hidden: output, next: predicted, bounds };
}

/** What {@link fewCuts} cuts: int32 [1] each. */
interface FewCutsInputs {
  /** Rows to cut, at least as many as chunks. */
  readonly end: Value;
  /** Rows before the ones without a target were left out. */
  readonly all: Value;
  readonly chunks: number;
}

/**
 * Bounds of as few chunks of equal length as are no longer than if all rows were cut, and of one row in each of the others: a
 * product reads the whole head for however few rows, and WebGPU's softmax takes nothing that is empty.
 */
function fewCuts(g: Graph, { end, all, chunks }: FewCutsInputs): readonly Value[] {
  const number = (x: number) => g.constant("int32", [1], [x]);
  const quotient = (a: Value, b: Value) => div(g, add(g, a, sub(g, b, number(1))), b);
  const longest = quotient(all, number(chunks));
  const length = quotient(end, quotient(end, longest));
  return Array.from({ length: chunks + 1 }, (_, at) => {
    if (at === 0) return number(0);
    if (at === chunks) return end;
    const even = scale(g, length, at);
    const last = sub(g, end, number(chunks - at));
    return where(g, greater(g, even, last), [last, even]);
  });
}

/** Float32, as many as the counts. */
function ones(g: Graph, counts: Value): Value {
  return add(g, scale(g, counts, 0), scalar(g, "float32", 1));
}

/** Where the rows go when those that count come first. Numbers of rows are exact in float32 up to 2^24. */
interface TargetsFirst {
  /** float32 [rows, 1]: the row that is put at each place. */
  readonly order: Value;
  /** int32 [rows]: the place of each row that counts; 0 of the others. */
  readonly place: Value;
}

function targetsFirst(g: Graph, counts: Value): TargetsFirst {
  const one = scalar(g, "float32", 1);
  const zeros = scale(g, counts, 0);
  const row = sub(g, cumulativeSum(g, ones(g, counts), 0), one);
  // The targets up to and with a row.
  const upTo = cumulativeSum(g, counts, 0);
  const amongTargets = sub(g, upTo, one);
  const amongOthers = sub(g, add(g, total(g, counts), row), upTo);
  const isTarget = greater(g, counts, scalar(g, "float32", 0));
  // No two rows have the same place, so that what is written does not depend on which thread comes first.
  const index = cast(g, where(g, isTarget, [amongTargets, amongOthers]), "int32");
  const order = scatterElements(g, zeros, { axis: 0, index, updates: row });
  const place = reshape(g, mul(g, amongTargets, counts), [dimOf(counts, 0)]);
  return { order, place: cast(g, place, "int32") };
}
