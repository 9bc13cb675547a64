// Blocks of long columns in WebAssembly memory, and what linear algebra does with them.
import type { KernelMemory } from "../kernel-memory.ts";
import { ROTATED_ROWS } from "./plan.ts";

const MAX_SWEEPS = 60;

/** Columns of `rows` elements, `ld` doubles apart, from the address `at`; `ld` a multiple of 4, the elements past `rows` zero. */
export interface Columns {
  readonly at: number;
  readonly ld: number;
  readonly rows: number;
  readonly count: number;
}

/** Room for `count` columns, all zero. */
export function takeColumns(memory: KernelMemory, rows: number, count: number): Columns {
  const ld = Math.ceil(rows / 4) * 4;
  return { at: memory.take(8 * ld * count), ld, rows, count };
}

/** `count` of the columns, from the first or from `begin`. */
export function someColumns({ at, ld, rows }: Columns, count: number, begin = 0): Columns {
  return { at: at + 8 * ld * begin, ld, rows, count };
}

/** The elements, padding included. */
export function elementsOf(memory: KernelMemory, { at, ld, count }: Columns): Float64Array<ArrayBuffer> {
  return memory.doubles(at, ld * count);
}

/** Length of column j. */
export function lengthOf(memory: KernelMemory, { at, ld }: Columns, j: number): number {
  return memory.kernels.columnNorm(at + 8 * ld * j, ld);
}

/**
 * Makes the columns orthonormal, in order: X = Q R. A column in the span of those before it becomes some other
 * direction, with a zero on R's diagonal.
 *
 * @param r - takes R, upper triangular, one column for each of x.
 * @param check - called between columns; what it throws ends the work.
 */
export function orthonormalize(memory: KernelMemory, x: Columns, r: Columns, check: () => void): void {
  elementsOf(memory, r).fill(0);
  for (let j = 0; j < x.count; j++) {
    check();
    memory.kernels.orthonormalize(x.at, x.ld, x.rows, x.ld, j, r.at + 8 * r.ld * j);
  }
}

/** out = X C: column j of C says what makes column j of out. */
export function multiply(memory: KernelMemory, x: Columns, c: Columns, out: Columns): void {
  const { kernels } = memory;
  elementsOf(memory, out).fill(0);
  kernels.subtractProducts(x.at, x.ld, x.count, out.at, out.ld, out.count, x.ld, c.at, c.ld);
  kernels.scale(out.at, out.ld * out.count, -1);
}

/** Replaces X by its product with C, which has no more columns, a few rows at a time. */
export function rotate(memory: KernelMemory, x: Columns, c: Columns, scratch: number): Columns {
  const { kernels } = memory;
  for (let row = 0; row < x.ld; row += ROTATED_ROWS) {
    const some = Math.min(ROTATED_ROWS, x.ld - row);
    const from = x.at + 8 * row;
    kernels.clear(scratch, some * c.count);
    kernels.subtractProducts(from, x.ld, x.count, scratch, some, c.count, some, c.at, c.ld);
    const product = memory.doubles(scratch, some * c.count);
    for (let j = 0; j < c.count; j++) {
      const out = memory.doubles(from + 8 * x.ld * j, some);
      for (let i = 0; i < some; i++) out[i] = -(product[j * some + i] ?? 0);
    }
  }
  return someColumns(x, c.count);
}

/** X -= V B^T Y. With B = V and Y = X it takes away what lies in the span of V. */
export function subtractSpan(
  memory: KernelMemory,
  x: Columns,
  {
    v,
    b,
    y,
    scratch,
  }: { readonly v: Columns; readonly b: Columns; readonly y: Columns; readonly scratch: number },
): void {
  const { kernels } = memory;
  const ld = b.count;
  kernels.innerProducts(b.at, b.ld, b.count, y.at, y.ld, y.count, b.ld, scratch, ld);
  kernels.subtractProducts(v.at, v.ld, v.count, x.at, x.ld, x.count, v.ld, scratch, ld);
}

/**
 * One-sided Jacobi on a small square matrix: G J has orthogonal columns, whose lengths are its singular values, and
 * replaces G; `rotation` becomes J. Columns are in descending order of length.
 *
 * @param scratch - address of a double for each column.
 * @returns the singular values.
 * @throws Error when 60 sweeps do not make the columns orthogonal.
 */
export function jacobi(
  memory: KernelMemory,
  { g, rotation, scratch }: { readonly g: Columns; readonly rotation: Columns; readonly scratch: number },
  check: () => void,
): Float64Array {
  const { ld, count } = g;
  const j = elementsOf(memory, rotation).fill(0);
  for (let i = 0; i < count; i++) j[i * ld + i] = 1;
  let sweeps = 0;
  while (memory.kernels.jacobiSweep(g.at, rotation.at, count, ld, scratch) > 0) {
    check();
    if (++sweeps === MAX_SWEEPS) {
      throw new Error(`One-sided Jacobi did not converge in ${MAX_SWEEPS} sweeps over ${count} columns`);
    }
  }
  const lengths = Array.from({ length: count }, (_, i) => lengthOf(memory, g, i));
  const order = lengths.map((_, i) => i).sort((a, b) => (lengths[b] ?? 0) - (lengths[a] ?? 0));
  for (const columns of [elementsOf(memory, g), j]) {
    const before = columns.slice();
    for (const [to, from] of order.entries())
      columns.set(before.subarray(from * ld, (from + 1) * ld), to * ld);
  }
  return Float64Array.from(order, (i) => lengths[i] ?? 0);
}

/**
 * Eigenvalues, descending, and eigenvectors of a small symmetric matrix, which is overwritten; `vectors` takes the
 * latter in that order.
 *
 * @param scratch - address of four doubles for each column.
 * @throws Error when QL does not converge.
 */
export function symmetricEigen(
  memory: KernelMemory,
  { t, vectors, scratch }: { readonly t: Columns; readonly vectors: Columns; readonly scratch: number },
): Float64Array<ArrayBuffer> {
  const { ld, count } = t;
  const failed = memory.kernels.symmetricEigen(t.at, count, ld, scratch, vectors.at, scratch + 8 * count);
  if (failed !== 0) throw new Error(`QL did not converge on a symmetric matrix of order ${count}`);
  const values = memory.doubles(scratch, count).slice();
  const order = [...values.keys()].sort((a, b) => (values[b] ?? 0) - (values[a] ?? 0));
  const columns = elementsOf(memory, vectors);
  const before = columns.slice();
  for (const [to, from] of order.entries()) columns.set(before.subarray(from * ld, (from + 1) * ld), to * ld);
  return Float64Array.from(order, (i) => values[i] ?? 0);
}
