// How far approximate singular triplets can be off, from their residuals and from random probes of what they leave. Pure.
//
// In bases [U U'] and [V V'] of the whole spaces, A is blkdiag(S, F) + E: F = U'^T A V' is what is left, and every entry
// of E is one of R = A V - U S or of T = A^T U - V S. Weyl's theorem then compares the singular values of A with those of
// blkdiag(S, F). F is no larger than A V', whose square's largest eigenvalue lambda, with the unit vector x, is bounded so:
// of a block W of r standard normal vectors |x^T W|^2 is a chi-square of r degrees of freedom, below DELTA^2 but for a
// chance of 1e-10. A polynomial p of the square makes x^T p W = p(lambda) x^T W, hence |p(lambda)| DELTA <= |p W|, for
// every p at once. Those that Lanczos' recurrence over W finds, as one long vector, grow fastest above the spectrum.

/** Random vectors that probe what is left. */
export const PROBES = 8;
const FAILURE = 1e-10;
/** P(chi-square of r degrees <= d^2) <= (d^2 / 2)^(r / 2) / (r / 2)!, r even. */
const DELTA = Math.sqrt(2 * (FAILURE * factorial(PROBES / 2)) ** (2 / PROBES));
const BISECTIONS = 100;

function factorial(n: number): number {
  return n <= 1 ? 1 : n * factorial(n - 1);
}

/** Lanczos' recurrence X_{j + 1} b_j = B X_j - a_j X_j - b_{j - 1} X_{j - 1} over blocks of length 1, X_0 = W / length. */
export interface Recurrence {
  /** |W|, the root of the sum of all squares. */
  readonly length: number;
  readonly a: readonly number[];
  readonly b: readonly number[];
}

/** An upper bound on the largest eigenvalue of B, symmetric and not negative, from as many steps as were made. */
export function eigenvalueBound(recurrence: Recurrence): number {
  const { a, b } = recurrence;
  let high = Math.max(Number.MIN_VALUE, ...a.map(Math.abs), ...b);
  while (high < Infinity && !isAbove(high, recurrence)) high *= 2;
  let low = 0;
  for (let i = 0; i < BISECTIONS && high - low > 2 ** -40 * high; i++) {
    const middle = (low + high) / 2;
    if (isAbove(middle, recurrence)) high = middle;
    else low = middle;
  }
  return high;
}

/** Whether no eigenvalue is x: above all zeros the polynomials grow, and one has grown past what it may be at an eigenvalue. */
function isAbove(x: number, { length, a, b }: Recurrence): boolean {
  const most = length / DELTA;
  let [before, value, largest] = [0, 1, 1];
  for (const [j, each] of a.entries()) {
    const next = (x - each) * value - (b[j - 1] ?? 0) * before;
    if (!(next > 0)) return false;
    before = value;
    value = Math.min(next / (b[j] ?? 0), Number.MAX_VALUE);
    largest = Math.max(largest, value);
  }
  return largest > most;
}

/** The same from the length of A W alone. */
export function normBound(length: number): number {
  return length / DELTA;
}

/** What is known of approximate triplets. */
export interface Residuals {
  /** Descending. */
  readonly s: Float64Array;
  /** |A v_i - s_i u_i| and |A^T u_i - s_i v_i|. */
  readonly left: Float64Array;
  readonly right: Float64Array;
  /** An upper bound on |F|. */
  readonly rest: number;
}

/**
 * Upper bounds on |sigma_i - s_i| for all i. The first j >= i triplets alone already bound sigma_i: their E_j is at most
 * `eta_j`, the root of the sum of the squares of the residuals, and what they leave has a norm of at most
 * max(s_{j + 1}, |F|) + eta_k. The best j counts.
 */
export function valueBounds({ s, left, right, rest }: Residuals): Float64Array<ArrayBuffer> {
  const eta = new Float64Array(s.length);
  let sum = 0;
  for (let i = 0; i < s.length; i++) {
    sum += (left[i] ?? 0) ** 2 + (right[i] ?? 0) ** 2;
    eta[i] = Math.sqrt(sum);
  }
  const whole = Math.sqrt(sum);
  return Float64Array.from(s, (value, i) => {
    let least = Infinity;
    for (let j = i; j < s.length; j++) {
      const isLast = j === s.length - 1;
      const left = isLast ? rest : Math.max(s[j + 1] ?? 0, rest) + whole;
      least = Math.min(least, (eta[j] ?? 0) + Math.max(0, left - value));
    }
    return least;
  });
}

/** An upper bound on |A - U S V^T| of the first `rank` triplets: the others or F, and E. */
export function residualNormBound({ s, left, right, rest }: Residuals, rank: number): number {
  return Math.max(s[rank] ?? 0, rest) + Math.hypot(...left, ...right);
}
