// One thread of the updater, as the updater sees it.
import { Worker } from "node:worker_threads";
import { buffersOf, type Reply, type Request } from "./protocol.ts";
import type { Task, TaskResult } from "./tasks.ts";

interface Waiting {
  readonly resolve: (results: readonly TaskResult[]) => void;
  readonly reject: (error: Error) => void;
}

/** Owns one thread. Calls of `perform` wait for each other. */
export class UpdateThread {
  // Without the process's own flags: it needs none, and some are of use to a program alone.
  readonly #worker = new Worker(new URL("./worker.js", import.meta.url), { execArgv: [] });
  readonly #exited: Promise<void>;
  readonly #waiting: Waiting[] = [];
  /** Why the thread takes no more work; null while it does. */
  #end: Error | null = null;

  constructor() {
    this.#worker.on("message", (reply: Reply) => this.#receive(reply));
    this.#worker.on("error", (cause) =>
      this.#fail(new Error(`A thread that updates parameters crashed: ${cause}`, { cause })),
    );
    this.#exited = new Promise((resolve) => {
      this.#worker.on("exit", (code) => {
        this.#fail(new Error(`A thread that updates parameters stopped with code ${code}`));
        resolve();
      });
    });
    this.#worker.unref();
  }

  /** Does the tasks, whose arrays are handed over and come back with the results. */
  perform(tasks: readonly Task[]): Promise<readonly TaskResult[]> {
    if (this.#end !== null) return Promise.reject(this.#end);
    this.#post({ kind: "perform", tasks }, buffersOf(tasks));
    this.#worker.ref(); // a thread at work keeps the process alive, an idle one does not
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
    });
  }

  /** Ends the thread once the work in progress is done; who waits for that is rejected. */
  async close(): Promise<void> {
    if (this.#end === null) {
      this.#post({ kind: "stop" }, []);
      this.#worker.ref();
      this.#fail(new Error("The threads that update parameters were closed"));
    }
    await this.#exited;
  }

  #post(request: Request, buffers: ArrayBuffer[]): void {
    this.#worker.postMessage(request, buffers);
  }

  #receive(reply: Reply): void {
    const waiting = this.#waiting.shift();
    if (this.#end === null && this.#waiting.length === 0) this.#worker.unref();
    if (reply.kind === "performed") waiting?.resolve(reply.results);
    else waiting?.reject(new Error(reply.message));
  }

  #fail(error: Error): void {
    this.#end ??= error;
    for (const { reject } of this.#waiting.splice(0)) reject(this.#end);
  }
}
