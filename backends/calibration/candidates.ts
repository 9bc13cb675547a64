// The backends among which a calibration decides.
import type { BackendEntry, BackendOptions } from "../../src/backend.ts";
import { BackendUnavailableError } from "../../src/errors.ts";

/** Which backends come into question, and why the others do not. */
export interface Candidates {
  /** At least one, in the order of the table. */
  readonly candidates: readonly [BackendEntry, ...BackendEntry[]];
  /** Why the others are none. */
  readonly reasons: readonly string[];
}

/**
 * The backends that can run here and compute in the precision asked for; a last resort where there is nothing else.
 *
 * @throws BackendUnavailableError when there are none.
 */
export async function findCandidates(
  entries: readonly BackendEntry[],
  { precision }: BackendOptions,
): Promise<Candidates> {
  const reasons: string[] = [];
  const able: BackendEntry[] = [];
  const availabilities = await Promise.all(entries.map((entry) => entry.availability()));
  for (const [i, entry] of entries.entries()) {
    const availability = availabilities[i];
    if (availability?.ok === false)
      reasons.push(`${entry.name} cannot run here: ${availability.reason}; ${availability.fix}`);
    else if (precision === "exact" && entry.exact === false)
      reasons.push(`${entry.name} does not compute in the precision exact`);
    else able.push(entry);
  }
  const quick = able.filter(({ lastResort = false }) => !lastResort);
  const [first, ...others] = quick.length > 0 ? quick : able.slice(0, 1);
  if (first === undefined) throw new BackendUnavailableError(`Cannot use any backend: ${reasons.join("; ")}`);
  return { candidates: [first, ...others], reasons };
}
