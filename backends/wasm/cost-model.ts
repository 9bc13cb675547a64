// Whether one more thread is worth its while on a matrix that is being worked on. Plain arithmetic.

/** Floating-point operations of `depth` rows or columns in a Gram matrix of order `n`; products of floats run twice as fast. */
export function gramFlops(n: number, depth: number, floats: boolean): number {
  return (floats ? 0.5 : 1) * depth * n * n;
}
