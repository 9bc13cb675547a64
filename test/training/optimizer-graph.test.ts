// The AdamW graph against torch's (test/fixtures/adamw.json), over 50 steps.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { optimizerGraph } from "../../src/training/optimizer-graph.ts";
import { numbers, openGraph, relativeDistance } from "./run-graph.ts";

const torch = JSON.parse(readFileSync(new URL("../fixtures/adamw.json", import.meta.url), "utf8"));

test.each([0, 0.1])("50 steps with a decay of %f are torch's", async (weightDecay) => {
  const { beta1, beta2, epsilon, learningRate, initial, gradients, runs } = torch;
  const shape = [initial.length];
  const parameter = { name: "p", tensor: "p", shape, decay: true, firstRow: null };
  const run = await openGraph(optimizerGraph([parameter], { beta1, beta2, epsilon, weightDecay }));
  const zeros = { data: new Float32Array(initial.length), dims: shape };
  let [p, mean, square] = [{ data: Float32Array.from(initial), dims: shape }, zeros, zeros];
  const scalar = (x: number) => ({ data: Float32Array.of(x), dims: [] });
  for (const [at, gradient] of gradients.entries()) {
    const results = await run({
      p,
      // Twice the gradient at half the scale.
      "p.grad": { data: Float32Array.from(gradient, (x: number) => 2 * x), dims: shape },
      "p.exp_avg": mean,
      "p.exp_avg_sq": square,
      learning_rate: scalar(learningRate),
      step: { data: BigInt64Array.of(BigInt(at + 1)), dims: [] },
      grad_scale: scalar(0.5),
    });
    const next = (name: string) => ({ data: Float32Array.from(numbers(results, name)), dims: shape });
    [p, mean, square] = [next("p.next"), next("p.exp_avg.next"), next("p.exp_avg_sq.next")];
  }
  const expected = runs[weightDecay === 0 ? "0.0" : "0.1"];
  expect(relativeDistance(p.data, expected.parameter)).toBeLessThan(1e-6);
  expect(relativeDistance(mean.data, expected.expAvg)).toBeLessThan(1e-6);
  expect(relativeDistance(square.data, expected.expAvgSq)).toBeLessThan(1e-6);
});

test("a parameter without decay keeps its size where its gradient is 0", async () => {
  const of = (name: string, decay: boolean) => ({ name, tensor: name, shape: [1], decay, firstRow: null });
  const constants = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.5 };
  const run = await openGraph(optimizerGraph([of("norm", false), of("weight", true)], constants));
  const one = { data: Float32Array.of(1), dims: [1] };
  const zero = { data: Float32Array.of(0), dims: [1] };
  const states = ["norm", "weight"].flatMap((name) => [
    [name, one],
    ...["grad", "exp_avg", "exp_avg_sq"].map((part) => [`${name}.${part}`, zero]),
  ]);
  const results = await run({
    ...Object.fromEntries(states),
    learning_rate: { data: Float32Array.of(0.5), dims: [] },
    step: { data: BigInt64Array.of(1n), dims: [] },
    grad_scale: { data: Float32Array.of(1), dims: [] },
  });
  expect([...numbers(results, "norm.next"), ...numbers(results, "weight.next")]).toEqual([1, 0.75]);
});
