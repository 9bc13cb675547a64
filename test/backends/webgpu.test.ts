import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import { beforeAll, describe, expect, it } from "vitest";
import { webgpu } from "../../backends/onnxruntime/index.ts";
import { castWeightsOnce } from "../../backends/onnxruntime/session/cast-weights.ts";
import { unfixedGraph } from "../../backends/onnxruntime/session/fixed-graph.ts";
import type { Backend } from "../../src/backend.ts";
import type { TokenBatch } from "../../src/chat/batch.ts";
import { ModelProtoSchema, type TensorProto, TensorProto_DataType } from "../../src/onnx/onnx.pb.ts";
import { floatsOf, openArtifactGraph, takeBackend } from "../../src/training/artifact-graph.ts";
import { exportArtifacts } from "../../src/training/artifacts.ts";
import { readCheckpoint } from "../../src/training/checkpoint.ts";
import { readManifest } from "../../src/training/read-manifest.ts";
import { trainBatches } from "../../src/training/trainer.ts";
import { temporaryFolder } from "../tiny-model.ts";
import { embeddedTorch, exported, optionsOf } from "../training/embedded.ts";
import { openFixture } from "../training/fixture-model.ts";
import { batchOf } from "../training/tiny-artifacts.ts";
import { singularValues } from "./conformance.ts";
import { drawMatrix, sourceOf } from "./matrices.ts";

const availability = await webgpu.availability();

let artifacts: string;
let withNewRows: string;
beforeAll(async () => {
  artifacts = await exported("25");
  withNewRows = await exported("25", { chatTemplate: "chatml" });
});

/** Loss and gradients of the first sequences' targets, or of so many of them, on a backend. */
async function gradientsOn(
  name: string,
  { targets = Number.POSITIVE_INFINITY, folder = artifacts, newTokens = [0, 0] } = {},
): Promise<Float32Array[]> {
  const whole = batchOf(embeddedTorch, 0, 2);
  const [first = 0, end = 0] = newTokens;
  for (let id = first; id < end; id++)
    for (const ids of [whole.inputIds, whole.labels]) ids.fill(id, id - first + 4, id - first + 5);
  let left = targets;
  const isKept = (label: number, at: number) => label >= 0 && whole.positionIds[at] !== 0 && left-- > 0;
  const batch = { ...whole, labels: whole.labels.map((label, at) => (isKept(label, at) ? label : -100)) };
  return runOn(name, { folder, which: "training", batch });
}

/** What a graph makes of a batch on a backend: loss and gradients, or loss, log probabilities and logits. */
async function runOn(
  name: string,
  { folder, which, batch }: { folder: string; which: "training" | "evaluation"; batch: TokenBatch },
): Promise<Float32Array[]> {
  const manifest = await readManifest(folder);
  const { parameters } = await readCheckpoint(join(folder, manifest.checkpoint), manifest.parameters);
  const { backend, release } = await takeBackend({ backend: name, threads: 1 }, {});
  const graph = await openArtifactGraph(backend, { folder, manifest, parameters }, which);
  const gradients = manifest.parameters.map((parameter) => `${parameter.name}.grad`);
  const outputs = ["loss", ...(which === "training" ? gradients : ["token_logprobs", "last_logits"])];
  const results = await graph.run({ batch, items: batch.targets, outputs });
  await graph.close();
  await release();
  return outputs.map((output) => floatsOf(results, output));
}

/** A session of the training graph for the sequence at `first`. */
async function gradientsAlong(backend: Backend, first: number) {
  const manifest = await readManifest(artifacts);
  const { parameters } = await readCheckpoint(join(artifacts, manifest.checkpoint), manifest.parameters);
  const graph = await openArtifactGraph(backend, { folder: artifacts, manifest, parameters }, "training");
  const batch = batchOf(embeddedTorch, first, 1);
  const outputs = ["loss", `${manifest.parameters[0]?.name}.grad`];
  return {
    async run(): Promise<Float32Array[]> {
      const results = await graph.run({ batch, items: batch.targets, outputs });
      return outputs.map((output) => floatsOf(results, output));
    },
    close: () => graph.close(),
  };
}

/** A row of tokens, each but the first a target. */
function shortBatch(sequence: number): TokenBatch {
  const inputIds = Int32Array.from({ length: sequence }, (_, at) => 3 + 7 * at);
  const positionIds = Int32Array.from(inputIds.keys());
  return { batch: 1, sequence, inputIds, labels: inputIds, positionIds, targets: sequence - 1 };
}

describe("unfixedGraph()", () => {
  it("fixes dimensions and casts tables first, and leaves loss and gradients as they are", async () => {
    const before = await gradientsOn("onnxruntime-cpu");
    const path = join(artifacts, "training_model.onnx");
    const original = await readFile(path);
    const tokens = { dtype: "int32", shape: [2, 32], values: new Int32Array() } as const;
    const graph = unfixedGraph(original);
    expect(graph.inputs.slice(0, 3)).toEqual([
      ["input_ids", "int32"],
      ["labels", "int32"],
      ["position_ids", "int32"],
    ]);
    const names = ["input_ids", "labels", "position_ids"];
    await writeFile(path, graph.fixedFor(names.map((name) => [name, tokens])));
    const after = await gradientsOn("onnxruntime-cpu");
    await writeFile(path, original);
    for (const [index, gradient] of after.entries())
      expect(distance(gradient, before[index])).toBeLessThan(1e-6);
  });
});

describe("castWeightsOnce()", () => {
  it("leaves one cast of each frozen weight, and counts the bytes before and after", async () => {
    const file = await readFile(join(artifacts, "training_model.onnx"));
    const { graph } = fromBinary(ModelProtoSchema, file);
    if (graph === undefined) throw new Error("no graph");
    const frozen = graph.initializer.filter(({ dataType }) => dataType === TensorProto_DataType.BFLOAT16);
    const castsOf = () =>
      graph.node.filter(
        ({ opType, input }) => opType === "Cast" && frozen.some(({ name }) => name === input[0]),
      );
    expect(castsOf().length).toBeGreaterThan(frozen.length);
    const folded = castWeightsOnce(graph);
    expect(castsOf().length).toBe(frozen.length);
    const bytesOf = ({ externalData }: TensorProto) =>
      Number(externalData.find(({ key }) => key === "length")?.value);
    const sizeBytes = frozen.reduce((sum, tensor) => sum + bytesOf(tensor), 0);
    expect(folded).toEqual([
      { dtype: "bfloat16", sizeBytes, castDtype: "float32", castBytes: 2 * sizeBytes },
    ]);
  });
});

describe("webgpu", () => {
  it.skipIf(!availability.ok)("computes the CPU's gradients within 1e-4, none of it on the CPU", async () => {
    const expected = await gradientsOn("onnxruntime-cpu");
    for (const [index, gradient] of (await gradientsOn("webgpu")).entries())
      expect(distance(gradient, expected[index])).toBeLessThan(1e-4);
  });

  it.skipIf(!availability.ok)("computes the CPU's for two targets, and zeros for none", async () => {
    const expected = await gradientsOn("onnxruntime-cpu", { targets: 2 });
    for (const [index, gradient] of (await gradientsOn("webgpu", { targets: 2 })).entries())
      expect(distance(gradient, expected[index])).toBeLessThan(1e-4);
    const none = await gradientsOn("webgpu", { targets: 0 });
    expect(none.every((gradient) => gradient.every((x) => x === 0))).toBe(true);
  });

  it.skipIf(!availability.ok)(
    "computes the CPU's for fewer tokens than there are chunks, of three groups of keys",
    { timeout: 300_000 },
    async () => {
      const { model, gradients } = await openFixture("mistral-three-groups");
      const folder = join(await temporaryFolder(), "artifacts");
      const selection = { parameterNames: [...gradients.keys()] };
      await exportArtifacts(model, selection, { out: folder, chatTemplate: "none" });
      for (const which of ["training", "evaluation"] as const) {
        for (const sequence of [2, 5]) {
          const call = { folder, which, batch: shortBatch(sequence) };
          const [actual, expected] = [await runOn("webgpu", call), await runOn("onnxruntime-cpu", call)];
          const all = (parts: readonly Float32Array[]) =>
            Float32Array.from(parts.flatMap((part) => [...part]));
          expect(distance(all(actual), all(expected))).toBeLessThan(1e-4);
        }
      }
    },
  );

  it.skipIf(!availability.ok)("computes the CPU's for new rows beside a frozen head", async () => {
    const options = { folder: withNewRows, newTokens: [4096, 4098] };
    const expected = await gradientsOn("onnxruntime-cpu", options);
    for (const [index, gradient] of (await gradientsOn("webgpu", options)).entries())
      expect(distance(gradient, expected[index])).toBeLessThan(1e-4);
  });

  it.skipIf(!availability.ok)(
    "runs sessions of two backends and a matrix at once, each to the bits that it gives alone",
    { timeout: 300_000 },
    async () => {
      const open = () => takeBackend({ backend: "webgpu", threads: 1 }, {});
      const [{ backend, release }, second] = await Promise.all([open(), open()]);
      const matrix = () => sourceOf(drawMatrix([130, 90], "BF16", 3), "BF16");
      const [one, other] = [await gradientsAlong(backend, 0), await gradientsAlong(second.backend, 2)];
      const alone = [await one.run(), await other.run(), await singularValues(backend, matrix())];
      const atOnce = [one.run(), other.run(), singularValues(backend, matrix()), one.run()];
      expect(await Promise.all(atOnce)).toEqual([...alone, alone[0]]);
      expect(alone[0]).not.toEqual(alone[1]);
      await one.close();
      await release();
      expect(await other.run()).toEqual(alone[1]);
      await second.release();
    },
  );

  it.skipIf(!availability.ok)("trains as torch does, and evaluates", { timeout: 300_000 }, async () => {
    const options = { ...optionsOf(join(artifacts, "../run")), backend: "webgpu", steps: 3 };
    const evaluation = { batches: options.batches, everySteps: 3 };
    const notes: string[] = [];
    const onNote = (note: string) => notes.push(note);
    for await (const report of trainBatches(artifacts, { ...options, evaluation, onNote })) {
      const expected = embeddedTorch.runs["25"].losses[report.step - 1];
      expect(Math.abs(report.loss / expected - 1)).toBeLessThan(1e-3);
      if (report.step === 3) expect(report.evaluation?.loss).toBeLessThan(6);
    }
    expect(notes).toEqual([
      expect.stringMatching(/^webgpu folds \S+ MB of bfloat16 weights to \S+ MB of float32$/),
    ]);
  });
});

describe("float16 on webgpu", () => {
  it.skipIf(!availability.ok)("runs, or is refused as the graph is opened, with what to do", async () => {
    const half = await exported("25", { computeDtype: "float16" });
    const options = { ...optionsOf(join(half, "../run")), backend: "webgpu", steps: 1 };
    const losses: number[] = [];
    try {
      for await (const { loss } of trainBatches(half, options)) losses.push(loss);
    } catch (error) {
      expect(String(error)).toMatch(/computes in float16, and the device of webgpu does not .*float32/);
      return;
    }
    expect(losses[0]).toBeCloseTo(embeddedTorch.runs["25"].losses[0], 1);
  });
});

/** |a - b| / |b| */
function distance(a: Float32Array, b: Float32Array = new Float32Array()): number {
  expect(a.length).toBe(b.length);
  const norm = (values: Float32Array) => Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0));
  return norm(a.map((value, i) => value - (b[i] ?? 0))) / norm(b);
}
