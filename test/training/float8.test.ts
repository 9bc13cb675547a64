// A model whose linear layers are in 8-bit floats, in each form of scales, against torch with the same weights in float32.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openBackend } from "../../backends/index.ts";
import { loadGraph } from "../../backends/onnxruntime/session/loaded-graph.ts";
import type { TokenBatch } from "../../src/chat/batch.ts";
import { openModel } from "../../src/hub/open-model.ts";
import { modelFile } from "../../src/onnx/model-file.ts";
import { writeSafetensors } from "../../src/safetensors/writer.ts";
import {
  floatsOf,
  openArtifactGraph,
  readRunnable,
  scalarOf,
  takeBackend,
} from "../../src/training/artifact-graph.ts";
import { exportArtifacts } from "../../src/training/artifacts.ts";
import { readCheckpoint } from "../../src/training/checkpoint.ts";
import { trainingGraph } from "../../src/training/graphs.ts";
import { wholeFloat32 } from "../../src/training/initial-values.ts";
import { saveModel } from "../../src/training/save-model.ts";
import { evaluate, train } from "../../src/training/train.ts";
import { trainBatches } from "../../src/training/trainer.ts";
import { temporaryFolder } from "../tiny-model.ts";
import { type Batch, bytesOf, FIXTURES, feedsOf, openFixture, sourceOf } from "./fixture-model.ts";
import { numbers, openGraph, relativeDistance } from "./run-graph.ts";
import { tinyArtifacts } from "./tiny-artifacts.ts";

const FIXTURE = "llama-f8";
/** Below all of the 8-bit weights, so that gradients flow through each; and one of each form of scales. */
const LOWEST = "model.layers.0.input_layernorm.weight";
const UP = "model.layers.1.mlp.up_proj.weight";
const SOME = [
  "model.layers.0.self_attn.q_proj.weight",
  "model.layers.0.self_attn.k_proj.weight",
  "model.layers.1.self_attn.v_proj.weight",
  "model.layers.1.self_attn.o_proj.weight",
  UP,
];

test.each([
  [[LOWEST], {}],
  [[LOWEST], { recompute: "layers" }],
  [[LOWEST], { opset: 21 }],
  [SOME, {}],
] as const)("frozen in 8 bits: loss and gradients of %j are torch's, %j", async (names, options) => {
  const { model, batch, loss, gradients } = await openFixture(FIXTURE);
  const { source, folder } = await sourceOf(model, names, 2);
  const run = await openGraph(trainingGraph({ ...source, ...options }), folder);
  const results = await run(await feedsOf(model, batch, names));
  expect(relativeDistance(numbers(results, "loss"), [loss])).toBeLessThan(1e-5);
  for (const name of names) {
    const distance = relativeDistance(numbers(results, `${name}.grad`), gradients.get(name) ?? []);
    expect(distance, name).toBeLessThan(1e-4);
  }
});

test("an 8-bit weight stays in its file: it is decoded where it is read, in each direction by itself", async () => {
  const { model } = await openFixture(FIXTURE);
  const { source } = await sourceOf(model, [LOWEST], 2);
  const g = trainingGraph(source);
  const weights = g.initializers.filter(({ value }) => value.type.startsWith("float8"));
  expect(weights.length).toBe(2 * 7 + 1);
  for (const { value, content } of weights) {
    expect(content).toMatchObject({ location: "model.safetensors" });
    const readers = g.nodes.filter(({ inputs }) => inputs.includes(value));
    const scaled = g.scaleOf(value) !== null;
    for (const { op } of readers) expect(op).toBe(scaled ? "DequantizeLinear" : "Cast");
    const stages = value.name === "lm_head.weight" ? ["forward"] : ["forward", "recompute"];
    expect(
      readers.map(({ stage }) => stage),
      value.name,
    ).toEqual(stages);
  }
});

const tokenBatch = ({ dims: [rows, sequence], ids, labels, positions, items }: Batch): TokenBatch => ({
  batch: rows,
  sequence,
  inputIds: ids,
  labels,
  positionIds: positions,
  targets: items,
});

test.each(["reference", "copy"] as const)(
  "artifacts with weights %s run on onnxruntime-cpu",
  async (weights) => {
    const { model, batch, loss, gradients } = await openFixture(FIXTURE);
    const out = join(await temporaryFolder(), "artifacts");
    const selection = { parameterNames: [LOWEST, ...SOME] };
    const { manifest } = await exportArtifacts(model, selection, { out, weights, chatTemplate: "none" });
    const { parameters } = await readCheckpoint(join(out, manifest.checkpoint), manifest.parameters);
    const options = { precision: "fast", threads: 1, capability: "session" } as const;
    const { backend } = await openBackend("onnxruntime-cpu", options);
    const graph = await openArtifactGraph(backend, { folder: out, manifest, parameters }, "training");
    const names = manifest.parameters.map(({ name }) => name);
    const outputs = ["loss", ...names.map((name) => `${name}.grad`)];
    const results = await graph.run({ batch: tokenBatch(batch), items: batch.items, outputs });
    expect(relativeDistance([scalarOf(results, "loss")], [loss])).toBeLessThan(1e-5);
    for (const name of names) {
      const distance = relativeDistance(floatsOf(results, `${name}.grad`), gradients.get(name) ?? []);
      expect(distance, name).toBeLessThan(1e-4);
    }
    await graph.close();
    await backend.close();
  },
);

test("trained with auto on whatever machine, and refused before data is read by a backend that does not decode 8 bits", async () => {
  const { model } = await openFixture(FIXTURE);
  const folder = join(await temporaryFolder(), "artifacts");
  await exportArtifacts(model, { parameterNames: [UP] }, { out: folder, chatTemplate: "none" });
  const { requirement } = await readRunnable(folder);
  expect(requirement).toEqual({ capability: "session", computeDtype: "float32", float8Weights: true });
  const plain = await tinyArtifacts();
  expect((await readRunnable(plain)).requirement).toMatchObject({ float8Weights: false });
  const notes: string[] = [];
  const { backend, release } = await takeBackend(
    { threads: 1, onNote: (note) => notes.push(note) },
    requirement,
  );
  expect(backend.name).toBe("onnxruntime-cpu");
  expect(notes).toContain("auto took the backend onnxruntime-cpu");
  await release();
  const noData = join(folder, "no-such-data.jsonl");
  const sentence = /^Cannot use the backend cuda for weights in 8-bit floats, .*; choose onnxruntime-cpu, or/;
  await expect(train(folder, { data: noData, backend: "cuda" }).next()).rejects.toThrow(sentence);
  await expect(evaluate(folder, { data: noData, folder, backend: "cuda" })).rejects.toThrow(sentence);
});

test("a trained model is the base's bytes, but for what trained: bfloat16 without scales; in float32 it is decoded", async () => {
  const { model, batch } = await openFixture(FIXTURE);
  const folder = await temporaryFolder();
  const [artifacts, out] = [join(folder, "artifacts"), join(folder, "saved")];
  await exportArtifacts(model, { parameterNames: SOME }, { out: artifacts, chatTemplate: "none" });
  const untrained = await saveModel(artifacts, {
    out: join(folder, "untrained"),
    checkpoint: join(artifacts, "checkpoint"),
    model,
  });
  expect(untrained).toMatchObject({ changedValues: 0 });
  expect(untrained.trainedValues).toBe(24 * 16 + 12 * 16 + 12 * 16 + 16 * 24 + 20 * 16);
  const batches = {
    sequences: 2,
    batchSize: 2,
    async *batches() {
      yield tokenBatch(batch);
    },
  };
  const options = { steps: 3, learningRate: 1e-2, backend: "onnxruntime-cpu", threads: 1 };
  const losses: number[] = [];
  for await (const { loss } of trainBatches(artifacts, {
    ...options,
    batches,
    out: join(artifacts, "run"),
  }))
    losses.push(loss);
  expect(losses.at(-1)).toBeLessThan(losses[0] ?? 0);
  const { changedValues, trainedValues } = await saveModel(artifacts, { out, model });
  expect(changedValues / trainedValues).toBeGreaterThan(0.9);

  await using saved = await openModel(out);
  const scales = new Set(SOME.flatMap((name) => [`${name}_scale_inv`, `${name}_scale`]));
  expect([...saved.tensors.keys()].sort()).toEqual(
    [...model.tensors.keys()].filter((name) => !scales.has(name)).sort(),
  );
  for (const { name, dtype } of saved.tensors.values()) {
    if (SOME.includes(name)) expect(dtype, name).toBe("BF16");
    else {
      expect(dtype, name).toBe(model.tensors.get(name)?.dtype);
      expect(await bytesOf(saved, name), name).toEqual(await bytesOf(model, name));
    }
  }
  const modules = [...model.tensors.keys()].filter((name) => SOME.includes(name));
  expect(saved.config.quantization_config).toEqual({
    quant_method: "fp8",
    weight_block_size: [8, 8],
    modules_to_not_convert: ["lm_head", ...modules.map((name) => name.replace(".weight", ""))],
  });
  const all = join(folder, "float32");
  await saveModel(artifacts, { out: all, model, dtype: "float32" });
  await using decoded = await openModel(all);
  expect("quantization_config" in decoded.config).toBe(false);
  for (const { name, dtype } of decoded.tensors.values()) {
    const before = model.tensors.get(name);
    if (before === undefined) throw new Error(`no ${name}`);
    expect(dtype, name).toBe(before.dtype.startsWith("F8") ? "F32" : "BF16");
    if (!SOME.includes(name))
      expect(await wholeFloat32(decoded, { ...before, ...decoded.tensors.get(name) })).toEqual(
        await wholeFloat32(model, before),
      );
  }
  expect(decoded.tensors.size).toBe(model.tensors.size - 2 * 6);

  // It is a base in its turn, with the trained tensors as frozen ones of 16 bits.
  const { source, folder: weights } = await sourceOf(saved, [LOWEST], 1);
  const run = await openGraph(trainingGraph(source), weights);
  const [after = Number.NaN] = numbers(await run(await feedsOf(saved, batch, [LOWEST])), "loss");
  expect(after).toBeLessThan(losses[0] ?? 0);
});

test.each(["cuda", "webgpu"] as const)("%s refuses 8-bit weights in one sentence", async (provider) => {
  const { model } = await openFixture(FIXTURE);
  const { source, folder } = await sourceOf(model, [LOWEST], 1);
  const path = join(await temporaryFolder(), "training_model.onnx");
  await writeFile(
    path,
    modelFile(trainingGraph(source), { name: "f8", producer: { name: "t", version: "1" } }),
  );
  const loading = loadGraph({ graph: { path, weightsFolder: folder }, provider, threads: 1 });
  await expect(loading).rejects.toThrow(
    `8-bit floats, which ${provider} does not decode; choose onnxruntime-cpu`,
  );
});

/** A copy of the fixture in which a tensor is another, or whose config is. */
async function changed(name: string, tensor: object, config: object = {}): Promise<string> {
  const { model } = await openFixture(FIXTURE);
  const folder = join(await temporaryFolder(), "changed");
  const bytes = await readFile(`${FIXTURES}${FIXTURE}/model.safetensors`);
  await mkdir(folder);
  const tensors = [...model.tensors.values()].map(({ name, dtype, shape, begin, end }) => ({
    name,
    dtype,
    shape,
    blocks: [bytes.subarray(begin, end)],
  }));
  await writeSafetensors(
    join(folder, "model.safetensors"),
    tensors.map((each) => (each.name === name ? { ...each, ...tensor } : each)),
  );
  await writeFile(join(folder, "config.json"), JSON.stringify({ ...model.config, ...config }));
  return folder;
}

const EMBEDDING = "model.embed_tokens.weight";

test.each([
  [
    "an embedding",
    EMBEDDING,
    { dtype: "F8_E4M3", blocks: [new Uint8Array(37 * 16)] },
    {},
    /embed_tokens\.weight has dtype F8_E4M3, of which graphs read only F64, F32, F16 and BF16, and in linear layers F8_E4M3 and F8_E5M2; use the model before/,
  ],
  [
    "scales that are no real numbers",
    `${UP}_scale_inv`,
    { dtype: "U8", blocks: [new Uint8Array(3 * 2)] },
    {},
    /its scales "model\.layers\.1\.mlp\.up_proj\.weight_scale_inv" are U8/,
  ],
  [
    "scales of another shape",
    `${UP}_scale_inv`,
    { shape: [2, 3] },
    {},
    /^Cannot decode "model\.layers\.1\.mlp\.up_proj\.weight" of .* a scale of shape \[2,3\] and blocks of \[8,8\] does not fit/,
  ],
  [
    "another quantisation",
    "",
    {},
    { quantization_config: { quant_method: "gptq", bits: 4 } },
    /quantization_config\.quant_method "gptq", of which only "fp8" is supported/,
  ],
])("%s in 8 bits is an error that names it", async (_, name, tensor, config, message) => {
  await using model = await openModel(await changed(name, tensor, config));
  const out = join(await temporaryFolder(), "artifacts");
  await expect(
    exportArtifacts(model, { parameterNames: [LOWEST] }, { out, chatTemplate: "none" }),
  ).rejects.toThrow(message);
});

test("a matrix with scales is decoded the same whatever block of rows is read", async () => {
  const { model } = await openFixture(FIXTURE);
  const tensor = model.tensors.get(UP);
  if (tensor === undefined) throw new Error(`no ${UP}`);
  const whole = await wholeFloat32(model, tensor);
  const narrow = {
    ...model,
    readFile: (file: string, range: Parameters<typeof model.readFile>[1]) =>
      model.readFile(file, { ...range, ...(range.blockBytes && { blockBytes: 3 * 16 }) }),
  };
  expect(await wholeFloat32(narrow, tensor)).toEqual(whole);
});
