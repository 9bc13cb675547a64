// Small orders: the Gram matrix to tridiagonal form at once, without a band between (kernels/tridiagonal.c). In doubles, or in
// floats with the error measured of all that was done since the matrix's bytes.
import type { Kernels } from "../kernels.ts";
import { type FloatGramError, isOblong, spreadOf } from "./guard.ts";

/** Below this order it takes less than by way of a band; from it on several threads share that way. */
const DOUBLES_ORDER = 768;
/** Up to this order half the matrix in floats, 5 MB, is left to stay near the processor. */
export const FLOATS_ORDER = 1536;
/** A share of the noise's own elements: as long as the rest of a matrix is no larger, its errors are small enough. */
const ROOM = 16;
/** As long as the rest's squares shrink faster than this from panel to panel, large values are being split off. */
const SETTLED = 0.8;
/** Columns after which that is no longer waited for. */
const MOST_SPLITTING = 128;

/** Where the parts of a direct reduction lie. */
export interface DirectLayout {
  readonly n: number;
  /** Longer side of the matrix. */
  readonly m: number;
  readonly order: number;
  /** The Gram matrix's lower half, column-major, columns `lowerLd` apart; then the kernels' workspace. */
  readonly lower: number;
  readonly lowerLd: number;
  readonly lowerWorkspace: number;
  readonly diagonal: number;
  readonly beside: number;
  /** The probe's vector of signs and what the matrix makes of it, as the reduction turns them: `order` doubles each. */
  readonly turnedSigns: number;
  readonly turnedImage: number;
}

/** A matrix that has been put where the layout says. */
export interface Direct {
  readonly kernels: Kernels;
  readonly memory: ArrayBufferLike;
  readonly layout: DirectLayout;
  /** Called before each panel; throws to end the work. */
  readonly checkInterrupted: () => void;
}

/** Whether a Gram matrix of that order is reduced directly in doubles. */
export function isDirect(order: number): boolean {
  return order < DOUBLES_ORDER;
}

/** Whether that is tried in floats, where `fast` is asked for. */
export function isDirectInFloats(shape: readonly [rows: number, columns: number]): boolean {
  return Math.min(...shape) <= FLOATS_ORDER && isOblong(shape);
}

/** Bytes from `lower` on. */
export function directBytes(kernels: Kernels, order: number): number {
  return 8 * (lowerDoubles(order) + kernels.tridiagonalWorkspace(lowerLd(order)));
}

/** What of a layout follows from where its lower half is. */
export function placeDirect(lower: number, order: number) {
  return { lower, lowerLd: lowerLd(order), lowerWorkspace: lower + 8 * lowerDoubles(order) };
}

function lowerLd(order: number): number {
  return order + 8; // no power of two, else all columns fall into the same cache sets
}

function lowerDoubles(order: number): number {
  return order * lowerLd(order);
}

/** Lays the vectors of a probe out that says how far off the reduction is: signs, and what the matrix makes of them. */
export function startProbe(
  { memory, layout }: Pick<Direct, "memory" | "layout">,
  { signs, image, factor }: { readonly signs: number; readonly image: number; readonly factor: number },
): void {
  const { n, order, turnedSigns, turnedImage } = layout;
  const copy = (from: number, to: number, times: number) => {
    const turned = new Float64Array(memory, to, order).fill(0);
    turned.set(new Float64Array(memory, from, n).map((x) => times * x));
  };
  copy(signs, turnedSigns, 1);
  copy(image, turnedImage, factor);
}

/** Reduces the matrix, in doubles, to its `diagonal` and what is beside it. The matrix is lost. */
export function reduceDirectly(work: Direct): void {
  reduce(work, { floats: false, isProbed: false });
}

/**
 * The same after {@link startProbe}, in floats if they are asked for, but for the first panels where these split large values
 * off: rounding errors are a share of the largest value that is left. What is subtracted from the diagonal while it is in floats is
 * its mean: elements become as small as they can be, and the errors with them.
 *
 * @param exponent - the matrix is 4^-exponent times what it stands for.
 * @returns the error of what is left: the probe's vectors are multiplied by Q^T, which is orthogonal in doubles, and the
 * tridiagonal T shows T Q^T x - Q^T A^T A x. The mean of its eigenvalues is the difference of the traces.
 */
export function reduceMeasured(
  work: Direct,
  { floats, exponent }: { readonly floats: boolean; readonly exponent: number },
): FloatGramError {
  const { n, diagonal, beside, turnedSigns, turnedImage } = work.layout;
  const trace = sumOf(diagonalOf(work));
  reduce(work, { floats, isProbed: true });
  const vector = (at: number) => new Float64Array(work.memory, at, n);
  const [d, e, x, z] = [vector(diagonal), vector(beside), vector(turnedSigns), vector(turnedImage)];
  const beyond = (i: number) => (i + 1 < n ? (e[i] ?? 0) * (x[i + 1] ?? 0) : 0);
  const before = (i: number) => (i > 0 ? (e[i - 1] ?? 0) * (x[i - 1] ?? 0) : 0);
  const ex = z.map((image, i) => (d[i] ?? 0) * (x[i] ?? 0) + before(i) + beyond(i) - image);
  const bias = Math.abs(sumOf(d) - trace) / n;
  return { spread: spreadOf(ex, { n }, exponent), bias: bias * 4 ** exponent };
}

function reduce(
  work: Direct,
  { floats, isProbed }: { readonly floats: boolean; readonly isProbed: boolean },
): void {
  const { kernels, memory, layout, checkInterrupted } = work;
  const { n, order, lower, lowerLd, lowerWorkspace, diagonal, beside, turnedSigns, turnedImage } = layout;
  const [signs, image] = isProbed ? [turnedSigns, turnedImage] : [0, 0];
  const splitting = floats ? splittingOf(work) : null;
  let rounded: { readonly from: number; readonly mean: number } | null = null;
  for (let j = 0; j < n; j += kernels.tridiagonalWidth()) {
    checkInterrupted();
    if (rounded === null && splitting?.isDone(j)) {
      rounded = { from: j, mean: shiftDiagonal(work, j) };
      kernels.roundLower(lower, lowerLd, order, j);
    }
    kernels.tridiagonalize(
      lower,
      rounded === null ? 0 : 1,
      lowerLd,
      order,
      n,
      j,
      diagonal,
      beside,
      signs,
      image,
      lowerWorkspace,
    );
  }
  if (rounded === null) return;
  const { from, mean } = rounded;
  const d = new Float64Array(memory, diagonal, n).subarray(from);
  d.set(d.map((x) => x + mean));
}

/** Says before each panel whether the large values have been split off, or are not going to be. */
function splittingOf({ kernels, memory, layout }: Direct): { isDone(j: number): boolean } {
  const { n, m, lower, lowerLd, diagonal, beside } = layout;
  const d = new Float64Array(memory, diagonal, n);
  const e = new Float64Array(memory, beside, n);
  let trace = 0;
  let squares = 0;
  for (const [c, x] of diagonalOf({ memory, layout }).entries()) {
    const below = lower + 8 * (c * (lowerLd + 1) + 1);
    trace += x;
    squares += x ** 2 + 2 * kernels.dot(below, below, n - c - 1);
  }
  let last = Infinity;
  let reduced = 0;
  return {
    isDone(j) {
      // Orthogonal transformations leave both sums alone.
      for (; reduced < j; reduced++) {
        trace -= d[reduced] ?? 0;
        squares -= (d[reduced] ?? 0) ** 2 + 2 * (e[reduced] ?? 0) ** 2;
      }
      const left = n - j;
      const rest = squares - trace ** 2 / left; // with the mean subtracted from the diagonal
      // The variance of the eigenvalues of noise with that mean (Marchenko and Pastur, 1967).
      const noise = left * (n / m) * (trace / left) ** 2;
      const isSettled = rest <= ROOM * noise || rest > SETTLED * last || j >= MOST_SPLITTING;
      last = rest;
      return isSettled;
    },
  };
}

/** Subtracts the mean of the diagonal from row `j` on from it, and returns it. */
function shiftDiagonal({ memory, layout }: Pick<Direct, "memory" | "layout">, j: number): number {
  const { n, lower, lowerLd } = layout;
  const rest = diagonalOf({ memory, layout }).subarray(j);
  const mean = sumOf(rest) / (n - j);
  for (const [i, x] of rest.entries()) {
    new Float64Array(memory, lower + 8 * (j + i) * (lowerLd + 1), 1)[0] = x - mean;
  }
  return mean;
}

function diagonalOf({ memory, layout }: Pick<Direct, "memory" | "layout">): Float64Array {
  const { n, lower, lowerLd } = layout;
  return Float64Array.from(
    { length: n },
    (_, c) => new Float64Array(memory, lower + 8 * c * (lowerLd + 1), 1)[0] ?? 0,
  );
}

function sumOf(xs: Float64Array): number {
  return xs.reduce((sum, x) => sum + x, 0);
}
