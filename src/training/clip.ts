// Clipping by the norm of all gradients together, as torch.nn.utils.clip_grad_norm_ does it.

// Keeps the quotient finite; torch's constant.
const EPSILON = 1e-6;

/** Factor that brings gradients of that norm to at most `maxNorm`; null clips nothing. */
export function clipScale(norm: number, maxNorm: number | null): number {
  return maxNorm === null ? 1 : Math.min(1, maxNorm / (norm + EPSILON));
}
