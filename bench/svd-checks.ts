// Whether an answer is right. Nothing is timed of who gives a wrong one: the benchmark ends.
import { spectrumStatistics } from "../src/snr/estimators.ts";
import type { Contender } from "./svd-contenders.ts";
import type { BenchShape } from "./svd-shapes.ts";

/** Of the squared singular values, relative to the largest: the contract of `exact`. */
const EXACT = 1e-13;
/** float32 LAPACK: its rounding, 6e-8, times a slow function of the size. */
const FLOAT32 = 1e-5;
/** SNR of `fast`, relative: of well-conditioned matrices, and of those with sigma_min below 1e-6 sigma_1. */
const FAST_SNR = 1e-6;
const FAST_SNR_NEAR_DEFICIENT = 1e-4;
/** Backends whose `fast` may be looser: WebGPU has no float64. */
const LOOSER_SNR: Readonly<Record<string, number>> = { webgpu: 1e-4 };
/** Sum of squares against the matrix's, relative; rounding of as many terms as there are singular values included. */
const EXACT_NORM = 1e-12;
const FAST_NORM = 1e-6;

/** Singular values that others are held against; themselves within `exact`. */
export interface Truth {
  readonly values: Float64Array;
  /** Who computed them, for a person to read. */
  readonly by: string;
  /** Who computed them, where that is one of those measured. */
  readonly contender: Contender | null;
}

/** How far an answer is from the truth. */
export interface Accuracy {
  /** Largest difference of squared singular values, relative to the largest of them. */
  readonly valueError: number;
  /** Of the SNR by the published rule, relative. */
  readonly snrError: number;
}

/**
 * Holds an answer against the truth and the matrix's own squared norm.
 *
 * @throws Error when a value or the SNR is off by more than the precision allows.
 */
export function checkAnswer(
  contender: Contender,
  shape: BenchShape,
  { values, truth, squaredNorm }: { values: Float64Array; truth: Truth; squaredNorm: number },
): Accuracy {
  const accuracy = compare(values, truth.values, shape);
  const { valueError, snrError } = accuracy;
  const allowed = allowedErrors(contender, truth.values);
  checkNorm(contender, shape, { values, squaredNorm });
  if (!(valueError <= allowed.value) || !(snrError <= allowed.snr)) {
    throw new Error(
      `${nameOf(contender)} is wrong on ${shape.label}: squared values within ${valueError.toExponential(1)} and SNR within ` +
        `${snrError.toExponential(1)} of ${truth.by}, expected ${allowed.value.toExponential(1)} and ${allowed.snr.toExponential(1)}`,
    );
  }
  return accuracy;
}

/**
 * An invariant that needs nobody else's values: squared, they add up to the sum of the squared elements.
 *
 * @throws Error when they do not.
 */
export function checkNorm(
  contender: Contender,
  { label }: BenchShape,
  { values, squaredNorm }: { values: Float64Array; squaredNorm: number },
): void {
  const sum = values.reduce((total, value) => total + value * value, 0);
  const error = Math.abs(sum / squaredNorm - 1);
  const allowed = { exact: EXACT_NORM, fast: FAST_NORM, float32: FLOAT32 }[contender.precision];
  if (error <= allowed) return;
  throw new Error(
    `${nameOf(contender)} is wrong on ${label}: the squared singular values add up to ${sum}, expected ${squaredNorm} ` +
      `within ${allowed}`,
  );
}

function allowedErrors({ backend, precision }: Contender, truth: Float64Array) {
  switch (precision) {
    case "exact":
      return { value: 2 * EXACT, snr: FAST_SNR }; // its own error and the truth's
    case "float32":
      return { value: FLOAT32, snr: Number.POSITIVE_INFINITY };
    case "fast": {
      const nearDeficient = (truth.at(-1) ?? 0) < 1e-6 * (truth[0] ?? 0);
      const snr = LOOSER_SNR[backend] ?? (nearDeficient ? FAST_SNR_NEAR_DEFICIENT : FAST_SNR);
      return { value: FLOAT32, snr };
    }
    default:
      return precision satisfies never;
  }
}

function compare(values: Float64Array, truth: Float64Array, { rows, columns }: BenchShape): Accuracy {
  const scale = truth[0] ?? Number.NaN;
  let valueError = values.length === truth.length ? 0 : Number.POSITIVE_INFINITY;
  for (const [i, expected] of truth.entries()) {
    const [x, y] = [(values[i] ?? Number.NaN) / scale, expected / scale];
    valueError = Math.max(valueError, Math.abs(x * x - y * y));
  }
  return { valueError, snrError: snrDifference(values, truth, [rows, columns]) };
}

function snrDifference(values: Float64Array, truth: Float64Array, shape: readonly [number, number]): number {
  const [got, expected] = [values, truth].map((all) => spectrumStatistics(all, shape).snr.spectrum);
  if (got === null && expected === null) return 0;
  return Math.abs((got ?? Number.NaN) / (expected ?? Number.NaN) - 1);
}

/** Backend and precision. */
export function nameOf({ backend, precision }: Pick<Contender, "backend" | "precision">): string {
  return `${backend} ${precision}`;
}
