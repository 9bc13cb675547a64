// Runs graphs under ONNX Runtime on the CPU, with the options that training uses.
import { InferenceSession, Tensor } from "onnxruntime-node";
import type { Graph } from "../../src/onnx/graph.ts";
import { modelFile } from "../../src/onnx/model-file.ts";

/** Numbers that ONNX Runtime takes and gives. */
export type Numbers = Float32Array | Float64Array | Int32Array | BigInt64Array;

/** A tensor by its content. */
export interface Content {
  readonly data: Numbers;
  readonly dims: readonly number[];
}

/** A session that is run with feeds by name. */
export type Runner = (feeds: Readonly<Record<string, Content>>) => Promise<ReadonlyMap<string, Content>>;

/** Opens a graph; `folder` is what its external data is relative to. */
export function openGraph(g: Graph, folder = "."): Promise<Runner> {
  const bytes = modelFile(g, { name: "test", producer: { name: "test", version: "0" } });
  // Fusions of level "all" have no float64 kernels, and ONNX Runtime refuses a model that they match.
  const isDouble = g.nodes.some(({ output }) => output.type === "float64");
  return openModelFile(bytes, folder, isDouble ? "basic" : "all");
}

/** Opens an ONNX file's bytes. */
export async function openModelFile(
  bytes: Uint8Array,
  folder: string,
  graphOptimizationLevel: "basic" | "all" = "all",
): Promise<Runner> {
  const session = await InferenceSession.create(bytes, {
    graphOptimizationLevel,
    enableMemPattern: false,
    intraOpNumThreads: 2,
    logSeverityLevel: 3,
    extra: {
      session: { disable_prepacking: "1", model_external_initializers_file_folder_path: folder },
    },
  });
  return async (feeds) => {
    const tensors = Object.entries(feeds).map(([name, content]) => [name, tensorOf(content)] as const);
    const results = await session.run(Object.fromEntries(tensors));
    return new Map(Object.entries(results).map(([name, tensor]) => [name, contentOf(name, tensor)]));
  };
}

function tensorOf({ data, dims }: Content): Tensor {
  if (data instanceof Float32Array) return new Tensor("float32", data, dims);
  if (data instanceof Float64Array) return new Tensor("float64", data, dims);
  if (data instanceof Int32Array) return new Tensor("int32", data, dims);
  return new Tensor("int64", data, dims);
}

function contentOf(name: string, { data, dims }: Tensor): Content {
  if (
    data instanceof Float32Array ||
    data instanceof Float64Array ||
    data instanceof Int32Array ||
    data instanceof BigInt64Array
  ) {
    return { data, dims };
  }
  throw new TypeError(`Cannot read ${name}: unexpected elements`);
}

/** A result as numbers. @throws Error when there is none of that name. */
export function numbers(results: ReadonlyMap<string, Content>, name: string): Float64Array {
  const content = results.get(name);
  if (content === undefined) throw new Error(`no ${name} among ${[...results.keys()]}`);
  return Float64Array.from(content.data, Number);
}

/** |a - b| / |b|, Euclidean. */
export function relativeDistance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let difference = 0;
  let norm = 0;
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  for (let i = 0; i < b.length; i++) {
    difference += ((a[i] ?? 0) - (b[i] ?? 0)) ** 2;
    norm += (b[i] ?? 0) ** 2;
  }
  return Math.sqrt(difference) / Math.sqrt(norm);
}
