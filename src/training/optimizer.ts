// AdamW, one fused loop per parameter: the update of the optimizer graph without its intermediate tensors.
// Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019), in the order of operations of torch.optim.AdamW.
import type { AdamWConstants } from "./manifest.ts";

/** First and second moment of a parameter's gradients, each of the parameter's length. */
export interface Moments {
  readonly expAvg: Float32Array<ArrayBuffer>;
  readonly expAvgSq: Float32Array<ArrayBuffer>;
}

/** What an update needs besides the tensors. */
export interface AdamWStep extends AdamWConstants {
  readonly learningRate: number;
  /** Counts updates from 1. */
  readonly step: number;
  /** Factor on the gradient, from clipping. */
  readonly gradScale: number;
}

/**
 * Updates a parameter and its moments in place; `weightDecay` is 0 for one that does not decay. Float32 in memory,
 * float64 in between.
 *
 * @example
 * const moments = { expAvg: new Float32Array(2), expAvgSq: new Float32Array(2) };
 * adamw(Float32Array.of(1, 2), Float32Array.of(0.1, -0.1), moments, {
 *   learningRate: 1e-3, step: 1, gradScale: 1, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.1,
 * });
 */
export function adamw(
  parameter: Float32Array,
  gradient: Float32Array,
  { expAvg, expAvgSq }: Moments,
  { learningRate, step, gradScale, beta1, beta2, epsilon, weightDecay }: AdamWStep,
): void {
  // Rounded as in torch's and the graph's float32: over many steps the roundings of what decays add up one way.
  const keep = Math.fround(1 - learningRate * weightDecay);
  const rate = learningRate / (1 - beta1 ** step);
  const rootCorrection = 1 / Math.sqrt(1 - beta2 ** step);
  for (let i = 0; i < parameter.length; i++) {
    const g = (gradient[i] as number) * gradScale;
    const m = (expAvg[i] as number) * beta1 + g * (1 - beta1);
    const v = (expAvgSq[i] as number) * beta2 + g * g * (1 - beta2);
    expAvg[i] = m;
    expAvgSq[i] = v;
    const decayed = Math.fround((parameter[i] as number) * keep);
    parameter[i] = decayed - (rate * m) / (Math.sqrt(v) * rootCorrection + epsilon);
  }
}

/** Moments before the first update. */
export function zeroMoments(size: number): Moments {
  return { expAvg: new Float32Array(size), expAvgSq: new Float32Array(size) };
}
