// Models of a few small matrices, written to a folder for one test.
import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeSafetensors } from "../src/safetensors/writer.ts";
import { plantedMatrix } from "./matrices.ts";

/** A tensor by its name. */
export interface TinyTensor {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** A folder that goes with the system's temporary files. */
export function temporaryFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), "spectrum-test-"));
}

/** A seeded F32 matrix with a planted signal. */
export function tinyMatrix(rows: number, columns: number, seed: number): TinyTensor {
  const values = Float32Array.from(plantedMatrix(rows, columns, { rank: 2, snr: 0.5, seed }));
  return { shape: [rows, columns], values };
}

/** Names and tensors of a Llama-like model with `layers` layers of `hidden` x `hidden` projections and a norm each. */
export function tinyLlama(layers: number, hidden: number): Map<string, TinyTensor> {
  const tensors = new Map<string, TinyTensor>();
  tensors.set("model.embed_tokens.weight", tinyMatrix(4 * hidden, hidden, 1));
  for (let layer = 0; layer < layers; layer++) {
    const prefix = `model.layers.${layer}`;
    tensors.set(`${prefix}.input_layernorm.weight`, {
      shape: [hidden],
      values: new Float32Array(hidden).fill(1),
    });
    for (const [index, role] of ["self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj"].entries()) {
      tensors.set(`${prefix}.${role}.weight`, tinyMatrix(hidden, hidden, 10 * layer + index + 2));
    }
  }
  return tensors;
}

/** Writes a model folder in the Hub's layout and returns its path. */
export async function writeTinyModel(
  tensors: ReadonlyMap<string, TinyTensor>,
  config: Readonly<Record<string, unknown>> = { model_type: "llama", tie_word_embeddings: true },
): Promise<string> {
  const folder = join(await temporaryFolder(), "model");
  await mkdir(folder);
  await writeFile(join(folder, "config.json"), JSON.stringify(config));
  await writeSafetensors(
    join(folder, "model.safetensors"),
    [...tensors].map(([name, { shape, values }]) => ({
      name,
      dtype: "F32",
      shape,
      blocks: [new Uint8Array(values.buffer, values.byteOffset, values.byteLength)],
    })),
  );
  return folder;
}
