// The Python process that times numpy, scipy and torch for svd.bench.ts: one request and one answer a line.
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";

type Answer = Readonly<Record<string, unknown>>;

/** Owns the process until closed. */
export class PeerProcess implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #input: Writable;
  readonly #lines: AsyncIterator<string>;
  readonly #exited: Promise<void>;
  #complaint = "";
  /** Those that this Python has, by the names that {@link PeerProcess.time} takes. */
  peers: readonly string[] = [];
  versions: Readonly<Record<string, string>> = {};
  /** Why each of the others is not there. */
  missing: readonly string[] = [];

  private constructor(python: string, threads: number) {
    const script = fileURLToPath(new URL("../../bench/peers/svd.py", import.meta.url));
    const child = spawn(python, [script, String(threads)], {
      env: { ...process.env, PYTHONDONTWRITEBYTECODE: "1" },
      stdio: ["pipe", "pipe", "pipe"],
    });
    this.#child = child;
    this.#input = child.stdin;
    this.#input.on("error", () => {}); // the process is gone: its missing answer says so
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    this.#collect(child.stderr);
    this.#exited = new Promise((resolve) => {
      child.on("close", () => resolve());
      child.on("error", (error) => {
        this.#complaint += error.message;
        resolve();
      });
    });
  }

  /** @throws Error when the process does not start. */
  static async start(threads: number): Promise<PeerProcess> {
    const peers = new PeerProcess(process.env.PYTHON ?? "python3", threads);
    const hello = await peers.#answer();
    peers.peers = stringsOf(hello.peers);
    peers.missing = stringsOf(hello.missing);
    peers.versions = Object.fromEntries(
      Object.entries(hello.versions ?? {}).map(([name, version]) => [name, String(version)]),
    );
    return peers;
  }

  /** Makes these files the matrices of the next calls. */
  async load(files: readonly string[]): Promise<void> {
    await this.#ask({ load: files });
  }

  /** Seconds of `count` consecutive matrices. */
  async time(peer: string, count: number): Promise<number> {
    const { seconds } = await this.#ask({ time: peer, count });
    if (typeof seconds !== "number") throw new Error(`The peer ${peer} stated no seconds`);
    return seconds;
  }

  /** Singular values of the first matrix. */
  async values(peer: string): Promise<Float64Array> {
    const { values } = await this.#ask({ values: peer });
    if (!Array.isArray(values)) throw new Error(`The peer ${peer} gave no singular values`);
    return Float64Array.from(values, Number);
  }

  async close(): Promise<void> {
    this.#input.end();
    this.#child.kill();
    await this.#exited;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #collect(stderr: Readable): void {
    stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#complaint = (this.#complaint + text).slice(-4000);
    });
  }

  async #ask(request: object): Promise<Answer> {
    this.#input.write(`${JSON.stringify(request)}\n`);
    return this.#answer();
  }

  async #answer(): Promise<Answer> {
    const { done, value } = await this.#lines.next();
    if (done) {
      await this.#exited;
      throw new Error(`Python's peers gave no answer: ${this.#complaint.trim().split("\n").at(-1)}`);
    }
    const answer: unknown = JSON.parse(value);
    if (typeof answer !== "object" || answer === null) {
      throw new Error(`Python's peers answered ${value}: expected an object`);
    }
    return { ...answer };
  }
}

function stringsOf(values: unknown): string[] {
  return Array.isArray(values) ? values.map(String) : [];
}
