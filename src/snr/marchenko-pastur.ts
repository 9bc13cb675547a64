// The law of Marchenko and Pastur (1967) for the singular values of a pure-noise matrix: its median and its edge.
// Throughout, beta = min(m, n) / max(m, n) is in (0, 1], and x is a squared singular value divided by sigma^2 max(m, n).

/**
 * Median of the Marchenko-Pastur law with ratio `beta`: half of the squared singular values of a matrix of
 * independent entries of variance sigma^2 lie below `median * sigma^2 * max(m, n)`.
 *
 * With x = 1 + beta - 2 sqrt(beta) cos t, t in [0, pi], the distribution function has the closed form
 * F(t) = 2/pi [ sin t / (2 sqrt(beta)) + (1 + beta) t / (4 beta) - (1 - beta) / (2 beta) atan(r tan(t/2)) ],
 * r = (1 + sqrt(beta)) / (1 - sqrt(beta)); it is solved for F = 1/2 by bisection.
 *
 * Source of its use: Gavish & Donoho 2014, "The optimal hard threshold for singular values is 4/sqrt(3)".
 *
 * @throws RangeError unless 0 < beta <= 1.
 */
export function marchenkoPasturMedian(beta: number): number {
  if (!(beta > 0 && beta <= 1)) throw new RangeError(`Cannot take beta = ${beta}: expected 0 < beta <= 1`);
  // Below, F loses beta^-1 of its digits to cancellation, while the median is 1 + O(beta): 1 is the better answer.
  if (beta < 1e-8) return 1;
  const root = Math.sqrt(beta);
  let low = 0;
  let high = Math.PI;
  for (let step = 0; step < 60; step++) {
    const middle = (low + high) / 2;
    if (distribution(middle, beta, root) < 0.5) low = middle;
    else high = middle;
  }
  return 1 + beta - 2 * root * Math.cos((low + high) / 2);
}

function distribution(t: number, beta: number, root: number): number {
  const atan = beta === 1 ? 0 : Math.atan(((1 + root) / (1 - root)) * Math.tan(t / 2));
  return (
    (2 / Math.PI) *
    (Math.sin(t) / (2 * root) + ((1 + beta) * t) / (4 * beta) - ((1 - beta) / (2 * beta)) * atan)
  );
}

/** 99 % point of the Tracy-Widom law for real matrices (Johnstone 2001, table 1). */
const TRACY_WIDOM_99 = 2.0234;

/**
 * The value that the largest singular value of an m x n matrix of unit-variance noise stays below with a
 * probability of 99 %: sqrt(mu + 2.0234 s), mu = (a + c)^2, s = (a + c)(1/a + 1/c)^(1/3),
 * a = sqrt(m - 1/2), c = sqrt(n - 1/2).
 *
 * Source: Johnstone 2001, "On the distribution of the largest eigenvalue in principal components analysis".
 */
export function noiseEdge(m: number, n: number): number {
  const a = Math.sqrt(m - 0.5);
  const c = Math.sqrt(n - 0.5);
  const mu = (a + c) ** 2;
  const s = (a + c) * Math.cbrt(1 / a + 1 / c);
  return Math.sqrt(mu + TRACY_WIDOM_99 * s);
}

/**
 * Squared singular value that remains of `y` (in units of sigma sqrt(max(m, n))) once the noise's inflation is
 * taken out: ((y^2 - beta - 1)^2 - 4 beta) / y^2, 0 at or below the edge 1 + sqrt(beta).
 *
 * Source: Gavish & Donoho 2017, "Optimal shrinkage of singular values", Frobenius loss.
 */
export function shrunkSquare(y: number, beta: number): number {
  const y2 = y * y;
  if (y2 <= (1 + Math.sqrt(beta)) ** 2) return 0;
  return ((y2 - beta - 1) ** 2 - 4 * beta) / y2;
}
