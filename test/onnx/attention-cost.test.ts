// What attention over 4,096 positions computes and holds, by the sizes that the graph itself says it has.
import { describe, expect, test } from "vitest";
import type { Dim } from "../../src/onnx/dim.ts";
import type { Graph } from "../../src/onnx/graph.ts";
import { orderedNodes } from "../../src/onnx/model-file.ts";
import { trainingGraph } from "../../src/training/graphs.ts";
import { feedsOf, openFixture, sourceOf } from "../training/fixture-model.ts";
import { openGraph } from "../training/run-graph.ts";
import { sizesOf, targetsOnly } from "./graph-sizes.ts";

const SEQUENCE = 4096;
const CHUNKS = 4;
const HEADS = 4;

/** A training graph of everything, its nodes in order, and the size of any dimension at a length. */
async function graphOf(name: string, { chunks = CHUNKS, length = SEQUENCE } = {}) {
  const { model, gradients } = await openFixture(name);
  const { source } = await sourceOf(model, [...gradients.keys()], chunks);
  const g = trainingGraph({ ...source, maxSequence: length });
  const nodes = orderedNodes(g);
  const size = await sizesOf(
    name,
    g,
    nodes.map(({ output }) => output),
    targetsOnly(length),
  );
  return { nodes, size };
}

/** The ranges of queries and keys that are multiplied, for each chunk. */
function ranges(nodes: Awaited<ReturnType<typeof graphOf>>["nodes"], size: (dim: Dim) => number) {
  const shapes = nodes
    .map(({ output }) => output.shape)
    .filter(
      ([, , , queries, keys]) => /^queries\dof/.test(String(queries)) && /^keys|^padded/.test(String(keys)),
    );
  const pairs = new Map(
    shapes.map(([, , , queries = 0, keys = 0]) => [String(queries), [queries, keys]] as const),
  );
  return [...pairs.values()].map(([queries = 0, keys = 0]) => ({ queries: size(queries), keys: size(keys) }));
}

describe.each(["llama-tied", "mistral-window"])("a step of 4,096 tokens of %s", (name) => {
  test("holds no tensor of more than a quarter of the scores", async () => {
    const { nodes, size } = await graphOf(name);
    const sizes = nodes.map(({ output }) =>
      output.shape.reduce((product: number, dim) => product * size(dim), 1),
    );
    expect(sizes.every(Number.isFinite)).toBe(true);
    expect(Math.max(...sizes)).toBeLessThanOrEqual((HEADS * SEQUENCE * SEQUENCE) / CHUNKS);
  });

  test("would hold the whole scores without chunks, which the sizes then show", async () => {
    const length = 512;
    const { nodes, size } = await graphOf(name, { chunks: 1, length });
    const sizes = nodes.map(({ output }) =>
      output.shape.reduce((product: number, dim) => product * size(dim), 1),
    );
    expect(Math.max(...sizes)).toBe(HEADS * length * length);
  });
});

test("no chunk of queries is multiplied with keys that come after all of them", async () => {
  const { nodes, size } = await graphOf("llama-tied");
  const chunk = SEQUENCE / CHUNKS;
  expect(ranges(nodes, size)).toEqual([1, 2, 3, 4].map((end) => ({ queries: chunk, keys: end * chunk })));
});

test("no chunk of queries is multiplied with keys that lie before the windows of all of them", async () => {
  const window = 5;
  const { nodes, size } = await graphOf("mistral-window");
  const chunk = SEQUENCE / CHUNKS;
  const within = { queries: chunk, keys: chunk + window - 1 };
  expect(ranges(nodes, size)).toEqual([{ queries: chunk, keys: chunk }, within, within, within]);
});

test("three groups are multiplied as six halves, but for the last chunk, which can be odd", async () => {
  const { model, gradients } = await openFixture("mistral-three-groups");
  const { source } = await sourceOf(model, [...gradients.keys()], CHUNKS);
  const batches = orderedNodes(trainingGraph(source))
    .filter(({ op }) => op === "MatMul")
    .map(({ output: { shape } }) => shape.slice(1, -2).join());
  const count = (batch: string) => batches.filter((other) => other === batch).length;
  // In each of two layers: scores and outputs, then scores, dP, dV and dK in halves; dQ sums over keys and stays whole.
  expect(count("3,2")).toBe(2 * (CHUNKS - 1) * 6);
  expect(count("3")).toBe(2 * (CHUNKS - 1 + 7));
});

test("every value has the shape that the graph says", async () => {
  for (const name of ["mistral-window", "mistral-three-groups", "qwen3", "llama-biases"]) {
    const { model, batch, gradients } = await openFixture(name);
    const trained = [...gradients.keys()];
    const { source, folder } = await sourceOf(model, trained, 3);
    // The runner hands out no booleans.
    const nodesOf = (g: Graph) =>
      orderedNodes(g).flatMap(({ output }) => (output.type === "bool" ? [] : [output]));
    const measured = trainingGraph(source);
    const one = { ...batch, dims: [1, batch.dims[1]] as const };
    const row = (data: Int32Array) => data.subarray(0, batch.dims[1]);
    const fed = { ...one, ids: row(batch.ids), labels: row(batch.labels), positions: row(batch.positions) };
    const size = await sizesOf(name, measured, nodesOf(measured), fed);
    const g = trainingGraph(source);
    const values = nodesOf(g);
    g.outputs.clear();
    for (const value of values) g.output(`of ${value.name}`, value);
    const results = await (await openGraph(g, folder))(await feedsOf(model, fed, trained));
    for (const { name: value, shape } of values)
      expect(results.get(`of ${value}`)?.dims, value).toEqual(shape.map(size));
  }
});
