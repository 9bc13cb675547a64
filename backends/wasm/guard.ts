// Whether singular values that come from a Gram matrix are accurate enough for what is made of them. Pure.

/** Share of the smallest values that is judged: what may be left as noise once the signal is taken away. */
const TAIL = 1 / 2;

/** Highest estimate that is let through: what the SNR may be off. Measured errors are 10 to 1000 times below `exact`'s. */
export const TOLERANCE = { exact: 1e-9, fast: 1e-6 } as const;

/**
 * Whether the sum of the smaller half is known to `tolerance`. Rounding moves a squared singular value by about
 * 2^-52 sigma_1^2, hence sigma by 2^-53 sigma_1^2 / sigma, and by 2^-26 sigma_1 at most; the sum is taken to be off by
 * the sum of these, as if they never cancelled. With 1e-9, a bulk 300 times below sigma_1 passes.
 *
 * @param values - descending, none negative.
 * @param roundoff - what it is relative to: 2^-53 for doubles.
 */
export function gramSuffices(values: Float64Array, tolerance: number, roundoff = 2 ** -53): boolean {
  const largest = values[0] ?? 0;
  if (largest === 0) return true;
  let sum = 0;
  let error = 0;
  for (const value of tailOf(values)) {
    const relative = value / largest;
    sum += relative;
    error += Math.min(roundoff / relative, Math.sqrt(2 * roundoff));
  }
  return error <= tolerance * sum;
}

/** The error matrix E of a Gram matrix of float products, as measured by one vector x of signs, in units of sigma^2. */
export interface FloatGramError {
  /** |E x| / n: the root mean square of E's elements. */
  readonly spread: number;
  /** |x^T E x| / n: the mean of E's diagonal, known within sqrt(2) spreads. */
  readonly bias: number;
}

/**
 * The same for a Gram matrix of float products. To first order E moves sigma_i^2 by v_i^T E v_i: the mean of E's
 * diagonal, and a random part of standard deviation sqrt(2) spread, E's rounding errors being independent of v_i and of
 * each other (Higham and Mary, A new approach to probabilistic rounding error analysis, SISC 41, 2019). The sum of
 * what the bias does to each sigma and DEVIATIONS standard deviations of the sum of the rest must stay in tolerance.
 */
export function floatGramSuffices(values: Float64Array, { spread, bias }: FloatGramError): boolean {
  const DEVIATIONS = 3;
  if ((values[0] ?? 0) === 0) return true;
  const moved = (by: number, value: number) => Math.min(by / (2 * value), Math.sqrt(by));
  let sum = 0;
  let biased = 0;
  let variance = 0;
  for (const value of tailOf(values)) {
    sum += value;
    biased += moved(bias, value);
    variance += moved(Math.SQRT2 * spread, value) ** 2;
  }
  return biased + DEVIATIONS * Math.sqrt(variance) <= TOLERANCE.fast * sum;
}

function tailOf(values: Float64Array): Float64Array {
  return values.subarray(Math.floor(values.length * (1 - TAIL)));
}
