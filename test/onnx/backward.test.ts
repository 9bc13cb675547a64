// What a training graph computes, and what it does not.
import { describe, expect, test } from "vitest";
import type { Graph, Node, Value } from "../../src/onnx/graph.ts";
import { orderedNodes } from "../../src/onnx/model-file.ts";
import { isStandard, OPERATORS, OPSET } from "../../src/onnx/operators/table.ts";
import { trainingGraph } from "../../src/training/graphs.ts";
import { openFixture, sourceOf } from "../training/fixture-model.ts";

async function graphOf(fixture: string, trained: readonly string[], chunks = 1): Promise<Graph> {
  const { model } = await openFixture(fixture);
  const { source } = await sourceOf(model, trained, chunks);
  return trainingGraph(source);
}

/** Of the fixtures. */
const VOCABULARY = 37;

/** Nodes that a gradient passes through: they depend on the probabilities of the tokens. */
function gradientNodes(g: Graph): readonly Node[] {
  const probabilities = g.nodes.filter(
    ({ op, output }) => op === "Softmax" && output.shape[1] === VOCABULARY,
  );
  expect(probabilities).toHaveLength(1);
  const reached = new Set<Value | null>(probabilities.map(({ output }) => output));
  return orderedNodes(g).filter(({ inputs, output }) => {
    const depends = inputs.some((input) => reached.has(input));
    if (depends) reached.add(output);
    return depends;
  });
}

function count(nodes: readonly Node[], op: string): number {
  return nodes.filter((node) => node.op === op).length;
}

/** Products that are a weight's gradient: dy^T x, with dy transposed ahead or by the product. */
function weightGradients(nodes: readonly Node[]): number {
  const makerOf = (value: Value | null | undefined) => nodes.find(({ output }) => output === value);
  const isTurned = (value: Value | null | undefined) => {
    const transpose = makerOf(makerOf(value)?.inputs[0]);
    return transpose?.op === "Transpose" && transpose.output.shape.length === 3;
  };
  return nodes.filter(
    ({ op, inputs, attributes }) => op === "Gemm" && ("transA" in attributes || isTurned(inputs[0])),
  ).length;
}

describe("a training graph", () => {
  const down = "model.layers.1.mlp.down_proj.weight";
  const up = "model.layers.1.mlp.up_proj.weight";

  test("computes one weight gradient for one selected weight, and no more of the layers than leads there", async () => {
    const nodes = gradientNodes(await graphOf("llama-biases", [down]));
    expect(weightGradients(nodes)).toBe(1);
    // Logits to hidden states, and the weight itself; of the final norm one product of p and w.
    expect(count(nodes, "Gemm")).toBe(2);
    expect(count(nodes, "MatMul")).toBe(1);
  });

  test("goes one product further for the weight before it", async () => {
    const nodes = gradientNodes(await graphOf("llama-biases", [up]));
    expect(weightGradients(nodes)).toBe(1);
    expect(count(nodes, "Gemm")).toBe(3);
  });

  test("computes no gradient below the lowest selected weight, nor again what it would need", async () => {
    const trained = [up, "model.layers.1.self_attn.v_proj.weight"];
    const g = await graphOf("llama-biases", trained);
    const nodes = gradientNodes(g);
    // dV and nothing of queries and keys: probabilities by keys times dO.
    expect(count(nodes, "RotaryEmbedding")).toBe(0);
    expect(count(nodes, "MatMul")).toBe(3);
    expect(weightGradients(nodes)).toBe(2);
    const names = new Set(nodes.flatMap(({ inputs }) => inputs.map((value) => value?.name)));
    expect([...names].filter((name) => name?.includes("layers.0"))).toEqual([]);
    const again = orderedNodes(g).filter(({ stage }) => stage === "recompute");
    expect(again.some(({ inputs }) => inputs.some((value) => value?.name.includes("layers.0")))).toBe(false);
  });

  test("of a frozen head and embedding computes no gradient", async () => {
    const nodes = gradientNodes(await graphOf("llama-tied", ["model.layers.0.input_layernorm.weight"]));
    expect(weightGradients(nodes)).toBe(1);
    expect(count(nodes, "ScatterElements")).toBe(0);
  });

  test("adds a tied embedding's gradient to its head's", async () => {
    const nodes = gradientNodes(await graphOf("llama-tied", ["model.embed_tokens.weight"]));
    // One takes the targets from the probabilities.
    expect(count(nodes, "ScatterElements")).toBe(2);
    expect(weightGradients(nodes)).toBe(1);
  });

  test("holds no node that no output needs, and only standard operators", async () => {
    const { gradients } = await openFixture("qwen3");
    const g = await graphOf("qwen3", [...gradients.keys()], 3);
    const nodes = orderedNodes(g);
    const needed = new Set<Value | null>(nodes.flatMap(({ inputs }) => [...inputs]));
    const outputs = new Set(g.outputs.values());
    for (const { op, output } of nodes) {
      expect(needed.has(output) || outputs.has(output)).toBe(true);
      if (!isStandard(op)) throw new Error(`${op} is no operator of the standard`);
      expect(OPERATORS[op].since).toBeLessThanOrEqual(OPSET);
      // What WebGPU leaves to the host are sizes.
      if (OPERATORS[op].webgpu === "shape") expect([op, output.type]).toEqual([op, "int64"]);
    }
  });

  test("stands in an order in which each node follows what it reads", async () => {
    const { gradients } = await openFixture("mistral-window");
    const g = await graphOf("mistral-window", [...gradients.keys()], 3);
    const known = new Set<Value | null>([null, ...g.inputs, ...g.initializers.map(({ value }) => value)]);
    for (const { inputs, output } of orderedNodes(g)) {
      for (const input of inputs) expect(known.has(input), input?.name).toBe(true);
      known.add(output);
    }
  });

  test("reads each int64 input by a Cast to int32 alone", async () => {
    const g = await graphOf("llama-tied", [down]);
    const inputs = g.inputs.filter(({ type }) => type === "int64");
    expect(inputs.map(({ name }) => name)).toEqual(["input_ids", "labels", "position_ids"]);
    for (const input of inputs) {
      const readers = orderedNodes(g).filter((node) => node.inputs.includes(input));
      expect(readers.map(({ op, output }) => [op, output.type])).toEqual([["Cast", "int32"]]);
    }
  });
});
