// Whether singular values that come from a Gram matrix are accurate enough for what is made of them. Pure.

/** Share of the smallest values that is judged: what may be left as noise once the signal is taken away. */
const TAIL = 1 / 2;
/** Highest estimate that is let through: what the SNR may be off. Measured errors are 10 to 1000 times below it. */
const TOLERANCE = 1e-9;

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
  for (const value of values.subarray(Math.floor(values.length * (1 - TAIL)))) {
    const relative = value / largest;
    sum += relative;
    error += Math.min(2 ** -53 / relative, 2 ** -26);
  }
  return error <= TOLERANCE * sum;
}
