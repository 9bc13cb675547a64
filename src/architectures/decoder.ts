// What Llama and its kin share: a decoder of attention and gated units, each behind an RMS norm. A family states its
// DecoderConfig; this file makes the graph.
import type { FloatType } from "../onnx/element-type.ts";
import type { Graph, Value } from "../onnx/graph.ts";
import { cast, scale } from "../onnx/operators/elementwise.ts";
import { gatherRows } from "../onnx/operators/indexing.ts";
import { reshape } from "../onnx/operators/layout.ts";
import { add } from "../onnx/ops/add.ts";
import { attention, isUneven } from "../onnx/ops/attention.ts";
import { attentionPlan, leastPositions, type QueryChunk } from "../onnx/ops/attention-plan.ts";
import { splitHeads } from "../onnx/ops/heads.ts";
import { linear } from "../onnx/ops/linear.ts";
import { recomputed } from "../onnx/ops/recomputed.ts";
import { rmsNorm } from "../onnx/ops/rms-norm.ts";
import { type Angles, rotary } from "../onnx/ops/rotary.ts";
import { swiglu } from "../onnx/ops/swiglu.ts";
import { type Rope, ropeTables } from "./rope.ts";

/** What decides the graph of a decoder. Sizes are counts of elements. */
export interface DecoderConfig {
  readonly vocabularySize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly heads: number;
  /** Heads of keys and values. */
  readonly keyHeads: number;
  readonly headSize: number;
  /** Added to the mean square in norms. */
  readonly epsilon: number;
  /** Positions that the model was made for. */
  readonly maxPositions: number;
  /** Whether the head is the embedding. */
  readonly tied: boolean;
  readonly rope: Rope;
  /** Which projections of attention have a bias. */
  readonly attentionBias: { readonly inputs: boolean; readonly output: boolean };
  readonly mlpBias: boolean;
  /** Whether queries and keys are normalised by head. */
  readonly headNorms: boolean;
  /** For each layer how many positions a query sees, its own included; null for all. */
  readonly windows: readonly (number | null)[];
}

/** What {@link decoder} reads, and how it is cut. */
export interface DecoderInputs {
  /** A parameter by the name that transformers gives it. */
  readonly weight: (name: string) => Value;
  /** The embedded tokens, [batch sequence, hidden]. */
  readonly embedded: Value;
  /** int32 [batch, sequence]; a 0 begins a segment. */
  readonly positions: Value;
  /** Longest sequence that the graph takes. */
  readonly maxSequence: number;
  /** Chunks of queries in attention. */
  readonly queryChunks: number;
  /** Whether each layer's activations are computed again in the backward pass rather than held. */
  readonly recompute: "none" | "layers";
  /** The element type of `embedded`, and of the computation. */
  readonly type: FloatType;
}

/** Names of the parameters outside the layers. */
export const EMBEDDING = "model.embed_tokens.weight";
export const FINAL_NORM = "model.norm.weight";
export const HEAD = "lm_head.weight";

/** The shortest sequence of which no chunk of queries is empty. */
export function leastSequence({ keyHeads }: DecoderConfig, queryChunks: number): number {
  return leastPositions({ chunks: queryChunks, even: isUneven(keyHeads) });
}

/** The normalised hidden states, [batch sequence, hidden]. */
export function decoder(g: Graph, config: DecoderConfig, inputs: DecoderInputs): Value {
  const { weight, embedded, positions, maxSequence, type } = inputs;
  const angles = anglesOf(g, config, { positions, maxSequence, type });
  const plans = new Map<number | null, readonly QueryChunk[]>();
  const even = isUneven(config.keyHeads);
  let x = embedded;
  for (const [at, limit] of config.windows.entries()) {
    const window = limit !== null && limit < maxSequence ? limit : null;
    const plan =
      plans.get(window) ?? attentionPlan(g, { positions, type, chunks: inputs.queryChunks, window, even });
    plans.set(window, plan);
    const layer: Layer = {
      g,
      config,
      plan,
      angles,
      positions,
      weight: (name) => weight(`model.layers.${at}.${name}`),
    };
    x = inputs.recompute === "layers" ? recomputed(g, x, (y) => wholeLayer(layer, y)) : wholeLayer(layer, x);
  }
  return rmsNorm(g, [x, weight(FINAL_NORM)], config);
}

function wholeLayer(layer: Layer, x: Value): Value {
  const attended = add(layer.g, x, attentionBlock(layer, norm(layer, x, "input_layernorm")));
  return add(layer.g, attended, mlpBlock(layer, norm(layer, attended, "post_attention_layernorm")));
}

interface Layer {
  readonly g: Graph;
  readonly config: DecoderConfig;
  readonly plan: readonly QueryChunk[];
  readonly angles: { readonly queries: Angles; readonly keys: Angles };
  readonly positions: Value;
  readonly weight: (name: string) => Value;
}

function norm({ g, config, weight }: Layer, x: Value, name: string): Value {
  return rmsNorm(g, [x, weight(`${name}.weight`)], config);
}

function project({ g, weight }: Layer, x: Value, { name, bias }: { name: string; bias: boolean }): Value {
  return linear(g, x, [weight(`${name}.weight`), bias ? weight(`${name}.bias`) : null]);
}

function attentionBlock(layer: Layer, x: Value): Value {
  const { g, config, plan, angles, positions } = layer;
  const { heads, keyHeads, headSize, attentionBias, headNorms } = config;
  const [batch = 1, sequence = 1] = positions.shape;
  const split = (name: string, count: number) => {
    const rows = project(layer, x, { name: `self_attn.${name}`, bias: attentionBias.inputs });
    return splitHeads(g, rows, { batch, sequence, heads: count, size: headSize });
  };
  const normed = (heads: Value, name: string) =>
    headNorms ? norm(layer, heads, `self_attn.${name}`) : heads;
  const queries = rotary(g, normed(split("q_proj", heads), "q_norm"), angles.queries);
  const keys = rotary(g, normed(split("k_proj", keyHeads), "k_norm"), angles.keys);
  const rows = attention(g, { queries, keys, values: split("v_proj", keyHeads) }, plan);
  return project(layer, rows, { name: "self_attn.o_proj", bias: attentionBias.output });
}

function mlpBlock(layer: Layer, x: Value): Value {
  const bias = layer.config.mlpBias;
  const gate = project(layer, x, { name: "mlp.gate_proj", bias });
  const up = project(layer, x, { name: "mlp.up_proj", bias });
  return project(layer, swiglu(layer.g, gate, up), { name: "mlp.down_proj", bias });
}

/** Angles by position; those of the queries carry the factor 1 / sqrt(size) of the scores. */
function anglesOf(
  g: Graph,
  { rope, headSize }: DecoderConfig,
  { positions, maxSequence, type }: { positions: Value; maxSequence: number; type: FloatType },
): { queries: Angles; keys: Angles } {
  const tables = ropeTables(rope, maxSequence);
  const shape = [maxSequence, headSize / 2];
  const at = (table: Float32Array) => gatherRows(g, g.constant("float32", shape, table), positions);
  const [cosines, sines] = [at(tables.cosines), at(tables.sines)];
  const times = (factor: number) => ({
    cosines: cast(g, scale(g, cosines, factor), type),
    sines: cast(g, scale(g, sines, factor), type),
  });
  return { keys: times(1), queries: times(headSize ** -0.5) };
}

/** Token ids int32 [batch, sequence] as rows, [batch sequence]. */
export function idRows(g: Graph, ids: Value): Value {
  const [batch = 1, sequence = 1] = ids.shape;
  return reshape(g, ids, [`${batch}*${sequence}`]);
}
