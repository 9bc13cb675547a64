// Whether one more thread is worth its while on a matrix that is being worked on. Plain arithmetic, with constants measured
// on two cores of an AMD EPYC (Zen 4), Node 20, relaxed build; the rates by bench/kernels.bench.ts. A factor of two in
// them hardly matters: what they keep from being shared takes a few milliseconds.
import { isDirectInFloats } from "../singular-values/direct.ts";
import { gramFlops } from "../singular-values/steps.ts";

/** Half-bandwidth after stage one, BAND in kernels/kernels.h. */
const BAND = 32;
/** Rows that a Gram matrix takes at once, DEPTH in singular-values/layout.ts. */
const ROWS = 256;
/** From this order on stage one is cut into shares, see bandShares in kernels/band.c. */
export const SHARED_ORDER = 768;
/** Operations a second of one thread, in products of doubles: 25 to 27. */
const FLOPS_PER_SECOND = 26e9;
/** What a step on two threads takes beyond its operations: 36 us to wake a thread that sleeps and to wait for it, median. */
const STEP_SECONDS = 40e-6;
const STEPS_PER_PANEL = 5;
/** From the message to a thread to its first chunk: a wait for the next step, milliseconds apart. */
const JOIN_SECONDS = 4e-3;
/** Until a new thread is there, its kernels compiled: 61 ms, least of twelve. */
const START_SECONDS = 61e-3;

/** Operations of stage one that are shared: the large products, and some 210 n^2 in what steps.ts has besides. */
function bandFlops(n: number): number {
  return (4 / 3) * n ** 3 + 210 * n * n;
}

/** Operations of the bulge chasing, counted twice: it runs at half the rate. */
export function chaseFlops(n: number): number {
  return 2 * 6 * BAND * n * n;
}

/** A matrix that a thread works on. */
export interface MatrixAtWork {
  readonly shape: readonly [rows: number, columns: number];
  /** Whether its Gram matrix is of float products. */
  readonly floats: boolean;
  /** Operations done so far of those that can be shared, in millions. */
  readonly doneMflops: number;
  /** Threads that work on it. */
  readonly threads: number;
}

/** Whether what follows the Gram matrix is shared: not where it is reduced without a band. */
function sharesStages({ shape, floats }: Pick<MatrixAtWork, "shape" | "floats">): boolean {
  return Math.min(...shape) >= SHARED_ORDER && !(floats && isDirectInFloats(shape));
}

/** Operations of a matrix that several threads can share. */
export function sharedFlops(matrix: Pick<MatrixAtWork, "shape" | "floats">): number {
  const { shape, floats } = matrix;
  const n = Math.min(...shape);
  const stages = sharesStages(matrix) ? bandFlops(n) + chaseFlops(n) : 0;
  return gramFlops(n, Math.max(...shape), floats) + stages;
}

/** Seconds by which a further thread would bring the end of a matrix nearer; not positive where it would not. */
export function gainOfThread(matrix: MatrixAtWork, { started }: { started: boolean }): number {
  const { shape, doneMflops, threads } = matrix;
  const n = Math.min(...shape);
  const all = sharedFlops(matrix);
  const left = Math.max(0, 1 - (1e6 * doneMflops) / all);
  const panels = sharesStages(matrix) ? Math.ceil(n / BAND) : 0;
  const steps = Math.ceil(Math.max(...shape) / ROWS) + STEPS_PER_PANEL * panels;
  const seconds = (left * all) / FLOPS_PER_SECOND;
  const coming = JOIN_SECONDS + (started ? 0 : START_SECONDS);
  const workLeft = Math.max(0, seconds / threads - coming);
  // The steps cost two threads what they cost three: only the second one brings them.
  const waits = threads === 1 ? left * steps * STEP_SECONDS : 0;
  return workLeft * (1 - threads / (threads + 1)) - waits;
}

/** A thread comes only for as much: less would be lost when another matrix calls it away. */
const LEAST_GAIN_SECONDS = 5e-3;

/**
 * Which of the matrices at work a free thread should go to: where it gains most.
 *
 * @param started - false for a thread that would have to be started first.
 * @returns an index, or null when it gains too little anywhere.
 */
export function chooseMatrix(
  matrices: readonly MatrixAtWork[],
  options: { readonly started: boolean },
): number | null {
  let best: number | null = null;
  let most = LEAST_GAIN_SECONDS;
  for (const [index, matrix] of matrices.entries()) {
    const gain = gainOfThread(matrix, options);
    if (gain <= most) continue;
    best = index;
    most = gain;
  }
  return best;
}
