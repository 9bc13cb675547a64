// Logits that overflow float32 to -inf, against torch.
import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { differentiate } from "../../src/onnx/backward.ts";
import { Graph, type Value } from "../../src/onnx/graph.ts";
import { scalar } from "../../src/onnx/operators/elementwise.ts";
import { crossEntropy } from "../../src/onnx/ops/cross-entropy.ts";
import { frozenHeadLoss, isFrozenHead } from "../../src/onnx/ops/frozen-head.ts";
import type { NextTokens } from "../../src/onnx/ops/next-tokens.ts";
import { allRows } from "../../src/onnx/ops/target-rows.ts";
import { numbers, openGraph } from "../training/run-graph.ts";

interface Case {
  readonly targets: readonly number[];
  readonly hidden: readonly number[];
  readonly head: readonly number[];
  readonly newRows: readonly number[];
  readonly loss: number;
  readonly hiddenGradient: readonly number[];
  readonly newRowsGradient: readonly number[];
}

const fixture = new URL("../fixtures/head-overflow.json", import.meta.url);
const CASES: Readonly<Record<string, Case>> = JSON.parse(await readFile(fixture, "utf8"));
const SHAPES = { hidden: [6, 4], head: [40, 4], newRows: [2, 4] } as const;

interface LossInputs {
  readonly hidden: Value;
  readonly head: readonly Value[];
  readonly next: NextTokens;
}

const LOSSES = {
  frozenHeadLoss(g: Graph, inputs: LossInputs) {
    expect(isFrozenHead(g, inputs.head, "float32")).toBe(true);
    return frozenHeadLoss(g, { ...inputs, chunks: 3 });
  },
  crossEntropy: (g: Graph, { head, ...rows }: LossInputs) =>
    crossEntropy(g, { ...allRows(g, { ...rows, chunks: 1 }), head }).loss,
};

function lossGraph({ targets }: Case, lossOf: (g: Graph, inputs: LossInputs) => Value): Graph {
  const g = new Graph();
  const input = (name: keyof typeof SHAPES) => g.input(name, "float32", [...SHAPES[name]]);
  const [hidden, frozen, newRows] = [input("hidden"), input("head"), input("newRows")];
  g.train(hidden);
  g.train(newRows);
  const next = {
    targets: g.constant(
      "int32",
      [6, 1],
      targets.map((target) => Math.max(target, 0)),
    ),
    counts: g.constant(
      "float32",
      [6, 1],
      targets.map((target) => (target < 0 ? 0 : 1)),
    ),
    perItem: scalar(g, "float32", 0.25),
  };
  const loss = lossOf(g, { hidden, head: [frozen, newRows], next });
  const gradients = differentiate(g, loss, [hidden, newRows]);
  g.output("loss", loss);
  for (const [value, gradient] of gradients) g.output(`${value.name}.grad`, gradient);
  return g;
}

describe.each(Object.entries(LOSSES))("%s() with logits of -inf", (_, lossOf) => {
  test.each(Object.entries(CASES))("%s has torch's loss and gradients", async (__, each) => {
    const run = await openGraph(lossGraph(each, lossOf));
    const feed = (name: keyof typeof SHAPES) => ({
      data: Float32Array.from(each[name]),
      dims: SHAPES[name],
    });
    const results = await run({ hidden: feed("hidden"), head: feed("head"), newRows: feed("newRows") });
    const expected = {
      loss: [each.loss],
      "hidden.grad": each.hiddenGradient,
      "newRows.grad": each.newRowsGradient,
    };
    for (const [name, values] of Object.entries(expected)) {
      const actual = numbers(results, name);
      expect(actual.length).toBe(values.length);
      for (const [at, value] of values.entries())
        expect(Math.abs((actual[at] ?? 0) - value), `${name} ${at}`).toBeLessThan(
          1e-6 + 1e-5 * Math.abs(value),
        );
    }
  });
});
