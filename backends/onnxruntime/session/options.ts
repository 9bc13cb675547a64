// The options of a session: what keeps memory low and results the same from run to run.
import { dirname, resolve } from "node:path";
import type { InferenceSession } from "onnxruntime-node";
import type { SessionSetup } from "./protocol.ts";

// Merges a layer's recomputed nodes with the first ones, which keeps all activations after all.
const HARMFUL_OPTIMIZERS = ["CommonSubexpressionElimination"];
// Casts frozen weights at load: float32 copies, packed for forward and backward each, where bfloat16 stays mapped.
const HARMFUL_ON_CPU = ["ConstantFolding"];
// Makes a Split of int32 slices, which WebGPU does not run.
const HARMFUL_ON_WEBGPU = ["GatherSliceToSplitFusion"];

/** Options for a training or evaluation graph; `strict` refuses one of which the provider leaves a part to the CPU. */
export function sessionOptions(
  { graph, provider, threads }: SessionSetup,
  strict = false,
): InferenceSession.SessionOptions {
  const harmful = [
    ...HARMFUL_OPTIMIZERS,
    ...(provider === "cpu" ? HARMFUL_ON_CPU : []),
    ...(provider === "webgpu" ? HARMFUL_ON_WEBGPU : []),
  ];
  // Said also where it is the graph's own: a graph that was rewritten in memory has no place.
  const folder = graph.weightsFolder ?? dirname(resolve(graph.path));
  return {
    executionProviders: [provider],
    graphOptimizationLevel: "all",
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: "sequential",
    // The pattern of the first run would be kept as one block: twice the memory from the second run on.
    enableMemPattern: false,
    enableCpuMemArena: false,
    // Errors reach the caller as exceptions; the log on stderr would repeat them.
    logSeverityLevel: 4,
    extra: {
      session: {
        model_external_initializers_file_folder_path: folder,
        // Otherwise the runtime dequantizes an 8-bit weight again for each of its readers.
        disable_quant_qdq: "1",
        // Threads spin while a run lasts, and not when the optimizer's turn has come.
        force_spinning_stop: "1",
        ...(strict && { disable_cpu_ep_fallback: "1" }),
      },
      optimization: { disable_specified_optimizers: harmful.join(";") },
    },
  };
}
