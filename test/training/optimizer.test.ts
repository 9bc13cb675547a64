import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openBackend } from "../../backends/index.ts";
import type { GraphTensor } from "../../src/backend.ts";
import { clipScale, sumOfSquares } from "../../src/training/clip.ts";
import { adamw, zeroMoments } from "../../src/training/optimizer.ts";
import { tinyArtifacts } from "./tiny-artifacts.ts";

const torch = JSON.parse(await readFile(new URL("../fixtures/adamw.json", import.meta.url), "utf8"));

/** Largest difference relative to the reference's value, or to `floor` where that is more. */
function deviation(actual: ArrayLike<number>, expected: ArrayLike<number>, floor = 1e-3): number {
  expect(actual.length).toBe(expected.length);
  return Math.max(
    ...Array.from(actual, (value, i) => {
      const reference = expected[i] ?? Number.NaN;
      return Math.abs(value - reference) / Math.max(Math.abs(reference), floor);
    }),
  );
}

describe("adamw()", () => {
  it.each(["0.0", "0.1"])("is within 1e-6 of torch.optim.AdamW over 50 steps, weight decay %s", (decay) => {
    const parameter = Float32Array.from(torch.initial);
    const moments = zeroMoments(parameter.length);
    for (const [index, gradient] of torch.gradients.entries())
      adamw(parameter, Float32Array.from(gradient), moments, {
        ...torch,
        step: index + 1,
        gradScale: 1,
        weightDecay: Number(decay),
      });
    const expected = torch.runs[decay];
    expect(deviation(parameter, expected.parameter, 1)).toBeLessThan(1e-6);
    expect(deviation(moments.expAvg, expected.expAvg)).toBeLessThan(1e-6);
    expect(deviation(moments.expAvgSq, expected.expAvgSq)).toBeLessThan(1e-6);
  });

  it("is within 1e-6 of the optimizer graph over 20 steps, for parameters that decay and those that do not", async () => {
    const folder = await tinyArtifacts();
    const manifest = JSON.parse(await readFile(join(folder, "manifest.json"), "utf8"));
    const { backend } = await openBackend("onnxruntime-cpu", {
      precision: "fast",
      threads: 1,
      capability: "session",
    });
    const session = await backend.session?.({
      path: join(folder, "optimizer_model.onnx"),
      weightsFolder: null,
    });
    const suffixes = ["", ".exp_avg", ".exp_avg_sq"];
    for (const { name, shape, decay } of manifest.parameters) {
      const size = shape.reduce((product: number, side: number) => product * side, 1);
      const parameter = Float32Array.from({ length: size }, (_, i) => Math.sin(i));
      const moments = zeroMoments(size);
      let state = [parameter, moments.expAvg, moments.expAvgSq].map((values) => values.slice());
      for (let step = 1; step <= 20; step++) {
        const gradient = Float32Array.from({ length: size }, (_, i) => Math.cos(i * step) * 10 ** -(i % 6));
        const { weightDecay } = manifest.optimizer;
        const settings = { ...manifest.optimizer, learningRate: 0.01 / step, step, gradScale: 0.5 };
        adamw(parameter, gradient, moments, { ...settings, weightDecay: decay ? weightDecay : 0 });
        const feeds = new Map<string, GraphTensor>([
          ["learning_rate", { dtype: "float32", shape: [], values: Float32Array.of(settings.learningRate) }],
          ["grad_scale", { dtype: "float32", shape: [], values: Float32Array.of(0.5) }],
          ["step", { dtype: "int64", shape: [], values: BigInt64Array.of(BigInt(step)) }],
          [`${name}.grad`, { dtype: "float32", shape, values: gradient }],
        ]);
        for (const [index, suffix] of suffixes.entries())
          feeds.set(name + suffix, { dtype: "float32", shape, values: state[index] ?? new Float32Array() });
        for (const input of manifest.optimizer.inputs) {
          if (feeds.has(input.name)) continue;
          const length = input.shape.reduce((product: number, side: number) => product * side, 1);
          feeds.set(input.name, { dtype: "float32", shape: input.shape, values: new Float32Array(length) });
        }
        const outputs = suffixes.map((suffix) => `${name}${suffix}.next`);
        const run = await session?.run(feeds, outputs);
        state = outputs.map((output) => Float32Array.from(run?.outputs.get(output)?.values ?? [], Number));
      }
      expect(deviation(parameter, state[0] ?? [], 1)).toBeLessThan(1e-6);
      expect(deviation(moments.expAvg, state[1] ?? [], 0.1)).toBeLessThan(1e-6);
      expect(deviation(moments.expAvgSq, state[2] ?? [], 0.1)).toBeLessThan(1e-6);
    }
    await backend.close();
  });
});

describe("clipping", () => {
  it("sums squares in float64", () => {
    expect(sumOfSquares(Float32Array.of(3, -4))).toBe(25);
    expect(sumOfSquares(new Float32Array(2 ** 20).fill(0.001))).toBeCloseTo(
      2 ** 20 * Math.fround(0.001) ** 2,
      9,
    );
    expect(sumOfSquares(Float32Array.of(Number.NaN))).toBeNaN();
  });

  it("scales a larger norm down to the bound, and leaves a smaller one alone", () => {
    expect(clipScale(5, 1) * 5).toBeCloseTo(1, 6);
    expect(clipScale(0.5, 1)).toBe(1);
    expect(clipScale(0, 1)).toBe(1);
    expect(clipScale(5, null)).toBe(1);
  });
});
