// A device as a thread sees it that reduces matrices: questions through a port to the thread that owns the device.
import type { MessagePort } from "node:worker_threads";
import type {
  Chunk,
  DeviceMatrix,
  DeviceReply,
  DeviceRequest,
  Numbers,
  PanelUpdate,
  Sums,
} from "./protocol.ts";

interface Asked {
  readonly resolve: (numbers: readonly Numbers[]) => void;
  readonly reject: (error: Error) => void;
}

/** Row-major, as many columns each as a panel. */
export interface PanelAnswer {
  readonly y: Numbers;
  readonly panel: Numbers;
}

/** Owns the port until closed. */
export class DeviceClient {
  readonly #backend: string;
  readonly #port: MessagePort;
  /** In order, as they are answered. */
  readonly #asked: Asked[] = [];
  #isGone = false;

  /** @param backend - named in errors. */
  constructor(port: MessagePort, backend: string) {
    this.#backend = backend;
    this.#port = port;
    port.on("message", (reply: DeviceReply) => this.#receive(reply));
    port.on("close", () => this.#leave());
  }

  /** Drops the matrix at work, if any, and starts another. */
  begin(matrix: DeviceMatrix): void {
    this.#post({ kind: "begin", matrix });
  }

  /** Hands a chunk over, and returns what the device does not keep of its product, once that has been asked for. */
  add(chunk: Chunk): Promise<Sums> {
    return this.#ask({ kind: "add", chunk }, [chunk.bytes]);
  }

  /** What the device has kept of the chunks so far; it then has nothing. */
  take(): Promise<Sums> {
    return this.#ask({ kind: "take" });
  }

  /** Begins stage one of a symmetric matrix, both halves. */
  async load(square: Float32Array<ArrayBuffer>): Promise<void> {
    await this.#ask({ kind: "load", square }, [square.buffer]);
  }

  /** The next panel: y, the product of what is left of the matrix with v, and its first columns. */
  async step(update: PanelUpdate, v: Float32Array<ArrayBuffer>): Promise<PanelAnswer> {
    const buffers = [update.left.buffer, update.right.buffer, v.buffer];
    const [y, panel] = await this.#ask({ kind: "step", update, v }, buffers);
    if (y === undefined || panel === undefined) throw new Error("the device's answer is incomplete");
    return { y, panel };
  }

  /** What is left after the last panel. */
  async rest(update: PanelUpdate): Promise<Numbers> {
    const [square] = await this.#ask({ kind: "rest", update }, [update.left.buffer, update.right.buffer]);
    if (square === undefined) throw new Error("the device's answer is incomplete");
    return square;
  }

  close(): void {
    this.#port.close();
    this.#leave();
  }

  #post(request: DeviceRequest, transfer: readonly ArrayBuffer[] = []): void {
    if (!this.#isGone) this.#port.postMessage(request, transfer);
  }

  #ask(request: DeviceRequest, transfer: readonly ArrayBuffer[] = []): Promise<readonly Numbers[]> {
    if (this.#isGone) return Promise.reject(this.#goneError());
    return new Promise((resolve, reject) => {
      this.#asked.push({ resolve, reject });
      this.#post(request, transfer);
    });
  }

  #receive(reply: DeviceReply): void {
    const asked = this.#asked.shift();
    if (reply.kind === "numbers") asked?.resolve(reply.numbers);
    else asked?.reject(new Error(`The device of ${this.#backend} failed: ${reply.message}`));
  }

  #leave(): void {
    this.#isGone = true;
    for (const { reject } of this.#asked.splice(0)) reject(this.#goneError());
  }

  #goneError(): Error {
    return new Error(goneMessage(this.#backend));
  }
}

/** Why nothing more comes from a device. */
export function goneMessage(backend: string): string {
  return `The thread that owns the device of ${backend} has ended`;
}
