// The artifacts folder: what is in it, that it stands alone or refers, and what cannot be exported.
import { createHash } from "node:crypto";
import { cp, mkdir, readdir, readFile, rename, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { UsageError } from "../../src/errors.ts";
import type { Model } from "../../src/hub/model.ts";
import { openModel } from "../../src/hub/open-model.ts";
import { writeSafetensors } from "../../src/safetensors/writer.ts";
import { exportArtifacts } from "../../src/training/artifacts.ts";
import type { ExportOptions, SelectedParameters } from "../../src/training/export-plan.ts";
import type { Manifest } from "../../src/training/manifest.ts";
import { readManifest } from "../../src/training/read-manifest.ts";
import { readTensors } from "../../src/training/tensor-file.ts";
import { temporaryFolder } from "../tiny-model.ts";
import { type Batch, FIXTURES, feedsOf, openFixture, withTokenizer } from "./fixture-model.ts";
import { type Content, numbers, openModelFile, relativeDistance } from "./run-graph.ts";

const QWEN = "qwen2-windows";
const EMBEDDING = "model.embed_tokens.weight";
const SOME = ["model.layers.1.mlp.up_proj.weight", "model.layers.0.self_attn.q_proj.bias"];

async function exported(model: Model, options: Partial<ExportOptions & SelectedParameters> = {}) {
  const out = join(await temporaryFolder(), "artifacts");
  const { parameterNames = SOME, ...rest } = options;
  return exportArtifacts(model, { parameterNames }, { chatTemplate: "none", out, ...rest });
}

/** Runs a graph of artifacts on a batch with the checkpoint's parameters. */
async function runArtifacts(
  folder: string,
  manifest: Manifest,
  batch: Batch,
  which: "training" | "evaluation",
) {
  const parameters = await readTensors(
    join(folder, "checkpoint/parameters.safetensors"),
    manifest.parameters,
  );
  const { model } = await openFixture(QWEN);
  const feeds: Record<string, Content> = await feedsOf(model, batch, []);
  for (const { name, shape } of manifest.parameters)
    feeds[name] = { data: parameters.get(name) ?? new Float32Array(), dims: shape };
  const bytes = await readFile(join(folder, manifest[which].file));
  const run = await openModelFile(bytes, manifest.weightsFolder ?? folder);
  return run(feeds);
}

test.each(["reference", "copy"] as const)(
  "%s: the graphs run from the folder and give torch's loss",
  async (weights) => {
    const { model, batch, loss, gradients } = await openFixture(QWEN);
    const { folder, manifest } = await exported(model, { weights });
    expect(manifest.weightsFolder === null).toBe(weights === "copy");
    const training = await runArtifacts(folder, manifest, batch, "training");
    expect(relativeDistance(numbers(training, "loss"), [loss])).toBeLessThan(1e-5);
    for (const name of SOME)
      expect(relativeDistance(numbers(training, `${name}.grad`), gradients.get(name) ?? [])).toBeLessThan(
        1e-4,
      );
    const evaluation = await runArtifacts(folder, manifest, batch, "evaluation");
    expect(relativeDistance(numbers(evaluation, "loss"), [loss])).toBeLessThan(1e-5);
  },
);

test("the manifest states every input and output, and is read back", async () => {
  const { model } = await openFixture(QWEN);
  const { folder, manifest } = await exported(model);
  expect(await readManifest(folder)).toEqual(manifest);
  const tokens = ["input_ids", "labels", "position_ids"].map((name) => ({
    name,
    dtype: "int64",
    shape: ["batch", "sequence"],
  }));
  const parameters = [
    { name: SOME[1], dtype: "float32", shape: [16] },
    { name: SOME[0], dtype: "float32", shape: [20, 16] },
  ];
  const items = { name: "num_items", dtype: "float32", shape: [] };
  expect(manifest.training.inputs).toEqual([...tokens, items, ...parameters]);
  expect(manifest.training.outputs).toEqual([
    { name: "loss", dtype: "float32", shape: [] },
    ...parameters.map((parameter) => ({ ...parameter, name: `${parameter.name}.grad` })),
  ]);
  expect(manifest.evaluation.outputs).toEqual([
    { name: "loss", dtype: "float32", shape: [] },
    { name: "token_logprobs", dtype: "float32", shape: ["batch", "sequence - 1"] },
    { name: "predictions", dtype: "int64", shape: ["batch", "sequence"] },
    { name: "last_logits", dtype: "float32", shape: ["batch", 37] },
  ]);
  expect(manifest.parameters.map(({ decay }) => decay)).toEqual([false, true]);
  expect((await readdir(folder)).sort()).toEqual([
    "checkpoint",
    "config.json",
    "eval_model.onnx",
    "manifest.json",
    "optimizer_model.onnx",
    "training_model.onnx",
  ]);
});

/** Which of the model's tensors stand, byte for byte, somewhere in the files of a folder. */
async function tensorsWithin(folder: string, model: Model): Promise<readonly string[]> {
  const names = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = names.filter((entry) => entry.isFile());
  const contents = await Promise.all(files.map(({ parentPath, name }) => readFile(join(parentPath, name))));
  const weights = await readFile(join(model.folder ?? "", "model.safetensors"));
  const isWithin = ({ begin, end }: { begin: number; end: number }) =>
    contents.some((content) => content.includes(weights.subarray(begin, end)));
  return [...model.tensors.values()].filter(isWithin).map(({ name }) => name);
}

test("an export by reference copies no frozen weight, one by copy all of them", async () => {
  const { model } = await openFixture(QWEN);
  const reference = await exported(model);
  expect(new Set(await tensorsWithin(reference.folder, model))).toEqual(new Set(SOME));
  const copy = await exported(model, { weights: "copy" });
  expect(await tensorsWithin(copy.folder, model)).toEqual([...model.tensors.keys()]);
});

test("the same export gives the same bytes", async () => {
  const { model } = await openFixture(QWEN);
  const hashes = await Promise.all(
    [1, 2].map(async () => {
      const { folder } = await exported(model);
      const file = await readFile(join(folder, "training_model.onnx"));
      return createHash("sha256").update(file).digest("hex");
    }),
  );
  expect(hashes[0]).toBe(hashes[1]);
});

test("weights are found behind the links of the Hub's cache", async () => {
  const root = await temporaryFolder();
  const snapshot = join(root, "snapshots/abc");
  await mkdir(join(root, "blobs"));
  await mkdir(snapshot, { recursive: true });
  for (const name of ["config.json", "model.safetensors"]) {
    await cp(`${FIXTURES}${QWEN}/${name}`, join(root, "blobs", `hash-${name.length}`));
    await symlink(join("../../blobs", `hash-${name.length}`), join(snapshot, name));
  }
  const { batch, loss } = await openFixture(QWEN);
  await using model = await openModel(snapshot);
  const { folder, manifest } = await exported(model);
  expect(manifest.weightsFolder).toMatch(/blobs$/);
  const results = await runArtifacts(folder, manifest, batch, "training");
  expect(relativeDistance(numbers(results, "loss"), [loss])).toBeLessThan(1e-5);
});

test("a copy runs after it was moved", async () => {
  const { model, batch, loss } = await openFixture(QWEN);
  const { folder, manifest } = await exported(model, { weights: "copy" });
  const moved = join(await temporaryFolder(), "elsewhere");
  await rename(folder, moved);
  const results = await runArtifacts(moved, manifest, batch, "training");
  expect(relativeDistance(numbers(results, "loss"), [loss])).toBeLessThan(1e-5);
});

test("tokens of chatml that the model lacks become trainable rows that begin with the mean of the others", async () => {
  await using model = await openModel(await withTokenizer(QWEN));
  const { folder, manifest } = await exported(model, { chatTemplate: "chatml" });
  expect(manifest.addedTokens).toEqual([
    { content: "<|im_start|>", id: 37 },
    { content: "<|im_end|>", id: 38 },
  ]);
  expect(manifest.vocabularySize).toBe(39);
  const name = "model.embed_tokens.weight.new_rows";
  const rows = manifest.parameters.at(-1);
  expect(rows).toEqual({
    name,
    tensor: "model.embed_tokens.weight",
    shape: [2, 16],
    decay: true,
    firstRow: 37,
  });
  const values = (
    await readTensors(join(folder, "checkpoint/parameters.safetensors"), manifest.parameters)
  ).get(name);
  const { tensors } = model;
  const table = tensors.get("model.embed_tokens.weight");
  if (table === undefined || values === undefined) throw new Error("no embedding");
  const all = (await readFile(join(model.folder ?? "", table.file))).subarray(table.begin, table.end);
  const floats = new Float32Array(new Uint8Array(all).buffer);
  for (let column = 0; column < 16; column++) {
    let sum = 0;
    for (let row = 0; row < 37; row++) sum += floats[row * 16 + column] ?? 0;
    expect(values[column]).toBeCloseTo(sum / 37, 6);
    expect(values[16 + column]).toBe(values[column]);
  }
  const config = JSON.parse(await readFile(join(folder, "tokenizer_config.json"), "utf8"));
  expect(config.chat_template).toContain("<|im_start|>");
});

/** A copy of a tokenizer's model whose embedding holds rows of its own for two more tokens. */
async function withWholeTable(folder: string, newRows: Float32Array): Promise<string> {
  await using model = await openModel(folder);
  const wider = join(await temporaryFolder(), "wider");
  await mkdir(wider);
  const bytes = await readFile(join(folder, "model.safetensors"));
  const tensors = [...model.tensors.values()].map(({ name, dtype, shape, begin, end }) => {
    const own = bytes.subarray(begin, end);
    if (name !== EMBEDDING) return { name, dtype, shape, blocks: [own] };
    const rows = new Uint8Array(newRows.buffer, newRows.byteOffset, newRows.byteLength);
    return { name, dtype, shape: [39, 16], blocks: [own, rows] };
  });
  await writeSafetensors(join(wider, "model.safetensors"), tensors);
  await writeFile(join(wider, "config.json"), JSON.stringify({ ...model.config, vocab_size: 39 }));
  return wider;
}

test("rows beside a table get the loss and gradients that they get as part of it", async () => {
  const { batch } = await openFixture(QWEN);
  const plain = await withTokenizer(QWEN);
  await using model = await openModel(plain);
  const beside = await exported(model, { chatTemplate: "chatml", trainEmbeddings: "all" });
  const { parameters } = beside.manifest;
  const initial = await readTensors(join(beside.folder, "checkpoint/parameters.safetensors"), parameters);
  const rows = initial.get(`${EMBEDDING}.new_rows`);
  if (rows === undefined) throw new Error("no new rows");
  await using wider = await openModel(await withWholeTable(plain, rows));
  const within = await exported(wider, { trainEmbeddings: "all" });
  const ids = batch.ids.map((id, at) => (at % 5 === 1 ? 38 : id));
  const labels = batch.labels.map((label, at) => (at % 5 === 2 && label >= 0 ? 37 : label));
  const changed: Batch = { ...batch, ids, labels };
  const a = await runArtifacts(beside.folder, beside.manifest, changed, "training");
  const b = await runArtifacts(within.folder, within.manifest, changed, "training");
  expect(relativeDistance(numbers(a, "loss"), numbers(b, "loss"))).toBeLessThan(1e-6);
  const whole = numbers(b, `${EMBEDDING}.grad`);
  expect(relativeDistance(numbers(a, `${EMBEDDING}.grad`), whole.subarray(0, 37 * 16))).toBeLessThan(1e-5);
  expect(relativeDistance(numbers(a, `${EMBEDDING}.new_rows.grad`), whole.subarray(37 * 16))).toBeLessThan(
    1e-5,
  );
  for (const name of SOME)
    expect(relativeDistance(numbers(a, `${name}.grad`), numbers(b, `${name}.grad`))).toBeLessThan(1e-5);
  const evaluation = await runArtifacts(beside.folder, beside.manifest, changed, "evaluation");
  expect(evaluation.get("last_logits")?.dims).toEqual([2, 39]);
});

test.each([
  [
    "a name that is no parameter",
    { parameterNames: ["model.layers.7.mlp.up_proj.weight"] },
    /no such parameter/,
  ],
  ["no names", { parameterNames: [] }, /no parameter is selected/],
  ["a template without a tokenizer", { chatTemplate: "chatml" }, /tokenizer\.json/],
  ["a sequence beyond the positions", { maxSequence: 65 }, /expected 1 to 64/],
] as const)("%s is an error, and leaves nothing behind", async (_, options, message) => {
  const { model } = await openFixture(QWEN);
  const parent = await temporaryFolder();
  await expect(exported(model, { ...options, out: join(parent, "artifacts") })).rejects.toThrow(message);
  expect(await readdir(parent)).toEqual([]);
});

test("a folder that holds something is not written to", async () => {
  const { model } = await openFixture(QWEN);
  const out = await temporaryFolder();
  await writeFile(join(out, "notes.txt"), "mine");
  await expect(exported(model, { out })).rejects.toThrow(/not empty/);
  expect((await stat(join(out, "notes.txt"))).size).toBe(4);
});

test("of two exports to one folder at the same time, one writes it and the other says that it is taken", async () => {
  const { model } = await openFixture(QWEN);
  const parent = await temporaryFolder();
  const out = join(parent, "artifacts");
  const ends = await Promise.allSettled([exported(model, { out }), exported(model, { out })]);
  expect(ends.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
  const [failure] = ends.filter((end) => end.status === "rejected");
  expect(failure?.reason).toBeInstanceOf(UsageError);
  expect(String(failure?.reason)).toMatch(/not empty/);
  expect(await readdir(parent)).toEqual(["artifacts"]);
});

test("a streamed model is an error that says so", async () => {
  const { model } = await openFixture(QWEN);
  await expect(exported({ ...model, folder: null })).rejects.toThrow(/streamed/);
});

test("tokens without rows cannot be left untrained", async () => {
  await using model = await openModel(await withTokenizer(QWEN));
  const options = { chatTemplate: "chatml", trainEmbeddings: "none" } as const;
  await expect(exported(model, options)).rejects.toThrow(/no embedding for <\|im_start\|>/);
});

test("an export that is stopped while it writes leaves nothing behind", async () => {
  const { model } = await openFixture(QWEN);
  const stop = new AbortController();
  let reads = 0;
  const readFile: Model["readFile"] = (file, range) => {
    if (++reads === 3) stop.abort(new Error("stopped"));
    return model.readFile(file, range);
  };
  const folder = await temporaryFolder();
  const options = { out: join(folder, "artifacts"), weights: "copy", signal: stop.signal } as const;
  await expect(exported({ ...model, readFile }, options)).rejects.toThrow("stopped");
  expect(await readdir(folder)).toEqual([]);
});
