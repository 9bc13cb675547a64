// One WebAssembly memory with its kernels, handed out from the start to the end and never taken back.
import { instantiateKernels, type Kernels } from "./kernels.ts";

const PAGE_BYTES = 65536;

/** Owns the memory of one piece of work. */
export class KernelMemory {
  readonly kernels: Kernels;
  readonly #memory: WebAssembly.Memory;
  #end: number;

  /** @throws Error when the bytes cannot be had. */
  constructor(module: WebAssembly.Module, sizeBytes: number) {
    const pages = Math.ceil(sizeBytes / PAGE_BYTES);
    try {
      this.#memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    } catch (cause) {
      throw new Error(
        `Cannot reserve ${Math.ceil(sizeBytes / 2 ** 20)} MiB for a matrix; use fewer threads or free some memory`,
        { cause },
      );
    }
    this.kernels = instantiateKernels(module, this.#memory);
    this.#end = Number(this.kernels.__heap_base.value);
  }

  /** Address of that many bytes, all zero. */
  take(bytes: number): number {
    const at = Math.ceil(this.#end / 64) * 64;
    this.#end = at + bytes;
    if (this.#end > this.#memory.buffer.byteLength) {
      throw new Error(
        `A piece of work was planned with ${this.#memory.buffer.byteLength} bytes and takes more`,
      );
    }
    return at;
  }

  bytes(at: number, count: number): Uint8Array {
    return new Uint8Array(this.#memory.buffer, at, count);
  }

  doubles(at: number, count: number): Float64Array<ArrayBuffer> {
    return new Float64Array(this.#memory.buffer, at, count);
  }
}
