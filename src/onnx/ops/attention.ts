// Causal attention with grouped heads, in chunks of queries; the backward pass computes the probabilities again, so that
// none of them outlives its chunk.
import { type Dim, half, product } from "../dim.ts";
import { statisticsType } from "../element-type.ts";
import type { Graph, Value } from "../graph.ts";
import { add, cast, div, exp, log, mul, plus, sub } from "../operators/elementwise.ts";
import {
  concat,
  dimOf,
  pad,
  reshape,
  reshapeStated,
  slice,
  swapLast,
  transpose,
} from "../operators/layout.ts";
import { matmul } from "../operators/matrices.ts";
import { reduceMax, reduceSum, softmax } from "../operators/reductions.ts";
import type { QueryChunk } from "./attention-plan.ts";

/** Queries [batch, heads, sequence, size], scaled already; keys and values [batch, groups, sequence, size]. */
export interface AttentionInputs {
  readonly queries: Value;
  readonly keys: Value;
  readonly values: Value;
}

/**
 * softmax(Q K^T + mask) V, as rows [batch sequence, heads size]. Heads that share keys stand together, as in
 * transformers' repeat_kv.
 *
 * With P the probabilities and O the output: dV = P^T dO; dS = P (dO V^T - sum(dO O)); dQ = dS K; dK = dS^T Q.
 */
export function attention(g: Graph, inputs: AttentionInputs, plan: readonly QueryChunk[]): Value {
  const { queries, keys, values } = inputs;
  const layout = layoutOf(inputs);
  const tracked = [queries, keys, values].some((value) => g.isTracked(value));
  for (const { queries } of plan) measureRows(g, layout, queries);
  const forward = plan.map((chunk) => attend(g, layout, { inputs, chunk, keepSums: tracked }));
  const { batch, heads, groups, sharing, sequence, size } = layout;
  const joined = concat(
    g,
    forward.map(({ output }) => output),
    { axis: 3, size: sequence },
  );
  const byHead = reshape(g, joined, [batch, heads, sequence, size]);
  const rows = [rowsOf(layout), heads * size] as const;
  const output = reshape(g, transpose(g, byHead, [0, 2, 1, 3]), rows);
  return g.record({
    inputs: [queries, keys, values],
    output,
    gradient({ dy, into }) {
      const grouped = (x: Value, last: number) =>
        reshape(g, transpose(g, reshape(g, x, [batch, sequence, heads, last]), [0, 2, 1, 3]), [
          batch,
          groups,
          sharing,
          sequence,
          last,
        ]);
      const dO = grouped(dy, size);
      const inner = lazy(() => {
        const products = mul(g, cast(g, dy, layout.exact), cast(g, output, layout.exact));
        const split = reshape(g, products, [batch, sequence, heads, size]);
        return grouped(reduceSum(g, split, [3]), 1);
      });
      const chunks = plan.map((chunk, at) =>
        chunkGradients(g, layout, { inputs, chunk, dO, inner, logSum: forward[at]?.logSum ?? null }),
      );
      into(values, (sum) =>
        plus(
          g,
          sum,
          overKeys(
            g,
            layout,
            chunks.map((c) => [c.chunk, c.dV()]),
          ),
        ),
      );
      into(queries, (sum) => {
        const dQ = concat(
          g,
          chunks.map((c) => c.dQ()),
          { axis: 3, size: sequence },
        );
        return plus(g, sum, reshape(g, dQ, queries.shape));
      });
      into(keys, (sum) =>
        plus(
          g,
          sum,
          overKeys(
            g,
            layout,
            chunks.map((c) => [c.chunk, c.dK()]),
          ),
        ),
      );
    },
  });
}

interface Layout {
  readonly batch: Dim;
  readonly heads: number;
  /** Heads of keys and values. */
  readonly groups: number;
  /** Heads that share one head of keys. */
  readonly sharing: number;
  readonly sequence: Dim;
  readonly size: number;
  /** Of the softmax and of sums over it. */
  readonly exact: "float32" | "float64";
}

function layoutOf({ queries, keys, values }: AttentionInputs): Layout {
  const [batch, heads, sequence, size] = [0, 1, 2, 3].map((axis) => dimOf(queries, axis));
  const groups = dimOf(keys, 1);
  if (
    batch === undefined ||
    sequence === undefined ||
    typeof heads !== "number" ||
    typeof size !== "number" ||
    typeof groups !== "number"
  ) {
    throw new RangeError(`Cannot attend with queries [${queries.shape}] and keys [${keys.shape}]`);
  }
  if (heads % groups !== 0 || keys.shape.join() !== values.shape.join() || dimOf(keys, 3) !== size) {
    throw new RangeError(
      `Cannot attend with queries [${queries.shape}], keys [${keys.shape}] and values [${values.shape}]`,
    );
  }
  const exact = statisticsType(queries.type);
  return { batch, heads, groups, sharing: heads / groups, sequence, size, exact };
}

function rowsOf({ batch, sequence }: Layout): Dim {
  return `${batch}*${sequence}`;
}

/** The queries of a chunk, [batch, groups, sharing queries, size]: heads that share keys become rows of one matrix. */
function queriesOf(g: Graph, layout: Layout, x: Value, { begin, end, queries }: QueryChunk): Value {
  const { batch, groups, sharing, sequence } = layout;
  const size = Number(dimOf(x, x.shape.length - 1));
  const grouped = reshape(g, x, [batch, groups, sharing, sequence, size]);
  const part = slice(g, grouped, { axis: 3, begin, end, size: queries });
  return reshape(g, part, [batch, groups, rowsIn(layout, queries), size]);
}

function keysOf(g: Graph, x: Value, { firstKey, end, keys }: QueryChunk): Value {
  return slice(g, x, { axis: 2, begin: firstKey, end, size: keys });
}

function rowsIn({ sharing }: Layout, queries: Dim): Dim {
  return product([sharing, queries]);
}

/** Says how many rows a chunk's queries make, and half of them. */
function measureRows(g: Graph, layout: Layout, queries: Dim): void {
  const number = (x: number) => g.constant("int64", [1], [x]);
  const rows = rowsIn(layout, queries);
  if (rows !== queries) g.measure(String(rows), () => mul(g, g.dimension(queries), number(layout.sharing)));
  const part = half(rows);
  if (part !== null && part !== queries) g.measure(String(part), () => div(g, g.dimension(rows), number(2)));
}

/** Whether products of so many groups do not divide evenly between two threads; one alone is divided by its rows. */
export function isUneven(groups: number): boolean {
  return groups > 1 && groups % 2 === 1;
}

/**
 * a b, or a b^T, of matrices [batch, groups, rows, columns]. ONNX Runtime runs each matrix of a batch on one thread, so
 * that three keep one of two threads waiting: an uneven number of them becomes twice as many, each with half of a's rows.
 */
function balanced(
  g: Graph,
  { batch, groups }: Layout,
  [a, b]: readonly [Value, Value],
  { transposed = false }: { transposed?: boolean } = {},
): Value {
  const [rows, inner] = [dimOf(a, 2), dimOf(a, 3)];
  const part = isUneven(groups) ? half(rows) : null;
  const right = (x: Value) => (transposed ? swapLast(g, x) : x);
  if (part === null) return matmul(g, a, right(b));
  const halves = reshapeStated(g, a, [batch, groups, 2, part, inner]);
  const whole = reshapeStated(g, b, [batch, groups, 1, dimOf(b, 2), dimOf(b, 3)]);
  const products = matmul(g, halves, right(whole));
  return reshapeStated(g, products, [batch, groups, rows, dimOf(products, 4)]);
}

/** A chunk's output [batch, groups, sharing, queries, size], and what the backward pass needs of its softmax. */
function attend(
  g: Graph,
  layout: Layout,
  { inputs, chunk, keepSums }: { inputs: AttentionInputs; chunk: QueryChunk; keepSums: boolean },
): { output: Value; logSum: (() => Value) | null } {
  const { batch, groups, sharing, size, exact } = layout;
  const { queries, keys } = chunk;
  const q = queriesOf(g, layout, inputs.queries, chunk);
  const k = keysOf(g, inputs.keys, chunk);
  const v = keysOf(g, inputs.values, chunk);
  const flatScores = balanced(g, layout, [q, k], { transposed: true });
  const scores = reshapeStated(g, flatScores, [batch, groups, sharing, queries, keys]);
  const masked = add(g, cast(g, scores, exact), chunk.mask);
  const flat = (x: Value) => reshapeStated(g, x, [batch, groups, rowsIn(layout, queries), keys]);
  const shaped = (x: Value) => reshape(g, x, [batch, groups, sharing, queries, size]);
  const weighted = (weights: Value) => shaped(balanced(g, layout, [flat(cast(g, weights, v.type)), v]));
  if (!keepSums) return { output: weighted(softmax(g, masked)), logSum: null };
  // The output depends on the maximum and the sum, so that both are computed while the scores are at hand.
  const largest = reduceMax(g, masked, [4]);
  const weights = exp(g, sub(g, masked, largest));
  const sum = reduceSum(g, weights, [4]);
  // Dividing the output is less work; in 16 bits, though, it could exceed the range before it is divided.
  const output = v.type === exact ? div(g, weighted(weights), sum) : weighted(div(g, weights, sum));
  return { output, logSum: () => add(g, largest, log(g, sum)) };
}

interface ChunkInputs {
  readonly inputs: AttentionInputs;
  readonly chunk: QueryChunk;
  /** [batch, groups, sharing, sequence, size] */
  readonly dO: Value;
  /** The sums of dO O over a head, [batch, groups, sharing, sequence, 1]. */
  readonly inner: () => Value;
  readonly logSum: (() => Value) | null;
}

/** The gradients of a chunk, each computed when it is asked for. */
function chunkGradients(g: Graph, layout: Layout, given: ChunkInputs) {
  const { inputs, chunk, dO, inner, logSum } = given;
  const { batch, groups, sharing, exact } = layout;
  const { type } = inputs.queries;
  const { queries, keys } = chunk;
  const rows = rowsIn(layout, queries);
  const again = (make: () => Value) => lazy(() => g.during("recompute", make));
  const q = again(() => queriesOf(g, layout, inputs.queries, chunk));
  const k = again(() => keysOf(g, inputs.keys, chunk));
  // Keys before queries: no node is one of the forward pass, which an optimizer would take it for and keep.
  const probabilities = again(() => {
    if (logSum === null) throw new Error("Cannot differentiate attention: its sums were not kept");
    const flat = balanced(g, layout, [k(), q()], { transposed: true });
    const scores = reshapeStated(g, flat, [batch, groups, keys, sharing, queries]);
    const shift = reshape(g, logSum(), [batch, groups, 1, sharing, queries]);
    const masked = add(g, cast(g, scores, exact), chunk.maskByKeys());
    return reshapeStated(g, exp(g, sub(g, masked, shift)), [batch, groups, keys, rows]);
  });
  const dOutput = lazy(() => queriesOf(g, layout, dO, chunk));
  const dScores = lazy(() => {
    const v = g.during("recompute", () => keysOf(g, inputs.values, chunk));
    const dP = cast(g, balanced(g, layout, [v, dOutput()], { transposed: true }), exact);
    const shift = reshape(g, queriesOf(g, layout, inner(), chunk), [batch, groups, 1, rows]);
    return cast(g, mul(g, probabilities(), sub(g, dP, shift)), type);
  });
  return {
    chunk,
    dV: () => balanced(g, layout, [cast(g, probabilities(), type), dOutput()]),
    dK: () => balanced(g, layout, [dScores(), q()]),
    dQ: () =>
      reshape(g, matmul(g, swapLast(g, dScores()), k()), [batch, groups, sharing, queries, layout.size]),
  };
}

/** Adds gradients of ranges of keys up to one of all keys, [batch, groups, sequence, size]. */
function overKeys(g: Graph, { sequence }: Layout, parts: readonly (readonly [QueryChunk, Value])[]): Value {
  return parts
    .map(([{ firstKey, end, keys }, part]) => {
      if (keys === sequence) return part;
      const after = g.once(`after ${end.name}`, () => sub(g, g.dimension(sequence), end));
      return pad(g, part, { axis: 2, before: firstKey, after, size: sequence });
    })
    .reduce((a, b) => add(g, a, b));
}

function lazy(make: () => Value): () => Value {
  let made: Value | undefined;
  return () => {
    made ??= make();
    return made;
  };
}
