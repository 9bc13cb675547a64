// How far approximate singular triplets can be off, from their residuals and from random probes of what they leave. Pure.
//
// In bases [U U'] and [V V'] of the whole spaces, A is blkdiag(S, F) + E: F = U'^T A V' is what is left, and every entry
// of E is one of R = A V - U S or of T = A^T U - V S. Weyl's theorem then compares the singular values of A with those of
// blkdiag(S, F). The norm of F is bounded with lemma 4.1 of Halko, Martinsson and Tropp (Finding structure with
// randomness, 2011): for standard normal vectors w_1 .. w_r and any alpha > 1,
//   |B| <= alpha sqrt(2 / pi) max |B w_i|   but for a chance of alpha^-r,
// applied to B = T_d(2 F^T F / c - 1), T_d the Chebyshev polynomial: above c it grows so fast that the factor before the
// maximum, taken back through T_d, comes down to a few per cent.

/** Random vectors that probe what is left: a whole number of panels. */
export const PROBES = 12;
/** Degrees up to which the probes are multiplied; each is one more look, at which the lemma may fail. */
export const PROBE_DEGREES = 16;
const FAILURE = 1e-10;
const FACTOR = (PROBE_DEGREES / FAILURE) ** (1 / PROBES) * Math.sqrt(2 / Math.PI);

/**
 * An upper bound on |F|.
 *
 * @param largest - the maximum of |T_d(2 F^T F / c - 1) w| over the probes.
 * @param c - any positive number that does not depend on the probes.
 */
export function normBound(largest: number, degree: number, c: number): number {
  const growth = FACTOR * largest; // the norm of B; T_d(x) <= 1 says x <= 1
  const x = growth <= 1 ? 1 : Math.cosh(Math.acosh(growth) / degree);
  return Math.sqrt((c * (1 + x)) / 2);
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

/** An upper bound on |A - U S V^T|: |F| and E. */
export function residualNormBound({ left, right, rest }: Residuals): number {
  return rest + Math.hypot(...left, ...right);
}
