// Every op's gradient against central differences, in float64.
import { describe, expect, test } from "vitest";
import { differentiate } from "../../src/onnx/backward.ts";
import type { Dim } from "../../src/onnx/dim.ts";
import { Graph, type Value } from "../../src/onnx/graph.ts";
import { mul, scalar } from "../../src/onnx/operators/elementwise.ts";
import { sizeOf } from "../../src/onnx/operators/layout.ts";
import { total } from "../../src/onnx/operators/reductions.ts";
import type { Opset } from "../../src/onnx/operators/table.ts";
import { add } from "../../src/onnx/ops/add.ts";
import { attention, isUneven } from "../../src/onnx/ops/attention.ts";
import { attentionPlan } from "../../src/onnx/ops/attention-plan.ts";
import { crossEntropy } from "../../src/onnx/ops/cross-entropy.ts";
import { embedding } from "../../src/onnx/ops/embedding.ts";
import { frozenHeadLoss, isFrozenHead } from "../../src/onnx/ops/frozen-head.ts";
import { splitHeads } from "../../src/onnx/ops/heads.ts";
import { linear } from "../../src/onnx/ops/linear.ts";
import { recomputed } from "../../src/onnx/ops/recomputed.ts";
import { rmsNorm } from "../../src/onnx/ops/rms-norm.ts";
import { rotary } from "../../src/onnx/ops/rotary.ts";
import { swiglu } from "../../src/onnx/ops/swiglu.ts";
import { allRows, targetRows } from "../../src/onnx/ops/target-rows.ts";
import { type Content, numbers, openGraph, relativeDistance } from "../training/run-graph.ts";

/** Seeded numbers in (-1, 1), with no order that an error could hide in. */
function noise(size: number, seed: number): number[] {
  return Array.from({ length: size }, (_, i) => Math.sin(12.9898 * (i + 1) + 78.233 * seed) * 0.97);
}

type Inputs = Readonly<Record<string, readonly number[]>>;

interface Op {
  /** Shapes of the inputs; each is differentiated that is not frozen. */
  readonly inputs: Inputs;
  readonly frozen?: readonly string[];
  readonly build: (g: Graph, inputs: Record<string, Value>) => Value;
  /** Central differences of a linear op are exact at any step; RotaryEmbedding has no float64 kernel. */
  readonly linearFloat32?: boolean;
  /** Whether `build` gives the loss itself. */
  readonly isLoss?: boolean;
  readonly symbols?: Readonly<Record<number, string>>;
  /** What the symbol `sequence` stands for. */
  readonly length?: number;
  readonly opset?: Opset;
}

const ids = (g: Graph) => g.constant("int32", [5], [2, 0, 2, 3, 2]);

/** Two rows, the second of two segments. */
const positions = (g: Graph, length: number) => {
  const second = (at: number) => (at < 2 ? at : at - 2);
  const places = Array.from({ length }, (_, at) => at);
  return g.constant("int32", [2, length], [...places, ...places.map(second)]);
};

/** The same value with its dimensions by other names. */
function as(g: Graph, value: Value, shape: readonly Dim[]): Value {
  return g.emit("Identity", [value], { type: value.type, shape });
}

interface AttentionCase {
  readonly chunks: number;
  readonly window?: number;
  readonly groups?: number;
  readonly sharing?: number;
  readonly length?: number;
  /** Whether chunks are of even length. */
  readonly even?: boolean;
}

/** Attention of two rows of tokens. */
function attentionOp({
  chunks,
  window,
  groups = 2,
  sharing = 2,
  length = 7,
  even = isUneven(groups),
}: AttentionCase): Op {
  const keys = [2, groups, length, 3];
  return {
    inputs: { queries: [2, groups * sharing, length, 3], keys, values: keys },
    symbols: { 2: "sequence" },
    length,
    build: (g, { queries, keys, values }) => {
      if (!queries || !keys || !values) throw new Error("no inputs");
      g.measure("sequence", () => sizeOf(g, queries, 2));
      const places = as(g, positions(g, length), [2, "sequence"]);
      const options = { positions: places, type: "float64", chunks, window: window ?? null, even } as const;
      return attention(g, { queries, keys, values }, attentionPlan(g, options));
    },
  };
}

function lossOp(chunks: number, blocks: number, { cutRows = allRows, counts = [1, 1, 0, 1, 1, 1] } = {}): Op {
  const names = Array.from({ length: blocks }, (_, at) => `head${at}`);
  return {
    inputs: { hidden: [6, 4], ...Object.fromEntries(names.map((name, at) => [name, [5 - at, 4]])) },
    symbols: { 0: "rows" },
    isLoss: true,
    build: (g, { hidden, ...heads }) => {
      if (!hidden) throw new Error("no inputs");
      g.measure("rows", () => sizeOf(g, hidden, 0));
      const rows = (value: Value) => as(g, value, ["rows", 1]);
      const next = {
        targets: rows(g.constant("int32", [6, 1], [1, 4, 0, 0, 2, blocks > 1 ? 7 : 4])),
        counts: rows(g.constant("float32", [6, 1], counts)),
        perItem: scalar(g, "float32", 0.25),
      };
      const head = names.map((name) => heads[name]).filter((value) => value !== undefined);
      return crossEntropy(g, { ...cutRows(g, { hidden, next, chunks }), head }).loss;
    },
  };
}

/** A head of 40 rows that is cut into parts of 16, 16 and 8, and new rows that train. */
function frozenHeadOp({ chunks, newRows }: { chunks: number; newRows: boolean }): Op {
  const hidden = [6, 4];
  return {
    inputs: newRows ? { hidden, head0: [40, 4], head1: [2, 4] } : { hidden, head0: [40, 4] },
    frozen: ["head0"],
    isLoss: true,
    build: (g, { hidden, head0, head1 }) => {
      const next = {
        targets: g.constant("int32", [6, 1], [1, 17, 0, 15, 39, newRows ? 41 : 16]),
        counts: g.constant("float32", [6, 1], [1, 1, 0, 1, 1, 1]),
        perItem: scalar(g, "float32", 0.25),
      };
      const head = [must(head0), ...(head1 ? [head1] : [])];
      expect(isFrozenHead(g, head, "float64")).toBe(true);
      return frozenHeadLoss(g, { hidden: must(hidden), head, next, chunks });
    },
  };
}

const OPS: Readonly<Record<string, Op>> = {
  add: { inputs: { a: [3, 4], b: [3, 4] }, build: (g, { a, b }) => add(g, must(a), must(b)) },
  "add of one value twice": { inputs: { a: [3, 4] }, build: (g, { a }) => add(g, must(a), must(a)) },
  linear: {
    inputs: { x: [3, 4], w: [5, 4], b: [5] },
    build: (g, { x, w, b }) => linear(g, must(x), [must(w), must(b)]),
  },
  "linear with one weight twice": {
    inputs: { x: [3, 4], w: [4, 4] },
    build: (g, { x, w }) => linear(g, linear(g, must(x), [must(w), null]), [must(w), null]),
  },
  rmsNorm: {
    inputs: { x: [3, 5], w: [5] },
    build: (g, { x, w }) => rmsNorm(g, [must(x), must(w)], { epsilon: 0.02 }),
  },
  "rmsNorm by head": {
    inputs: { x: [2, 2, 3, 4], w: [4] },
    build: (g, { x, w }) => rmsNorm(g, [must(x), must(w)], { epsilon: 0.02 }),
  },
  "rmsNorm by head in opset 21": {
    inputs: { x: [2, 2, 3, 4], w: [4] },
    opset: 21,
    build: (g, { x, w }) => rmsNorm(g, [must(x), must(w)], { epsilon: 0.02 }),
  },
  swiglu: {
    inputs: { gate: [3, 4], up: [3, 4] },
    build: (g, { gate, up }) => swiglu(g, must(gate), must(up)),
  },
  embedding: {
    inputs: { table: [4, 3] },
    build: (g, { table }) => embedding(g, [must(table)], { ids: ids(g), type: "float64" }),
  },
  "embedding used twice": {
    inputs: { table: [4, 3] },
    build: (g, { table }) => {
      const rows = embedding(g, [must(table)], { ids: ids(g), type: "float64" });
      return linear(g, rows, [must(table), null]);
    },
  },
  "embedding in two blocks": {
    inputs: { first: [3, 2], second: [2, 2] },
    build: (g, { first, second }) => {
      const picked = g.constant("int32", [6], [4, 0, 3, 2, 4, 2]);
      return embedding(g, [must(first), must(second)], { ids: picked, type: "float64" });
    },
  },
  "a recomputed block": {
    inputs: { x: [3, 4], norm: [4], gate: [4, 4], up: [4, 4] },
    build: (g, { x, norm, gate, up }) =>
      recomputed(g, must(x), (y) => {
        const normed = rmsNorm(g, [y, must(norm)], { epsilon: 0.02 });
        const units = swiglu(g, linear(g, normed, [must(gate), null]), linear(g, normed, [must(up), null]));
        return add(g, y, units);
      }),
  },
  splitHeads: {
    inputs: { x: [6, 8] },
    build: (g, { x }) => splitHeads(g, must(x), { batch: 2, sequence: 3, heads: 2, size: 4 }),
  },
  rotary: { inputs: { x: [2, 3, 4, 6] }, linearFloat32: true, build: turned },
  "rotary in opset 21": { inputs: { x: [2, 3, 4, 6] }, opset: 21, build: turned },
  "attention in one chunk": attentionOp({ chunks: 1 }),
  "attention in 3 chunks": attentionOp({ chunks: 3 }),
  "attention in 3 chunks with a window": attentionOp({ chunks: 3, window: 3 }),
  "attention in one chunk with a window": attentionOp({ chunks: 1, window: 2 }),
  "attention of 3 groups in 2 chunks": attentionOp({ chunks: 2, groups: 3, sharing: 1 }),
  "attention of 3 groups in 3 chunks with a window": attentionOp({ chunks: 3, groups: 3, window: 2 }),
  "attention of 3 groups in chunks of which some are empty": attentionOp({ chunks: 4, groups: 3, length: 3 }),
  "crossEntropy in one chunk": lossOp(1, 1),
  "crossEntropy in 3 chunks": lossOp(3, 1),
  "crossEntropy with a head in two blocks": lossOp(2, 2),
  "crossEntropy of the targets": lossOp(1, 1, { cutRows: targetRows }),
  "crossEntropy of the targets in 3 chunks": lossOp(3, 2, {
    cutRows: targetRows,
    counts: [0, 1, 0, 0, 1, 1],
  }),
  "crossEntropy of one target in 3 chunks": lossOp(3, 1, { cutRows: targetRows, counts: [0, 0, 0, 1, 0, 0] }),
  "a frozen head's loss in one part": frozenHeadOp({ chunks: 1, newRows: false }),
  "a frozen head's loss in 3 parts": frozenHeadOp({ chunks: 3, newRows: false }),
  "a frozen head's loss in 3 parts, with new rows": frozenHeadOp({ chunks: 3, newRows: true }),
};

function turned(g: Graph, { x }: Record<string, Value>): Value {
  const type = must(x).type === "float64" ? "float64" : "float32";
  const [cosines, sines] = [1, 2].map((seed) => g.constant(type, [2, 4, 3], noise(24, seed)));
  return rotary(g, must(x), { cosines: must(cosines), sines: must(sines) });
}

function must(value: Value | undefined): Value {
  if (value === undefined) throw new Error("no such input");
  return value;
}

/** A graph whose loss is the sum of the op's output times fixed numbers, or the op's output itself. */
function lossGraph(op: Op) {
  const { inputs, frozen = [], build, linearFloat32, isLoss, symbols = {}, length = 1, opset } = op;
  const g = new Graph(opset);
  const type = linearFloat32 ? "float32" : "float64";
  const values: Record<string, Value> = {};
  for (const [name, shape] of Object.entries(inputs)) {
    const isSymbolic = !name.startsWith("head");
    const dims: Dim[] = shape.map((dim, axis) => (isSymbolic && symbols[axis]) || dim);
    values[name] = g.input(name, type, dims);
    if (!frozen.includes(name)) g.train(values[name]);
  }
  const y = build(g, values);
  let loss = y;
  if (!isLoss) {
    const dims = y.shape.map((dim) => (dim === "2*sequence" ? 2 * length : Number(dim)));
    const size = dims.reduce((a, b) => a * b, 1);
    const weights = as(g, g.constant(type, dims, noise(size, 9)), y.shape);
    loss = total(g, mul(g, y, weights));
    g.record({ inputs: [y], output: loss, gradient: ({ into }) => into(y, () => weights) });
  }
  const trained = Object.values(values).filter(({ name }) => !frozen.includes(name));
  const gradients = differentiate(g, loss, trained);
  g.output("loss", loss);
  for (const [value, gradient] of gradients) g.output(`${value.name}.grad`, gradient);
  return g;
}

describe.each([1, 2, 3, 6, 7, 16])("attention over %d positions whose products are halved", (length) => {
  test.each([
    { groups: 3, sharing: 1, window: 2 },
    { groups: 3, sharing: 4 },
    { groups: 5, sharing: 3, window: 5 },
  ])("is attention in one chunk: %o", async (shape) => {
    const cases = [1, 2, 4].map((chunks) => attentionOp({ ...shape, length, chunks, even: chunks > 1 }));
    const results = await Promise.all(cases.map(async (op) => (await openGraph(lossGraph(op)))(feedsOf(op))));
    const [whole, ...halved] = results;
    if (whole === undefined) throw new Error("no result");
    const distances = halved.flatMap((result) =>
      ["loss", "queries.grad", "keys.grad", "values.grad"].map((name) => {
        const [a, b] = [numbers(result, name), numbers(whole, name)];
        return Math.max(...Array.from(a, (x, at) => Math.abs(Number(x) - Number(b[at]))));
      }),
    );
    expect(Math.max(...distances)).toBeLessThan(1e-12);
  });
});

/** Fixed noise for each input. */
function feedsOf({ inputs, linearFloat32 = false }: Op): Record<string, Content> {
  const feeds: Record<string, Content> = {};
  for (const [at, [name, dims]] of Object.entries(inputs).entries()) {
    const data = noise(
      dims.reduce((a, b) => a * b, 1),
      at,
    );
    feeds[name] = { data: linearFloat32 ? Float32Array.from(data) : Float64Array.from(data), dims };
  }
  return feeds;
}

describe.each(Object.entries(OPS))("%s", (_, op) => {
  test("the gradient is what central differences give", async () => {
    const { inputs, frozen = [], linearFloat32 = false } = op;
    const run = await openGraph(lossGraph(op));
    const feeds = feedsOf(op);
    const results = await run(feeds);
    const step = linearFloat32 ? 1 : 1e-5;
    for (const [name, { data }] of Object.entries(feeds)) {
      if (frozen.includes(name)) continue;
      const differences: number[] = [];
      for (const [at, x] of Array.from(data, Number).entries()) {
        const shifted = async (by: number) => {
          const changed = Float64Array.from(data, Number);
          changed[at] = x + by;
          const moved = linearFloat32 ? Float32Array.from(changed) : changed;
          return (
            numbers(await run({ ...feeds, [name]: { data: moved, dims: inputs[name] ?? [] } }), "loss")[0] ??
            0
          );
        };
        differences.push(((await shifted(step)) - (await shifted(-step))) / (2 * step));
      }
      const distance = relativeDistance(numbers(results, `${name}.grad`), differences);
      expect(distance, name).toBeLessThan(linearFloat32 ? 1e-5 : 1e-7);
    }
  });
});
