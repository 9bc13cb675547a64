// How many rows the head computes, by the sizes that the graph itself says it has.
import { describe, expect, test } from "vitest";
import type { Node } from "../../src/onnx/graph.ts";
import { orderedNodes } from "../../src/onnx/model-file.ts";
import { evaluationGraph, type GraphSource, trainingGraph } from "../../src/training/graphs.ts";
import { openFixture, sourceOf } from "../training/fixture-model.ts";
import { sizesOf } from "./graph-sizes.ts";

const VOCABULARY = 37;
const SEQUENCE = 24;
const CHUNKS = 4;

/** A sequence of which the tokens at `targets` are targets. */
function batchOf(targets: readonly number[]) {
  const ids = Int32Array.from({ length: SEQUENCE }, (_, at) => at + 1);
  const labels = ids.map((id, at) => (targets.includes(at) ? id : -100));
  return { dims: [1, SEQUENCE] as const, ids, labels, positions: Int32Array.from(ids.keys()), items: 1 };
}

async function sourceOfEverything(): Promise<GraphSource> {
  const { model, gradients } = await openFixture("llama-tied");
  return (await sourceOf(model, [...gradients.keys()], CHUNKS)).source;
}

/** The nodes of a graph that trains one matrix of the layers. */
async function nodesWithFrozenHead(): Promise<readonly Node[]> {
  const { model } = await openFixture("llama-tied");
  const { source } = await sourceOf(model, ["model.layers.1.mlp.down_proj.weight"], CHUNKS);
  return orderedNodes(trainingGraph(source));
}

/** Everything that a node needs, however far back. */
function needsOf(nodes: readonly Node[], node: Node): ReadonlySet<Node> {
  const needs = new Set([node]);
  for (const next of needs)
    for (const other of nodes) if (next.inputs.includes(other.output)) needs.add(other);
  return needs;
}

const isOfVocabulary = ({ output }: Node) => output.shape.at(-1) === VOCABULARY && output.shape.length === 2;

/** The rows of each chunk's logits. */
async function logitRows(graphOf: typeof trainingGraph, targets: readonly number[]): Promise<number[]> {
  const g = graphOf(await sourceOfEverything());
  const nodes = orderedNodes(g);
  const values = nodes.map(({ output }) => output);
  const size = await sizesOf("llama-tied", g, values, batchOf(targets));
  const products = nodes.filter((node) => node.op === "Gemm" && isOfVocabulary(node));
  return products.map(({ output }) => size(output.shape[0] ?? 0));
}

describe("the head of a step", () => {
  test.each([
    { targets: Array.from({ length: SEQUENCE }, (_, at) => at), rows: [6, 6, 6, 5] },
    // Fewer chunks that are no longer than those of all rows, and one row for each of the others: none is empty.
    { targets: Array.from({ length: 13 }, (_, at) => at + 9), rows: [5, 5, 2, 1] },
    { targets: [3, 4, 5, 6, 11, 12, 23], rows: [4, 1, 1, 1] },
    { targets: [1, 2, 3, 4], rows: [1, 1, 1, 1] },
    { targets: [9], rows: [1, 1, 1, 1] },
    { targets: [], rows: [1, 1, 1, 1] },
  ])("computes $rows rows for the targets at $targets", async ({ targets, rows }) => {
    expect(await logitRows(trainingGraph, targets)).toEqual(rows);
  });

  test("makes nothing of the vocabulary's size but for chunks of these rows", async () => {
    const nodes = orderedNodes(trainingGraph(await sourceOfEverything())).filter(isOfVocabulary);
    const rows = new Set(nodes.map(({ output }) => output.shape[0]));
    expect([...rows]).toEqual(Array.from({ length: CHUNKS }, (_, at) => `rows${at}of${CHUNKS}`));
  });

  test("computes every row in evaluation, which tells what comes after each", async () => {
    expect(await logitRows(evaluationGraph, [9])).toEqual([6, 6, 6, 6, 1]);
  });

  test("computes every target at once by parts of a frozen vocabulary, none of which begins before the last is done with", async () => {
    const nodes = await nodesWithFrozenHead();
    const isLogits = ({ op, output, attributes }: Node) =>
      op === "Gemm" && output.shape[0] === "targets" && "transB" in attributes;
    const logits = nodes.filter(isLogits);
    expect(logits.map(({ output }) => output.shape[1])).toEqual([16, 16, 5]);
    expect(nodes.filter((node) => isOfVocabulary(node) && node.op !== "Gather")).toEqual([]);
    for (const [at, next] of logits.slice(1).entries()) {
      const before = nodes.filter(({ inputs }) => inputs.includes(logits[at]?.output ?? null));
      expect(before.length).toBeGreaterThan(2);
      const needs = needsOf(nodes, next);
      for (const reader of before) expect(needs.has(reader), reader.output.name).toBe(true);
    }
  });
});
