// Generated checkpoints in the Hub's layout, bfloat16, with the shapes of known Llama models (tied embeddings).
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TensorToWrite, writeSafetensors } from "../src/safetensors/writer.ts";
import { bfloat16Blocks } from "./generated-weights.ts";

/** The shape of a Llama. */
export interface CheckpointShape {
  readonly hidden: number;
  readonly intermediate: number;
  readonly layers: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly vocabulary: number;
  /** False: the layers alone, for a scan. */
  readonly embedding: boolean;
}

/** 135 M parameters, 270 MB. */
export const SMOLLM_135M: CheckpointShape = {
  hidden: 576,
  intermediate: 1536,
  layers: 30,
  heads: 9,
  keyValueHeads: 3,
  vocabulary: 49152,
  embedding: true,
};

/** The layers alone: 436 MB each, 14 GB all 32. */
export const LLAMA_3_8B_LAYERS: CheckpointShape = {
  hidden: 4096,
  intermediate: 14336,
  layers: 32,
  heads: 32,
  keyValueHeads: 8,
  vocabulary: 128256,
  embedding: false,
};

/** Writes a checkpoint, every matrix with a seed of its own, to a folder; returns the number of parameters. */
export async function writeCheckpoint(folder: string, shape: CheckpointShape): Promise<number> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "config.json"), `${JSON.stringify(configOf(shape), null, 2)}\n`);
  const shapes = [...tensorShapes(shape)];
  const tensors = shapes.map(
    ([name, shape], index): TensorToWrite => ({
      name,
      dtype: "BF16",
      shape,
      blocks: bfloat16Blocks(shape, index),
    }),
  );
  await writeSafetensors(join(folder, "model.safetensors"), tensors);
  return shapes.reduce((sum, [, shape]) => sum + shape.reduce((product, size) => product * size, 1), 0);
}

function configOf({ hidden, intermediate, layers, heads, keyValueHeads, vocabulary }: CheckpointShape) {
  return {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    dtype: "bfloat16",
    hidden_act: "silu",
    hidden_size: hidden,
    intermediate_size: intermediate,
    max_position_embeddings: 2048,
    num_attention_heads: heads,
    num_hidden_layers: layers,
    num_key_value_heads: keyValueHeads,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: true,
    vocab_size: vocabulary,
  };
}

function* tensorShapes(shape: CheckpointShape): Generator<[name: string, shape: readonly number[]]> {
  const { hidden, intermediate, layers, heads, keyValueHeads, vocabulary, embedding } = shape;
  const keyValues = (hidden / heads) * keyValueHeads;
  if (embedding) yield ["model.embed_tokens.weight", [vocabulary, hidden]];
  for (let layer = 0; layer < layers; layer++) {
    const prefix = `model.layers.${layer}`;
    yield [`${prefix}.self_attn.q_proj.weight`, [hidden, hidden]];
    yield [`${prefix}.self_attn.k_proj.weight`, [keyValues, hidden]];
    yield [`${prefix}.self_attn.v_proj.weight`, [keyValues, hidden]];
    yield [`${prefix}.self_attn.o_proj.weight`, [hidden, hidden]];
    yield [`${prefix}.mlp.gate_proj.weight`, [intermediate, hidden]];
    yield [`${prefix}.mlp.up_proj.weight`, [intermediate, hidden]];
    yield [`${prefix}.mlp.down_proj.weight`, [hidden, intermediate]];
    yield [`${prefix}.input_layernorm.weight`, [hidden]];
    yield [`${prefix}.post_attention_layernorm.weight`, [hidden]];
  }
  yield ["model.norm.weight", [hidden]];
}
