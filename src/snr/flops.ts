// How much arithmetic the singular values of matrices are.

/**
 * Floating-point operations of all singular values of a matrix by way of its Gram matrix: N M^2 for that, 4/3 M^3 for
 * its tridiagonal form, M = min(rows, columns), N = max. What comes after is of order M^2 and not counted.
 */
export function singularValueFlops([rows, columns]: readonly [rows: number, columns: number]): number {
  const small = Math.min(rows, columns);
  return Math.max(rows, columns) * small ** 2 + (4 / 3) * small ** 3;
}
