// The scores of a module, from its singular values: pure functions. Both estimators share one pass of quantiles.
import { quantileSeq } from "mathjs/number";
import { marchenkoPasturMedian, noiseEdge, shrunkSquare } from "./marchenko-pastur.ts";
import type { SpectrumStatistics } from "./results.ts";

/** Changes whenever a statistic below may change for the same singular values; part of the cache key of scores. */
export const ESTIMATOR_VERSION = "1";

/**
 * Backends return squared singular values within 1e-13 sigma_1^2, so a value below sqrt(1e-13) sigma_1 may as well
 * be zero: it is never divided by.
 */
const RESOLUTION = Math.sqrt(1e-13);

/** A score, or the reason why there is none. */
export type Score = { readonly snr: number } | { readonly snr: null; readonly reason: string };

/** Result of {@link spectrumEstimate}. */
export type SpectrumEstimate = Score & { readonly threshold: number; readonly signalValues: number };

/** Result of {@link calibratedEstimate}. */
export type CalibratedEstimate = Score & {
  readonly noiseSigma: number | null;
  readonly edge: number | null;
  readonly spikes: number | null;
};

/**
 * Every statistic of one matrix, from its singular values.
 *
 * @param singularValues min(m, n) values, descending, finite.
 * @param shape [m, n] of the matrix.
 * @throws RangeError when the number of values does not fit the shape.
 */
export function spectrumStatistics(
  singularValues: Float64Array,
  shape: readonly [number, number],
): SpectrumStatistics {
  const count = Math.min(...shape);
  if (count < 1 || singularValues.length !== count) {
    throw new RangeError(
      `Cannot score a ${shape.join(" x ")} matrix: expected ${count} singular values, got ${singularValues.length}`,
    );
  }
  const quantiles = quantilesOf(singularValues);
  const sigmaMax = singularValues[0] ?? 0;
  const spectrum = spectrumEstimate(singularValues, shape, quantiles);
  const calibrated = calibratedEstimate(singularValues, shape);
  const unscored = {
    ...(spectrum.snr === null && { spectrum: spectrum.reason }),
    ...(calibrated.snr === null && { calibrated: calibrated.reason }),
  };
  return {
    sigmaMax,
    sigmaMin: singularValues[count - 1] ?? 0,
    quantiles,
    threshold: spectrum.threshold,
    signalValues: spectrum.signalValues,
    noiseSigma: calibrated.noiseSigma,
    edge: calibrated.edge,
    spikes: calibrated.spikes,
    ...ranks(singularValues),
    snr: { spectrum: spectrum.snr, calibrated: calibrated.snr },
    ...(Object.keys(unscored).length > 0 && { unscored }),
  };
}

/**
 * The published rule (arXiv 2406.06623 and the tool that came with it): values strictly above
 * (q75 - q25) / 1.349 (1 + sqrt(beta)) are signal, the others noise, and
 * snr = sum(signal) / sum(noise) / sigma_1. Where nothing is noise its sum counts as 1, as in the original.
 *
 * Its score is not scale-invariant, and its threshold is no Marchenko-Pastur edge: see {@link calibratedEstimate}.
 * There is no score for a matrix of zeros, and none where what is left as noise is zero to working accuracy.
 */
export function spectrumEstimate(
  singularValues: Float64Array,
  [m, n]: readonly [number, number],
  { q25, q75 }: SpectrumStatistics["quantiles"],
): SpectrumEstimate {
  const beta = Math.min(m, n) / Math.max(m, n);
  const threshold = ((q75 - q25) / 1.349) * (1 + Math.sqrt(beta));
  const sigmaMax = singularValues[0] ?? 0;
  const firstNoise = singularValues.findIndex((value) => !(value > threshold));
  const signalValues = firstNoise < 0 ? singularValues.length : firstNoise;
  if (sigmaMax === 0) return { snr: null, reason: "every entry is zero", threshold, signalValues };
  // Values that are rounding error are neither signal nor noise: nothing is divided by them, none is told from another.
  const smallest = RESOLUTION * sigmaMax;
  const sigmaMin = singularValues[singularValues.length - 1] ?? 0;
  const largestNoise = singularValues[signalValues] ?? Number.POSITIVE_INFINITY;
  if (largestNoise <= smallest || Math.max(threshold, sigmaMin) <= smallest) {
    const reason = "what would count as noise is zero to working accuracy";
    return { snr: null, reason, threshold, signalValues };
  }
  const signal = sum(singularValues.subarray(0, signalValues));
  if (firstNoise < 0) return { snr: signal / sigmaMax, threshold, signalValues };
  const noise = sum(singularValues.subarray(firstNoise));
  return { snr: signal / noise / sigmaMax, threshold, signalValues };
}

/**
 * Estimated energy of the signal over that of the noise, ||signal||_F^2 / (m n sigma^2): 0 for pure noise, and the
 * same for W and 10 W.
 *
 * The noise level is median(S) / sqrt(N mu), N = max(m, n), mu the median of the Marchenko-Pastur law (Gavish &
 * Donoho 2014). Values above the edge (Johnstone 2001, 99 % point) are spikes; they lift the median, so they are
 * dropped from it and the level is estimated again until the set of spikes no longer changes. Each spike counts with
 * the square that optimal shrinkage leaves of it (Gavish & Donoho 2017).
 *
 * There is no score where the median is zero to working accuracy: then there is no noise to compare with.
 */
export function calibratedEstimate(
  singularValues: Float64Array,
  [m, n]: readonly [number, number],
): CalibratedEstimate {
  const small = Math.min(m, n);
  const large = Math.max(m, n);
  const beta = small / large;
  const medianOfNoise = Math.sqrt(large * marchenkoPasturMedian(beta));
  const unitEdge = noiseEdge(m, n);
  const smallest = RESOLUTION * (singularValues[0] ?? 0);
  let spikes = 0;
  // Dropping spikes lowers the level and never un-makes one, so their count grows each round: at most min(m, n) rounds.
  for (;;) {
    const median = descendingMedian(singularValues.subarray(spikes));
    if (median <= smallest) break;
    const noiseSigma = median / medianOfNoise;
    const edge = noiseSigma * unitEdge;
    const above = singularValues.findIndex((value) => !(value > edge));
    if (above !== spikes) {
      spikes = above;
      continue;
    }
    const unit = noiseSigma * Math.sqrt(large);
    let energy = 0;
    for (let i = 0; i < spikes; i++) energy += shrunkSquare((singularValues[i] ?? 0) / unit, beta);
    return { snr: energy / small, noiseSigma, edge, spikes };
  }
  const reason = "more than half of the singular values are zero to working accuracy";
  return { snr: null, reason, noiseSigma: null, edge: null, spikes: null };
}

/** Stable rank ||W||_F^2 / sigma_1^2, and effective rank exp(H(sigma / sum sigma)) (Roy & Vetterli 2007); 0 for zeros. */
function ranks(singularValues: Float64Array): { stableRank: number; effectiveRank: number } {
  const sigmaMax = singularValues[0] ?? 0;
  if (sigmaMax === 0) return { stableRank: 0, effectiveRank: 0 };
  const total = sum(singularValues);
  let energy = 0;
  let entropy = 0;
  for (const value of singularValues) {
    energy += (value / sigmaMax) ** 2;
    const share = value / total;
    if (share > 0) entropy -= share * Math.log(share);
  }
  return { stableRank: energy, effectiveRank: Math.exp(entropy) };
}

function quantilesOf(singularValues: Float64Array): SpectrumStatistics["quantiles"] {
  const ascending = Array.from(singularValues).reverse();
  const quantile = (probability: number) => Number(quantileSeq(ascending, probability, true));
  return { q25: quantile(0.25), q50: quantile(0.5), q75: quantile(0.75) };
}

function descendingMedian(values: Float64Array): number {
  const upper = values[Math.floor((values.length - 1) / 2)] ?? 0;
  const lower = values[Math.ceil((values.length - 1) / 2)] ?? 0;
  return (upper + lower) / 2;
}

function sum(values: Float64Array): number {
  return values.reduce((total, value) => total + value, 0);
}
