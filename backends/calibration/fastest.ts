// The fastest backend for singular values: found by a calibration when there are several, and taken from then on.
import type { Backend, BackendEntry, BackendOptions, Precision } from "../../src/backend.ts";
import { BackendUnavailableError } from "../../src/errors.ts";
import { findCandidates } from "./candidates.ts";
import {
  type Calibration,
  chooseFastest,
  describeChoice,
  type Failure,
  type Timing,
  WORTH_CALIBRATING_FLOPS,
} from "./choice.ts";
import { type CalibrationFile, calibrationFile, calibrationKey } from "./stored.ts";
import { timeBackends } from "./timing.ts";

/** Options of {@link openFastest}. */
export interface FastestOptions extends BackendOptions {
  /** Where calibrations are kept. */
  readonly calibrationFolder: string;
  /** Operations to be done in all; default: enough for a calibration. */
  readonly flops?: number;
}

/** What `auto` takes for singular values. */
export interface FastestBackend {
  /** Names of those that come into question, in the order of the table; the first is taken for small models, uncalibrated. */
  readonly candidates: readonly string[];
  /** Name of the one that `auto` takes for all other models; null where the next opening finds out. */
  readonly backend: string | null;
  /** Null where there is none yet, or none is needed because there is one candidate. */
  readonly calibration: Calibration | null;
  /** For a person to read. */
  readonly why: string;
}

/** A calibration that is stored, or could not be. */
interface Kept {
  readonly calibration: Calibration;
  /** Why it could not be stored; null when it is. */
  readonly failure: string | null;
}

/**
 * Opens the fastest of the backends that can run here and compute in the precision asked for: the one of the stored
 * calibration, else of one made now. A last resort counts only when there is nothing else; one candidate is not timed, nor are several for
 * less work than {@link WORTH_CALIBRATING_FLOPS}: the first is taken.
 * The choice does not depend on the number of threads, so that neither do the bits of the results.
 *
 * @param entries - backends with singular values, in the order that decides between equals.
 * @throws BackendUnavailableError when none can run here, or all fail.
 */
export async function openFastest(
  entries: readonly BackendEntry[],
  options: FastestOptions,
): Promise<{ readonly backend: Backend; readonly notes: readonly string[] }> {
  const { flops = Infinity } = options;
  const { candidates, reasons } = await findCandidates(entries, options);
  const [first] = candidates;
  if (candidates.length === 1) {
    const backend = await first.open(options);
    return { backend, notes: [...reasons, `auto took the backend ${first.name}`] };
  }
  if (flops < WORTH_CALIBRATING_FLOPS) {
    const backend = await first.open(options);
    return {
      backend,
      notes: [`auto took the backend ${first.name}: timing others is not worth it for so little work`],
    };
  }
  const file = fileOf(candidates, options);
  const stored = await openStored(candidates, file, options);
  if (stored !== null) return { backend: stored.backend, notes: [describeOpened(stored, file)] };
  const kept = await calibrate(candidates, file, options);
  const backend = await entryOf(candidates, kept.calibration).open(options);
  return { backend, notes: [describeOpened(kept, file)] };
}

/**
 * What {@link openFastest} would take, without opening it; with `calibrate` the candidates are timed anew and the
 * result replaces what was stored.
 *
 * @throws as {@link openFastest}.
 */
export async function findFastest(
  entries: readonly BackendEntry[],
  options: FastestOptions & { readonly calibrate: boolean },
): Promise<FastestBackend> {
  const { candidates } = await findCandidates(entries, options);
  const names = candidates.map(({ name }) => name);
  if (candidates.length === 1) {
    const why = "there is no other to choose from";
    return { candidates: names, backend: candidates[0].name, calibration: null, why };
  }
  const file = fileOf(candidates, options);
  if (!options.calibrate) return describeFastest(names, await file.read(), null);
  const { calibration, failure } = await calibrate(candidates, file, { ...options, anew: true });
  return describeFastest(names, calibration, failure);
}

function describeFastest(
  candidates: readonly string[],
  calibration: Calibration | null,
  failure: string | null,
): FastestBackend {
  if (calibration === null)
    return {
      candidates,
      backend: null,
      calibration,
      why: "not calibrated yet: the first scan of a large model does it",
    };
  const { name } = chooseFastest(calibration.timings);
  const why = describeChoice(calibration) + (failure === null ? "" : `, not stored: ${failure}`);
  return { candidates, backend: name, calibration, why };
}

function describeOpened({ calibration, failure }: Kept, file: CalibrationFile): string {
  const { name } = chooseFastest(calibration.timings);
  const where = failure === null ? `stored in ${file.path}` : `not stored: ${failure}`;
  return `auto took the backend ${name}: ${describeChoice(calibration)}, ${where}`;
}

function fileOf(candidates: readonly BackendEntry[], options: FastestOptions): CalibrationFile {
  const names = candidates.map(({ name }) => name);
  return calibrationFile(options.calibrationFolder, calibrationKey(names, options.precision));
}

/** The backend of the stored calibration; null when there is none, or that backend has changed since. */
async function openStored(
  candidates: readonly BackendEntry[],
  file: CalibrationFile,
  options: FastestOptions,
): Promise<(Kept & { readonly backend: Backend }) | null> {
  const calibration = await file.read();
  if (calibration === null) return null;
  const backend = await entryOf(candidates, calibration).open(options);
  if (backend.version === chooseFastest(calibration.timings).version)
    return { backend, calibration, failure: null };
  await backend.close();
  return null;
}

/** The candidate that a calibration found fastest. */
function entryOf(candidates: readonly BackendEntry[], { timings }: Calibration): BackendEntry {
  const { name } = chooseFastest(timings);
  const entry = candidates.find((candidate) => candidate.name === name);
  if (entry === undefined) throw new RangeError(`${name} was timed and is no candidate`);
  return entry;
}

/** Times all candidates, each with all the threads that it takes by itself, and stores the result. */
async function calibrate(
  candidates: readonly BackendEntry[],
  file: CalibrationFile,
  { precision, anew = false }: { readonly precision: Precision; readonly anew?: boolean },
): Promise<Kept> {
  const open: Backend[] = [];
  try {
    const calibration = await timeCandidates(candidates, open, { precision });
    const stored = anew ? null : await file.read();
    // What another process stored meanwhile counts, so that both take the same.
    if (stored !== null && isCurrent(open, stored)) return { calibration: stored, failure: null };
    return { calibration, failure: await store(file, calibration) };
  } finally {
    await Promise.all(open.map((backend) => backend.close()));
  }
}

/** Opens the candidates into `open` and times them. */
async function timeCandidates(
  candidates: readonly BackendEntry[],
  open: Backend[],
  options: BackendOptions,
): Promise<Calibration> {
  const failures: Failure[] = [];
  for (const entry of candidates) {
    try {
      open.push(await entry.open(options));
    } catch (error) {
      failures.push({ name: entry.name, reason: error instanceof Error ? error.message : String(error) });
    }
  }
  const timings: Timing[] = [];
  for (const timed of await timeBackends(open)) {
    const { name, version } = timed.backend;
    if ("reason" in timed) failures.push({ name, reason: timed.reason });
    else timings.push({ name, version, matricesPerSecond: timed.matricesPerSecond });
  }
  if (timings.length > 0) return { date: new Date().toISOString().slice(0, 10), timings, failures };
  const reasons = failures.map(({ name, reason }) => `${name} failed: ${reason}`);
  throw new BackendUnavailableError(`Cannot use any backend: ${reasons.join("; ")}`);
}

/** Null once it is stored, else why not: that costs the next start some seconds, and is no reason not to scan. */
async function store(file: CalibrationFile, calibration: Calibration): Promise<string | null> {
  try {
    await file.write(calibration);
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Whether the backend that a calibration found fastest is still of the version that was timed. */
function isCurrent(open: readonly Backend[], { timings }: Calibration): boolean {
  const chosen = chooseFastest(timings);
  return open.some(({ name, version }) => name === chosen.name && version === chosen.version);
}
