// The open wasm backend: as many worker threads as it may use, started when first needed, one matrix on each; more
// calls wait in line, their rows untouched. Threads that no matrix waits for help others with theirs.
import type { Backend, MatrixSource, Precision } from "../../src/backend.ts";
import { checkSvd, type SvdOptions, type TruncatedSvd } from "../../src/backend-svd.ts";
import { MAX_HELPERS } from "./crew/control.ts";
import { chooseMatrix } from "./crew/cost-model.ts";
import { Crews } from "./crew/crews.ts";
import { KERNELS_SOURCE_SHA256 } from "./kernels.wasm.ts";
import { canShareMemory, compileKernels } from "./kernels-module.ts";
import { type PoolThread, PoolWorker } from "./pool-worker.ts";
import { planSvd } from "./svd/plan.ts";
import { computeSvd } from "./svd/svd.ts";

interface Waiting {
  readonly resolve: (worker: PoolWorker) => void;
  readonly reject: (error: Error) => void;
}

const WASM_THREAD: PoolThread = {
  backend: "wasm",
  url: new URL("./worker.js", import.meta.url),
  workerData: {},
  helps: true,
  connect: null,
};

/** Free threads are sent to help after this: calls that come together get a thread each first. */
const ASSIST_AFTER_MS = 3;

/**
 * The `wasm` backend, open. `fast` adds up the Gram matrix in float32 products and keeps what comes of it where its
 * measured error lets the SNR be right within 1e-6; what does not pass, and every F64 matrix, is computed in float64.
 */
export class WasmBackend implements Backend {
  readonly name = "wasm";
  readonly version: string;
  readonly precision: Precision;
  readonly concurrency: number;
  readonly #idle: PoolWorker[] = [];
  readonly #all = new Set<PoolWorker>();
  /** Threads that have died, or are to end, and have not yet. */
  readonly #ending = new Set<Promise<void>>();
  readonly #line: Waiting[] = [];
  /** What ends the truncated SVDs at work. */
  readonly #inFlight = new Set<(error: Error) => void>();
  #closed: Promise<void> | null = null;

  readonly #thread: PoolThread;
  /** Of each thread, at most; 0: they work alone. */
  readonly #helpers: number;
  /** What helpers could be sent to. */
  readonly #atWork = new Map<PoolWorker, MatrixSource>();
  readonly #crews = new Crews((helper) => this.#release(helper));
  #assisting: NodeJS.Timeout | null = null;

  /**
   * @param threads - worker threads, at least 1.
   * @param thread - the thread of another backend that is fed and answers in the same way.
   */
  constructor(threads: number, precision: Precision, thread = WASM_THREAD) {
    this.concurrency = threads;
    this.precision = precision;
    this.#thread = thread;
    this.#helpers = thread.helps && canShareMemory() ? Math.min(threads - 1, MAX_HELPERS) : 0;
    const build = `${KERNELS_SOURCE_SHA256.slice(0, 12)}${compileKernels().roundsOnce ? "-fma" : ""}`;
    this.version = `3-${build}${precision === "fast" ? "-f32" : ""}`;
  }

  async singularValues(matrix: MatrixSource): Promise<Float64Array> {
    checkShape(matrix.shape);
    const worker = await this.#acquire();
    this.#atWork.set(worker, matrix);
    this.#assistSoon();
    try {
      return await worker.singularValues(matrix);
    } finally {
      this.#atWork.delete(worker);
      this.#crews.dismiss(worker);
      this.#release(worker);
    }
  }

  /** On the first thread that is free and on all that are free then. */
  async svd(matrix: MatrixSource, rank: number, options?: SvdOptions): Promise<TruncatedSvd> {
    const request = checkSvd(matrix.shape, rank, options);
    const plan = planSvd(request, matrix.dtype);
    const workers = [await this.#acquire()];
    try {
      while (workers.length < plan.slices) {
        const worker = this.#takeIdle() ?? this.#start();
        if (worker === null) break;
        workers.push(worker);
      }
      return await this.#untilClosed(computeSvd(workers, matrix, { request, plan }));
    } finally {
      for (const worker of workers) this.#release(worker);
    }
  }

  /** The same, but rejected at once when the backend is closed: rows may never come. */
  async #untilClosed<T>(work: Promise<T>): Promise<T> {
    let stop: (error: Error) => void = () => {};
    const closed = new Promise<never>((_, reject) => {
      stop = reject;
    });
    this.#inFlight.add(stop);
    try {
      return await Promise.race([work, closed]);
    } finally {
      this.#inFlight.delete(stop);
    }
  }

  close(): Promise<void> {
    this.#closed ??= this.#closeAll();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #closeAll(): Promise<void> {
    if (this.#assisting !== null) clearTimeout(this.#assisting);
    for (const { reject } of this.#line.splice(0)) reject(closedError(this.#thread));
    for (const stop of this.#inFlight) stop(closedError(this.#thread));
    await Promise.all([...this.#ending, ...[...this.#all].map((worker) => worker.close())]);
  }

  async #acquire(): Promise<PoolWorker> {
    if (this.#closed !== null) throw closedError(this.#thread);
    const worker = this.#takeIdle() ?? this.#start();
    if (worker !== null) return worker;
    this.#crews.callOne();
    return new Promise((resolve, reject) => this.#line.push({ resolve, reject }));
  }

  /** An idle worker; those that died meanwhile are forgotten. */
  #takeIdle(): PoolWorker | null {
    for (let worker = this.#idle.pop(); worker !== undefined; worker = this.#idle.pop()) {
      if (worker.alive) return worker;
      this.#forget(worker);
    }
    return null;
  }

  /** Takes a thread off the list whose place another may take; one that is at a step still ends after it. */
  #forget(worker: PoolWorker): void {
    this.#all.delete(worker);
    const ended = worker.close();
    this.#ending.add(ended);
    void ended.then(() => this.#ending.delete(ended));
  }

  #start(): PoolWorker | null {
    if (this.#all.size >= this.concurrency) return null;
    const worker = new PoolWorker(this.precision, this.#thread, {
      helpers: this.#helpers,
      onRestart: () => this.#assistSoon(),
    });
    this.#all.add(worker);
    return worker;
  }

  /** Hands the worker to the next in line; one that died is replaced. */
  #release(worker: PoolWorker): void {
    if (this.#closed !== null) return;
    if (!worker.alive) this.#forget(worker);
    const next = this.#line.shift();
    const free = worker.alive ? worker : next && this.#start();
    if (!free) return;
    if (next) next.resolve(free);
    else this.#idle.push(free);
    this.#assistSoon();
  }

  #assistSoon(): void {
    if (this.#helpers === 0 || this.#assisting !== null || this.#closed !== null) return;
    this.#assisting = setTimeout(() => {
      this.#assisting = null;
      while (this.#assist()) {}
    }, ASSIST_AFTER_MS);
  }

  /** Sends a thread that has nothing to do, or is not yet started, to help where it gains most; false when nowhere. */
  #assist(): boolean {
    const started = this.#idle.length > 0;
    if (this.#line.length > 0 || (!started && this.#all.size >= this.concurrency)) return false;
    const matrices = [...this.#atWork].flatMap(([leader, { shape }]) => {
      const { progress } = leader;
      if (progress === null || !this.#crews.hasSeat(leader)) return [];
      return [{ leader, shape, ...progress, threads: 1 + this.#crews.size(leader) }];
    });
    const leader = matrices[chooseMatrix(matrices, { started }) ?? -1]?.leader;
    const helper = leader && (this.#takeIdle() ?? this.#start());
    if (!helper) return false;
    this.#crews.send(helper, leader);
    return true;
  }
}

function closedError({ backend }: PoolThread): Error {
  return new Error(`The ${backend} backend was closed`);
}

function checkShape(shape: readonly [number, number]): void {
  if (shape.every((side) => Number.isSafeInteger(side) && side >= 1)) return;
  throw new RangeError(
    `Cannot compute the singular values of a ${shape[0]} x ${shape[1]} matrix: it has no elements`,
  );
}
