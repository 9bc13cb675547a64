// What a thread answers that runs graphs: the protocol's tensors as the runtime's, and back.
import { Tensor } from "onnxruntime-node";
import type { GraphTensor } from "../../../src/backend.ts";
import type { LoadedGraph } from "./loaded-graph.ts";
import { buffersOf, type Reply, type Request } from "./protocol.ts";

/** Where an answer goes. */
interface Port {
  postMessage(reply: Reply, transfer: readonly ArrayBuffer[]): void;
}

/** Sends an answer; the tensors' memory goes with it. */
export function reply(port: Port, message: Reply): void {
  port.postMessage(message, message.kind === "ran" ? buffersOf(message.feeds, message.outputs) : []);
}

/** The answer once a graph is loaded. */
export function opened({ inputs, outputs, folded }: LoadedGraph): Reply {
  return { kind: "opened", inputs, outputs, folded };
}

/** The answer to what was thrown. */
export function failure(error: unknown): Extract<Reply, { kind: "failed" }> {
  return { kind: "failed", message: error instanceof Error ? error.message : String(error) };
}

function tensorOf({ dtype, values, shape }: GraphTensor): Tensor {
  return new Tensor(dtype, values, shape);
}

function graphTensorOf({ dims: shape, data, type }: Tensor): GraphTensor {
  if (data instanceof Float32Array)
    return { dtype: "float32", shape, values: new Float32Array(...placeOf(data)) };
  if (data instanceof BigInt64Array)
    return { dtype: "int64", shape, values: new BigInt64Array(...placeOf(data)) };
  if (data instanceof Int32Array) return { dtype: "int32", shape, values: new Int32Array(...placeOf(data)) };
  throw new TypeError(`expected float32, int64 or int32, got ${type}`);
}

/** Buffer, offset and length of an array, for a view of the same memory. */
function placeOf({
  buffer,
  byteOffset,
  length,
}: Float32Array | BigInt64Array | Int32Array): [ArrayBuffer, number, number] {
  if (buffer instanceof ArrayBuffer) return [buffer, byteOffset, length];
  throw new TypeError("expected an output in memory that can be transferred");
}

/** Runs a graph. */
export async function run(
  graph: LoadedGraph,
  { feeds, outputs }: Extract<Request, { kind: "run" }>,
): Promise<Reply> {
  const inputs = Object.fromEntries(feeds.map(([name, tensor]) => [name, tensorOf(tensor)]));
  const session = await graph.sessionFor(feeds);
  const results = await session.run(inputs, outputs);
  return {
    kind: "ran",
    feeds,
    outputs: outputs.map((name) => {
      const tensor = results[name];
      if (tensor === undefined) throw new Error(`the output ${name} is missing`);
      return [name, graphTensorOf(tensor)];
    }),
  };
}
