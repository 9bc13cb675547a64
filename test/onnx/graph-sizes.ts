// The sizes of a graph's dimensions, measured in a run.
import type { Dim } from "../../src/onnx/dim.ts";
import type { Graph, Value } from "../../src/onnx/graph.ts";
import { sizeOf } from "../../src/onnx/operators/layout.ts";
import { type Batch, feedsOf, openFixture } from "../training/fixture-model.ts";
import { numbers, openGraph } from "../training/run-graph.ts";

/** The factors of a dimension: numbers, and symbols with what is taken from them. */
const factorsOf = (dim: Dim) =>
  String(dim)
    .split("*")
    .map((factor) => factor.split(" - "))
    .map(([symbol = "", less = "0"]) => ({ symbol, less: Number(less) }));

/** A sequence in which every token but the first is a target. */
export function targetsOnly(length: number): Batch {
  const ids = new Int32Array(length).fill(1);
  return { dims: [1, length], ids, labels: ids, positions: Int32Array.from(ids.keys()), items: 1 };
}

/** The size of every symbol of a fixture's graph, from the first value that has it or a multiple of it, in a run on a batch. */
export async function sizesOf(
  name: string,
  g: Graph,
  values: readonly Value[],
  batch: Batch,
): Promise<(dim: Dim) => number> {
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
