// The graphs of training and evaluation, with the inputs and outputs that design.md gives them.
import { type DecoderConfig, decoder, EMBEDDING, HEAD, idRows } from "../architectures/decoder.ts";
import { differentiate } from "../onnx/backward.ts";
import { type ElementType, type FloatType, statisticsType } from "../onnx/element-type.ts";
import { type ExternalBytes, Graph, type Value } from "../onnx/graph.ts";
import { cast, mul, scalar, sub } from "../onnx/operators/elementwise.ts";
import { concat, dimOf, reshape, sizeOf, slice } from "../onnx/operators/layout.ts";
import { gemm } from "../onnx/operators/matrices.ts";
import type { Opset } from "../onnx/operators/table.ts";
import { crossEntropy } from "../onnx/ops/cross-entropy.ts";
import { embedding } from "../onnx/ops/embedding.ts";
import { frozenHeadLoss, isFrozenHead } from "../onnx/ops/frozen-head.ts";
import { type NextTokens, nextTokens } from "../onnx/ops/next-tokens.ts";
import { allRows, targetRows } from "../onnx/ops/target-rows.ts";
import { weightAs } from "../onnx/ops/weight.ts";

/** A parameter that is an input of the graph, float32: one that trains, or one that is merely given. */
export interface InputWeight {
  readonly kind: "trained" | "given";
  /** The input's name. */
  readonly name: string;
  readonly shape: readonly number[];
}

/** A parameter that the graph holds, and where its bytes are. */
export interface FrozenWeight {
  readonly kind: "frozen";
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly number[];
  readonly bytes: ExternalBytes;
  /** What its elements are to be multiplied with; null for nothing. */
  readonly scale: FrozenScale | null;
}

/** Scales of a frozen weight: a tensor of its own, and the blocks that its numbers are for. */
export interface FrozenScale extends Pick<FrozenWeight, "name" | "type" | "shape" | "bytes"> {
  readonly blockRows: number;
  readonly blockColumns: number;
}

/** What the graphs of a model are made from. */
export interface GraphSource {
  readonly config: DecoderConfig;
  /**
   * Every parameter by the name that transformers gives it; rows that follow those of an embedding or head by
   * {@link newRowsOf} its name. Those that are inputs become so in this order.
   */
  readonly weights: ReadonlyMap<string, InputWeight | FrozenWeight>;
  /** Longest sequence that the graphs take. */
  readonly maxSequence: number;
  /** Chunks of queries in attention. */
  readonly queryChunks: number;
  /** Chunks of rows, or of a frozen head's vocabulary, in the loss. */
  readonly headChunks: number;
  /** Whether the backward pass computes each layer's activations again. */
  readonly recompute: "none" | "layers";
  /** Element type of the computation. */
  readonly type: FloatType;
  /** Default: the newest. */
  readonly opset?: Opset;
}

/** Name of the rows that are added to an embedding or head. */
export function newRowsOf(tensor: string): string {
  return `${tensor}.new_rows`;
}

/** A step's loss and the gradient of every trained parameter. */
export function trainingGraph(source: GraphSource): Graph {
  const { g, gradients } = lossGraph(source);
  for (const [parameter, gradient] of gradients) g.output(`${parameter.name}.grad`, gradient);
  return g;
}

/**
 * A graph whose output is a step's loss, and in it the gradient of each trained parameter, in the parameters' order.
 *
 * In 16 bits the gradients on the way are those of the summed loss, and what comes out is divided by the number of items
 * in float32: divided before, small ones would underflow float16.
 */
export function lossGraph(source: GraphSource): {
  readonly g: Graph;
  readonly gradients: ReadonlyMap<Value, Value>;
} {
  const g = new Graph(source.opset);
  const { hidden, head, next, perItem, trained } = model(g, source, "training");
  const loss = headLoss(g, { hidden, head, next }, source.headChunks);
  const divided = (sum: Value) => (perItem === null ? sum : mul(g, sum, perItem));
  g.output("loss", divided(loss));
  const gradients = [...differentiate(g, loss, trained)];
  return { g, gradients: new Map(gradients.map(([parameter, sum]) => [parameter, divided(sum)])) };
}

/** The loss of the rows that have a target, cut into parts of a frozen head or into chunks of rows. */
function headLoss(
  g: Graph,
  { hidden, head, next }: Pick<ModelValues, "hidden" | "head" | "next">,
  chunks: number,
): Value {
  if (isFrozenHead(g, head, hidden.type))
    return frozenHeadLoss(g, { ...targetRows(g, { hidden, next, chunks: 1 }), head, chunks });
  return crossEntropy(g, { ...targetRows(g, { hidden, next, chunks }), head }).loss;
}

/** The loss, each target's log probability, each position's likeliest token and the logits after the last one. */
export function evaluationGraph(source: GraphSource): Graph {
  const g = new Graph(source.opset);
  const { perItem, ids, hidden, head, next } = model(g, source, "evaluation");
  const entropy = crossEntropy(g, { ...allRows(g, { hidden, next, chunks: source.headChunks }), head });
  const [batch = 1, sequence = 1] = ids.shape;
  const { size, begin, end } = { size: dimOf(hidden, 1), begin: firstIndex(g), end: g.dimension(sequence) };
  g.output("loss", perItem === null ? entropy.loss : mul(g, entropy.loss, perItem));
  const byRow = reshape(g, cast(g, entropy.logProbabilities, "float32"), [batch, sequence]);
  const beforeEnd = sub(g, end, g.constant("int64", [1], [1]));
  const predicted = { axis: 1, begin, end: beforeEnd, size: `${sequence} - 1` };
  g.output("token_logprobs", slice(g, byRow, predicted));
  g.output("predictions", reshape(g, entropy.predictions(), [batch, sequence]));
  const rows = reshape(g, hidden, [batch, sequence, size]);
  const last = reshape(g, slice(g, rows, { axis: 1, begin: beforeEnd, end, size: 1 }), [batch, size]);
  const logits = head.map((block) => gemm(g, [last, weightAs(g, block, last.type)], { transposeB: true }));
  const vocabulary = head.reduce((sum, block) => sum + Number(dimOf(block, 0)), 0);
  g.output("last_logits", cast(g, concat(g, logits, { axis: 1, size: vocabulary }), "float32"));
  return g;
}

function firstIndex(g: Graph): Value {
  return g.constant("int64", [1], [0]);
}

interface ModelValues {
  /** What is to be predicted: in 16 bits each target counts as one item. */
  readonly next: NextTokens;
  /** What loss and gradients are to be multiplied with; null where `next` says so already. */
  readonly perItem: Value | null;
  /** int32 [batch, sequence] */
  readonly ids: Value;
  /** [batch sequence, hidden] */
  readonly hidden: Value;
  /** Blocks of the head's rows. */
  readonly head: readonly Value[];
  readonly trained: readonly Value[];
}

/** Inputs, decoder and what it is to predict. */
function model(g: Graph, source: GraphSource, purpose: "training" | "evaluation"): ModelValues {
  const { config, maxSequence, queryChunks, recompute, type } = source;
  const tokens = (name: string) => cast(g, g.input(name, "int64", ["batch", "sequence"]), "int32");
  const [ids, labels, positions] = [tokens("input_ids"), tokens("labels"), tokens("position_ids")];
  const items = g.input("num_items", "float32", []);
  const rows = idRows(g, ids);
  g.measure("batch", () => sizeOf(g, ids, 0));
  g.measure("sequence", () => sizeOf(g, ids, 1));
  g.measure("batch*sequence", () => sizeOf(g, rows, 0));
  const weights = weightValues(g, source, purpose);
  const weight = (name: string) => {
    const value = weights.get(name);
    if (value === undefined) throw new Error(`Cannot build the model: the checkpoint has no ${name}`);
    return value;
  };
  const withNewRows = (name: string) =>
    [weight(name), weights.get(newRowsOf(name))].filter((x) => x !== undefined);
  const embedded = embedding(g, withNewRows(EMBEDDING), { ids: rows, type });
  const hidden = decoder(g, config, {
    weight,
    embedded,
    positions,
    maxSequence,
    queryChunks,
    recompute: purpose === "training" ? recompute : "none",
    type,
  });
  const head = withNewRows(config.tied ? EMBEDDING : HEAD);
  const tokensNext = nextTokens(g, { labels, positions, items });
  const isExact = statisticsType(type) === type;
  const next = isExact ? tokensNext : { ...tokensNext, perItem: scalar(g, "float32", 1) };
  const trained = [...source.weights]
    .filter(([, { kind }]) => kind === "trained")
    .map(([name]) => weight(name));
  return { next, perItem: isExact ? null : tokensNext.perItem, ids, hidden, head, trained };
}

function weightValues(
  g: Graph,
  { weights }: GraphSource,
  purpose: "training" | "evaluation",
): ReadonlyMap<string, Value> {
  const values = new Map<string, Value>();
  for (const [name, weight] of weights) {
    if (weight.kind === "frozen") {
      values.set(name, frozenValue(g, weight));
    } else {
      const value = g.input(weight.name, "float32", weight.shape);
      if (purpose === "training" && weight.kind === "trained") g.train(value);
      values.set(name, value);
    }
  }
  return values;
}

function frozenValue(g: Graph, weight: FrozenWeight): Value {
  const value = g.initializer(weight, weight.bytes);
  const { scale } = weight;
  if (scale !== null) {
    const { blockRows, blockColumns } = scale;
    g.setScale(value, { value: g.initializer(scale, scale.bytes), blockRows, blockColumns });
  }
  return value;
}
