// Which of several timed backends `auto` takes, and the words that say why. Neither times nor stores.

/** How fast a backend was. */
export interface Timing {
  readonly name: string;
  /** The backend's `version` when it was timed. */
  readonly version: string;
  readonly matricesPerSecond: number;
}

/** Why a backend could not be timed. */
export interface Failure {
  readonly name: string;
  readonly reason: string;
}

/** What backends took for the same matrix, one after the other on one machine. */
export interface Calibration {
  /** The day in UTC, as 2026-11-21. */
  readonly date: string;
  /** At least one, in the order of the table of backends. */
  readonly timings: readonly Timing[];
  readonly failures: readonly Failure[];
}

/**
 * Floating-point operations of singular values, in all, from which on a calibration is worth its seconds: one
 * processor takes some 20 s for them, and of models so small ONNX Runtime's products save a tenth on it.
 */
export const WORTH_CALIBRATING_FLOPS = 5e11;

/** Rates closer than this are the same: smaller differences are noise. */
const TIE = 1.05;

/**
 * The first whose rate is within 5 % of the highest: between equals the order of the table decides, not the noise.
 *
 * @throws RangeError when there are none.
 */
export function chooseFastest(timings: readonly Timing[]): Timing {
  const highest = Math.max(...timings.map(({ matricesPerSecond }) => matricesPerSecond));
  const chosen = timings.find(({ matricesPerSecond }) => matricesPerSecond * TIE >= highest);
  if (chosen === undefined) throw new RangeError("Cannot choose among no backends");
  return chosen;
}

/** Why the chosen one is that: `1.7 times as fast as wasm in a calibration of 2026-11-21`. */
export function describeChoice({ date, timings, failures }: Calibration): string {
  const chosen = chooseFastest(timings);
  const rivals = timings.filter((timing) => timing !== chosen);
  const compared = rivals.length === 0 ? "the only one that worked" : compare(chosen, fastestOf(rivals));
  const left = failures.map(({ name, reason }) => `; left out ${name}, which failed: ${reason}`);
  return `${compared} in a calibration of ${date}${left.join("")}`;
}

function compare(chosen: Timing, rival: Timing): string {
  const ratio = chosen.matricesPerSecond / rival.matricesPerSecond;
  if (ratio <= TIE) return `as fast as ${rival.name} within 5 %`;
  return `${ratio < 10 ? ratio.toFixed(1) : Math.round(ratio)} times as fast as ${rival.name}`;
}

function fastestOf(timings: readonly Timing[]): Timing {
  return timings.reduce((best, timing) =>
    timing.matricesPerSecond > best.matricesPerSecond ? timing : best,
  );
}
