// Whether singular values that come from a Gram matrix are accurate enough for what is made of them. Pure.

/** Share of the smallest values that is judged: what may be left as noise once the signal is taken away. */
const TAIL = 1 / 4;
/** Estimated relative error of the tail's sum that is let through: a tenth of what the SNR may be off. */
const TOLERANCE = 1e-10;

/**
 * Whether the sum of the smallest quarter is known to about 1e-10. Rounding moves a squared singular value by about
 * 2^-52 sigma_1^2, hence sigma by 2^-53 sigma_1^2 / sigma, and by 2^-26 sigma_1 at most.
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
