// Whether the device of a provider computes in float16: WebGPU does where it has the feature `shader-f16`.
import { InferenceSession, Tensor } from "onnxruntime-node";
import { Graph } from "../../../src/onnx/graph.ts";
import { modelFile } from "../../../src/onnx/model-file.ts";
import { type GraphProto, TensorProto_DataType } from "../../../src/onnx/onnx.pb.ts";
import { add, cast } from "../../../src/onnx/operators/elementwise.ts";
import type { ProviderName } from "../providers.ts";
import { castType } from "./cast-weights.ts";

/** Whether some node of the graph makes float16 of something else. */
export function usesFloat16({ node }: GraphProto): boolean {
  return node.some((each) => each.opType === "Cast" && castType(each) === TensorProto_DataType.FLOAT16);
}

/**
 * Adds two numbers in float16.
 *
 * @throws Error saying what else to do where the provider cannot, with the runtime's reason.
 */
export async function checkFloat16(provider: ProviderName): Promise<void> {
  const g = new Graph();
  const x = cast(g, g.input("x", "float32", [1]), "float16");
  g.output("y", cast(g, add(g, x, x), "float32"));
  const file = modelFile(g, { name: "float16", producer: { name: "probe", version: "1" } });
  try {
    const session = await InferenceSession.create(file, {
      executionProviders: [provider],
      logSeverityLevel: 4,
    });
    await session.run({ x: new Tensor("float32", Float32Array.of(1), [1]) });
    await session.release();
  } catch (cause) {
    throw new Error(
      `the graph computes in float16, and the device of ${provider} does not (${reasonOf(cause)}); export the model with compute dtype float32, or choose onnxruntime-cpu`,
      { cause },
    );
  }
}

/** What the runtime says, without the node and the C++ function that it begins with. */
function reasonOf(cause: unknown): string {
  const message = cause instanceof Error ? cause.message : String(cause);
  return message.trim().replace(/^.*Status Message: (?:\S+:\d+ \S+ )?/s, "");
}
