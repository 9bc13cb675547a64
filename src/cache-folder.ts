// The folder in which this tool keeps what it can compute again: scores, calibrations.
import { homedir } from "node:os";
import { join } from "node:path";

/** `$SPECTRUM_CACHE`, else a folder of the tool's own in the user's cache folder. */
export function defaultCacheFolder(env: Readonly<Record<string, string | undefined>> = process.env): string {
  if (env.SPECTRUM_CACHE) return env.SPECTRUM_CACHE;
  const base =
    process.platform === "win32" ? env.LOCALAPPDATA : env.XDG_CACHE_HOME || join(homedir(), ".cache");
  return join(base ?? homedir(), "spectrum-tune");
}
