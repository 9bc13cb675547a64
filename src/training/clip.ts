// Clipping by the norm of all gradients together, as torch.nn.utils.clip_grad_norm_ does it.

// Keeps the quotient finite; torch's constant.
const EPSILON = 1e-6;

/** Sum of squares of a gradient, accumulated in float64. */
export function sumOfSquares(gradient: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < gradient.length; i++) sum += (gradient[i] as number) ** 2;
  return sum;
}

/** Factor that brings gradients of that norm to at most `maxNorm`; null clips nothing. */
export function clipScale(norm: number, maxNorm: number | null): number {
  return maxNorm === null ? 1 : Math.min(1, maxNorm / (norm + EPSILON));
}
