// A session's thread: `run` blocks the thread it is called on, so each session has one. Started by session.ts, and ends
// when told: ending it from outside during a run would abort the process.
import { parentPort, workerData } from "node:worker_threads";
import { Tensor } from "onnxruntime-node";
import type { GraphTensor } from "../../src/backend.ts";
import { type LoadedGraph, loadGraph } from "./loaded-graph.ts";
import { buffersOf, type Reply, type Request, type SessionSetup } from "./protocol.ts";

const port = parentPort;
if (port === null) throw new Error("worker.js is started by the onnxruntime backend, not by hand");
const setup: SessionSetup = workerData;

function reply(message: Reply): void {
  port?.postMessage(message, message.kind === "ran" ? buffersOf(message.feeds, message.outputs) : []);
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

async function run(
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

function failure(error: unknown): Reply {
  return { kind: "failed", message: error instanceof Error ? error.message : String(error) };
}

/** Ends this thread alone. Closing the port would do in Node, but Deno's has no such method. */
function end(): void {
  process.exit();
}

async function serve(graph: LoadedGraph): Promise<void> {
  let last: Promise<void> = Promise.resolve();
  port?.on("message", (request: Request) => {
    last = last.then(async () => {
      if (request.kind === "run") return reply(await run(graph, request).catch(failure));
      await graph.release();
      end();
    });
  });
  reply({ kind: "opened", inputs: graph.inputs, outputs: graph.outputs, folded: graph.folded });
}

try {
  await serve(await loadGraph(setup));
} catch (error) {
  reply(failure(error));
  end();
}
