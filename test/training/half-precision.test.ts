// Graphs that compute in float16 and bfloat16, beside torch: transformers' own distances from float32 are the measure
// (scripts/fixtures/half-precision.py).
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { openBackend } from "../../backends/index.ts";
import { PROVIDERS } from "../../backends/onnxruntime/providers.ts";
import { differentiate } from "../../src/onnx/backward.ts";
import { typeCode } from "../../src/onnx/element-type.ts";
import { Graph, type Node } from "../../src/onnx/graph.ts";
import { ModelProtoSchema } from "../../src/onnx/onnx.pb.ts";
import { cast } from "../../src/onnx/operators/elementwise.ts";
import { total } from "../../src/onnx/operators/reductions.ts";
import { rmsNorm } from "../../src/onnx/ops/rms-norm.ts";
import { openEvaluationModel } from "../../src/training/evaluation-model.ts";
import { evaluationGraph, trainingGraph } from "../../src/training/graphs.ts";
import { readManifest } from "../../src/training/read-manifest.ts";
import { trainBatches } from "../../src/training/trainer.ts";
import { temporaryFolder } from "../tiny-model.ts";
import { embeddedTorch, exported, optionsOf } from "./embedded.ts";
import { feedsOf, openFixture, sourceOf } from "./fixture-model.ts";
import { numbers, openGraph, relativeDistance } from "./run-graph.ts";

/** By fixture and dtype: |difference| / |float32| of transformers' loss and of all its gradients together. */
const transformers = JSON.parse(
  await readFile(new URL("../fixtures/half-precision.json", import.meta.url), "utf8"),
);
const CASES = Object.keys(transformers);
/** Half a unit in the last place of float16. */
const ROUNDING = 2 ** -11;

const joined = (parts: readonly ArrayLike<number>[]) =>
  Float64Array.from(parts.flatMap((part) => Array.from(part)));

async function float16Fixture(name: string, recompute: "none" | "layers" = "none") {
  const { model, batch, loss, gradients } = await openFixture(name);
  const trained = [...gradients.keys()];
  const { source, folder } = await sourceOf(model, trained, 2, { type: "float16", recompute });
  const run = await openGraph(trainingGraph(source), folder);
  return { run, feeds: await feedsOf(model, batch, trained), loss, gradients };
}

describe.each(CASES)("%s", (name) => {
  test.each(["none", "layers"] as const)(
    "float16 on CPU is as near to float32 as transformers' own float16, recomputing %s",
    async (recompute) => {
      const { run, feeds, loss, gradients } = await float16Fixture(name, recompute);
      const results = await run(feeds);
      const ours = joined([...gradients.keys()].map((parameter) => numbers(results, `${parameter}.grad`)));
      const distance = relativeDistance(ours, joined([...gradients.values()]));
      // Roundings differ by chance: the quotients of the ten fixtures are 0.4 to 1.9, in the geometric mean 0.7.
      expect(distance).toBeLessThan(2 * transformers[name].float16.gradients);
      expect(relativeDistance(numbers(results, "loss"), [loss])).toBeLessThan(ROUNDING);
    },
  );
});

test("the number of items scales float16 gradients after they are made: none underflows", async () => {
  const { run, feeds } = await float16Fixture("llama-biases");
  const before = await run(feeds);
  const items = feeds.num_items?.data[0];
  // Beyond float16's range, and 2^-20 of most gradients is below its smallest number.
  const after = await run({
    ...feeds,
    num_items: { data: Float32Array.of(Number(items) * 2 ** 20), dims: [] },
  });
  for (const name of before.keys()) {
    const scaled = numbers(before, name).map((x) => x / 2 ** 20);
    expect(relativeDistance(numbers(after, name), scaled), name).toBeLessThan(1e-6);
  }
});

test("a norm of float16 activations whose squares exceed float16 has finite values and gradients", async () => {
  const gradientsIn = async (type: "float32" | "float16") => {
    const g = new Graph();
    const x = g.input("x", "float32", [2, 4]);
    const weight = g.input("weight", "float32", [4]);
    const inner = cast(g, x, type);
    g.train(inner);
    g.train(weight);
    const y = rmsNorm(g, [inner, weight], { epsilon: 1e-5 });
    const loss = total(g, cast(g, y, "float32"));
    // The loss is the sum of y: its gradient with respect to y is 1.
    g.record({ inputs: [y], output: loss, gradient: ({ into }) => into(y, () => cast(g, ones(g), type)) });
    const gradients = differentiate(g, loss, [weight, inner]);
    g.output("y", cast(g, y, "float32"));
    for (const [at, gradient] of [...gradients.values()].entries())
      g.output(`gradient ${at}`, cast(g, gradient, "float32"));
    const run = await openGraph(g);
    const results = await run({
      x: { data: Float32Array.of(1000, -2000, 500, 3000, 4000, 250, -1000, 2000), dims: [2, 4] },
      weight: { data: Float32Array.of(1, 2, -1, 0.5), dims: [4] },
    });
    return joined([...results.keys()].map((name) => numbers(results, name)));
  };
  const distance = relativeDistance(await gradientsIn("float16"), await gradientsIn("float32"));
  expect(distance).toBeLessThan(2 * ROUNDING);
});

const ones = (g: Graph) => g.constant("float32", [2, 4], new Float32Array(8).fill(1));

describe.each(["float16", "bfloat16"] as const)("%s", (type) => {
  test("products are in it, statistics and every input and output in float32", async () => {
    const { model, gradients } = await openFixture("llama-biases");
    const { source } = await sourceOf(model, [...gradients.keys()], 2, { type });
    for (const g of [trainingGraph(source), evaluationGraph(source)]) {
      const typesOf = (nodes: readonly Node[]) => new Set(nodes.map(({ output }) => output.type));
      const types = (ops: readonly string[]) => typesOf(g.nodes.filter(({ op }) => ops.includes(op)));
      expect(types(["RotaryEmbedding", "Sigmoid"])).toEqual(new Set([type]));
      // Of attention and of the layers and the head; a norm's sums over a row are small products too.
      const products = g.nodes.filter(
        ({ op, output, stage }) =>
          (op === "MatMul" && output.shape.length === 4) || (op === "Gemm" && stage === "forward"),
      );
      expect(typesOf(products)).toEqual(new Set([type]));
      expect(types(["RMSNormalization", "Softmax", "Exp", "Log", "ReduceSumSquare"])).toEqual(
        new Set(["float32"]),
      );
      const outputs = [...g.outputs.values()].map((value) => value.type);
      const floats = [...g.inputs.map((value) => value.type), ...outputs].filter((t) => t !== "int64");
      expect(new Set(floats)).toEqual(new Set(["float32"]));
    }
  });
});

test("the runtime's CPU provider refuses the bfloat16 graph, as the table of providers says", async () => {
  expect(PROVIDERS.cpu.computeDtypes).not.toContain("bfloat16");
  const { model, gradients } = await openFixture("llama-biases");
  const { source, folder } = await sourceOf(model, [...gradients.keys()], 2, { type: "bfloat16" });
  await expect(openGraph(trainingGraph(source), folder)).rejects.toThrow(/Could not find an implementation/);
});

test.each(["float32", "float16", "bfloat16"] as const)(
  "artifacts for %s make their products in it",
  async (computeDtype) => {
    const folder = await exported("25", { computeDtype });
    for (const name of ["training_model.onnx", "eval_model.onnx"]) {
      const { graph } = fromBinary(ModelProtoSchema, await readFile(join(folder, name)));
      const products = new Set(
        graph?.node.filter(({ opType }) => opType === "Gemm").map(({ output }) => output[0]),
      );
      const types = graph?.valueInfo
        .filter((value) => products.has(value.name))
        .map(({ type }) => type?.value);
      const codes = types?.map((type) => (type?.case === "tensorType" ? type.value.elemType : null));
      expect(new Set(codes)).toEqual(new Set([typeCode(computeDtype)]));
    }
  },
);

test("bfloat16 artifacts say so, and the CPU backend refuses them by name and open", async () => {
  const artifacts = await exported("25", { computeDtype: "bfloat16" });
  expect((await readManifest(artifacts)).computeDtype).toBe("bfloat16");
  const sentence = /Cannot compute in bfloat16 on the backend onnxruntime-cpu, .*float32 and float16/;
  const out = join(await temporaryFolder(), "run");
  const { backend } = await openBackend("onnxruntime-cpu", { precision: "fast", capability: "session" });
  for (const choice of ["onnxruntime-cpu", backend]) {
    const steps = trainBatches(artifacts, { ...optionsOf(out), backend: choice });
    await expect(steps.next()).rejects.toThrow(sentence);
    await expect(openEvaluationModel(artifacts, { backend: choice })).rejects.toThrow(sentence);
  }
  await backend.close();
});

test("what exceeds float16 stops the training with the sequences and the other dtypes named", async () => {
  const artifacts = await exported("25", { computeDtype: "float16" });
  const options = { ...optionsOf(join(artifacts, "../run")), learningRate: 1e30, steps: 4 };
  const run = async () => {
    for await (const { loss } of trainBatches(artifacts, options)) expect(loss).toBeGreaterThan(0);
  };
  await expect(run()).rejects.toThrow(
    /^Cannot go on at step [23]: .* sequences \d+ to \d+ .*compute dtype float32 or bfloat16, since float16 ends/,
  );
});

test("a run goes on only with artifacts that compute in the same dtype", async () => {
  const out = join(await temporaryFolder(), "run");
  const options = { ...optionsOf(out), steps: 2 };
  const steps = trainBatches(await exported("25"), options);
  await steps.next();
  await steps.return();
  const half = trainBatches(await exported("25", { computeDtype: "float16" }), { ...options, resume: true });
  await expect(half.next()).rejects.toThrow("trained with computeDtype float32, got float16");
});

test("float16 on CPU follows torch's float32 loss curve, each of 20 steps within 1e-2", async () => {
  const artifacts = await exported("25", { computeDtype: "float16" });
  const out = join(artifacts, "../run");
  for await (const { step, loss } of trainBatches(artifacts, { ...optionsOf(out), steps: 20 }))
    expect(Math.abs(loss / embeddedTorch.runs["25"].losses[step - 1] - 1), `step ${step}`).toBeLessThan(1e-2);
});
