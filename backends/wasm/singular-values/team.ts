// Who does the large steps of a matrix: the thread that has it, alone, or with helpers (crew/). The bits are the same.
import type { Kernels } from "../kernels.ts";
import type { Layout } from "./layout.ts";
import { doChunk, type Step } from "./steps.ts";

export interface Team {
  /** Threads that may help, at most. */
  readonly helpers: number;
  /** The memory to work in, which they share; null: the solver has one of its own. */
  readonly memory: WebAssembly.Memory<ArrayBufferLike> | null;
  /** A matrix begins; `floats` where its Gram matrix is of float products. */
  begin(floats: boolean): void;
  /** What was done of the matrix was refused: it begins anew with other products. */
  restart(floats: boolean): void;
  /** Does all chunks of a step. */
  run(kernels: Kernels, step: Step): void;
  /** Makes the band tridiagonal. */
  chaseBulges(kernels: Kernels, layout: Layout, checkInterrupted: () => void): void;
}

export const ALONE: Team = {
  helpers: 0,
  memory: null,
  begin() {},
  restart() {},
  run(kernels, step) {
    for (let chunk = 0; chunk < step.chunks; chunk++) doChunk(kernels, step, chunk);
  },
  chaseBulges,
};

/** Chases the bulges of all sweeps, so that the band becomes tridiagonal. */
export function chaseBulges(
  kernels: Kernels,
  { n, band }: Pick<Layout, "n" | "band">,
  checkInterrupted: () => void,
): void {
  for (let s0 = 0; s0 < n - 1; s0 += kernels.sweepGroup()) {
    checkInterrupted();
    kernels.chaseBulges(band, n, s0);
  }
}
