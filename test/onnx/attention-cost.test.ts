// What attention over 4,096 positions computes and holds, by the sizes that the graph itself says it has.
import { describe, expect, test } from "vitest";
import type { Dim } from "../../src/onnx/dim.ts";
import type { Graph, Value } from "../../src/onnx/graph.ts";
import { orderedNodes } from "../../src/onnx/model-file.ts";
import { sizeOf } from "../../src/onnx/operators/layout.ts";
import { trainingGraph } from "../../src/training/graphs.ts";
import { feedsOf, openFixture, sourceOf } from "../training/fixture-model.ts";
import { numbers, openGraph } from "../training/run-graph.ts";

const SEQUENCE = 4096;
const CHUNKS = 4;
const HEADS = 4;

/** The factors of a dimension: numbers, and symbols with what is taken from them. */
const factorsOf = (dim: Dim) =>
  String(dim)
    .split("*")
    .map((factor) => factor.split(" - "))
    .map(([symbol = "", less = "0"]) => ({ symbol, less: Number(less) }));

/** The size of every symbol of a graph, from the first value that has it or a multiple of it, in a run on one sequence. */
async function sizesOf(name: string, g: Graph, values: readonly Value[], length: number) {
  const { model, gradients } = await openFixture(name);
  const factors = values.flatMap(({ shape }) => shape.flatMap(factorsOf));
  const symbols = [...new Set(factors.map(({ symbol }) => symbol))].filter((symbol) => !/^\d+$/.test(symbol));
  g.outputs.clear();
  const times = new Map<string, number>();
  for (const symbol of symbols) {
    const isMultiple = (dim: Dim) => new RegExp(`^(?:\\d+\\*)?${symbol}$`).test(String(dim));
    const first = values.find(({ shape }) => shape.some(isMultiple));
    if (first === undefined) throw new Error(`nothing has the dimension ${symbol}`);
    const axis = first.shape.findIndex(isMultiple);
    times.set(symbol, Number.parseInt(String(first.shape[axis]), 10) || 1);
    g.output(`size of ${symbol}`, sizeOf(g, first, axis));
  }
  const tokens = new Int32Array(length).fill(1);
  const positions = Int32Array.from(tokens.keys());
  const batch = { dims: [1, length] as const, ids: tokens, labels: tokens, positions, items: 1 };
  const run = await openGraph(g);
  const results = await run(await feedsOf(model, batch, [...gradients.keys()]));
  const sizes = new Map(
    symbols.map((symbol) => {
      const [size = 0] = numbers(results, `size of ${symbol}`);
      return [symbol, Number(size) / (times.get(symbol) ?? 1)];
    }),
  );
  const number = (symbol: string) => sizes.get(symbol) ?? Number(symbol);
  return (dim: Dim) => factorsOf(dim).reduce((size, { symbol, less }) => size * (number(symbol) - less), 1);
}

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
    length,
  );
  return { nodes, size };
}

/** The ranges of queries and keys that are multiplied, for each chunk. */
function ranges(nodes: Awaited<ReturnType<typeof graphOf>>["nodes"], size: (dim: Dim) => number) {
  const shapes = nodes
    .map(({ output }) => output.shape)
    .filter(
      ([, , , queries, keys]) => /^queries\dof/.test(String(queries)) && /^keys|^sequence/.test(String(keys)),
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
    const size = await sizesOf(name, measured, nodesOf(measured), batch.dims[1]);
    const g = trainingGraph(source);
    const values = nodesOf(g);
    g.outputs.clear();
    for (const value of values) g.output(`of ${value.name}`, value);
    const one = { ...batch, dims: [1, batch.dims[1]] as const };
    const row = (data: Int32Array) => data.subarray(0, batch.dims[1]);
    const fed = { ...one, ids: row(batch.ids), labels: row(batch.labels), positions: row(batch.positions) };
    const results = await (await openGraph(g, folder))(await feedsOf(model, fed, trained));
    for (const { name: value, shape } of values)
      expect(results.get(`of ${value}`)?.dims, value).toEqual(shape.map(size));
  }
});
