// The `wasm` backend: float64 kernels in WebAssembly on worker threads. Runs wherever Node, Bun or Deno does; the
// kernels are embedded, nothing is installed or downloaded.
import { availableParallelism } from "node:os";
import type { Availability, Backend, BackendOptions } from "../../src/backend.ts";
import { BackendUnavailableError, UsageError } from "../../src/errors.ts";

// The shortest module that uses a vector instruction: one function that makes a v128 and drops it.
const SIMD_PROBE = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98,
  11,
]);

export const name = "wasm";

export const capabilities = ["singularValues", "svd"] as const;

/** Always ok but on an engine without WebAssembly SIMD. */
export async function availability(): Promise<Availability> {
  if (WebAssembly.validate(SIMD_PROBE)) return { ok: true };
  return {
    ok: false,
    reason: "this JavaScript engine has no WebAssembly SIMD",
    fix: "use Node 20.19 or later, Bun or Deno on a 64-bit processor",
  };
}

/** Opens the backend; its threads start with the first matrices. */
export async function open({
  threads = availableParallelism(),
  precision,
}: BackendOptions): Promise<Backend> {
  if (!Number.isSafeInteger(threads) || threads < 1) {
    throw new UsageError(
      `Cannot open the wasm backend with ${threads} threads: expected a whole number from 1`,
    );
  }
  const available = await availability();
  if (!available.ok) {
    throw new BackendUnavailableError(`Cannot open the wasm backend: ${available.reason}; ${available.fix}`);
  }
  const { WasmBackend } = await import("./pool.ts");
  return new WasmBackend(threads, precision);
}
