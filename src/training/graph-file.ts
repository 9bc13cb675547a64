// A graph of the artifacts on its way into their folder, and as the manifest states it.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Graph, Value } from "../onnx/graph.ts";
import { modelFile } from "../onnx/model-file.ts";
import { TOOL } from "../tool.ts";
import { GRAPH_DTYPES, type GraphFile, type GraphValue } from "./manifest.ts";

/** Names of the graphs' files, in every form. */
export const GRAPH_FILES = {
  training: "training_model.onnx",
  evaluation: "eval_model.onnx",
  optimizer: "optimizer_model.onnx",
} as const;

/** Writes a graph into a folder. */
export async function writeGraph(folder: string, file: string, g: Graph): Promise<GraphFile> {
  await writeFile(join(folder, file), modelFile(g, { name: file.replace(".onnx", ""), producer: TOOL }));
  return {
    file,
    inputs: g.inputs.map((value) => graphValue(value.name, value)),
    outputs: [...g.outputs].map(([name, value]) => graphValue(name, value)),
  };
}

function graphValue(name: string, { type, shape }: Value): GraphValue {
  const dtype = GRAPH_DTYPES.find((dtype) => dtype === type);
  if (dtype === undefined)
    throw new TypeError(`Cannot give ${name} the type ${type}: expected one of ${GRAPH_DTYPES.join(", ")}`);
  return { name, dtype, shape };
}
