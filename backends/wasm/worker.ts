// A worker thread of the wasm backend: one matrix at a time, with the help of others, or help for another's. Started by
// pool.ts.
import { parentPort, workerData } from "node:worker_threads";
import { MatrixError } from "../../src/errors.ts";
import { Crew } from "./crew/crew.ts";
import { Helper } from "./crew/helper.ts";
import { compileKernels } from "./kernels-module.ts";
import { CLOSED_WORD, type Reply, type Request, slotBytes, type WorkerStart } from "./protocol.ts";
import { Solver } from "./singular-values/solver.ts";
import { ALONE } from "./singular-values/team.ts";
import { type SvdStep, SvdWorker } from "./svd/worker.ts";

const port = parentPort;
if (port === null) throw new Error("worker.js is started by the wasm backend, not by hand");
const { staging, precision, crew: crewStart }: WorkerStart = workerData;
const control = new Int32Array(staging, 0, 1);
const reply = (message: Reply) => port.postMessage(message);

const { module } = compileKernels({ shared: crewStart !== null });
const isClosed = () => Atomics.load(control, CLOSED_WORD) === 1;
const crew =
  crewStart && new Crew(crewStart, { interrupted: isClosed, onRestart: () => reply({ kind: "restarted" }) });
const solver = new Solver(module, precision, isClosed, crew ?? ALONE);
const helper = new Helper(module, isClosed);
let svd: SvdWorker | null = null;

/** The matrix at work; null between matrices and after one has failed, when its remaining bytes are dropped. */
let job: number | null = null;

function attempt(step: () => void): void {
  const attempted = job;
  if (attempted === null) return;
  try {
    step();
  } catch (error) {
    job = null;
    if (error instanceof MatrixError) reply({ kind: "refused", job: attempted, message: error.message });
    else reply({ kind: "failed", job: attempted, error });
  }
}

function finish(): void {
  if (job === null) return;
  const values = solver.finish();
  if (values === null) {
    reply({ kind: "again", job });
    return;
  }
  reply({ kind: "done", job, values });
  job = null;
}

function answerSvd(call: number, step: SvdStep): void {
  try {
    svd ??= new SvdWorker(compileKernels().module, isClosed);
    reply({ kind: "svd", call, answer: svd.take(step) });
  } catch (error) {
    reply({ kind: "svdFailed", call, error });
  }
}

/** Ends this thread alone, not the process. Closing the port would do but for Deno, whose port has no close(). */
function stopThread(): void {
  process.exit(0);
}

function handle(request: Request): void {
  switch (request.kind) {
    case "begin":
      job = request.job;
      attempt(() => solver.begin(request.header));
      return;
    case "bytes":
      attempt(() => solver.append(slotBytes(staging, request.slot).subarray(0, request.sizeBytes)));
      reply({ kind: "free", slot: request.slot });
      return;
    case "finish":
      attempt(finish);
      return;
    case "svd":
      answerSvd(request.call, request.step);
      return;
    case "help":
      helper.help(request.call, () => reply({ kind: "left" }));
      return;
    case "leave":
      if (helper.stopWaiting()) reply({ kind: "left" });
      return;
    case "stop":
      stopThread();
      return;
    default:
      request satisfies never;
  }
}

port.on("message", handle);
