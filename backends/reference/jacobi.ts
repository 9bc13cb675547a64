// One-sided Jacobi (Hestenes 1958; Demmel and Veselic, Jacobi's method is more accurate than QR, 1992): rotates pairs of
// columns until all are orthogonal; their lengths are then the singular values. Small ones come out as accurate as
// large ones when the columns differ in scale.
import { setImmediate } from "node:timers/promises";
import { dot } from "mathjs";

const MAX_SWEEPS = 60;
const YIELD_MS = 20;
// Square of a column's length that counts as zero beside the largest element, which is near 1. Columns that depend on
// others shrink by 2^-52 a sweep, and would end among the subnormal numbers, where no angle can be measured.
const NEGLIGIBLE_SQUARE = 2 ** -400;

/** A column, the same of the product of all rotations so far, and the square of its length. */
interface Column {
  readonly elements: number[];
  readonly rotation: number[];
  square: number;
}

/** An SVD of the matrix X of the columns: X `rotations` = `orthogonal`, both by columns, in descending order. */
export interface JacobiSvd {
  readonly values: Float64Array;
  /** Orthogonal columns, whose lengths are the values. */
  readonly orthogonal: readonly number[][];
  /** Orthonormal columns. */
  readonly rotations: readonly number[][];
}

/**
 * All singular values of the matrix with these columns, descending: one per column, so give it the shorter side.
 * The columns are overwritten. Their largest element must be near 1.
 *
 * @param checkOpen - called now and then; what it throws ends the work.
 * @throws Error when 60 sweeps do not make the columns orthogonal.
 */
export async function jacobiSingularValues(
  matrix: readonly number[][],
  checkOpen: () => void,
): Promise<Float64Array> {
  const columns = matrix.map((elements): Column => ({ elements, rotation: [], square: 0 }));
  await orthogonalizeAll(columns, checkOpen);
  return Float64Array.from(columns, ({ square }) => Math.sqrt(square));
}

/** The singular vectors as well; otherwise like {@link jacobiSingularValues}. */
export async function jacobiSvd(matrix: readonly number[][], checkOpen: () => void): Promise<JacobiSvd> {
  const columns = matrix.map((elements, i): Column => {
    return { elements, rotation: matrix.map((_, j) => (i === j ? 1 : 0)), square: 0 };
  });
  await orthogonalizeAll(columns, checkOpen);
  return {
    values: Float64Array.from(columns, ({ square }) => Math.sqrt(square)),
    orthogonal: columns.map(({ elements }) => elements),
    rotations: columns.map(({ rotation }) => rotation),
  };
}

/** Sweeps until no pair of columns needs a rotation; they are then in descending order. */
async function orthogonalizeAll(columns: Column[], checkOpen: () => void): Promise<void> {
  const length = columns[0]?.elements.length ?? 1;
  const tolerance = Number.EPSILON * Math.sqrt(length);
  let yielded = performance.now();
  for (let sweep = 0; sweep < MAX_SWEEPS; sweep++) {
    for (const column of columns) column.square = dot(column.elements, column.elements);
    columns.sort((a, b) => b.square - a.square); // de Rijk: larger columns first, fewer sweeps
    let rotations = 0;
    for (const [i, p] of columns.entries()) {
      for (const q of columns.slice(i + 1)) if (orthogonalize(p, q, tolerance)) rotations++;
      if (performance.now() - yielded < YIELD_MS) continue;
      await setImmediate(); // other calls, and Ctrl-C, get their turn
      checkOpen();
      yielded = performance.now();
    }
    if (rotations === 0) return;
  }
  throw new Error(
    `One-sided Jacobi did not converge in ${MAX_SWEEPS} sweeps over ${columns.length} columns of ${length}`,
  );
}

/** Rotates p and q until p . q = 0; false when the cosine of their angle was within the tolerance already. */
function orthogonalize(p: Column, q: Column, tolerance: number): boolean {
  if (Math.min(p.square, q.square) < NEGLIGIBLE_SQUARE) return false;
  const product = dot(p.elements, q.elements);
  if (Math.abs(product) <= tolerance * Math.sqrt(p.square) * Math.sqrt(q.square)) return false;
  const zeta = (q.square - p.square) / (2 * product);
  const t = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
  const c = 1 / Math.hypot(1, t);
  const s = c * t;
  rotate(p.elements, q.elements, c, s);
  rotate(p.rotation, q.rotation, c, s);
  p.square -= t * product;
  q.square += t * product;
  return true;
}

function rotate(p: number[], q: number[], c: number, s: number): void {
  for (let k = 0; k < p.length; k++) {
    const x = p[k] ?? 0;
    const y = q[k] ?? 0;
    p[k] = c * x - s * y;
    q[k] = s * x + c * y;
  }
}
