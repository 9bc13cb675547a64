// A device as a thread sees it that reduces matrices: questions through a port to the thread that owns the device.
import type { MessagePort } from "node:worker_threads";
import type { Chunk, DeviceMatrix, DeviceReply, DeviceRequest, Sums } from "./device-protocol.ts";

interface Asked {
  readonly resolve: (sums: Sums) => void;
  readonly reject: (error: Error) => void;
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

  close(): void {
    this.#port.close();
    this.#leave();
  }

  #post(request: DeviceRequest, transfer: readonly ArrayBuffer[] = []): void {
    if (!this.#isGone) this.#port.postMessage(request, transfer);
  }

  #ask(request: DeviceRequest, transfer: readonly ArrayBuffer[] = []): Promise<Sums> {
    if (this.#isGone) return Promise.reject(this.#goneError());
    return new Promise((resolve, reject) => {
      this.#asked.push({ resolve, reject });
      this.#post(request, transfer);
    });
  }

  #receive(reply: DeviceReply): void {
    const asked = this.#asked.shift();
    if (reply.kind === "sums") asked?.resolve(reply.sums);
    else asked?.reject(new Error(`The device of ${this.#backend} failed: ${reply.message}`));
  }

  #leave(): void {
    this.#isGone = true;
    for (const { reject } of this.#asked.splice(0)) reject(this.#goneError());
  }

  #goneError(): Error {
    return new Error(`The thread that owns the device of ${this.#backend} has ended`);
  }
}
