// A thread that computes singular values with ONNX Runtime's products: one matrix at a time. Speaks the protocol of the
// wasm backend's threads and is started by its pool.
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { MatrixError } from "../../../src/errors.ts";
import { compileKernels } from "../../wasm/kernels-module.ts";
import {
  CLOSED_WORD,
  type MatrixRequest,
  type Reply,
  slotBytes,
  type WorkerStart,
} from "../../wasm/protocol.ts";
import { DeviceClient } from "../device/client.ts";
import { DeviceGram, type DeviceGramOptions } from "../device/gram.ts";
import { openThreadProducts } from "./products.ts";
import { HybridSolver } from "./solver.ts";

const port = parentPort;
if (port === null) throw new Error("worker.js is started by the onnxruntime backend, not by hand");

/** What a thread of this backend is started with. */
interface HybridStart extends WorkerStart {
  readonly backend: string;
  /** To the thread that owns the device; null: all is done on the processor. */
  readonly connection: MessagePort | null;
  readonly deviceOptions: DeviceGramOptions;
}

const { staging, precision, backend, connection, deviceOptions }: HybridStart = workerData;
const control = new Int32Array(staging, 0, 1);
const reply = (message: Reply) => port.postMessage(message);

interface Opened {
  readonly solver: HybridSolver;
  /** Ends the wait for the device, if any. */
  leave(): void;
  release(): Promise<void>;
}

async function open(): Promise<Opened> {
  const device =
    connection === null ? null : new DeviceGram(new DeviceClient(connection, backend), deviceOptions);
  const floats = device === null ? precision === "fast" : Number.isFinite(deviceOptions.stageOrder);
  const products = await openThreadProducts({ floats });
  const interrupted = () => Atomics.load(control, CLOSED_WORD) === 1;
  return {
    solver: new HybridSolver(compileKernels().module, products, interrupted, device),
    leave: () => device?.close(),
    release: () => products.release(),
  };
}

/** The matrix at work; null between matrices and after one has failed, when its remaining bytes are dropped. */
let job: number | null = null;

async function attempt(step: () => void | Promise<void>): Promise<void> {
  const attempted = job;
  if (attempted === null) return;
  try {
    await step();
  } catch (error) {
    job = null;
    if (error instanceof MatrixError) reply({ kind: "refused", job: attempted, message: error.message });
    else reply({ kind: "failed", job: attempted, error });
  }
}

async function finish(solver: HybridSolver): Promise<void> {
  if (job === null) return;
  const values = await solver.finish();
  if (values === null) {
    reply({ kind: "again", job });
    return;
  }
  reply({ kind: "done", job, values });
  job = null;
}

async function handle({ solver, release }: Opened, request: MatrixRequest): Promise<void> {
  switch (request.kind) {
    case "begin":
      job = request.job;
      return attempt(() => solver.begin(request.header));
    case "bytes":
      await attempt(() => solver.append(slotBytes(staging, request.slot).subarray(0, request.sizeBytes)));
      return reply({ kind: "free", slot: request.slot });
    case "finish":
      return attempt(() => finish(solver));
    case "stop":
      await release();
      process.exit(0); // ends this thread alone; closing the port would do but for Deno, whose port has no close()
      return;
    default:
      request satisfies never;
  }
}

// A step waits for the products that the one before it has asked for. Listening begins before the products are there:
// Deno drops what nobody listens to.
const opening = open();
let last: Promise<unknown> = opening;
port.on("message", (request: MatrixRequest) => {
  if (request.kind === "stop") void opening.then(({ leave }) => leave());
  last = last.then(async () => handle(await opening, request));
});
