// Times open backends on the same matrix of weights: how many such matrices each gets done in a second, as many at once
// as keep it busy.
import type { Backend, MatrixSource } from "../../src/backend.ts";
import { mulberry32 } from "./mulberry32.ts";

/**
 * Of the matrix that is timed: what large products gain shows from some thousands of columns on, and models of smaller ones are
 * not calibrated for. Not square, as most weights are not: in `fast` backends differ in those.
 */
const SHAPE = [3072, 2048] as const;
/** Of the one before it, which starts threads and compiles what is compiled late. */
const WARM_UP_SHAPE = [832, 800] as const;
/** A backend that warms up for longer than that, and so many times as long as the quickest, is not timed: a GPU made of software. */
const HOPELESS = { ms: 5000, times: 20 } as const;
const ROUNDS = 4;
/** No further round begins that would end later. */
const BUDGET_MS = 4000;

/** What became of a backend: its rate, or why it has none. */
export type TimedBackend =
  | { readonly backend: Backend; readonly matricesPerSecond: number }
  | { readonly backend: Backend; readonly reason: string };

interface Run {
  readonly backend: Backend;
  /** Matrices in flight. */
  readonly atOnce: number;
  warmUpMs: number;
  leastMs: number;
  reason: string | null;
}

/**
 * The rates of backends for bfloat16 matrices of 3072 x 2048: the best of up to four rounds, in turn, in about four seconds
 * besides the start. A backend that fails, whose values are not those of the matrix, or that is far slower than another in its warm-up has a
 * reason instead.
 *
 * @param now - milliseconds of a clock.
 */
export async function timeBackends(
  backends: readonly Backend[],
  now: () => number = () => performance.now(),
): Promise<readonly TimedBackend[]> {
  const runs = backends.map(
    (backend): Run => ({
      backend,
      atOnce: backend.concurrency,
      warmUpMs: Infinity,
      leastMs: Infinity,
      reason: null,
    }),
  );
  const warmUp = drawWeights(WARM_UP_SHAPE);
  for (const run of runs) {
    await attempt(run, async () => {
      const start = now();
      await computeAtOnce(run, warmUp);
      run.warmUpMs = now() - start;
    });
  }
  leaveOutHopeless(runs);
  const weights = drawWeights(SHAPE);
  const began = now();
  for (let round = 1; round <= ROUNDS; round++) {
    for (const run of runs.filter(({ reason }) => reason === null)) {
      await attempt(run, async () => {
        const start = now();
        await computeAtOnce(run, weights);
        run.leastMs = Math.min(run.leastMs, now() - start);
      });
    }
    const meanMs = (now() - began) / round;
    if (meanMs * (round + 1) > BUDGET_MS) break;
  }
  return runs.map(({ backend, atOnce, leastMs, reason }) =>
    reason === null ? { backend, matricesPerSecond: (1000 * atOnce) / leastMs } : { backend, reason },
  );
}

/** The matrix that is timed would take such a backend minutes. */
function leaveOutHopeless(runs: readonly Run[]): void {
  const [quickest] = runs.toSorted((a, b) => a.warmUpMs - b.warmUpMs);
  if (quickest === undefined) return;
  const most = Math.max(HOPELESS.ms, HOPELESS.times * quickest.warmUpMs);
  for (const run of runs) {
    if (run.reason !== null || run.warmUpMs <= most) continue;
    const [took, other] = [run, quickest].map(({ warmUpMs }) => (warmUpMs / 1000).toFixed(1));
    run.reason = `it took ${took} s to warm up, ${quickest.backend.name} ${other} s`;
  }
}

/** A failure is the backend's: the others are timed all the same. */
async function attempt(run: Run, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    run.reason = error instanceof Error ? error.message : String(error);
  }
}

async function computeAtOnce({ backend, atOnce }: Run, weights: Weights): Promise<void> {
  const calls = Array.from({ length: atOnce }, () => backend.singularValues?.(weights.matrix));
  for (const values of await Promise.all(calls)) check(values ?? new Float64Array(), weights, backend);
}

interface Weights {
  readonly matrix: MatrixSource;
  /** Sum of the squares of all elements, which is that of the singular values. */
  readonly squares: number;
}

/** A device that computes nonsense would otherwise win: nothing is faster. */
function check(values: Float64Array, { matrix, squares }: Weights, { precision }: Backend): void {
  const sum = values.reduce((total, value) => total + value * value, 0);
  const tolerance = precision === "exact" ? 1e-9 : 1e-4;
  if (values.length === matrix.shape[1] && Math.abs(sum - squares) <= tolerance * squares) return;
  throw new Error(
    `expected ${matrix.shape[1]} singular values with squares of sum ${squares}, got ${values.length} of ${sum}`,
  );
}

/** A bfloat16 matrix of weights between -0.02 and 0.02, always the same. */
function drawWeights(shape: readonly [rows: number, columns: number]): Weights {
  const count = shape[0] * shape[1];
  const floats = new Float32Array(count);
  const bits = new Uint32Array(floats.buffer);
  const bfloats = new Uint16Array(count);
  const draw = mulberry32(1);
  for (let i = 0; i < floats.length; i++) {
    floats[i] = (draw() - 0.5) * 0.04;
    bfloats[i] = (bits[i] ?? 0) >>> 16;
    bits[i] = (bfloats[i] ?? 0) << 16;
  }
  return {
    matrix: { shape, dtype: "BF16", rows: [new Uint8Array(bfloats.buffer)], rereadable: true },
    squares: floats.reduce((sum, x) => sum + x * x, 0),
  };
}
