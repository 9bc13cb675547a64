// Causal attention with grouped heads, in chunks of queries; the backward pass computes the probabilities again, so that
// none of them outlives its chunk.
import type { Dim } from "../dim.ts";
import { statisticsType } from "../element-type.ts";
import type { Graph, Value } from "../graph.ts";
import { add, cast, div, exp, log, mul, plus, sub } from "../operators/elementwise.ts";
import { concat, dimOf, pad, reshape, slice, swapLast, transpose } from "../operators/layout.ts";
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
  return sharing === 1 ? queries : `${sharing}*${queries}`;
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
  const scores = reshape(g, matmul(g, q, swapLast(g, k)), [batch, groups, sharing, queries, keys]);
  const masked = add(g, cast(g, scores, exact), chunk.mask);
  const flat = (x: Value) => reshape(g, x, [batch, groups, rowsIn(layout, queries), keys]);
  const shaped = (x: Value) => reshape(g, x, [batch, groups, sharing, queries, size]);
  const weighted = (weights: Value) => shaped(matmul(g, flat(cast(g, weights, v.type)), v));
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
    const scores = reshape(g, matmul(g, k(), swapLast(g, q())), [batch, groups, keys, sharing, queries]);
    const shift = reshape(g, logSum(), [batch, groups, 1, sharing, queries]);
    const masked = add(g, cast(g, scores, exact), chunk.maskByKeys());
    return reshape(g, exp(g, sub(g, masked, shift)), [batch, groups, keys, rows]);
  });
  const dOutput = lazy(() => queriesOf(g, layout, dO, chunk));
  const dScores = lazy(() => {
    const v = g.during("recompute", () => keysOf(g, inputs.values, chunk));
    const dP = cast(g, matmul(g, v, swapLast(g, dOutput())), exact);
    const shift = reshape(g, queriesOf(g, layout, inner(), chunk), [batch, groups, 1, rows]);
    return cast(g, mul(g, probabilities(), sub(g, dP, shift)), type);
  });
  return {
    chunk,
    dV: () => matmul(g, cast(g, probabilities(), type), dOutput()),
    dK: () => matmul(g, dScores(), q()),
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
