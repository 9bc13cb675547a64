// A loaded graph as its caller sees it: a thread, and the calls that wait for it.
import type { FoldedWeights, GraphDType, GraphRun, GraphSession, GraphTensor } from "../../../src/backend.ts";
import { PROVIDERS } from "../providers.ts";
import { buffersOf, type NamedTensors, type Reply, type Request, type SessionSetup } from "./protocol.ts";
import { openSessionThread, type SessionThread } from "./thread.ts";

interface Waiting {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Loads a graph on a thread of its own, or on the one that owns the device.
 *
 * @throws Error naming the graph, with the runtime's message.
 */
export async function openSession(
  setup: SessionSetup,
  shared = PROVIDERS[setup.provider].sharesThread,
): Promise<GraphSession> {
  const session = new ThreadSession(setup.graph.path, await openSessionThread(setup, shared));
  await session.opened();
  return session;
}

class ThreadSession implements GraphSession {
  inputs: ReadonlyMap<string, GraphDType> = new Map();
  outputs: ReadonlyMap<string, GraphDType> = new Map();
  foldedWeights: readonly FoldedWeights[] = [];
  readonly #graph: string;
  readonly #channel: SessionThread["channel"];
  readonly #ended: Promise<void>;
  readonly #waiting: Waiting[] = [];
  /** Why the session takes no more calls; null while it does. */
  #end: Error | null = null;

  constructor(graph: string, { channel, ended }: SessionThread) {
    this.#graph = graph;
    this.#channel = channel;
    channel.on("message", (reply: Reply) => this.#receive(reply));
    this.#ended = ended.then((why) => this.#fail(why));
  }

  /** Waits until the graph is loaded. */
  async opened(): Promise<void> {
    const reply = await this.#next();
    if (reply.kind === "failed") {
      this.#channel.ref();
      await this.#ended;
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
    this.#checkSizes(request.feeds);
    const answer = this.#next();
    this.#channel.postMessage(request, buffersOf(request.feeds));
    const reply = await answer;
    if (reply.kind === "failed") throw new Error(`Cannot run ${this.#graph}: ${reply.message}`);
    if (reply.kind !== "ran") throw new Error(`Cannot run ${this.#graph}: it answered ${reply.kind}`);
    return { feeds: new Map(reply.feeds), outputs: new Map(reply.outputs) };
  }

  async close(): Promise<void> {
    if (this.#end === null) {
      const stop: Request = { kind: "stop" };
      this.#channel.postMessage(stop);
      this.#channel.ref();
      this.#fail(new Error(`The session of ${this.#graph} was closed`));
    }
    await this.#ended;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** What has been handed over has no size any more: the thread could not read the message, and would not answer. */
  #checkSizes(feeds: NamedTensors): void {
    for (const [name, { values, shape }] of feeds) {
      const size = shape.reduce((product, side) => product * side, 1);
      if (values.length !== size)
        throw new RangeError(
          `Cannot run ${this.#graph}: expected ${size} values of "${name}", got ${values.length}; is its memory with another run?`,
        );
    }
  }

  /** The thread's next reply. A thread at work keeps the process alive, an idle one does not. */
  #next(): Promise<Reply> {
    this.#channel.ref();
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  #receive(reply: Reply): void {
    this.#waiting.shift()?.resolve(reply);
    if (this.#waiting.length === 0 && this.#end === null) this.#channel.unref();
  }

  #fail(error: Error): void {
    this.#end ??= error;
    for (const { reject } of this.#waiting.splice(0)) reject(this.#end);
  }
}
