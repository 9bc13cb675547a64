// One worker thread as the pool sees it: it feeds a matrix through the staging area and waits for the values.
import { MessageChannel, MessagePort, Worker } from "node:worker_threads";
import type { MatrixSource, Precision } from "../../src/backend.ts";
import { MatrixError } from "../../src/errors.ts";
import { floatDTypeBytes } from "../../src/tensor/dtype.ts";
import { CREW_BYTES, CrewControl } from "./crew/control.ts";
import type { MatrixAtWork } from "./crew/cost-model.ts";
import {
  CLOSED_WORD,
  type CrewStart,
  type Invitation,
  type Reply,
  type Request,
  SLOT_BYTES,
  SLOTS,
  STAGING_BYTES,
  slotBytes,
  type WorkerStart,
} from "./protocol.ts";
import { triesFloats } from "./singular-values/layout.ts";
import type { SvdAnswer, SvdStep } from "./svd/worker.ts";

interface Job {
  readonly number: number;
  readonly resolve: (values: Float64Array) => void;
  readonly reject: (error: unknown) => void;
  /** Feeds the rows once more. */
  readonly again: () => Promise<void>;
}

interface Asked {
  readonly resolve: (answer: SvdAnswer) => void;
  readonly reject: (error: unknown) => void;
}

/** Which thread a pool starts: one that speaks the protocol. */
export interface PoolThread {
  /** Name of the backend whose thread it is. */
  readonly backend: string;
  readonly url: URL;
  /** What it is started with besides {@link WorkerStart}. */
  readonly workerData: object;
  /** Whether such threads can help each other with a matrix. */
  readonly helps: boolean;
  /** Makes what each thread is given as `connection`, to something that several of them share; null: nothing. */
  readonly connect: (() => MessagePort) | null;
}

/** How a thread stands to the others of its pool. */
export interface PoolWorkerOptions {
  /** How many of them may help it with its matrix, at most. */
  readonly helpers: number;
  /** Called when a matrix begins anew: helpers that were not worth their while may be now. */
  readonly onRestart: () => void;
}

/** What others need to help a thread. */
interface Entrance {
  readonly control: SharedArrayBuffer;
  readonly words: CrewControl;
  readonly invitations: MessagePort;
}

/**
 * Owns one thread and its staging area. One `singularValues`, the steps of one truncated SVD, or help for another thread at
 * a time.
 */
export class PoolWorker {
  readonly #backend: string;
  readonly #precision: Precision;
  readonly #onRestart: () => void;
  readonly #staging = new SharedArrayBuffer(STAGING_BYTES);
  readonly #worker: Worker;
  readonly #exited: Promise<void>;
  readonly #freeSlots = Array.from({ length: SLOTS }, (_, slot) => slot);
  /** Feeds that wait for a slot: that of the job at work, and one whose job is over. */
  readonly #waiting: (() => void)[] = [];
  #jobs = 0;
  #job: Job | null = null;
  #calls = 0;
  readonly #asked = new Map<number, Asked>();
  readonly #entrance: Entrance | null;
  #leaving: { readonly resolve: () => void; readonly reject: (error: Error) => void } | null = null;
  #closing = false;
  /** Why the thread is gone; null while it lives. */
  #death: Error | null = null;

  constructor(
    precision: Precision,
    { backend, url, workerData, connect }: PoolThread,
    { helpers, onRestart }: PoolWorkerOptions,
  ) {
    this.#backend = backend;
    this.#precision = precision;
    this.#onRestart = onRestart;
    const { entrance, crew } = openCrew(helpers);
    this.#entrance = entrance;
    const start: WorkerStart = { staging: this.#staging, precision, crew };
    const connection = connect?.() ?? null;
    this.#worker = new Worker(url, {
      workerData: { ...workerData, ...start, connection },
      transferList: [crew?.invitations, connection].filter((port) => port instanceof MessagePort),
    });
    this.#worker.on("message", (reply: Reply) => this.#receive(reply));
    this.#worker.on("error", (cause) =>
      this.#die(new Error(`A worker of the ${backend} backend crashed`, { cause })),
    );
    this.#exited = new Promise((resolve) => {
      this.#worker.on("exit", (code) => {
        this.#die(
          new Error(
            `A worker of the ${backend} backend stopped before its matrix was done, with code ${code}`,
          ),
        );
        resolve();
      });
    });
    this.#worker.unref();
  }

  get alive(): boolean {
    return this.#death === null;
  }

  /** All singular values of one matrix, descending; see {@link Backend.singularValues}. */
  async singularValues(matrix: MatrixSource): Promise<Float64Array> {
    if (this.#death !== null) throw this.#death;
    this.#worker.ref(); // a thread at work keeps the process alive, an idle one does not
    try {
      const number = ++this.#jobs;
      const values = new Promise<Float64Array>((resolve, reject) => {
        const again = () => this.#feed(matrix, number).catch(reject);
        this.#job = { number, resolve, reject, again };
      });
      const { shape, dtype, rereadable = false } = matrix;
      // The thread says so itself once it comes to the matrix; until then the pool asks.
      this.#entrance?.words.begin(triesFloats(this.#precision, matrix));
      this.#post({ kind: "begin", job: number, header: { shape, dtype, rereadable } });
      return await Promise.race([values, this.#feed(matrix, number).then(() => values)]);
    } finally {
      this.#job = null;
      if (!this.#closing) this.#worker.unref();
    }
  }

  /** What is done of the matrix at work, of what can be shared; null: nothing can. */
  get progress(): Pick<MatrixAtWork, "doneMflops" | "floats"> | null {
    if (this.#entrance === null) return null;
    const { doneMflops, floats } = this.#entrance.words;
    return { doneMflops, floats };
  }

  /** Helps another thread with its matrix; settles once this one is free again, or gone. */
  help(leader: PoolWorker, seat: number): Promise<void> {
    const entrance = leader.#entrance;
    if (this.#death !== null) return Promise.reject(this.#death);
    if (entrance === null) return Promise.resolve();
    entrance.words.admit(seat);
    const { port1, port2 } = new MessageChannel();
    const invitation: Invitation = { port: port1 };
    entrance.invitations.postMessage(invitation, [port1]);
    this.#worker.ref();
    this.#post({ kind: "help", call: { control: entrance.control, seat, port: port2 } }, [port2]);
    return new Promise((resolve, reject) => {
      this.#leaving = { resolve, reject };
    });
  }

  /** Calls this thread back from where it helps; it has to be dismissed there as well. */
  leave(): void {
    this.#post({ kind: "leave" });
  }

  /** Sends a helper of this thread away. */
  dismissHelper(seat: number): void {
    this.#entrance?.words.dismiss(seat);
  }

  /** Rejects what is in progress, and ends the thread. */
  fail(error: Error): void {
    this.#die(error);
    void this.close();
  }

  /** Has a step of a truncated SVD done; steps that are asked for meanwhile follow in order. */
  ask(step: SvdStep): Promise<SvdAnswer> {
    if (this.#death !== null) return Promise.reject(this.#death);
    if (this.#closing) return Promise.reject(this.#closedError());
    this.#worker.ref();
    const call = ++this.#calls;
    return new Promise((resolve, reject) => {
      this.#asked.set(call, { resolve, reject });
      this.#post({ kind: "svd", call, step });
    });
  }

  /** Rejects the calls in progress and ends the thread at its next look at the closed word. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#worker.ref();
    this.#rejectAll(this.#closedError());
    this.#wake();
    Atomics.store(new Int32Array(this.#staging, 0, 1), CLOSED_WORD, 1);
    this.#post({ kind: "stop" });
    await this.#exited;
  }

  #post(request: Request, transfer: readonly MessagePort[] = []): void {
    this.#worker.postMessage(request, transfer);
  }

  /** Sends the rows of job `number`, for as long as that is the job at work. */
  async #feed({ shape, dtype, rows }: MatrixSource, number: number): Promise<void> {
    const rowBytes = shape[1] * floatDTypeBytes(dtype);
    for await (const block of rows) {
      if (block.length % rowBytes !== 0) {
        throw new RangeError(
          `Cannot read a ${shape[0]} x ${shape[1]} matrix of ${dtype}: ` +
            `got a block of ${block.length} bytes, which is no multiple of a row's ${rowBytes}`,
        );
      }
      for (let at = 0; at < block.length; at += SLOT_BYTES) {
        const slot = await this.#takeSlot(number);
        if (slot === null) return;
        const part = block.subarray(at, at + SLOT_BYTES);
        slotBytes(this.#staging, slot).set(part);
        this.#post({ kind: "bytes", slot, sizeBytes: part.length });
      }
      if (this.#job?.number !== number) return;
    }
    if (this.#job?.number === number) this.#post({ kind: "finish" });
  }

  /** A slot to fill; null once job `number` is over. */
  async #takeSlot(number: number): Promise<number | null> {
    while (this.#job?.number === number) {
      const slot = this.#freeSlots.pop();
      if (slot !== undefined) return slot;
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    }
    return null;
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  #receive(reply: Reply): void {
    switch (reply.kind) {
      case "free":
        this.#freeSlots.push(reply.slot);
        this.#wake();
        return;
      case "again":
        if (this.#job?.number === reply.job) void this.#job.again();
        return;
      case "restarted":
        this.#onRestart();
        return;
      case "done":
        if (this.#job?.number === reply.job) this.#job.resolve(reply.values);
        return;
      case "refused":
        if (this.#job?.number === reply.job) this.#job.reject(new MatrixError(reply.message));
        this.#wake();
        return;
      case "failed":
        if (this.#job?.number === reply.job) this.#job.reject(reply.error);
        this.#wake();
        return;
      case "svd":
        this.#settle(reply.call)?.resolve(reply.answer);
        return;
      case "svdFailed":
        this.#settle(reply.call)?.reject(reply.error);
        return;
      case "left":
        if (!this.#closing) this.#worker.unref();
        this.#leaving?.resolve();
        this.#leaving = null;
        return;
      default:
        reply satisfies never;
    }
  }

  /** Takes the call off the list. */
  #settle(call: number): Asked | undefined {
    const asked = this.#asked.get(call);
    this.#asked.delete(call);
    if (this.#asked.size === 0 && !this.#closing) this.#worker.unref();
    return asked;
  }

  #rejectAll(error: Error): void {
    this.#job?.reject(error);
    this.#job = null;
    for (const { reject } of this.#asked.values()) reject(error);
    this.#asked.clear();
    this.#leaving?.reject(error);
    this.#leaving = null;
  }

  #die(error: Error): void {
    this.#death ??= error;
    this.#entrance?.words.abandon();
    this.#entrance?.invitations.close();
    this.#rejectAll(this.#death);
    this.#wake();
  }

  #closedError(): Error {
    return new Error(`The ${this.#backend} backend was closed`);
  }
}

/** The two sides of what helpers go through: the pool's, and the thread's. */
function openCrew(helpers: number): { entrance: Entrance | null; crew: CrewStart | null } {
  if (helpers === 0) return { entrance: null, crew: null };
  const control = new SharedArrayBuffer(CREW_BYTES);
  const { port1, port2 } = new MessageChannel();
  return {
    entrance: { control, words: new CrewControl(control), invitations: port1 },
    crew: { control, invitations: port2, helpers },
  };
}
