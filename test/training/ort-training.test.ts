// Artifacts of the form ort-training, trained by the last runtime with training kernels of its own.
import { mkdir, open, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { fromBinary } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import type { TokenBatch } from "../../src/chat/batch.ts";
import type { Model } from "../../src/hub/model.ts";
import { openModel } from "../../src/hub/open-model.ts";
import { ModelProtoSchema } from "../../src/onnx/onnx.pb.ts";
import { decode } from "../../src/tensor/decode.ts";
import { isFloatDType } from "../../src/tensor/dtype.ts";
import { exportArtifacts } from "../../src/training/artifacts.ts";
import type { BatchSource } from "../../src/training/batch-source.ts";
import { evaluate } from "../../src/training/evaluation-model.ts";
import type { ExportOptions } from "../../src/training/export-plan.ts";
import { checkpointLayout } from "../../src/training/ort-training/checkpoint.ts";
import { writeFlatbuffer } from "../../src/training/ort-training/flatbuffer.ts";
import { readManifest } from "../../src/training/read-manifest.ts";
import { saveModel } from "../../src/training/save-model.ts";
import { readTensors } from "../../src/training/tensor-file.ts";
import { train } from "../../src/training/train.ts";
import { trainBatches } from "../../src/training/trainer.ts";
import { temporaryFolder } from "../tiny-model.ts";
import { embeddedTorch } from "./embedded.ts";
import { type Batch, openFixture, withTokenizer } from "./fixture-model.ts";
import { relativeDistance } from "./run-graph.ts";
import { torchBatches } from "./tiny-artifacts.ts";
import {
  evaluationLoss,
  LEARNING_RATE,
  makeUpdate,
  openTrainingSession,
  parametersOf,
} from "./training-runtime.ts";

const EMBEDDED = fileURLToPath(new URL("../../examples/wordnet-llama-2m", import.meta.url));

type FormOptions = Partial<ExportOptions> & { readonly names: readonly string[] };

/** The same export in both forms. */
async function inBothForms(model: Model, { names, ...options }: FormOptions) {
  const root = await temporaryFolder();
  const exported = async (form: "standard" | "ort-training") => {
    const all = { chatTemplate: "none", ...options, form, out: join(root, form) } as const;
    return (await exportArtifacts(model, { parameterNames: names }, all)).folder;
  };
  return { standard: await exported("standard"), ortTraining: await exported("ort-training") };
}

/** The trained parameters in the manifest's order, one after the other. */
async function checkpointValues(artifacts: string, checkpoint: string): Promise<Float32Array> {
  const { parameters } = await readManifest(artifacts);
  const tensors = await readTensors(join(checkpoint, "parameters.safetensors"), parameters);
  return Float32Array.from(parameters.flatMap(({ name }) => Array.from(tensors.get(name) ?? [])));
}

async function batchesOf(source: BatchSource): Promise<readonly TokenBatch[]> {
  const batches: TokenBatch[] = [];
  for await (const batch of source.batches({ epoch: 0, skip: 0 })) batches.push(batch);
  return batches;
}

/** Losses and final parameters of our trainer and of the runtime, on the same batches at the same rate. */
async function trainBoth(
  { standard, ortTraining }: { readonly standard: string; readonly ortTraining: string },
  { source, accumulation, steps }: { source: BatchSource; accumulation: number; steps: number },
) {
  const out = join(standard, "../run");
  const expected: number[] = [];
  const options = { learningRate: LEARNING_RATE, schedule: "constant", warmup: 0, maxGradientNorm: null };
  const backend = { backend: "onnxruntime-cpu", threads: 2 };
  const run = { ...options, ...backend, batches: source, out, steps, accumulation };
  for await (const { loss } of trainBatches(standard, run)) expected.push(loss);
  const batches = await batchesOf(source);
  const session = await openTrainingSession(ortTraining);
  const losses: number[] = [];
  for (let step = 0; step < steps; step++) {
    const own = Array.from({ length: accumulation }, (_, at) => step * accumulation + at);
    const chosen = own.map((at) => batches[at % batches.length]).filter((batch) => batch !== undefined);
    losses.push(await makeUpdate(session, chosen));
  }
  const values = await parametersOf(session, "trained");
  const [first] = batches;
  const finalLoss = first ? await evaluationLoss(session, first) : Number.NaN;
  await session.release();
  const initial = await checkpointValues(standard, join(standard, "checkpoint"));
  const trained = await checkpointValues(standard, join(out, `checkpoint-${steps}`));
  return { expected, losses, initial, trained, values, finalLoss };
}

/** How far one training ended from another, in relation to how far it went. */
function driftOf({ initial, trained, values }: Awaited<ReturnType<typeof trainBoth>>): number {
  const moved = trained.map((value, at) => value - (initial[at] ?? 0));
  return relativeDistance(
    values.map((value, at) => value - (initial[at] ?? 0)),
    moved,
  );
}

/** A fixture's batch, a row at a time. */
function rowsOf({ dims: [rows, sequence], ids, labels, positions }: Batch): BatchSource {
  return {
    sequences: rows,
    batchSize: 1,
    async *batches({ skip }) {
      for (let row = skip; row < rows; row++) {
        const part = (values: Int32Array) => values.slice(row * sequence, (row + 1) * sequence);
        const places = part(positions);
        const targets = part(labels).filter((label, at) => label !== -100 && places[at] !== 0).length;
        const tokens = { inputIds: part(ids), labels: part(labels), positionIds: places };
        yield { batch: 1, sequence, ...tokens, targets };
      }
    },
  };
}

async function readModel(folder: string, file: string) {
  const { irVersion, opsetImport, graph } = fromBinary(ModelProtoSchema, await readFile(join(folder, file)));
  return {
    irVersion,
    opsets: opsetImport.map(({ domain, version }) => `${domain} ${version}`),
    own: graph?.node.filter(({ domain }) => domain !== "").map(({ opType }) => opType) ?? [],
    initializers: graph?.initializer ?? [],
  };
}

/** A model of zeros with that many tokens, in a file that takes no room on disk. */
async function wideModel(vocabularySize: number): Promise<string> {
  const { model } = await openFixture("llama-tied");
  const folder = join(await temporaryFolder(), "model");
  await mkdir(folder);
  let end = 0;
  const tensors = [...model.tensors.values()].map(({ name, shape }) => {
    const own = name === "model.embed_tokens.weight" ? [vocabularySize, ...shape.slice(1)] : shape;
    const begin = end;
    end += 2 * own.reduce((a, b) => a * b, 1);
    return [name, { dtype: "BF16", shape: own, data_offsets: [begin, end] }] as const;
  });
  const header = Buffer.from(JSON.stringify(Object.fromEntries(tensors)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const file = await open(join(folder, "model.safetensors"), "w");
  await file.appendFile(length);
  await file.appendFile(header);
  await file.truncate(8 + header.length + end);
  await file.close();
  await writeFile(
    join(folder, "config.json"),
    JSON.stringify({ ...model.config, vocab_size: vocabularySize }),
  );
  return folder;
}

const MATRIX = "model.layers.0.mlp.down_proj.weight";
const SOME = [MATRIX, "model.layers.1.self_attn.k_proj.weight", "model.layers.1.input_layernorm.weight"];

describe("artifacts of the form ort-training", () => {
  it("are trained by onnxruntime-web's own kernels with our losses: 25 % of the embedded model, with accumulation and decay", async () => {
    await using model = await openModel(EMBEDDED);
    const { names } = embeddedTorch.runs["25"];
    const folders = await inBothForms(model, { names, adamw: { weightDecay: 0.1 } });
    const source = torchBatches(embeddedTorch);
    const both = await trainBoth(folders, { source, accumulation: 2, steps: 15 });
    expect(both.losses).toHaveLength(15);
    expect(Math.min(...both.losses)).toBeLessThan(0.7 * (both.losses[0] ?? 0));
    for (const [step, loss] of both.losses.entries())
      expect(Math.abs(loss / (both.expected[step] ?? 0) - 1)).toBeLessThan(1e-5);
    expect(driftOf(both)).toBeLessThan(1e-3);
  });

  it.each([
    ["llama-bf16", "some"],
    ["llama-tied", "all"],
    ["mistral-window", "some"],
    ["qwen2-windows", "all"],
    ["qwen3", "some"],
  ] as const)("are trained with our losses: %s, %s parameters, and new rows", async (fixture, which) => {
    const { batch, gradients } = await openFixture(fixture);
    await using model = await openModel(await withTokenizer(fixture));
    const names = which === "all" ? [...gradients.keys()] : SOME;
    const options = { chatTemplate: "chatml", adamw: { weightDecay: 0 } } as const;
    const folders = await inBothForms(model, { names, ...options });
    const { parameters } = await readManifest(folders.ortTraining);
    expect(parameters.some(({ firstRow }) => firstRow !== null)).toBe(true);
    const both = await trainBoth(folders, { source: rowsOf(batch), accumulation: 2, steps: 10 });
    for (const [step, loss] of both.losses.entries())
      expect(Math.abs(loss / (both.expected[step] ?? 0) - 1)).toBeLessThan(1e-5);
    expect(driftOf(both)).toBeLessThan(1e-3);
    const out = join(folders.standard, "../run");
    const source = rowsOf({ ...batch, dims: [1, batch.dims[1]] });
    const run = { backend: "onnxruntime-cpu", checkpoint: out, batches: source };
    const { loss } = await evaluate(folders.standard, run);
    expect(Math.abs(both.finalLoss / loss - 1)).toBeLessThan(1e-5);
  });

  it("hold every parameter as float32 in a checkpoint that the runtime reads", async () => {
    const { model } = await openFixture("llama-bf16");
    const { ortTraining } = await inBothForms(model, { names: SOME });
    const session = await openTrainingSession(ortTraining);
    const values = await parametersOf(session, "all");
    await session.release();
    const { training } = await readManifest(ortTraining);
    const expected: number[] = [];
    for (const { name } of training.inputs) {
      const tensor = model.tensors.get(name);
      if (tensor === undefined || !isFloatDType(tensor.dtype)) continue;
      const size = tensor.shape.reduce((a, b) => a * b, 1);
      const blocks: Uint8Array[] = [];
      for await (const block of model.readFile(tensor.file, tensor)) blocks.push(block);
      expected.push(...decode(Buffer.concat(blocks), tensor.dtype, new Float32Array(size)));
    }
    expect(expected.length).toBeGreaterThan(1000);
    expect(values).toEqual(Float32Array.from(expected));
  });

  it("keep to opset 21 and the names that the runtime looks for, and the manifest says the form", async () => {
    const { model } = await openFixture("qwen3");
    const { ortTraining } = await inBothForms(model, { names: SOME });
    expect((await readdir(ortTraining)).sort()).toEqual([
      "checkpoint",
      "config.json",
      "eval_model.onnx",
      "manifest.json",
      "optimizer_model.onnx",
      "training_model.onnx",
    ]);
    const own = {
      training: Array(3).fill("InPlaceAccumulatorV2"),
      evaluation: [],
      optimizer: ["AdamWOptimizer"],
    };
    const manifest = await readManifest(ortTraining);
    expect(manifest).toMatchObject({ form: "ort-training", opset: 21, weights: "copy", weightsFolder: null });
    for (const which of ["training", "evaluation", "optimizer"] as const) {
      const file = await readModel(ortTraining, manifest[which].file);
      expect(file.irVersion).toBe(10n);
      expect(file.opsets).toEqual(own[which].length > 0 ? [" 21", "com.microsoft 1"] : [" 21"]);
      expect(file.own).toEqual(own[which]);
      expect(file.initializers.some(({ externalData }) => externalData.length > 0)).toBe(false);
    }
    const { inputs, outputs } = manifest.training;
    const buffers = manifest.parameters.map(({ name, shape }) => ({
      name: `${name}_grad.accumulation.buffer`,
      dtype: "float32",
      shape,
    }));
    expect(inputs.slice(-4)).toEqual([...buffers, { name: "lazy_reset_grad", dtype: "bool", shape: [1] }]);
    expect(outputs.map(({ name }) => name)).toEqual([
      "loss",
      ...manifest.parameters.map(({ name }) => `${name}_grad.accumulation.out`),
    ]);
    expect(manifest.parameters.every(({ decay }) => decay)).toBe(true);
  });

  it("are not run here: training, evaluation and saving say what they are", async () => {
    const { model, batch } = await openFixture("qwen3");
    const { ortTraining } = await inBothForms(model, { names: SOME });
    const message = /of the form ort-training, which ONNX Runtime's training builds train/;
    const out = join(await temporaryFolder(), "out");
    const batches = rowsOf(batch);
    await expect(trainBatches(ortTraining, { batches, out }).next()).rejects.toThrow(message);
    await expect(evaluate(ortTraining, { batches })).rejects.toThrow(message);
    await expect(saveModel(ortTraining, { out })).rejects.toThrow(message);
    await expect(train(ortTraining, { data: "nowhere.jsonl", out }).next()).rejects.toThrow(message);
  });

  it("fail to be written when a tensor has not as many bytes as its shape says", async () => {
    const path = join(await temporaryFolder(), "checkpoint");
    const tensor = { name: "w", dtype: "F32", shape: [2], blocks: [new Uint8Array(7)] } as const;
    await expect(writeFlatbuffer(path, checkpointLayout({ trained: [tensor], frozen: [] }))).rejects.toThrow(
      /expected 8 bytes at [0-9]+, got 7/,
    );
  });

  it("refuse to refer to the model's own weights", async () => {
    const { model } = await openFixture("qwen3");
    const options = { form: "ort-training", weights: "reference", chatTemplate: "none" } as const;
    const out = join(await temporaryFolder(), "artifacts");
    await expect(exportArtifacts(model, { parameterNames: SOME }, { ...options, out })).rejects.toThrow(
      /form ort-training with weights "reference": its checkpoint holds a copy/,
    );
  });

  it("refuse a model whose parameters do not fit into a checkpoint, and leave nothing behind", async () => {
    await using model = await openModel(await wideModel(2 ** 25));
    const parent = await temporaryFolder();
    const options = { form: "ort-training", chatTemplate: "none", out: join(parent, "artifacts") } as const;
    await expect(exportArtifacts(model, { parameterNames: ["model.norm.weight"] }, options)).rejects.toThrow(
      /its checkpoint would have 21[0-9]{8} bytes, and that form allows 2147483647/,
    );
    expect(await readdir(parent)).toEqual([]);
  });
});
