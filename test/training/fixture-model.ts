// The tiny models of test/fixtures/gradients, with what torch and transformers computed (scripts/fixtures/gradients.py).
import { readFileSync } from "node:fs";
import { cp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll } from "vitest";
import { decoderConfig } from "../../src/architectures/architectures.ts";
import type { Model } from "../../src/hub/model.ts";
import { openModel } from "../../src/hub/open-model.ts";
import { referenceWeights } from "../../src/training/frozen-weights.ts";
import type { GraphSource } from "../../src/training/graphs.ts";
import { wholeFloat32 } from "../../src/training/initial-values.ts";
import { divideWeights, graphWeights } from "../../src/training/model-weights.ts";
import { temporaryFolder } from "../tiny-model.ts";
import type { Content } from "./run-graph.ts";

export const FIXTURES = fileURLToPath(new URL("../fixtures/gradients/", import.meta.url));

/** A batch as the graphs take it. */
export interface Batch {
  readonly dims: readonly [batch: number, sequence: number];
  readonly ids: Int32Array;
  readonly labels: Int32Array;
  readonly positions: Int32Array;
  readonly items: number;
}

/** A fixture: the model, the batch, and the expected loss and gradients by parameter. */
export interface Fixture {
  readonly model: Model;
  readonly batch: Batch;
  readonly loss: number;
  readonly gradients: ReadonlyMap<string, Float32Array>;
}

const opened: Model[] = [];
afterAll(() => Promise.all(opened.map((model) => model.close())));

/** Opens a fixture; its model is closed after the test file. */
export async function openFixture(name: string): Promise<Fixture> {
  const model = await openModel(FIXTURES + name);
  opened.push(model);
  const { tensors, bytesOf } = readSafetensors(`${FIXTURES}${name}/expected.safetensors`);
  const floats = (key: string) => new Float32Array(bytesOf(key));
  const integers = (key: string) => new Int32Array(bytesOf(key));
  const [rows = 0, columns = 0] = tensors.get("input_ids")?.shape ?? [];
  const parameters = [...tensors.keys()].filter((key) => key.endsWith(".grad"));
  return {
    model,
    batch: {
      dims: [rows, columns],
      ids: integers("input_ids"),
      labels: integers("labels"),
      positions: integers("position_ids"),
      items: floats("num_items")[0] ?? 0,
    },
    loss: floats("loss")[0] ?? Number.NaN,
    gradients: new Map(parameters.map((key) => [key.slice(0, -".grad".length), floats(key)])),
  };
}

interface Header {
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

function readSafetensors(path: string) {
  const file = readFileSync(path);
  const end = 8 + Number(file.readBigUInt64LE(0));
  const header: Record<string, Header> = JSON.parse(file.toString("utf8", 8, end));
  const tensors = new Map(Object.entries(header).filter(([name]) => name !== "__metadata__"));
  const bytesOf = (name: string): ArrayBuffer => {
    const [from, to] = tensors.get(name)?.data_offsets ?? [0, 0];
    return new Uint8Array(file.subarray(end + from, end + to)).buffer;
  };
  return { tensors, bytesOf };
}

/** What the graphs of a fixture are made from, with some parameters trained. */
export async function sourceOf(
  model: Model,
  trained: readonly string[],
  chunks: number,
  { recompute = "none", type = "float32" }: Partial<Pick<GraphSource, "recompute" | "type">> = {},
): Promise<{ source: GraphSource; folder: string }> {
  const config = decoderConfig(model.config);
  const { folder, locate } = await referenceWeights(model, model.folder ?? "");
  const weights = graphWeights(divideWeights(model, config, trained), locate);
  const source: GraphSource = {
    config,
    weights,
    maxSequence: 64,
    queryChunks: chunks,
    headChunks: chunks,
    recompute,
    type,
  };
  return { source, folder };
}

/** Feeds of a graph: a batch, and the current values of the trained parameters. */
export async function feedsOf(
  model: Model,
  batch: Batch,
  trained: readonly string[],
): Promise<Record<string, Content>> {
  const tokens = (data: Int32Array) => ({ data: BigInt64Array.from(data, BigInt), dims: batch.dims });
  const feeds: Record<string, Content> = {
    input_ids: tokens(batch.ids),
    labels: tokens(batch.labels),
    position_ids: tokens(batch.positions),
    num_items: { data: Float32Array.of(batch.items), dims: [] },
  };
  for (const name of trained) feeds[name] = await parameter(model, name);
  return feeds;
}

async function parameter(model: Model, name: string): Promise<Content> {
  const tensor = model.tensors.get(name);
  if (tensor === undefined) throw new Error(`no ${name}`);
  return { data: await wholeFloat32(model, tensor), dims: tensor.shape };
}

/** A tensor's bytes as its file has them. */
export async function bytesOf(model: Model, name: string): Promise<Buffer> {
  const tensor = model.tensors.get(name);
  if (tensor === undefined) throw new Error(`no ${name}`);
  const blocks: Uint8Array[] = [];
  for await (const block of model.readFile(tensor.file, tensor)) blocks.push(block);
  return Buffer.concat(blocks);
}

/** A folder with a fixture's model and a tokenizer of as many tokens. */
export async function withTokenizer(fixture: string): Promise<string> {
  const folder = join(await temporaryFolder(), "model");
  await cp(FIXTURES + fixture, folder, { recursive: true });
  const vocab = Object.fromEntries(Array.from({ length: 37 }, (_, id) => [`t${id}`, id]));
  const tokenizer = { added_tokens: [], model: { type: "BPE", vocab, merges: [] } };
  await writeFile(join(folder, "tokenizer.json"), JSON.stringify(tokenizer));
  await writeFile(join(folder, "tokenizer_config.json"), JSON.stringify({ model_max_length: 64 }));
  return folder;
}
