// A session's thread: `run` blocks the thread it is called on, so each session has one. Started by session.ts, and ends
// when told: ending it from outside during a run would abort the process.
import { readFile } from "node:fs/promises";
import { parentPort, workerData } from "node:worker_threads";
import { InferenceSession, Tensor } from "onnxruntime-node";
import type { GraphDType, GraphTensor } from "../../src/backend.ts";
import { withInt32Inputs } from "./int32-inputs.ts";
import { buffersOf, type NamedTypes, type Reply, type Request, type SessionSetup } from "./protocol.ts";
import { PROVIDERS } from "./providers.ts";
import { sessionOptions } from "./session-options.ts";

const port = parentPort;
if (port === null) throw new Error("worker.js is started by the onnxruntime backend, not by hand");
const setup: SessionSetup = workerData;

function reply(message: Reply): void {
  port?.postMessage(message, message.kind === "ran" ? buffersOf(message.feeds, message.outputs) : []);
}

function typesOf(metadata: readonly InferenceSession.ValueMetadata[]): NamedTypes {
  return metadata.map((value) => {
    if (!value.isTensor || !isGraphDType(value.type))
      throw new TypeError(`${value.name} is ${value.isTensor ? value.type : "no tensor"}`);
    return [value.name, value.type];
  });
}

function isGraphDType(type: string): type is GraphDType {
  return type === "float32" || type === "int64" || type === "int32";
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
  session: InferenceSession,
  { feeds, outputs }: Extract<Request, { kind: "run" }>,
): Promise<Reply> {
  const inputs = Object.fromEntries(feeds.map(([name, tensor]) => [name, tensorOf(tensor)]));
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

async function serve(session: InferenceSession): Promise<void> {
  let last: Promise<void> = Promise.resolve();
  port?.on("message", (request: Request) => {
    last = last.then(async () => {
      if (request.kind === "run") return reply(await run(session, request).catch(failure));
      await session.release();
      end();
    });
  });
  reply({
    kind: "opened",
    inputs: typesOf(session.inputMetadata),
    outputs: typesOf(session.outputMetadata),
  });
}

/** Loads the graph; rewritten in memory where the provider needs it, its external data stays where it is. */
async function load({ graph, provider }: SessionSetup): Promise<InferenceSession> {
  const options = sessionOptions(setup);
  if (PROVIDERS[provider].int64) return InferenceSession.create(graph.path, options);
  return InferenceSession.create(withInt32Inputs(await readFile(graph.path)), options);
}

try {
  await serve(await load(setup));
} catch (error) {
  reply(failure(error));
  end();
}
