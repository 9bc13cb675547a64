// Leading singular triplets the obvious way: all of them by one-sided Jacobi, then the first few.
import { dot } from "mathjs";
import { type SvdRequest, svdRounding, type TruncatedSvd } from "../../src/backend-svd.ts";
import { jacobiSvd } from "./jacobi.ts";
import { transpose } from "./transpose.ts";

/** Lengths that Jacobi takes for zero beside an element near 1: see NEGLIGIBLE_SQUARE in jacobi.ts. */
const NEGLIGIBLE = 2 ** -200;

/** What goes with the rows. */
export interface TruncatedSvdWork {
  readonly request: SvdRequest;
  /** The rows were divided by this. */
  readonly unit: number;
  readonly checkOpen: () => void;
}

/** The triplets of the matrix with these rows, whose largest element is near 1. */
export async function truncatedSvd(
  rows: readonly number[][],
  { request, unit, checkOpen }: TruncatedSvdWork,
): Promise<TruncatedSvd> {
  const { rank, shape, tolerance } = request;
  const isWide = shape[0] < shape[1];
  const columns = transpose(rows);
  const copy = (isWide ? rows : columns).map((column) => [...column]);
  const { values, orthogonal, rotations } = await jacobiSvd(copy, checkOpen);
  const long = orthonormal(orthogonal.slice(0, rank));
  const short = rotations.slice(0, rank);
  const [u, v] = isWide ? [short, long] : [long, short];

  const rounding = svdRounding(shape, values[0] ?? 0);
  const s = values.slice(0, rank);
  const residuals = Float64Array.from(s, (value, i) => {
    const [left, right] = [u[i] ?? [], v[i] ?? []];
    const across = distance(rows, right, left, value);
    const back = distance(columns, left, right, value);
    return Math.max(across, back) + rounding;
  });
  const limit = Math.max(tolerance * (s[0] ?? 0), 2 * rounding);
  return {
    rank,
    u: Float64Array.from(transpose(u).flat()),
    s: s.map((value) => value * unit),
    vt: Float64Array.from(v.flat()),
    residuals: residuals.map((value) => value * unit),
    bounds: s.map(() => rounding * unit), // all the others are known
    residualNorm: ((values[rank] ?? 0) + rounding) * unit,
    converged: residuals.every((value) => value <= limit),
    passes: 1,
  };
}

/** |M x - s y|, M given by rows. */
function distance(rows: readonly number[][], x: readonly number[], y: readonly number[], s: number): number {
  return Math.hypot(...rows.map((row, i) => dot(row, [...x]) - s * (y[i] ?? 0)));
}

/** Orthogonal columns to the length 1; those of length zero become what of the standard basis is not spanned yet. */
function orthonormal(columns: readonly number[][]): number[][] {
  const done: number[][] = [];
  let axis = 0;
  for (const column of columns) {
    let length = Math.sqrt(dot(column, column));
    let next = column;
    while (length < NEGLIGIBLE || (next !== column && length < 0.5 / column.length)) {
      const unit = column.map((_, i) => (i === axis ? 1 : 0));
      next = outside(outside(unit, done), done);
      length = Math.sqrt(dot(next, next));
      axis++;
    }
    done.push(next.map((x) => x / length));
  }
  return done;
}

/** x without its part in the span of orthonormal columns. */
function outside(x: readonly number[], columns: readonly number[][]): number[] {
  let left = [...x];
  for (const column of columns) {
    const along = dot(left, column);
    left = left.map((element, i) => element - along * (column[i] ?? 0));
  }
  return left;
}
