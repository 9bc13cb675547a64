// Which keys each chunk of queries sees, and the masks: computed once for all layers.
import { type Dim, half } from "../dim.ts";
import { type FloatType, statisticsType } from "../element-type.ts";
import type { Graph, Value } from "../graph.ts";
import { add, cast, clip, div, equal, max, mul, scalar, scale, sub } from "../operators/elementwise.ts";
import { indexType } from "../operators/indexing.ts";
import { reshape, slice, transpose } from "../operators/layout.ts";
import { cumulativeSum } from "../operators/reductions.ts";

/** Queries [begin, end) of a sequence, and the keys [firstKey, end) that any of them may see. */
export interface QueryChunk {
  readonly begin: Value;
  readonly end: Value;
  readonly firstKey: Value;
  /** The dimensions of both ranges. */
  readonly queries: Dim;
  readonly keys: Dim;
  /** [batch, 1, 1, queries, keys]: 0 where a query sees a key, else hugely negative. */
  readonly mask: Value;
  /** The same with keys before queries, [batch, 1, keys, 1, queries]; made when the backward pass asks. */
  readonly maskByKeys: () => Value;
}

/** Options of {@link attentionPlan}. */
export interface AttentionPlanOptions {
  /** int32 [batch, sequence]; a 0 begins a segment. */
  readonly positions: Value;
  /** Of the computation; masks are added to scores, which are never less exact than float32. */
  readonly type: FloatType;
  /** Chunks that the sequence is cut into. */
  readonly chunks: number;
  /** A query sees so many positions, its own included; null for all before it. */
  readonly window: number | null;
  /** Whether every chunk but the last has an even number of queries and of keys, so that its products can be halved. */
  readonly even: boolean;
}

/** Subtracted, for each reason, where a query does not see a key: far beyond any score, and far from overflow. */
const HIDDEN = 1e30;

/** Positions that make no chunk of {@link attentionPlan} empty. */
export function leastPositions({ chunks, even }: Pick<AttentionPlanOptions, "chunks" | "even">): number {
  return chunks > 1 && even ? 2 * chunks : chunks;
}

/** Cuts `sequence` into chunks of nearly equal length, none of them empty from {@link leastPositions} on. */
export function attentionPlan(g: Graph, options: AttentionPlanOptions): readonly QueryChunk[] {
  const { positions, chunks, window, even } = options;
  const [, sequence = 1] = positions.shape;
  const whole = g.dimension(sequence);
  const bounds = even ? evenCuts(g, whole, chunks) : cuts(g, whole, chunks);
  return Array.from({ length: chunks }, (_, at) => {
    const [begin, end] = [bound(bounds, at), bound(bounds, at + 1)];
    const allKeys = at === chunks - 1 && (window === null || chunks === 1);
    const keys = `keys${at}of${chunks}${window === null ? "" : `within${window}`}`;
    const sized = (name: string) => (even && at < chunks - 1 ? `2*${name}/2` : name);
    return queryChunk(g, options, {
      begin,
      end,
      firstKey: window === null ? bound(bounds, 0) : firstKey(g, begin, { window, even }),
      queries: chunks === 1 ? sequence : sized(`queries${at}of${chunks}`),
      keys: allKeys ? sequence : sized(keys),
    });
  });
}

/** 0, then ceil(end i / parts) for each part; of the type of `end`, int64 [1] or int32 [1]. */
export function cuts(g: Graph, end: Value, parts: number): readonly Value[] {
  const type = indexType(end);
  const number = (x: number) => g.constant(type, [1], [x]);
  return Array.from({ length: parts + 1 }, (_, at) => {
    if (at === 0) return number(0);
    if (at === parts) return end;
    return g.once(`cut ${at} of ${parts} of ${end.name}`, () =>
      div(g, add(g, mul(g, end, number(at)), number(parts - 1)), number(parts)),
    );
  });
}

/** int64 [1]: 0, then 2 floor(size i / (2 parts)) for each part, and at last the size itself. */
function evenCuts(g: Graph, end: Value, parts: number): readonly Value[] {
  return cuts(g, end, parts).map((cut, at) => {
    if (at === 0 || at === parts) return cut;
    const number = (x: number) => g.constant("int64", [1], [x]);
    return g.once(`even cut ${at} of ${parts} of ${end.name}`, () =>
      mul(g, div(g, mul(g, end, number(at)), number(2 * parts)), number(2)),
    );
  });
}

function bound(bounds: readonly Value[], at: number): Value {
  const value = bounds[at];
  if (value === undefined) throw new RangeError(`Cannot cut at ${at}`);
  return value;
}

/** max(0, begin - window + 1), or the even number before it. */
function firstKey(g: Graph, begin: Value, { window, even }: { window: number; even: boolean }): Value {
  const number = (x: number) => g.constant("int64", [1], [x]);
  return g.once(`key ${window} before ${begin.name}`, () => {
    const first = max(g, sub(g, begin, number(window - 1)), number(0));
    return even ? mul(g, div(g, first, number(2)), number(2)) : first;
  });
}

function queryChunk(
  g: Graph,
  options: AttentionPlanOptions,
  range: Omit<QueryChunk, "mask" | "maskByKeys">,
): QueryChunk {
  const { begin, end, firstKey: first, queries, keys } = range;
  const [batch = 1, sequence = 1] = options.positions.shape;
  if (queries !== sequence) measureRange(g, queries, [begin, end]);
  if (keys !== sequence) measureRange(g, keys, [first, end]);
  const { index, segment } = places(g, options.positions);
  const ofQueries = (x: Value) =>
    reshape(g, slice(g, x, { axis: 1, begin, end, size: queries }), [batch, 1, 1, queries, 1]);
  const ofKeys = (x: Value) =>
    reshape(g, slice(g, x, { axis: 1, begin: first, end, size: keys }), [batch, 1, 1, 1, keys]);
  // Each is negative where a key is hidden: it comes later, lies in an earlier segment, or before the window.
  const ahead = sub(g, ofQueries(index), ofKeys(index));
  const reasons = [ahead, sub(g, ofKeys(segment), ofQueries(segment))];
  if (options.window !== null) reasons.push(sub(g, scalar(g, "float32", options.window - 1), ahead));
  const hidden = reasons.map((reason) => clip(g, reason, [-1, 0])).reduce((a, b) => add(g, a, b));
  const mask = cast(g, scale(g, hidden, HIDDEN), statisticsType(options.type));
  return {
    ...range,
    mask,
    maskByKeys: () => g.once(`by keys ${mask.name}`, () => transpose(g, mask, [0, 1, 4, 2, 3])),
  };
}

/** Says how long [begin, end) is, and half of it where that is a dimension too. */
function measureRange(g: Graph, dim: Dim, [begin, end]: readonly [Value, Value]): void {
  g.measure(String(dim), () => sub(g, end, begin));
  const part = half(dim);
  if (part !== null) g.measure(String(part), () => div(g, g.dimension(dim), g.constant("int64", [1], [2])));
}

/** Each token's index in its row, and the number of its segment; float32 [batch, sequence], exact up to 2^24. */
function places(g: Graph, positions: Value): { index: Value; segment: Value } {
  const count = (key: string, steps: () => Value) =>
    g.once(`${key} ${positions.name}`, () => cumulativeSum(g, steps(), 1));
  return {
    index: count("index", () => add(g, cast(g, scale(g, positions, 0), "float32"), scalar(g, "float32", 1))),
    segment: count("segment", () => cast(g, equal(g, positions, scalar(g, "int32", 0)), "float32")),
  };
}
