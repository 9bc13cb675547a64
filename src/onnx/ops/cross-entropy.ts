// The loss of next tokens, with the head that makes the logits: logits are as large as rows times vocabulary, so they are made
// and used up chunk by chunk, and the gradient is computed while they are at hand.
import type { Dim } from "../dim.ts";
import { type ElementType, statisticsType } from "../element-type.ts";
import type { Graph, Value } from "../graph.ts";
import {
  add,
  cast,
  equal,
  exp,
  greater,
  log,
  mul,
  plus,
  scalar,
  scale,
  sub,
  where,
} from "../operators/elementwise.ts";
import { gatherElements, indexType, scatterElements } from "../operators/indexing.ts";
import { concat, corner, dimOf, slice } from "../operators/layout.ts";
import { gemm } from "../operators/matrices.ts";
import { argMax, reduceMax, softmax, total } from "../operators/reductions.ts";
import type { NextTokens } from "./next-tokens.ts";
import { weightAs } from "./weight.ts";

/** What {@link crossEntropy} reads. */
export interface CrossEntropyInputs {
  /** [rows, size] */
  readonly hidden: Value;
  /** The head, [vocabulary, size]; one after another where it comes in blocks of rows. */
  readonly head: readonly Value[];
  readonly next: NextTokens;
  /** Where each chunk of rows begins, the last one's end behind them; int64 [1] or int32 [1]. */
  readonly bounds: readonly Value[];
}

/** What {@link crossEntropy} makes. */
export interface CrossEntropy {
  /** []: the negative log probabilities of the targets that count, summed, times `perItem`. */
  readonly loss: Value;
  /** [rows, 1]: the log probability of each target, 0 where it does not count. Never less exact than float32. */
  readonly logProbabilities: Value;
  /** int64 [rows]: the likeliest token. */
  predictions(): Value;
}

/**
 * softmax(hidden head^T) at the targets.
 *
 * dlogits = (softmax - onehot) counts perItem; dhidden = dlogits head; dhead = dlogits^T hidden. The loss must be the
 * end of the graph: its gradients are those of the loss itself.
 *
 * @throws Error, when differentiated, if something was computed from the loss.
 */
export function crossEntropy(g: Graph, inputs: CrossEntropyInputs): CrossEntropy {
  const { hidden, head, next } = inputs;
  const rows = dimOf(hidden, 0);
  const blocks = blocksOf(g, head, hidden.type);
  const chunks = chunksOf(g, inputs, blocks);
  const logProbabilities = concat(
    g,
    chunks.map((chunk) => chunk.logProbability),
    { axis: 0, size: rows },
  );
  const loss = mul(g, scale(g, total(g, logProbabilities), -1), cast(g, next.perItem, logProbabilities.type));
  g.record({
    inputs: [hidden, ...head],
    output: loss,
    gradient({ isLoss, into }) {
      if (!isLoss) throw new Error("Cannot differentiate what is computed from the cross-entropy");
      const dHead: Value[] = [];
      for (const block of blocks) {
        into(block.weight, (sum) => {
          const gradient = headGradient(g, chunks, block);
          dHead.push(gradient);
          return plus(g, sum, cast(g, gradient, block.weight.type));
        });
      }
      into(hidden, (sum) => plus(g, sum, hiddenGradient(g, chunks, { rows, after: dHead })));
    },
  });
  return {
    loss,
    logProbabilities,
    predictions: () =>
      concat(
        g,
        chunks.map(({ logits }) => argMax(g, logits)),
        { axis: 0, size: rows },
      ),
  };
}

/** Rows [begin, end) of the head. */
interface Block {
  readonly weight: Value;
  /** The weight in the type of the hidden states: converted once, for all chunks and both directions. */
  readonly converted: Value;
  readonly begin: Value;
  readonly end: Value;
  readonly size: number;
}

function blocksOf(g: Graph, head: readonly Value[], type: ElementType): readonly Block[] {
  let row = 0;
  return head.map((weight) => {
    const size = Number(dimOf(weight, 0));
    const begin = g.constant("int64", [1], [row]);
    row += size;
    const end = g.constant("int64", [1], [row]);
    return { weight, converted: weightAs(g, weight, type), begin, end, size };
  });
}

/** A chunk of rows. */
interface Chunk {
  readonly logits: Value;
  /** [rows, 1]; 0 where the target does not count. */
  readonly logProbability: Value;
  /** softmax - onehot, [rows, vocabulary]. */
  readonly slope: Value;
  /** What a row's slope is to be multiplied with, [rows, 1]. */
  readonly weights: Value;
  readonly hidden: Value;
  /** slope head, [rows, size]; null where the hidden states need no gradient. */
  readonly slopeOfHidden: Value | null;
}

/**
 * Makes the chunks. Where the hidden states have a gradient, a chunk begins once that of the chunk before it is there:
 * so no provider makes the logits of a chunk before those of the last one are used up.
 */
function chunksOf(g: Graph, inputs: CrossEntropyInputs, blocks: readonly Block[]): readonly Chunk[] {
  const [first, ...ends] = inputs.bounds;
  if (first === undefined) throw new RangeError("Cannot cut rows without bounds");
  const chunks: Chunk[] = [];
  let begin = first;
  for (const [at, end] of ends.entries()) {
    const size = ends.length === 1 ? dimOf(inputs.hidden, 0) : `rows${at}of${ends.length}`;
    const range = { axis: 0, begin, end, size };
    const chunk = chunkOf(g, inputs, { blocks, part: (x) => slice(g, x, range) });
    chunks.push(chunk);
    begin = chunk.slopeOfHidden === null ? end : after(g, end, chunk.slopeOfHidden);
  }
  return chunks;
}

/**
 * log sum exp of each row of logits, [rows, 1], of which `highest` is the largest: its probability is exp(largest logit) / sum,
 * and at least 1 / vocabulary.
 */
export function logSumExp(g: Graph, highest: Value, probabilities: Value): Value {
  return sub(g, highest, log(g, reduceMax(g, probabilities, [1])));
}

/** x where the target counts, else 0: a product would make NaN of a logit of -inf in the place of a target. */
export function whereCounting(g: Graph, counts: Value, x: Value): Value {
  const zero = scalar(g, x.type, 0);
  return where(g, greater(g, counts, scalar(g, counts.type, 0)), [x, zero]);
}

/** A bound, once `value` is there: 0 is added, which a comparison makes even of what is not finite, or is empty. */
export function after(g: Graph, bound: Value, value: Value): Value {
  const number = total(g, cast(g, corner(g, value), "float32"));
  return add(g, bound, scale(g, cast(g, equal(g, number, number), indexType(bound)), 0));
}

function chunkOf(
  g: Graph,
  { hidden: all, next }: CrossEntropyInputs,
  { blocks, part }: { blocks: readonly Block[]; part: (x: Value) => Value },
): Chunk {
  const hidden = part(all);
  const { type } = hidden;
  const vocabulary = blocks.reduce((sum, { size }) => sum + size, 0);
  const product = concat(
    g,
    blocks.map(({ converted }) => gemm(g, [hidden, converted], { transposeB: true })),
    { axis: 1, size: vocabulary },
  );
  const exact = statisticsType(type);
  const logits = cast(g, product, exact);
  const probabilities = softmax(g, logits);
  const logSum = logSumExp(g, reduceMax(g, logits, [1]), probabilities);
  // WebGPU slices no int32; ids up to 2^24 are exact in float32.
  const targets = cast(g, part(cast(g, next.targets, "float32")), "int32");
  const counts = cast(g, part(next.counts), exact);
  const logProbability = sub(g, gatherElements(g, logits, targets), logSum);
  // The slope reads the log probability, so that the logits are done with as soon as it is computed.
  const atTarget = sub(g, exp(g, logProbability), scalar(g, exact, 1));
  const exactSlope = scatterElements(g, probabilities, { axis: 1, index: targets, updates: atTarget });
  const slope = cast(g, exactSlope, type);
  const slopeOfHidden = g.isTracked(all)
    ? blocks
        .map((block) => gemm(g, [columns(g, slope, block), block.converted]))
        .reduce((a, b) => add(g, a, b))
    : null;
  return {
    logits,
    logProbability: whereCounting(g, counts, logProbability),
    slope,
    weights: cast(g, mul(g, counts, cast(g, next.perItem, exact)), type),
    hidden,
    slopeOfHidden,
  };
}

/** The columns of a block of the head. */
function columns(g: Graph, x: Value, { begin, end, size }: Block): Value {
  return slice(g, x, { axis: 1, begin, end, size });
}

function headGradient(g: Graph, chunks: readonly Chunk[], block: Block): Value {
  const weighted = chunks.map(({ hidden, weights }) => mul(g, hidden, weights));
  let sum: Value | null = null;
  for (const [at, { slope }] of chunks.entries()) {
    const hidden = weighted[at];
    if (hidden !== undefined)
      sum = gemm(g, [columns(g, slope, block), hidden], { transposeA: true, plus: sum });
  }
  if (sum === null) throw new RangeError("Cannot differentiate a head without chunks");
  return sum;
}

/**
 * [rows, size]. It also reads one number of each of `after`, times 0: providers run what a node reads before the node, and
 * so make the head's gradient, which reads the chunks' slopes, before they go on with those slopes in memory.
 */
function hiddenGradient(
  g: Graph,
  chunks: readonly Chunk[],
  { rows, after }: { rows: Dim; after: readonly Value[] },
): Value {
  const parts = chunks.map(({ slopeOfHidden, weights }) => {
    if (slopeOfHidden === null) throw new Error("Cannot differentiate hidden states that nothing trains");
    return mul(g, slopeOfHidden, weights);
  });
  return after
    .map((gradient) => scale(g, corner(g, gradient), 0))
    .reduce((sum, zero) => add(g, sum, zero), concat(g, parts, { axis: 0, size: rows }));
}
