// Losses and gradients against torch and transformers in float32.
import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { isStandard, OPERATORS } from "../../src/onnx/operators/table.ts";
import { evaluationGraph, trainingGraph } from "../../src/training/graphs.ts";
import { type Batch, FIXTURES, feedsOf, openFixture, sourceOf } from "./fixture-model.ts";
import { numbers, openGraph, relativeDistance } from "./run-graph.ts";

const CASES = readdirSync(FIXTURES);

async function gradientsOf(
  name: string,
  change: (batch: Batch) => Batch,
  { chunks = 2, ...how }: { chunks?: number } & Parameters<typeof sourceOf>[3] = {},
) {
  const { model, batch, gradients } = await openFixture(name);
  const trained = [...gradients.keys()];
  const { source, folder } = await sourceOf(model, trained, chunks, how);
  const run = await openGraph(trainingGraph(source), folder);
  const before = await run(await feedsOf(model, batch, trained));
  const after = await run(await feedsOf(model, change(batch), trained));
  return { before, after, trained };
}

describe.each(CASES)("%s", (name) => {
  test.each([1, 3])("loss and gradients are torch's, in %d chunks", async (chunks) => {
    const { model, batch, loss, gradients } = await openFixture(name);
    const trained = [...gradients.keys()];
    const { source, folder } = await sourceOf(model, trained, chunks);
    const run = await openGraph(trainingGraph(source), folder);
    const results = await run(await feedsOf(model, batch, trained));
    expect(relativeDistance(numbers(results, "loss"), [loss])).toBeLessThan(1e-5);
    for (const [parameter, expected] of gradients) {
      const distance = relativeDistance(numbers(results, `${parameter}.grad`), expected);
      expect(distance, parameter).toBeLessThan(1e-4);
    }
  });

  test.each([1, 3])("loss and gradients are torch's with a frozen head, in %d parts", async (chunks) => {
    const { model, batch, loss, gradients } = await openFixture(name);
    const trained = [...gradients.keys()].filter((parameter) => parameter.includes(".layers."));
    const { source, folder } = await sourceOf(model, trained, chunks);
    const run = await openGraph(trainingGraph(source), folder);
    const results = await run(await feedsOf(model, batch, trained));
    expect(relativeDistance(numbers(results, "loss"), [loss])).toBeLessThan(1e-5);
    expect(trained.length).toBeGreaterThan(0);
    for (const parameter of trained) {
      const distance = relativeDistance(
        numbers(results, `${parameter}.grad`),
        gradients.get(parameter) ?? [],
      );
      expect(distance, parameter).toBeLessThan(1e-4);
    }
  });

  test("loss and gradients are torch's in opset 21, which has neither norms nor rotations", async () => {
    const { model, batch, loss, gradients } = await openFixture(name);
    const trained = [...gradients.keys()];
    const { source, folder } = await sourceOf(model, trained, 2);
    const g = trainingGraph({ ...source, opset: 21 });
    expect(g.nodes.every(({ op }) => isStandard(op) && OPERATORS[op].since <= 21)).toBe(true);
    const run = await openGraph(g, folder);
    const results = await run(await feedsOf(model, batch, trained));
    expect(relativeDistance(numbers(results, "loss"), [loss])).toBeLessThan(1e-5);
    for (const [parameter, expected] of gradients) {
      const distance = relativeDistance(numbers(results, `${parameter}.grad`), expected);
      expect(distance, parameter).toBeLessThan(1e-4);
    }
  });

  test("gradients are torch's where layers are computed again", async () => {
    const { model, batch, gradients } = await openFixture(name);
    const trained = [...gradients.keys()];
    const { source, folder } = await sourceOf(model, trained, 2, { recompute: "layers" });
    const run = await openGraph(trainingGraph(source), folder);
    const results = await run(await feedsOf(model, batch, trained));
    for (const [parameter, expected] of gradients) {
      const distance = relativeDistance(numbers(results, `${parameter}.grad`), expected);
      expect(distance, parameter).toBeLessThan(1e-4);
    }
  });

  test("a parameter's gradient is the same whatever else trains", async () => {
    const { model, batch, gradients } = await openFixture(name);
    const all = await sourceOf(model, [...gradients.keys()], 2);
    const run = await openGraph(trainingGraph(all.source), all.folder);
    const together = await run(await feedsOf(model, batch, [...gradients.keys()]));
    const some = [...gradients.keys()].filter((name) =>
      /1\.(?:self_attn\.k|mlp\.gate)_proj\.weight/.test(name),
    );
    for (const parameter of some) {
      const { source, folder } = await sourceOf(model, [parameter], 2);
      const alone = await openGraph(trainingGraph(source), folder);
      const results = await alone(await feedsOf(model, batch, [parameter]));
      const distance = relativeDistance(
        numbers(results, `${parameter}.grad`),
        numbers(together, `${parameter}.grad`),
      );
      expect(distance, parameter).toBeLessThan(1e-5);
    }
  });
});

test("twice the items halve the loss and every gradient", async () => {
  const { before, after } = await gradientsOf("llama-tied", (batch) => ({
    ...batch,
    items: 2 * batch.items,
  }));
  for (const name of before.keys()) {
    const half = numbers(before, name).map((x) => x / 2);
    expect(relativeDistance(numbers(after, name), half), name).toBeLessThan(1e-6);
  }
});

test("no items: the loss and every gradient are 0", async () => {
  const { after } = await gradientsOf("llama-tied", (batch) => ({ ...batch, items: 0 }));
  for (const name of after.keys())
    expect(
      numbers(after, name).every((x) => x === 0),
      name,
    ).toBe(true);
});

test.each([
  ["llama-biases", {}],
  ["llama-tied", { chunks: 4 }],
  ["llama-tied", { chunks: 1 }],
  ["llama-tied", { recompute: "layers" }],
  ["qwen3", { type: "float16" }],
] as const)("no labels: the loss and every gradient are 0, %s %o", async (name, how) => {
  const ignored = (batch: Batch) => ({ ...batch, labels: batch.labels.map(() => -100) });
  const { after } = await gradientsOf(name, ignored, how);
  for (const name of after.keys())
    expect(
      numbers(after, name).every((x) => x === 0),
      name,
    ).toBe(true);
});

test.each(["llama-tied", "mistral-window"])(
  "%s: loss and gradients of each target alone add up to torch's of all",
  async (name) => {
    const { model, batch, loss, gradients } = await openFixture(name);
    const trained = [...gradients.keys()];
    const { source, folder } = await sourceOf(model, trained, 3);
    const run = await openGraph(trainingGraph(source), folder);
    const isTarget = (at: number) => (batch.labels[at] ?? 0) >= 0 && batch.positions[at] !== 0;
    const targets = [...batch.labels.keys()].filter(isTarget);
    expect(targets).toHaveLength(batch.items);
    const sums = new Map(
      [...trained.map((parameter) => `${parameter}.grad`), "loss"].map((key) => [key, [0]]),
    );
    for (const target of targets) {
      const labels = batch.labels.map((label, at) => (at === target ? label : -100));
      const results = await run(await feedsOf(model, { ...batch, labels }, trained));
      for (const [key, sum] of sums)
        sums.set(
          key,
          Array.from(numbers(results, key), (x, at) => x + (sum[at] ?? 0)),
        );
    }
    expect(relativeDistance(sums.get("loss") ?? [], [loss])).toBeLessThan(1e-5);
    for (const [parameter, expected] of gradients)
      expect(relativeDistance(sums.get(`${parameter}.grad`) ?? [], expected), parameter).toBeLessThan(1e-4);
  },
);

test("what stands in the padding changes nothing", async () => {
  const other = ({ ids, ...batch }: Batch) => ({
    ...batch,
    ids: ids.map((id, at) => (at >= 19 && at < 23 ? (id + 5) % 37 : id)),
  });
  const { before, after } = await gradientsOf("qwen3", other);
  for (const name of before.keys()) {
    if (name === "model.embed_tokens.weight.grad") continue;
    expect(relativeDistance(numbers(after, name), numbers(before, name)), name).toBeLessThan(1e-6);
  }
});

test.each(["llama-tied", "mistral-window"])("%s: packed segments are separate rows", async (name) => {
  const { model, gradients } = await openFixture(name);
  const trained = [...gradients.keys()];
  const { source, folder } = await sourceOf(model, trained, 3);
  const run = await openGraph(trainingGraph(source), folder);
  const tokens = Int32Array.from({ length: 14 }, (_, at) => (at * 7 + 3) % 37);
  const shared = { ids: tokens, labels: tokens, items: 12 };
  const packed = {
    ...shared,
    dims: [1, 14] as const,
    positions: Int32Array.from(tokens, (_, at) => at % 7),
  };
  const rows = { ...packed, dims: [2, 7] as const };
  const together = await run(await feedsOf(model, packed, trained));
  const apart = await run(await feedsOf(model, rows, trained));
  for (const output of together.keys()) {
    expect(relativeDistance(numbers(together, output), numbers(apart, output)), output).toBeLessThan(1e-5);
  }
});

describe.each(["mistral-window", "mistral-three-groups"])("%s", (name) => {
  test.each([1, 2, 3, 4, 5])(
    "a sequence of %d tokens, shorter than or as long as the chunks are many",
    async (length) => {
      const { model, gradients } = await openFixture(name);
      const trained = [...gradients.keys()];
      const ids = Int32Array.from({ length }, (_, at) => at + 1);
      const positions = Int32Array.from({ length }, (_, at) => at);
      const batch: Batch = { dims: [1, length], ids, labels: ids, positions, items: Math.max(length - 1, 1) };
      const results = await Promise.all(
        [1, 4].map(async (chunks) => {
          const { source, folder } = await sourceOf(model, trained, chunks);
          const run = await openGraph(trainingGraph(source), folder);
          return run(await feedsOf(model, batch, trained));
        }),
      );
      const [whole, cut] = results;
      if (whole === undefined || cut === undefined) throw new Error("no results");
      for (const output of whole.keys()) {
        const [a, b] = [numbers(cut, output), numbers(whole, output)];
        // One target makes some gradients 0 but for rounding, which has no relative distance.
        const isZero = Math.hypot(...b) < 1e-6;
        expect(isZero ? Math.hypot(...a) : relativeDistance(a, b), output).toBeLessThan(1e-5);
      }
    },
  );
});

test("evaluation gives the training loss, log probabilities, predictions and the last logits", async () => {
  const { model, batch, loss, gradients } = await openFixture("qwen2-windows");
  const trained = [...gradients.keys()].slice(0, 3);
  const { source, folder } = await sourceOf(model, trained, 2);
  const run = await openGraph(evaluationGraph(source), folder);
  const results = await run(await feedsOf(model, batch, trained));
  const [rows, columns] = batch.dims;
  expect(relativeDistance(numbers(results, "loss"), [loss])).toBeLessThan(1e-5);
  const logProbabilities = numbers(results, "token_logprobs");
  expect(results.get("token_logprobs")?.dims).toEqual([rows, columns - 1]);
  const sum = logProbabilities.reduce((a, b) => a + b, 0);
  expect(-sum / batch.items).toBeCloseTo(loss, 5);
  logProbabilities.forEach((x, at) => {
    const next = Math.floor(at / (columns - 1)) * columns + (at % (columns - 1)) + 1;
    expect(x < 0).toBe((batch.labels[next] ?? 0) >= 0 && batch.positions[next] !== 0);
  });
  const logits = numbers(results, "last_logits");
  expect(results.get("last_logits")?.dims).toEqual([rows, 37]);
  const predictions = numbers(results, "predictions");
  for (let row = 0; row < rows; row++) {
    const own = logits.subarray(37 * row, 37 * row + 37);
    expect(predictions[row * columns + columns - 1]).toBe(own.indexOf(Math.max(...own)));
  }
});
