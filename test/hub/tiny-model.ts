// A sharded checkpoint of two tensors with the files around it, made with our own writer.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeSafetensors } from "../../src/safetensors/writer.ts";

export const SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] as const;

/** Bytes of the tensors `a` (F32 [300, 100]) and `b` (BF16 [50, 7]). */
export const TENSORS = {
  a: Uint8Array.from({ length: 120_000 }, (_, i) => (i * 7) % 253),
  b: Uint8Array.from({ length: 700 }, (_, i) => (i * 11) % 251),
};

const text = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

/** Files by name; `pytorch_model.bin` and `README.md` are there so that tests see that they are left alone. */
export async function shardedModel(): Promise<Map<string, Uint8Array>> {
  const folder = await mkdtemp(join(tmpdir(), "tiny-model-"));
  const [first, second] = SHARDS.map((name) => join(folder, name)) as [string, string];
  await writeSafetensors(first, [{ name: "a", dtype: "F32", shape: [300, 100], blocks: [TENSORS.a] }]);
  await writeSafetensors(second, [{ name: "b", dtype: "BF16", shape: [50, 7], blocks: [TENSORS.b] }]);
  const files = new Map<string, Uint8Array>([
    ["README.md", text("readme")],
    ["config.json", text({ model_type: "llama" })],
    ["model.safetensors.index.json", text({ weight_map: { a: SHARDS[0], b: SHARDS[1] } })],
    [SHARDS[0], new Uint8Array(await readFile(first))],
    [SHARDS[1], new Uint8Array(await readFile(second))],
    ["model-99.safetensors", text("not in the index")],
    ["pytorch_model.bin", text("pickle")],
    ["tokenizer.json", text({ version: "1.0" })],
    ["tokenizer_config.json", text({})],
  ]);
  await rm(folder, { recursive: true });
  return files;
}

/** What is downloaded of it. */
export const NEEDED = [
  "config.json",
  "model.safetensors.index.json",
  ...SHARDS,
  "tokenizer.json",
  "tokenizer_config.json",
].sort();
