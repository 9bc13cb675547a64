// The contract of `Backend.svd`: what it takes, what it returns, and the check of what it is given.
import { UsageError } from "./errors.ts";

/** Options of {@link Backend.svd}. */
export interface SvdOptions {
  /** Seed of the random vectors, a whole number from 0 to 2^32 - 1; default 0. */
  readonly seed?: number;
  /** Residuals that suffice, as a share of the largest singular value; default 1e-8. */
  readonly tolerance?: number;
  /** How often the matrix may be read to come nearer; default 100. Checking what was found takes up to 11 more. */
  readonly maxPasses?: number;
}

/**
 * The leading singular triplets of A, and how far they can be trusted.
 *
 * `residuals` hold always, `bounds` and `residualNorm` but for a chance of 1e-10 over the seed; all three include an
 * allowance for rounding of 2^-50 sqrt(rows + columns) s[0].
 */
export interface TruncatedSvd {
  readonly rank: number;
  /** [rows, rank], row-major; orthonormal columns. */
  readonly u: Float64Array<ArrayBuffer>;
  /** [rank], descending, none negative. */
  readonly s: Float64Array<ArrayBuffer>;
  /** [rank, columns], row-major; orthonormal rows. */
  readonly vt: Float64Array<ArrayBuffer>;
  /**
   * [rank]: the larger of |A v - s u| and |A^T u - s v| of each triplet. It is an exact one of some A + E with |E| that
   * small (Kahan, Parlett and Jiang, Residual bounds on approximate eigensystems, 1982), so that some singular value of A
   * is that close to s (Weyl).
   */
  readonly residuals: Float64Array<ArrayBuffer>;
  /**
   * [rank]: |sigma_i - s[i]| is at most this, sigma_i being the i-th largest of all. Larger than the residuals where
   * what is left of A is not clearly smaller than s[i], as in a flat spectrum: a larger value could hide there.
   */
  readonly bounds: Float64Array<ArrayBuffer>;
  /** |A - U S V^T|, the spectral norm, is at most this. */
  readonly residualNorm: number;
  /** Whether all residuals are within the tolerance. When not, maxPasses ended the work, and the bounds say how near it came. */
  readonly converged: boolean;
  /** How often the matrix was read. */
  readonly passes: number;
}

/** What a backend works with: {@link SvdOptions} checked and complete. */
export interface SvdRequest extends Required<SvdOptions> {
  readonly shape: readonly [rows: number, columns: number];
  readonly rank: number;
}

/**
 * Checks what `svd` is given, before any of the matrix is read.
 *
 * @throws RangeError when the shape is that of no matrix; UsageError when the rank or an option is out of range.
 */
export function checkSvd(
  shape: readonly [rows: number, columns: number],
  rank: number,
  { seed = 0, tolerance = 1e-8, maxPasses = 100 }: SvdOptions = {},
): SvdRequest {
  const of = `Cannot compute an SVD of a ${shape[0]} x ${shape[1]} matrix`;
  if (!shape.every((side) => Number.isSafeInteger(side) && side >= 1)) {
    throw new RangeError(`${of}: it has no elements`);
  }
  const most = Math.min(...shape);
  if (!isWhole(rank, 1, most)) throw new UsageError(`${of} with rank ${rank}: give a rank from 1 to ${most}`);
  if (!isWhole(seed, 0, 2 ** 32 - 1)) {
    throw new UsageError(`${of} with seed ${seed}: give a whole number from 0 to 2^32 - 1`);
  }
  if (!(tolerance > 0 && tolerance < 1)) {
    throw new UsageError(`${of} to a tolerance of ${tolerance}: give a number between 0 and 1`);
  }
  if (!isWhole(maxPasses, 1, Number.MAX_SAFE_INTEGER)) {
    throw new UsageError(`${of} in ${maxPasses} passes: give a whole number from 1`);
  }
  return { shape, rank, seed, tolerance, maxPasses };
}

function isWhole(x: number, least: number, most: number): boolean {
  return Number.isSafeInteger(x) && x >= least && x <= most;
}

/** The allowance for rounding that all bounds include: it grows as the root of the lengths (Higham and Mary, 2019). */
export function svdRounding([rows, columns]: readonly [number, number], largest: number): number {
  return 2 ** -50 * Math.sqrt(rows + columns) * largest;
}
