// The loss of next tokens by a head that does not train. The vocabulary is cut, not the rows: a product packs all of a
// weight for however few rows, and only a part of the head is converted at a time. What a part lacks of the softmax is
// one factor for each row, known at the end, as in FlashAttention (Dao et al. 2022).
import { type ElementType, statisticsType } from "../element-type.ts";
import type { Graph, Value } from "../graph.ts";
import { add, cast, clip, equal, mul, plus, scalar, scale, sub, where } from "../operators/elementwise.ts";
import { gatherElements, scatterElements } from "../operators/indexing.ts";
import { concat, corner, dimOf, reshape, slice } from "../operators/layout.ts";
import { gemm } from "../operators/matrices.ts";
import { reduceMax, softmax, total } from "../operators/reductions.ts";
import { after, type CrossEntropyInputs, logSumExp, whereCounting } from "./cross-entropy.ts";
import { embedding } from "./embedding.ts";
import { weightAs } from "./weight.ts";

/** What {@link frozenHeadLoss} reads: blocks of the head that train, such as new rows, are not cut. */
export interface FrozenHeadInputs extends Pick<CrossEntropyInputs, "hidden" | "head" | "next"> {
  /** Parts of nearly equal size that a frozen block is cut into. */
  readonly chunks: number;
}

/**
 * Whether {@link frozenHeadLoss} takes a head for hidden states of a type: its first block is frozen, and not of 8 bits, which
 * Slice does not read. In 16 bits the difference of two rounded means would be too coarse.
 */
export function isFrozenHead(g: Graph, [first]: readonly Value[], type: ElementType): boolean {
  if (first === undefined || g.isTracked(first) || first.type.startsWith("float8")) return false;
  return statisticsType(type) === type;
}

/**
 * The loss of {@link crossEntropy}, []. With P_b the softmax of part b alone, c_b its share of the whole one, and t the target:
 * dhidden = (the sum of c_b P_b head_b, minus head_t) counts perItem; dhead_b = (c_b P_b - onehot)^T hidden counts perItem.
 *
 * @throws Error, when differentiated, if something was computed from the loss.
 */
export function frozenHeadLoss(g: Graph, inputs: FrozenHeadInputs): Value {
  const { hidden, head, next } = inputs;
  const ids = reshape(g, next.targets, [dimOf(hidden, 0)]);
  const targetRows = embedding(g, head, { ids, type: statisticsType(hidden.type) });
  const parts = partsOf(g, inputs);
  const logSums = concat(
    g,
    parts.map(({ logSum }) => logSum),
    { axis: 1, size: parts.length },
  );
  const shares = softmax(g, logSums);
  const logits = parts.map(({ logit }) => logit).reduce((a, b) => add(g, a, b));
  const counts = cast(g, next.counts, hidden.type);
  const perItem = cast(g, next.perItem, hidden.type);
  const logProbabilities = sub(g, logits, logSumExp(g, reduceMax(g, logSums, [1]), shares));
  return g.record({
    inputs: [hidden, ...head],
    output: mul(g, scale(g, total(g, whereCounting(g, counts, logProbabilities)), -1), perItem),
    gradient({ isLoss, into }) {
      if (!isLoss) throw new Error("Cannot differentiate what is computed from the cross-entropy");
      const weights = mul(g, counts, perItem);
      const weighted = mul(g, hidden, weights);
      for (const [at, part] of parts.entries())
        into(part.weight, (sum) => {
          const slope = slopeOf(g, part, column(g, shares, at));
          return gemm(g, [slope, weighted], { transposeA: true, plus: sum });
        });
      into(hidden, (sum) => {
        const means = parts.map((part, at) => {
          const { mean } = part;
          if (mean === null) throw new Error("Cannot differentiate hidden states that nothing trains");
          return sharedOf(g, part, { x: mean, share: column(g, shares, at) });
        });
        const mean = means.reduce((a, b) => add(g, a, b));
        const slope = sub(g, mean, targetRows);
        return plus(g, sum, mul(g, slope, weights));
      });
    },
  });
}

/** Rows of the vocabulary, and what the hidden states make of them. */
interface Part {
  /** The block of the head that they are in. */
  readonly weight: Value;
  /** The softmax of these rows alone, [rows, size]. */
  readonly probabilities: Value;
  /** bool [rows, 1]: whether all logits are -inf, which is what those that overflow float32 become. */
  readonly isEmpty: Value;
  /** log sum exp of the logits, [rows, 1]; -inf where all of them are. */
  readonly logSum: Value;
  /** int32 [rows, 1]: which of these rows the target is; any of them where it is in another part. */
  readonly place: Value;
  /** bool [rows, 1]: whether the target is in this part. */
  readonly isInside: Value;
  /** The target's logit, [rows, 1]; 0 where it is in another part. */
  readonly logit: Value;
  /** The head's rows, weighted by their probabilities: [rows, hidden]; null where the hidden states need no gradient. */
  readonly mean: Value | null;
}

/**
 * Makes the parts. A part begins once all is there that is made of the logits of the one before it, so that no provider
 * holds the logits of two.
 */
function partsOf(g: Graph, { hidden, head, next, chunks }: FrozenHeadInputs): readonly Part[] {
  const index = (x: number) => g.constant("int32", [1], [x]);
  const targets = cast(g, next.targets, hidden.type);
  const parts: Part[] = [];
  let previous: Part | null = null;
  let first = 0;
  for (const weight of head) {
    const vocabulary = Number(dimOf(weight, 0));
    const size = g.isTracked(weight) ? vocabulary : partSize(vocabulary, chunks);
    for (let at = 0; at < vocabulary; at += size) {
      const end = Math.min(at + size, vocabulary);
      const begin = previous === null ? index(at) : after(g, index(at), lastOf(g, previous));
      const rows = slice(g, weight, { axis: 0, begin, end: index(end), size: end - at });
      const place = sub(g, targets, scalar(g, hidden.type, first + at));
      previous = partOf(g, { hidden, weight, rows, place });
      parts.push(previous);
    }
    first += vocabulary;
  }
  return parts;
}

/**
 * Rows of a part: a multiple of 16, which products like, but none of 1024, where the rows of its logits would all begin in the
 * same set of a processor's cache: their product with the head then took 1.1 times as long.
 */
function partSize(vocabulary: number, chunks: number): number {
  const size = 16 * Math.ceil(vocabulary / chunks / 16);
  return size % 1024 === 0 && size < vocabulary ? size + 16 : size;
}

interface PartInputs {
  readonly hidden: Value;
  readonly weight: Value;
  /** Of the weight. */
  readonly rows: Value;
  /** [rows, 1]: where the target is, counted from the part's first row. */
  readonly place: Value;
}

function partOf(g: Graph, { hidden, weight, rows, place }: PartInputs): Part {
  const converted = weightAs(g, rows, hidden.type);
  const logits = gemm(g, [hidden, converted], { transposeB: true });
  const probabilities = softmax(g, logits);
  const inside = cast(g, clip(g, place, [0, Number(dimOf(rows, 0)) - 1]), "int32");
  const isInside = equal(g, cast(g, place, "int32"), inside);
  const highest = reduceMax(g, logits, [1]);
  const isEmpty = equal(g, highest, scalar(g, highest.type, Number.NEGATIVE_INFINITY));
  return {
    weight,
    probabilities,
    isEmpty,
    logSum: where(g, isEmpty, [highest, logSumExp(g, highest, probabilities)]),
    place: inside,
    isInside,
    logit: where(g, isInside, [gatherElements(g, logits, inside), scalar(g, logits.type, 0)]),
    mean: g.isTracked(hidden) ? gemm(g, [probabilities, converted]) : null,
  };
}

/** What is made of a part's softmax, times the part's share: 0 where nothing of the part is likely, and its softmax is NaN. */
function sharedOf(g: Graph, { isEmpty }: Part, { x, share }: { x: Value; share: Value }): Value {
  return where(g, isEmpty, [scalar(g, x.type, 0), mul(g, x, share)]);
}

/** The loss's gradient by the logits of a part, [rows, size], but for counts and items. */
function slopeOf(g: Graph, part: Part, share: Value): Value {
  const { place, isInside } = part;
  const shared = sharedOf(g, part, { x: part.probabilities, share });
  const updates = sub(g, gatherElements(g, shared, place), cast(g, isInside, shared.type));
  return scatterElements(g, shared, { axis: 1, index: place, updates });
}

/** One number, [1, 1], that is there when all of a part is. */
function lastOf(g: Graph, { logSum, logit, mean }: Part): Value {
  const made = corner(g, add(g, logSum, logit));
  return mean === null ? made : add(g, made, corner(g, mean));
}

function column(g: Graph, x: Value, at: number): Value {
  const [begin, end] = [g.constant("int64", [1], [at]), g.constant("int64", [1], [at + 1])];
  return slice(g, x, { axis: 1, begin, end, size: 1 });
}
