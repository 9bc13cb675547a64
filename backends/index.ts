// The table of backends, each imported when it is asked for, and the choice of one. To write a new one, add its row.
import { join } from "node:path";
import type {
  Availability,
  Backend,
  BackendEntry,
  BackendOptions,
  Capability,
  ComputeDType,
} from "../src/backend.ts";
import { defaultCacheFolder } from "../src/cache-folder.ts";
import { BackendUnavailableError, UsageError } from "../src/errors.ts";
import { type FastestBackend, findFastest, openFastest } from "./calibration/fastest.ts";
import { type BackendRequirement, checkRuns, firstThatRuns } from "./requirement.ts";

export type { Calibration, Failure, Timing } from "./calibration/choice.ts";
export type { BackendRequirement, FastestBackend };
export { checkRuns };

/** In the order in which `auto` tries them for sessions, and which decides between equally fast ones for singular values. */
const BACKENDS = {
  wasm: () => import("./wasm/index.ts"),
  reference: () => import("./reference/index.ts"),
  cuda: async () => (await import("./onnxruntime/index.ts")).cuda,
  "onnxruntime-cpu": async () => (await import("./onnxruntime/index.ts")).cpu,
  webgpu: async () => (await import("./onnxruntime/index.ts")).webgpu,
} as const satisfies Record<string, () => Promise<BackendEntry>>;

/** A backend that this version has. */
export type BackendName = keyof typeof BACKENDS;

/** The backends that this version has, in the order in which `auto` tries them for training. */
export const BACKEND_NAMES: readonly BackendName[] = Object.freeze(
  Object.keys(BACKENDS).filter(isBackendName),
);

function isBackendName(name: string): name is BackendName {
  return Object.hasOwn(BACKENDS, name);
}

/** What {@link listBackends} says of one backend. */
export interface ListedBackend {
  readonly name: BackendName;
  readonly capabilities: readonly Capability[];
  /** In what the graphs that it runs may compute; empty where it runs none. */
  readonly computeDtypes: readonly ComputeDType[];
  readonly availability: Availability;
}

/** Every backend of this version and whether it can run here, in the order of {@link BACKEND_NAMES}. */
export async function listBackends(): Promise<readonly ListedBackend[]> {
  return Promise.all(
    BACKEND_NAMES.map(async (name) => {
      const entry: BackendEntry = await BACKENDS[name]();
      const { capabilities, computeDtypes = [] } = entry;
      return { name, capabilities, computeDtypes, availability: await entry.availability() };
    }),
  );
}

/** Options of {@link openBackend}. */
export interface OpenBackendOptions extends BackendOptions, BackendRequirement {
  /** Where `auto` keeps its calibrations; default: {@link defaultCalibrationFolder}. */
  readonly calibrationFolder?: string;
  /**
   * Floating-point operations of the singular values to come, in all: N M^2 + 4/3 M^3 for a matrix with M rows or columns,
   * the fewer, and N of the others. Below 5e11 `auto` takes the first candidate without a calibration. Default: more.
   */
  readonly flops?: number;
}

/** An open backend and how it came to be chosen. */
export interface OpenedBackend {
  readonly backend: Backend;
  /** For a person to read: what `auto` took and why, and a precision other than the one asked for. */
  readonly notes: readonly string[];
}

/** Where calibrations are kept when the caller names no folder: `calibrations` in `$SPECTRUM_CACHE`, else in the user's cache. */
export function defaultCalibrationFolder(
  env: Readonly<Record<string, string | undefined>> = process.env,
): string {
  return join(defaultCacheFolder(env), "calibrations");
}

/**
 * Opens the backend of that name. With `auto` it is, for sessions, the first that can run such graphs here; for singular values the
 * fastest that computes in the precision asked for. Where there are several, a calibration of a few seconds says
 * which; it is stored and counts from then on, so that every scan of this machine takes the same. It is made where there
 * is work worth it (`flops`).
 *
 * @example
 * const { backend } = await openBackend("auto", { precision: "exact" });
 * const values = await backend.singularValues?.({ shape: [2, 2], dtype: "F32", rows: [bytes] });
 * await backend.close();
 *
 * @throws UsageError when there is no such backend, or it lacks the capability, or does not run such graphs;
 * BackendUnavailableError when it cannot run here, or when `auto` finds none that can.
 */
export async function openBackend(choice: string, options: OpenBackendOptions): Promise<OpenedBackend> {
  const { capability = "singularValues" } = options;
  if (choice !== "auto") {
    const entry = await chosenEntry(choice, options);
    return withPrecision(await entry.open(options), options, []);
  }
  if (capability === "session") {
    const { entry, notes } = await firstAvailable(options);
    return withPrecision(await entry.open(options), options, notes);
  }
  const { backend, notes } = await openFastest(await backendsWith(capability), fastestOptions(options));
  return withPrecision(backend, options, notes);
}

/** Options of {@link fastestBackend}. */
export interface FastestBackendOptions extends BackendOptions {
  /** Time the backends anew, and store that. Default false. */
  readonly calibrate?: boolean;
  /** As in {@link OpenBackendOptions}. */
  readonly calibrationFolder?: string;
}

/**
 * Which backend `auto` takes for singular values, and by which calibration.
 *
 * @example
 * const { backend, why } = await fastestBackend({ precision: "exact", calibrate: true });
 * console.log(`${backend}: ${why}`);
 *
 * @throws BackendUnavailableError when none can run here, or all fail.
 */
export async function fastestBackend(options: FastestBackendOptions): Promise<FastestBackend> {
  const { calibrate = false } = options;
  return findFastest(await backendsWith("singularValues"), { ...fastestOptions(options), calibrate });
}

function fastestOptions<T extends { readonly calibrationFolder?: string }>(
  options: T,
): T & { readonly calibrationFolder: string } {
  return { ...options, calibrationFolder: options.calibrationFolder ?? defaultCalibrationFolder() };
}

/**
 * Checks that {@link openBackend} would open the backend of that name, without opening it; `auto` is looked for.
 *
 * @throws as {@link openBackend}.
 */
export async function checkBackend(choice: string, requirement: BackendRequirement): Promise<void> {
  if (choice === "auto") await firstAvailable(requirement);
  else await chosenEntry(choice, requirement);
}

async function chosenEntry(choice: string, requirement: BackendRequirement): Promise<BackendEntry> {
  const { capability = "singularValues" } = requirement;
  const capable = await backendsWith(capability);
  const entry = capable.find(({ name }) => name === choice);
  if (entry === undefined) {
    const reason = isBackendName(choice) ? `it has no ${capability}` : "there is no such backend";
    const names = capable.map(({ name }) => name);
    throw new UsageError(
      `Cannot use the backend "${choice}": ${reason}; choose auto, ${names.slice(0, -1).join(", ")} or ${names.at(-1)}`,
    );
  }
  checkRuns(entry, requirement);
  const available = await entry.availability();
  if (!available.ok) {
    throw new BackendUnavailableError(
      `Cannot use the backend "${choice}": ${available.reason}; ${available.fix}`,
    );
  }
  return entry;
}

async function backendsWith(capability: Capability): Promise<readonly BackendEntry[]> {
  const entries: BackendEntry[] = await Promise.all(BACKEND_NAMES.map((name) => BACKENDS[name]()));
  return entries.filter(({ capabilities }) => capabilities.includes(capability));
}

async function firstAvailable(requirement: BackendRequirement): ReturnType<typeof firstThatRuns> {
  const { capability = "singularValues" } = requirement;
  return firstThatRuns(await backendsWith(capability), requirement);
}

function withPrecision(
  backend: Backend,
  { precision, capability = "singularValues" }: OpenBackendOptions,
  notes: readonly string[],
): OpenedBackend {
  if (capability !== "singularValues" || backend.precision === precision) return { backend, notes };
  const note = `the backend ${backend.name} has no precision ${precision} in this version: it computes ${backend.precision}`;
  return { backend, notes: [...notes, note] };
}
