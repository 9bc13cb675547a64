// AdamW as data: its moments and the settings of one update. The arithmetic is in kernels/update.c.
// Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019): https://arxiv.org/abs/1711.05101
import type { AdamWConstants } from "../manifest.ts";
import { slicesOf } from "./slices.ts";

/** First and second moment of the gradients of a slice of a parameter, each of the slice's length. */
export interface Moments {
  readonly expAvg: Float32Array<ArrayBuffer>;
  readonly expAvgSq: Float32Array<ArrayBuffer>;
}

/** Moments of a parameter of that many values before the first update, a slice each. */
export function zeroMoments(size: number): readonly Moments[] {
  return slicesOf(size).map(({ from, to }) => ({
    expAvg: new Float32Array(to - from),
    expAvgSq: new Float32Array(to - from),
  }));
}

/** What an update needs besides the tensors. */
export interface AdamWStep extends AdamWConstants {
  readonly learningRate: number;
  /** Counts updates from 1. */
  readonly step: number;
  /** Factor on the gradient, from clipping. */
  readonly gradScale: number;
}

/** The factors of the kernel `adamw`, in its order, each to be rounded to float32 as torch rounds them. */
export type AdamWFactors = readonly [
  gradScale: number,
  meanRest: number,
  squareKeep: number,
  squareRest: number,
  keep: number,
  rate: number,
  rootScale: number,
  epsilon: number,
];

/** The factors of an update; `weightDecay` is 0 for a parameter that does not decay. */
export function adamwFactors(settings: AdamWStep): AdamWFactors {
  const { learningRate, step, gradScale, beta1, beta2, epsilon, weightDecay } = settings;
  return [
    gradScale,
    1 - beta1,
    beta2,
    1 - beta2,
    1 - learningRate * weightDecay,
    learningRate / (1 - beta1 ** step),
    1 / Math.sqrt(1 - beta2 ** step),
    epsilon,
  ];
}
