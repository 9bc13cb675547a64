// Whether a run may begin in a folder, or go on there: going on with other settings would not be the same run.
import { join } from "node:path";
import { UsageError } from "../errors.ts";
import { CHECKPOINT_FILES, latestCheckpoint, type RunSettings, readTrainerState } from "./checkpoint.ts";

/**
 * The checkpoint that a run goes on from; null when it begins.
 *
 * @throws UsageError when the folder holds a run that is not to be gone on with.
 */
export async function checkpointToResume(out: string, resume: boolean): Promise<string | null> {
  const latest = await latestCheckpoint(out);
  if (latest === null || resume) return latest;
  throw new UsageError(
    `Cannot begin a run in ${out}: it holds ${latest}; resume it (--resume), or name another folder`,
  );
}

/** Settings that are digests: their values say nothing to a person. */
const DIGESTS: ReadonlySet<string> = new Set(["data", "parameters"]);

/**
 * Compares settings with those of the checkpoint that a run is to go on from.
 *
 * @throws UsageError naming the first that differs.
 */
export async function checkSettings(checkpoint: string, settings: RunSettings): Promise<void> {
  const before = (await readTrainerState(join(checkpoint, CHECKPOINT_FILES.state))).settings;
  for (const [name, value] of Object.entries(settings)) {
    const was = before[name];
    if (was === value) continue;
    const difference = DIGESTS.has(name) ? `other ${name}` : `${name} ${was}, got ${value}`;
    throw new UsageError(
      `Cannot resume ${checkpoint}: it was trained with ${difference}; resume with the same settings, or begin a run in another folder`,
    );
  }
}
