// A loaded graph as its caller sees it: a thread, and the calls that wait for it.
import { Worker } from "node:worker_threads";
import type { FoldedWeights, GraphDType, GraphRun, GraphSession, GraphTensor } from "../../src/backend.ts";
import { buffersOf, type Reply, type Request, type SessionSetup } from "./protocol.ts";

interface Waiting {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Starts the thread of a session and loads its graph.
 *
 * @throws Error naming the graph, with the runtime's message.
 */
export async function openSession(setup: SessionSetup): Promise<GraphSession> {
  const session = new ThreadSession(setup);
  await session.opened();
  return session;
}

class ThreadSession implements GraphSession {
  inputs: ReadonlyMap<string, GraphDType> = new Map();
  outputs: ReadonlyMap<string, GraphDType> = new Map();
  foldedWeights: readonly FoldedWeights[] = [];
  readonly #graph: string;
  readonly #worker: Worker;
  readonly #exited: Promise<void>;
  readonly #waiting: Waiting[] = [];
  /** Why the session takes no more calls; null while it does. */
  #end: Error | null = null;

  constructor(setup: SessionSetup) {
    this.#graph = setup.graph.path;
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), { workerData: setup });
    this.#worker.on("message", (reply: Reply) => this.#receive(reply));
    this.#worker.on("error", (cause) => {
      this.#fail(new Error(`The thread that runs ${this.#graph} crashed: ${cause}`, { cause }));
    });
    this.#exited = new Promise((resolve) => {
      this.#worker.on("exit", (code) => {
        this.#fail(new Error(`The thread that runs ${this.#graph} stopped with code ${code}`));
        resolve();
      });
    });
  }

  /** Waits until the graph is loaded. */
  async opened(): Promise<void> {
    const reply = await this.#next();
    if (reply.kind === "failed") {
      this.#worker.ref();
      await this.#exited;
      throw new Error(`Cannot load ${this.#graph}: ${reply.message}`);
    }
    if (reply.kind !== "opened") throw new Error(`Cannot load ${this.#graph}: it answered ${reply.kind}`);
    this.inputs = new Map(reply.inputs);
    this.outputs = new Map(reply.outputs);
    this.foldedWeights = reply.folded;
  }

  async run(feeds: ReadonlyMap<string, GraphTensor>, outputs: readonly string[]): Promise<GraphRun> {
    if (this.#end !== null) throw this.#end;
    const request: Request = { kind: "run", feeds: [...feeds], outputs };
    const answer = this.#next();
    this.#worker.postMessage(request, buffersOf(request.feeds));
    const reply = await answer;
    if (reply.kind === "failed") throw new Error(`Cannot run ${this.#graph}: ${reply.message}`);
    if (reply.kind !== "ran") throw new Error(`Cannot run ${this.#graph}: it answered ${reply.kind}`);
    return { feeds: new Map(reply.feeds), outputs: new Map(reply.outputs) };
  }

  async close(): Promise<void> {
    if (this.#end === null) {
      const stop: Request = { kind: "stop" };
      this.#worker.postMessage(stop);
      this.#worker.ref();
      this.#fail(new Error(`The session of ${this.#graph} was closed`));
    }
    await this.#exited;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** The thread's next reply. A thread at work keeps the process alive, an idle one does not. */
  #next(): Promise<Reply> {
    this.#worker.ref();
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  #receive(reply: Reply): void {
    this.#waiting.shift()?.resolve(reply);
    if (this.#waiting.length === 0 && this.#end === null) this.#worker.unref();
  }

  #fail(error: Error): void {
    this.#end ??= error;
    for (const { reject } of this.#waiting.splice(0)) reject(this.#end);
  }
}
