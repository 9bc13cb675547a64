// How large the noise in a matrix is, from a few of its columns, before any of its singular values is known; and whether
// products of floats are worth going on with. Pure.
import { floatsArePromising } from "./guard.ts";

/** Share of a matrix from which on the products of floats of a square one are judged: most that would be refused are seen by then. */
const JUDGED_SHARE = 1 / 4;

/** What is to be expected of a matrix's products of floats: `open` until it is judged. */
export type Outlook = "open" | "good" | "poor";

/** A Gram matrix of float products of the first rows of a tall matrix, or the first columns of a wide one. */
export interface PartialGram {
  /** Rows or columns that are in it, and that there are. */
  readonly lines: number;
  readonly m: number;
  /** Its order. */
  readonly n: number;
  /** Its elements, row not less than column. */
  readonly element: (row: number, column: number) => number;
  /** Root mean square of the errors of its elements, in the same units. */
  readonly spread: () => number;
}

/**
 * Judges a square matrix by a part of it: errors, which have random signs, grow with the root of the number of lines, the
 * noise's floor with the number itself.
 *
 * @param added - what other products of floats will add to the spread, in units of the noise's floor.
 */
export function outlookOf({ lines, m, n, element, spread }: PartialGram, added = 0): Outlook {
  if (lines < JUDGED_SHARE * m) return "open";
  const floor = noiseFloor(element, [lines, n]);
  const expected = spread() * Math.sqrt(lines / m) + added * floor;
  return floatsArePromising({ spread: expected, floor }) ? "good" : "poor";
}

/** Columns that are looked at: what they have in common with those before them is not noise. */
const MOST_COLUMNS = 64;

/**
 * An estimate of the longer side times the variance of a matrix's noise, the mean of the squared singular values that noise alone
 * would have. Of each of the leading columns what the others before it span is taken away, and with it the large singular
 * values, in which all columns have a share; the pivots of Cholesky's factorization are the squared lengths of what is left.
 * Noise of variance v leaves v (m - j) of column j on average. A signal of more dimensions than there are columns is counted
 * as noise as far as its rest goes.
 *
 * @param gram - an element of the Gram matrix of the smaller side, row not less than column.
 * @param shape - of the matrix.
 */
export function noiseFloor(
  gram: (row: number, column: number) => number,
  shape: readonly [rows: number, columns: number],
): number {
  const m = Math.max(...shape);
  const count = Math.min(MOST_COLUMNS, Math.ceil(Math.min(...shape) / 2));
  // Of the last quarter: from these most of a signal has been taken away.
  const averaged = Math.ceil(count / 4);
  const factor = new Float64Array(count * count); // row-major, the lower half
  let sum = 0;
  for (let i = 0; i < count; i++) {
    for (let j = 0; j <= i; j++) {
      const rest = gram(i, j) - dot(factor, i * count, j * count, j);
      if (j < i) {
        factor[i * count + j] = rest / (factor[j * count + j] ?? 0);
        continue;
      }
      // Not positive: rounding is all that is left, as there is of a zero column.
      if (!(rest > 0)) return 0;
      factor[i * count + i] = Math.sqrt(rest);
      if (i >= count - averaged) sum += rest / (m - i);
    }
  }
  return (m * sum) / averaged;
}

/** Of two rows of `count` elements that begin at `a` and `b`. */
function dot(xs: Float64Array, a: number, b: number, count: number): number {
  let sum = 0;
  for (let k = 0; k < count; k++) sum += (xs[a + k] ?? 0) * (xs[b + k] ?? 0);
  return sum;
}
