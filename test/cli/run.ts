// Runs the built command line as a process.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

/** The built program. */
export const CLI = fileURLToPath(new URL("../../dist/src/cli.js", import.meta.url));

/** The repository. */
export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** How a run ended and what it printed. */
export interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `spectrum` with these arguments in an environment without colours of its own; neither stream is a terminal. */
export async function spectrum(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  onStderr: (text: string, kill: (signal: NodeJS.Signals) => void) => void = () => {},
  cwd = ROOT,
): Promise<Run> {
  const { PATH = "", HOME = "", SPECTRUM_CACHE = "" } = process.env;
  const child = spawn(process.execPath, [CLI, ...args], {
    cwd,
    env: { PATH, HOME, SPECTRUM_CACHE, ...env },
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
    onStderr(stderr, (signal) => child.kill(signal));
  });
  const [code] = await once(child, "close");
  return { code, stdout, stderr };
}
