// A truncated SVD as the pool sees it: reads the matrix as often as the first worker asks for, and hands its rows round.
import type { MatrixSource } from "../../../src/backend.ts";
import type { SvdRequest, TruncatedSvd } from "../../../src/backend-svd.ts";
import { MatrixError } from "../../../src/errors.ts";
import type { PoolWorker } from "../pool-worker.ts";
import { type Pass, type SvdPlan, shareSvdMemory, workerOf } from "./plan.ts";
import { RowFeed } from "./row-feed.ts";
import type { RowBlock } from "./row-products.ts";
import type { SvdAnswer, SvdStep } from "./worker.ts";

/** A float64 matrix is scaled to have its largest element near 1: products neither overflow nor vanish. */
const LARGEST_EXPONENT = 1000;

/** What is to be computed. */
export interface SvdWork {
  readonly request: SvdRequest;
  readonly plan: SvdPlan;
}

/** Computes the triplets on these workers, at least one. */
export async function computeSvd(
  workers: readonly PoolWorker[],
  matrix: MatrixSource,
  { request, plan }: SvdWork,
): Promise<TruncatedSvd> {
  const work = { request, plan, shared: shareSvdMemory(plan) };
  const [lead] = workers;
  if (lead === undefined) throw new RangeError("A truncated SVD needs a worker");
  const all = (step: (worker: number) => SvdStep) => Promise.all(workers.map((one, i) => one.ask(step(i))));
  const feed = new RowFeed(matrix, plan, workers.length);
  /** Reads the matrix once. */
  const read = (step: (rows: RowBlock) => SvdStep) =>
    feed.read(async (rows) => {
      const worker = workers[workerOf(plan, rows.block, workers.length)] ?? lead;
      return worker.ask(step(rows));
    });
  try {
    await all((worker) => ({ kind: "begin", work, share: { worker, workers: workers.length } }));
    const largest = largestOf(await read((rows) => ({ kind: "examine", rows })), matrix);
    if (largest === 0) return zeroSvd(request);
    const exponent = exponentOf(largest);
    const make = async (pass: Pass): Promise<SvdAnswer> => {
      await all(() => ({ kind: "pass", pass, exponent }));
      if (!plan.held) {
        await read((rows) => ({ kind: "rows", rows }));
        await all(() => ({ kind: "passed" }));
      }
      return lead.ask({ kind: "advance" });
    };
    let answer = await lead.ask({ kind: "lead", exponent });
    while (answer.kind === "pass") answer = await make(answer.pass);
    if (answer.kind !== "result") throw new Error(`A worker answered ${answer.kind} to a pass`);
    return answer.svd;
  } finally {
    // A worker that is gone has freed its memory already.
    await Promise.allSettled(workers.map((worker) => worker.ask({ kind: "end" })));
  }
}

function largestOf(answers: readonly SvdAnswer[], { shape, dtype }: MatrixSource): number {
  let largest = 0;
  for (const answer of answers) {
    const magnitude = answer.kind === "largest" ? answer.magnitude : NaN;
    if (!Number.isFinite(magnitude)) {
      throw new MatrixError(
        `Cannot compute an SVD of a ${shape[0]} x ${shape[1]} matrix of ${dtype}: it holds NaN or Infinity`,
      );
    }
    largest = Math.max(largest, magnitude);
  }
  return largest;
}

/** e with 2^e near x, within what has a finite inverse. */
function exponentOf(x: number): number {
  return Math.max(-LARGEST_EXPONENT, Math.min(LARGEST_EXPONENT, Math.floor(Math.log2(x))));
}

/** Of a matrix of zeros any orthonormal vectors are singular vectors: the first of the standard basis. */
function zeroSvd({ shape: [rows, columns], rank }: SvdRequest): TruncatedSvd {
  const u = new Float64Array(rows * rank);
  const vt = new Float64Array(rank * columns);
  for (let i = 0; i < rank; i++) {
    u[i * rank + i] = 1;
    vt[i * columns + i] = 1;
  }
  const zeros = () => new Float64Array(rank);
  const s = zeros();
  return { rank, u, s, vt, residuals: zeros(), bounds: zeros(), residualNorm: 0, converged: true, passes: 1 };
}
