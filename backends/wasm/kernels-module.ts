// Which build of the kernels runs here: the relaxed one where it gives a fused multiply-add, else the plain one.
import { setFlagsFromString } from "node:v8";
import { instantiateKernels } from "./kernels.ts";
import { KERNELS_BASE64, RELAXED_KERNELS_BASE64 } from "./kernels.wasm.ts";

/** A compiled build of the kernels. */
export interface KernelsModule {
  readonly module: WebAssembly.Module;
  /** Whether a * b + c is rounded once. Results differ in their last bits from where it is not. */
  readonly roundsOnce: boolean;
}

/** Enough for the kernels' stack and constants; nothing is computed in it. */
const PROBE_PAGES = 4;

/** In the import section: a module's name, a field's name, each after its length, and the kind of a memory. */
const IMPORTED_MEMORY = Buffer.from("\x03env\x06memory\x02", "latin1");
const LIMITED = 1;
const SHARED = 2;

/**
 * Compiles the kernels for this thread. Every thread of a process gets the same build.
 *
 * A relaxed build whose multiply-add rounds twice would compute what the plain one does, so the plain one is taken.
 *
 * @param shared - for a memory that several threads share.
 */
export function compileKernels({ shared = false } = {}): KernelsModule {
  const relaxed = kernelBytes(RELAXED_KERNELS_BASE64, shared);
  if (hasRelaxedSimd(relaxed)) {
    const module = new WebAssembly.Module(relaxed);
    const size = { initial: PROBE_PAGES, maximum: PROBE_PAGES };
    const memory = shared
      ? new WebAssembly.Memory<SharedArrayBuffer>({ ...size, shared })
      : new WebAssembly.Memory(size);
    if (instantiateKernels(module, memory).roundsOnce(2 ** -27) !== 0) return { module, roundsOnce: true };
  }
  return { module: new WebAssembly.Module(kernelBytes(KERNELS_BASE64, shared)), roundsOnce: false };
}

/** Whether threads can share a WebAssembly memory here. */
export function canShareMemory(): boolean {
  return WebAssembly.validate(kernelBytes(KERNELS_BASE64, true));
}

/** A build's bytes, its memory shared or not: one bit of the limits of the memory that it imports. */
export function kernelBytes(base64: string, shared: boolean): Buffer {
  const bytes = Buffer.from(base64, "base64");
  if (!shared) return bytes;
  const limits = bytes.indexOf(IMPORTED_MEMORY) + IMPORTED_MEMORY.length;
  if (bytes[limits] !== LIMITED) throw new Error("The embedded WebAssembly module imports no limited memory");
  bytes[limits] = LIMITED | SHARED;
  return bytes;
}

/** Node before 22 has relaxed SIMD behind a flag of its engine, which may be set at any time before compiling. */
function hasRelaxedSimd(bytes: Uint8Array): boolean {
  if (WebAssembly.validate(bytes)) return true;
  const isOldNode = Number.parseInt(process.versions.node, 10) < 22 && process.versions.bun === undefined;
  if (!isOldNode) return false;
  setFlagsFromString("--experimental-wasm-relaxed-simd");
  return WebAssembly.validate(bytes);
}
