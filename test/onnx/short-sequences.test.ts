// Sequences of fewer tokens than there are chunks: the graphs compute them, and nothing in them is empty, which WebGPU refuses.
import { describe, expect, test } from "vitest";
import type { Graph } from "../../src/onnx/graph.ts";
import { orderedNodes } from "../../src/onnx/model-file.ts";
import { evaluationGraph, trainingGraph } from "../../src/training/graphs.ts";
import { type Batch, feedsOf, openFixture, sourceOf } from "../training/fixture-model.ts";
import { numbers, openGraph } from "../training/run-graph.ts";

const CHUNKS = 4;

/** The first `length` tokens of each row. */
function cut(batch: Batch, length: number): Batch {
  const [rows, columns] = batch.dims;
  const part = (x: Int32Array) => x.filter((_, at) => at % columns < length);
  const { ids, labels, positions } = batch;
  return { ...batch, dims: [rows, length], ids: part(ids), labels: part(labels), positions: part(positions) };
}

/** Everything that a graph computes, but for booleans, which the runner does not hand out. */
async function allValues(g: Graph, folder: string) {
  const values = orderedNodes(g).flatMap(({ output }) => (output.type === "bool" ? [] : [output]));
  g.outputs.clear();
  for (const value of values) g.output(`of ${value.name}`, value);
  return openGraph(g, folder);
}

describe.each(["llama-tied", "mistral-window", "mistral-three-groups"])("%s", (name) => {
  test("computes of 1 to 9 tokens what it does in one chunk", async () => {
    const { model, batch, gradients } = await openFixture(name);
    const trained = [...gradients.keys()];
    for (const graphOf of [trainingGraph, evaluationGraph]) {
      const [whole, chunks] = await Promise.all(
        [1, CHUNKS].map(async (count) => {
          const { source, folder } = await sourceOf(model, trained, count);
          return openGraph(graphOf(source), folder);
        }),
      );
      if (whole === undefined || chunks === undefined) throw new Error("no graph");
      for (let length = 1; length <= 9; length++) {
        const feeds = await feedsOf(model, cut(batch, length), trained);
        const [expected, actual] = [await whole(feeds), await chunks(feeds)];
        const norm = Math.hypot(...[...expected.keys()].map((key) => Math.hypot(...numbers(expected, key))));
        for (const [key, { dims }] of expected) {
          expect(actual.get(key)?.dims, `${key} of ${length}`).toEqual(dims);
          const [a, b] = [numbers(actual, key), numbers(expected, key)];
          const distance = Math.hypot(...a.map((x, i) => x - (b[i] ?? NaN)));
          expect(distance, `${key} of ${length}`).toBeLessThanOrEqual(1e-6 * norm);
        }
      }
    }
  });

  test("makes no empty tensor of 1 to 9 tokens, but for the log probabilities of one", async () => {
    const { model, batch, gradients } = await openFixture(name);
    const trained = [...gradients.keys()];
    const { source, folder } = await sourceOf(model, trained, CHUNKS);
    for (const graphOf of [trainingGraph, evaluationGraph]) {
      const run = await allValues(graphOf(source), folder);
      for (let length = graphOf === trainingGraph ? 1 : 2; length <= 9; length++) {
        const results = await run(await feedsOf(model, cut(batch, length), trained));
        const empty = [...results].filter(([, { dims }]) => dims.includes(0)).map(([key]) => key);
        expect(empty, `of ${length} tokens`).toEqual([]);
      }
    }
  });
});
