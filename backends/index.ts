// The table of backends, each imported when it is asked for, and the choice of one. To write a new one, add its row.
import type { Availability, Backend, BackendEntry, BackendOptions, Capability } from "../src/backend.ts";
import { BackendUnavailableError, UsageError } from "../src/errors.ts";

/** In the order in which `auto` tries them. */
const BACKENDS = {
  wasm: () => import("./wasm/index.ts"),
  reference: () => import("./reference/index.ts"),
  cuda: async () => (await import("./onnxruntime/index.ts")).cuda,
  "onnxruntime-cpu": async () => (await import("./onnxruntime/index.ts")).cpu,
  webgpu: async () => (await import("./onnxruntime/index.ts")).webgpu,
} as const satisfies Record<string, () => Promise<BackendEntry>>;

/** A backend that this version has. */
export type BackendName = keyof typeof BACKENDS;

/** The backends that this version has, in the order in which `auto` tries them. */
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
  readonly availability: Availability;
}

/** Every backend of this version and whether it can run here, in the order in which `auto` tries them. */
export async function listBackends(): Promise<readonly ListedBackend[]> {
  return Promise.all(
    BACKEND_NAMES.map(async (name) => {
      const entry = await BACKENDS[name]();
      return { name, capabilities: entry.capabilities, availability: await entry.availability() };
    }),
  );
}

/** Options of {@link openBackend}. */
export interface OpenBackendOptions extends BackendOptions {
  /** What the backend must be able to do. Default: `singularValues`. */
  readonly capability?: Capability;
}

/** An open backend and how it came to be chosen. */
export interface OpenedBackend {
  readonly backend: Backend;
  /** For a person to read: what `auto` took, why not the ones before it, and a precision other than the one asked for. */
  readonly notes: readonly string[];
}

/**
 * Opens the backend of that name, or with `auto` the first that has the capability and can run here.
 *
 * @example
 * const { backend } = await openBackend("auto", { precision: "exact" });
 * const values = await backend.singularValues?.({ shape: [2, 2], dtype: "F32", rows: [bytes] });
 * await backend.close();
 *
 * @throws UsageError when there is no such backend, or it lacks the capability; BackendUnavailableError when it cannot
 * run here, or when `auto` finds none that can.
 */
export async function openBackend(choice: string, options: OpenBackendOptions): Promise<OpenedBackend> {
  const { capability = "singularValues" } = options;
  const capable = await backendsWith(capability);
  if (choice === "auto") return openFirst(capable, options);
  const entry = capable.find(({ name }) => name === choice);
  if (entry === undefined) {
    const reason = isBackendName(choice) ? `it has no ${capability}` : "there is no such backend";
    const names = capable.map(({ name }) => name);
    throw new UsageError(
      `Cannot use the backend "${choice}": ${reason}; choose auto, ${names.slice(0, -1).join(", ")} or ${names.at(-1)}`,
    );
  }
  const available = await entry.availability();
  if (!available.ok) {
    throw new BackendUnavailableError(
      `Cannot use the backend "${choice}": ${available.reason}; ${available.fix}`,
    );
  }
  return openEntry(entry, options, []);
}

async function backendsWith(capability: Capability): Promise<readonly BackendEntry[]> {
  const entries: BackendEntry[] = await Promise.all(BACKEND_NAMES.map((name) => BACKENDS[name]()));
  return entries.filter(({ capabilities }) => capabilities.includes(capability));
}

async function openFirst(
  entries: readonly BackendEntry[],
  options: OpenBackendOptions,
): Promise<OpenedBackend> {
  const notes: string[] = [];
  for (const entry of entries) {
    const availability = await entry.availability();
    if (!availability.ok) {
      notes.push(`${entry.name} cannot run here: ${availability.reason}; ${availability.fix}`);
      continue;
    }
    notes.push(`auto took the backend ${entry.name}`);
    return openEntry(entry, options, notes);
  }
  throw new BackendUnavailableError(`Cannot use any backend: ${notes.join("; ")}`);
}

async function openEntry(
  entry: BackendEntry,
  { capability = "singularValues", ...options }: OpenBackendOptions,
  notes: readonly string[],
): Promise<OpenedBackend> {
  const backend = await entry.open(options);
  if (capability !== "singularValues" || backend.precision === options.precision) return { backend, notes };
  const note = `the backend ${backend.name} has no precision ${options.precision} in this version: it computes ${backend.precision}`;
  return { backend, notes: [...notes, note] };
}
