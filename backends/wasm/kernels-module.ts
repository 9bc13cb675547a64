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

/**
 * Compiles the kernels for this thread. Every thread of a process gets the same build.
 *
 * A relaxed build whose multiply-add rounds twice would compute what the plain one does, so the plain one is taken.
 */
export function compileKernels(): KernelsModule {
  const relaxed = Buffer.from(RELAXED_KERNELS_BASE64, "base64");
  if (hasRelaxedSimd(relaxed)) {
    const module = new WebAssembly.Module(relaxed);
    const memory = new WebAssembly.Memory({ initial: PROBE_PAGES, maximum: PROBE_PAGES });
    if (instantiateKernels(module, memory).roundsOnce(2 ** -27) !== 0) return { module, roundsOnce: true };
  }
  return { module: new WebAssembly.Module(Buffer.from(KERNELS_BASE64, "base64")), roundsOnce: false };
}

/** Node before 22 has relaxed SIMD behind a flag of its engine, which may be set at any time before compiling. */
function hasRelaxedSimd(bytes: Uint8Array): boolean {
  if (WebAssembly.validate(bytes)) return true;
  const isOldNode = Number.parseInt(process.versions.node, 10) < 22 && process.versions.bun === undefined;
  if (!isOldNode) return false;
  setFlagsFromString("--experimental-wasm-relaxed-simd");
  return WebAssembly.validate(bytes);
}
