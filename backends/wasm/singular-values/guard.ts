// Whether singular values that come from a Gram matrix are accurate enough for what is made of them. Pure.

/** Share of the smallest values that is judged: what may be left as noise once the signal is taken away. */
const TAIL = 1 / 2;

/**
 * Highest estimate that is let through: what the SNR may be off. Measured errors are 10 to 1000 times below it, but for a
 * few exact zeros among values that are large, up to twice above: those come back as up to 3e-8 sigma_1.
 */
const TOLERANCE = 1e-9;
/** Half of what rounding moves a squared singular value by, over sigma_1^2. */
const ROUNDOFF = 2 ** -53;
/** The same for float products: half of what `fast` may be off. */
const FLOAT_TOLERANCE = 5e-7;

/**
 * Whether the sum of the smaller half is known to 1e-9. Rounding moves a squared singular value by about
 * 2^-52 sigma_1^2, hence sigma by 2^-53 sigma_1^2 / sigma, and by 2^-26 sigma_1 at most; the sum is taken to be off by
 * the sum of these, as if they never cancelled. A bulk 300 times below sigma_1 passes.
 *
 * @param values - descending, none negative.
 */
export function gramSuffices(values: Float64Array): boolean {
  const largest = values[0] ?? 0;
  if (largest === 0) return true;
  let sum = 0;
  let error = 0;
  for (const value of tailOf(values)) {
    const relative = value / largest;
    sum += relative;
    error += Math.min(ROUNDOFF / relative, Math.sqrt(2 * ROUNDOFF));
  }
  return error <= TOLERANCE * sum;
}

/** How far from its mean an error is taken to be. */
const DEVIATIONS = 3;

/** The error matrix E of a Gram matrix of float products, as measured by one vector x of signs, in units of sigma^2. */
export interface FloatGramError {
  /** |E x| / n: the root mean square of E's elements. */
  readonly spread: number;
  /** |x^T E x| / n: the mean of E's eigenvalues, known within sqrt(2) spreads. */
  readonly bias: number;
}

/** The error E of a Gram matrix that was scaled by 4^-exponent, from x, a vector of signs, and E x as it is scaled. */
export function floatGramError(x: Float64Array, ex: Float64Array, exponent: number): FloatGramError {
  const mean = ex.reduce((sum, each, i) => sum + each * (x[i] ?? 0), 0) / x.length;
  return { spread: spreadOf(ex, { n: x.length }, exponent), bias: Math.abs(mean) * 4 ** exponent };
}

/** The root mean square of the elements of E, of order n, from E x as it is scaled. */
export function spreadOf(ex: Float64Array, { n }: { readonly n: number }, exponent: number): number {
  return (Math.sqrt(ex.reduce((sum, each) => sum + each * each, 0)) / n) * 4 ** exponent;
}

/**
 * The same for a Gram matrix of float products, to 5e-7. To first order E moves sigma_i^2 by v_i^T E v_i.
 * Rounding errors that are independent of v_i and of each other (Higham and Mary, A new approach to probabilistic rounding
 * error analysis, SISC 41, 2019) give it a standard deviation of sqrt(2) spreads. What all have in common is the mean
 * of E's eigenvalues, or, where E follows the largest singular vector and its diagonal is right, one spread: n spreads
 * on that vector, taken from the n others. The common part of all sigmas' errors and DEVIATIONS standard deviations of
 * the sum of the rest must stay in tolerance; the other half of what `fast` may be off is left to the largest values,
 * whose errors were found to be up to 6e-8 of themselves.
 */
export function floatGramSuffices(
  values: Float64Array,
  { spread, bias }: FloatGramError,
  tolerance = FLOAT_TOLERANCE,
): boolean {
  if ((values[0] ?? 0) === 0) return true;
  const moved = (by: number, value: number) => Math.min(by / (2 * value), Math.sqrt(by));
  let sum = 0;
  let common = 0;
  let deviation = 0;
  for (const value of tailOf(values)) {
    sum += value;
    common += moved(Math.max(bias, spread), value);
    deviation += moved(DEVIATIONS * Math.SQRT2 * spread, value) ** 2;
  }
  return common + Math.sqrt(deviation) <= tolerance * sum;
}

/** Sides in this proportion keep the smallest values away from zero, where small errors of their squares matter. */
const OBLONG = 9 / 8;

export function isOblong([rows, columns]: readonly [rows: number, columns: number]): boolean {
  return Math.max(rows, columns) >= OBLONG * Math.min(rows, columns);
}

/** Most of the spread over the noise's floor; docs/decisions/0010 has the measurements. */
const PROMISING = 9e-9;

/**
 * Whether {@link floatGramSuffices} is likely to pass a square matrix, asked before its values are known. The smallest
 * values of a square matrix are arbitrarily near zero, and how near is chance. That of being refused grows with the spread over the
 * noise's floor; at this limit it is about a third.
 *
 * @param floor - see noise-floor.ts, in the units of the spread.
 */
export function floatsArePromising({
  spread,
  floor,
}: {
  readonly spread: number;
  readonly floor: number;
}): boolean {
  return spread <= PROMISING * floor;
}

function tailOf(values: Float64Array): Float64Array {
  return values.subarray(Math.floor(values.length * (1 - TAIL)));
}
