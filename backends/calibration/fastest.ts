// The fastest backend for singular values: found by a calibration when there are several, and taken from then on.
import type { Backend, BackendEntry, BackendOptions } from "../../src/backend.ts";
import { BackendUnavailableError } from "../../src/errors.ts";
import { findCandidates } from "./candidates.ts";
import { type Calibration, chooseFastest, describeChoice, type Failure, type Timing } from "./choice.ts";
import { type CalibrationFile, calibrationFile, calibrationKey } from "./stored.ts";
import { timeBackends } from "./timing.ts";

/** Options of {@link openFastest}. */
export interface FastestOptions extends BackendOptions {
  /** Where calibrations are kept. */
  readonly calibrationFolder: string;
}

/** What `auto` takes for singular values. */
export interface FastestBackend {
  /** Names of those that come into question, in the order of the table. */
  readonly candidates: readonly string[];
  /** Name of the one that `auto` takes; null where the next opening finds out. */
  readonly backend: string | null;
  /** Null where there is none yet, or none is needed because there is one candidate. */
  readonly calibration: Calibration | null;
  /** For a person to read. */
  readonly why: string;
}

interface Opened {
  readonly backend: Backend;
  readonly calibration: Calibration;
  /** Why the calibration could not be stored; null when it is. */
  readonly failure: string | null;
}

/**
 * Opens the fastest of the backends that can run here and compute in the precision asked for: the one of the stored
 * calibration, else of one made now. A last resort counts only when there is nothing else; one candidate is not timed.
 *
 * @param entries - backends with singular values, in the order that decides between equals.
 * @throws BackendUnavailableError when none can run here, or all fail.
 */
export async function openFastest(
  entries: readonly BackendEntry[],
  options: FastestOptions,
): Promise<{ readonly backend: Backend; readonly notes: readonly string[] }> {
  const { candidates, only, reasons } = await findCandidates(entries, options);
  if (only !== null) {
    const backend = await only.open(options);
    return { backend, notes: [...reasons, `auto took the backend ${only.name}`] };
  }
  const file = fileOf(candidates, options);
  const opened =
    (await openStored(candidates, file, options)) ?? (await calibrate(candidates, file, options));
  return { backend: opened.backend, notes: [`auto took the backend ${describeOpened(opened, file)}`] };
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
  const { candidates, only } = await findCandidates(entries, options);
  const names = candidates.map(({ name }) => name);
  if (only !== null)
    return {
      candidates: names,
      backend: only.name,
      calibration: null,
      why: "there is no other to choose from",
    };
  const file = fileOf(candidates, options);
  if (!options.calibrate) return describeFastest(names, await file.read(), null);
  const { backend, calibration, failure } = await calibrate(candidates, file, { ...options, anew: true });
  await backend.close();
  return describeFastest(names, calibration, failure);
}

function describeFastest(
  candidates: readonly string[],
  calibration: Calibration | null,
  failure: string | null,
): FastestBackend {
  if (calibration === null)
    return { candidates, backend: null, calibration, why: "not calibrated yet: the first scan does it" };
  const { name } = chooseFastest(calibration.timings);
  const why = describeChoice(calibration) + (failure === null ? "" : `, not stored: ${failure}`);
  return { candidates, backend: name, calibration, why };
}

function describeOpened({ backend, calibration, failure }: Opened, file: CalibrationFile): string {
  const kept = failure === null ? `stored in ${file.path}` : `not stored: ${failure}`;
  return `${backend.name}: ${describeChoice(calibration)}, ${kept}`;
}

function fileOf(candidates: readonly BackendEntry[], options: FastestOptions): CalibrationFile {
  const names = candidates.map(({ name }) => name);
  return calibrationFile(options.calibrationFolder, calibrationKey(names, options));
}

/** The backend of the stored calibration; null when there is none, or that backend has changed since. */
async function openStored(
  candidates: readonly BackendEntry[],
  file: CalibrationFile,
  options: FastestOptions,
): Promise<Opened | null> {
  const calibration = await file.read();
  if (calibration === null) return null;
  const chosen = chooseFastest(calibration.timings);
  const backend = await candidates.find(({ name }) => name === chosen.name)?.open(options);
  if (backend === undefined) return null;
  if (backend.version === chosen.version) return { backend, calibration, failure: null };
  await backend.close();
  return null;
}

/** Times all candidates, stores the result and leaves the chosen one open. */
async function calibrate(
  candidates: readonly BackendEntry[],
  file: CalibrationFile,
  options: FastestOptions & { readonly anew?: boolean },
): Promise<Opened> {
  const open: Backend[] = [];
  let chosen: Backend | undefined;
  try {
    const calibration = await timeCandidates(candidates, open, options);
    const opened =
      (!options.anew && (await takeStored(open, file))) || (await store(open, file, calibration));
    chosen = opened.backend;
    return opened;
  } finally {
    await Promise.all(open.filter((backend) => backend !== chosen).map((backend) => backend.close()));
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

/** What another process stored meanwhile, so that both take the same. */
async function takeStored(open: readonly Backend[], file: CalibrationFile): Promise<Opened | null> {
  const calibration = await file.read();
  if (calibration === null) return null;
  const backend = chosenOf(open, calibration);
  return backend === undefined ? null : { backend, calibration, failure: null };
}

async function store(
  open: readonly Backend[],
  file: CalibrationFile,
  calibration: Calibration,
): Promise<Opened> {
  const backend = chosenOf(open, calibration);
  if (backend === undefined) throw new RangeError("A backend was timed that is not open");
  try {
    await file.write(calibration);
    return { backend, calibration, failure: null };
  } catch (error) {
    // A cache that cannot be written costs the next start a second, and is no reason not to scan.
    return { backend, calibration, failure: error instanceof Error ? error.message : String(error) };
  }
}

function chosenOf(open: readonly Backend[], { timings }: Calibration): Backend | undefined {
  const chosen = chooseFastest(timings);
  return open.find(({ name, version }) => name === chosen.name && version === chosen.version);
}
