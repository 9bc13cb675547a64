// What a backend is needed for, and which of several meets it.
import type { BackendEntry, Capability, ComputeDType } from "../src/backend.ts";
import { BackendUnavailableError, UsageError } from "../src/errors.ts";

/** What a backend is needed for. */
export interface BackendRequirement {
  /** What it must be able to do. Default: `singularValues`. */
  readonly capability?: Capability;
  /** In what the graphs to run compute. Default: whatever it may be. */
  readonly computeDtype?: ComputeDType;
  /** Whether the graphs to run hold weights of 8-bit floats. Default false. */
  readonly float8Weights?: boolean;
}

/** What of a backend decides whether it runs a graph. */
export type RunsGraphs = Pick<BackendEntry, "name" | "computeDtypes" | "float8Weights">;

/**
 * Checks that a backend runs such graphs.
 *
 * @throws UsageError naming the backend, what it does not do, and what else to do.
 */
export function checkRuns(entry: RunsGraphs, requirement: BackendRequirement): void {
  const unmet = unmetBy(entry, requirement);
  if (unmet !== null) throw new UsageError(unmet.error);
}

/** The first backend that runs such graphs here, and what to tell of the choice. */
export async function firstThatRuns(
  entries: readonly BackendEntry[],
  requirement: BackendRequirement,
): Promise<{ readonly entry: BackendEntry; readonly notes: readonly string[] }> {
  const notes: string[] = [];
  for (const entry of entries) {
    const availability = await entry.availability();
    if (!availability.ok) {
      notes.push(`${entry.name} cannot run here: ${availability.reason}; ${availability.fix}`);
      continue;
    }
    const unmet = unmetBy(entry, requirement);
    if (unmet !== null) {
      notes.push(unmet.note);
      continue;
    }
    notes.push(`auto took the backend ${entry.name}`);
    return { entry, notes };
  }
  throw new BackendUnavailableError(`Cannot use any backend: ${notes.join("; ")}`);
}

/** What a backend lacks for such graphs, as an error and in passing; null where it runs them. */
function unmetBy(
  { name, computeDtypes = [], float8Weights = false }: RunsGraphs,
  requirement: BackendRequirement,
): { readonly error: string; readonly note: string } | null {
  const { computeDtype } = requirement;
  if (computeDtype !== undefined && !computeDtypes.includes(computeDtype)) {
    const these = computeDtypes.join(" and ");
    const does = computeDtypes.length === 0 ? "runs no graphs" : `computes in ${these}`;
    return {
      error: `Cannot compute in ${computeDtype} on the backend ${name}, which ${does}; export the model for one of these, or choose a backend that computes in ${computeDtype}`,
      note: `${name} does not compute in ${computeDtype}, but in ${these}: export the model for one of these`,
    };
  }
  if (requirement.float8Weights === true && !float8Weights)
    return {
      error: `Cannot use the backend ${name} for weights in 8-bit floats, which it does not decode; choose onnxruntime-cpu, or train the model before it was quantised`,
      note: `${name} does not decode weights in 8-bit floats`,
    };
  return null;
}
