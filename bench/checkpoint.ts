// A generated checkpoint with the shapes of SmolLM-135M (Llama, 30 layers, tied embeddings), in bfloat16.
// The weights are seeded noise with a decaying low-rank part, so that singular values look like a trained model's.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TensorToWrite, writeSafetensors } from "../src/safetensors/writer.ts";

const HIDDEN = 576;
const INTERMEDIATE = 1536;
const LAYERS = 30;
const HEADS = 9;
const KEY_VALUE_HEADS = 3;
const VOCABULARY = 49152;
const HEAD_SIZE = HIDDEN / HEADS;
const RANK = 8;
const NOISE = 0.02;

const CONFIG = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  dtype: "bfloat16",
  hidden_act: "silu",
  hidden_size: HIDDEN,
  intermediate_size: INTERMEDIATE,
  max_position_embeddings: 2048,
  num_attention_heads: HEADS,
  num_hidden_layers: LAYERS,
  num_key_value_heads: KEY_VALUE_HEADS,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: true,
  vocab_size: VOCABULARY,
};

/** Writes the checkpoint (270 MB) to a folder in the Hub's layout; returns the number of parameters. */
export async function writeCheckpoint(folder: string): Promise<number> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "config.json"), `${JSON.stringify(CONFIG, null, 2)}\n`);
  const shapes = [...smolShapes()];
  const tensors = shapes.map(
    ([name, shape], index): TensorToWrite => ({ name, dtype: "BF16", shape, blocks: weights(shape, index) }),
  );
  await writeSafetensors(join(folder, "model.safetensors"), tensors);
  return shapes.reduce((sum, [, shape]) => sum + shape.reduce((product, size) => product * size, 1), 0);
}

function* smolShapes(): Generator<[name: string, shape: readonly number[]]> {
  yield ["model.embed_tokens.weight", [VOCABULARY, HIDDEN]];
  for (let layer = 0; layer < LAYERS; layer++) {
    const prefix = `model.layers.${layer}`;
    yield [`${prefix}.self_attn.q_proj.weight`, [HIDDEN, HIDDEN]];
    yield [`${prefix}.self_attn.k_proj.weight`, [KEY_VALUE_HEADS * HEAD_SIZE, HIDDEN]];
    yield [`${prefix}.self_attn.v_proj.weight`, [KEY_VALUE_HEADS * HEAD_SIZE, HIDDEN]];
    yield [`${prefix}.self_attn.o_proj.weight`, [HIDDEN, HIDDEN]];
    yield [`${prefix}.mlp.gate_proj.weight`, [INTERMEDIATE, HIDDEN]];
    yield [`${prefix}.mlp.up_proj.weight`, [INTERMEDIATE, HIDDEN]];
    yield [`${prefix}.mlp.down_proj.weight`, [HIDDEN, INTERMEDIATE]];
    yield [`${prefix}.input_layernorm.weight`, [HIDDEN]];
    yield [`${prefix}.post_attention_layernorm.weight`, [HIDDEN]];
  }
  yield ["model.norm.weight", [HIDDEN]];
}

/** bfloat16 bytes of one tensor, a block of rows at a time; a vector is ones. */
function* weights([rows = 1, columns]: readonly number[], seed: number): Generator<Uint8Array> {
  if (columns === undefined) {
    yield new Uint8Array(new Uint16Array(rows).fill(0x3f80).buffer);
    return;
  }
  const normal = normals(seed + 1);
  const right = Float32Array.from({ length: RANK * columns }, normal);
  // Singular values of the low-rank part: 3 times the noise's edge, then decaying.
  const edge = NOISE * (Math.sqrt(rows) + Math.sqrt(columns));
  const left = new Float32Array(RANK);
  const bits = new Uint32Array(1);
  const value = new Float32Array(bits.buffer);
  for (let begin = 0; begin < rows; begin += 512) {
    const count = Math.min(512, rows - begin);
    const block = new Uint16Array(count * columns);
    for (let i = 0; i < count; i++) {
      for (let k = 0; k < RANK; k++) {
        left[k] = ((3 * edge) / Math.sqrt(rows * columns)) * (k + 1) ** -0.6 * normal();
      }
      for (let j = 0; j < columns; j++) {
        let entry = NOISE * normal();
        for (let k = 0; k < RANK; k++) entry += (left[k] ?? 0) * (right[k * columns + j] ?? 0);
        value[0] = entry;
        const word = bits[0] ?? 0;
        block[i * columns + j] = (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
      }
    }
    yield new Uint8Array(block.buffer);
  }
}

/** Standard normal numbers from a seed: mulberry32, then Box & Muller. */
function normals(seed: number): () => number {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t ^= t + Math.imul(t ^ (t >>> 7), 61 | t);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}
