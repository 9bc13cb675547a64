// The table of backends, each imported when it is asked for, and the choice of one. To write a new one, add its row.
import type { Availability, Backend, BackendEntry, BackendOptions } from "../src/backend.ts";
import { BackendUnavailableError, UsageError } from "../src/errors.ts";

/** In the order in which `auto` tries them. */
const BACKENDS = {
  wasm: () => import("./wasm/index.ts"),
  reference: () => import("./reference/index.ts"),
} as const satisfies Record<string, () => Promise<BackendEntry>>;

// Names that belong to the command line's contract and come with a later version.
const PLANNED: readonly string[] = ["onnxruntime-cpu", "cuda", "webgpu"];

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
  readonly availability: Availability;
}

/** Every backend of this version and whether it can run here, in the order in which `auto` tries them. */
export async function listBackends(): Promise<readonly ListedBackend[]> {
  return Promise.all(
    BACKEND_NAMES.map(async (name) => {
      const entry = await BACKENDS[name]();
      return { name, availability: await entry.availability() };
    }),
  );
}

/** An open backend and how it came to be chosen. */
export interface OpenedBackend {
  readonly backend: Backend;
  /** For a person to read: what `auto` took, why not the ones before it, and a precision other than the one asked for. */
  readonly notes: readonly string[];
}

/**
 * Opens the backend of that name, or with `auto` the first that can run here.
 *
 * @example
 * const { backend } = await openBackend("auto", { precision: "exact" });
 * const values = await backend.singularValues?.({ shape: [2, 2], dtype: "F32", rows: [bytes] });
 * await backend.close();
 *
 * @throws UsageError when there is no such backend; BackendUnavailableError when it cannot run here, or when `auto`
 * finds none that can.
 */
export async function openBackend(choice: string, options: BackendOptions): Promise<OpenedBackend> {
  if (choice === "auto") return openFirst(options);
  if (!isBackendName(choice)) {
    const reason = PLANNED.includes(choice)
      ? "this version does not have it yet"
      : "there is no such backend";
    throw new UsageError(
      `Cannot use the backend "${choice}": ${reason}; choose auto, ${BACKEND_NAMES.join(" or ")}`,
    );
  }
  const entry = await BACKENDS[choice]();
  const available = await entry.availability();
  if (!available.ok) {
    throw new BackendUnavailableError(
      `Cannot use the backend "${choice}": ${available.reason}; ${available.fix}`,
    );
  }
  return openEntry(entry, options, []);
}

async function openFirst(options: BackendOptions): Promise<OpenedBackend> {
  const notes: string[] = [];
  for (const { name, availability } of await listBackends()) {
    if (!availability.ok) {
      notes.push(`${name} cannot run here: ${availability.reason}; ${availability.fix}`);
      continue;
    }
    const entry = await BACKENDS[name]();
    notes.push(`auto took the backend ${name}`);
    return openEntry(entry, options, notes);
  }
  throw new BackendUnavailableError(`Cannot use any backend: ${notes.join("; ")}`);
}

async function openEntry(
  entry: BackendEntry,
  options: BackendOptions,
  notes: readonly string[],
): Promise<OpenedBackend> {
  const backend = await entry.open(options);
  if (backend.precision === options.precision) return { backend, notes };
  const note = `the backend ${backend.name} has no precision ${options.precision} in this version: it computes ${backend.precision}`;
  return { backend, notes: [...notes, note] };
}
