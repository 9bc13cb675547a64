// Runs a whole command, process start to exit, and measures its time, processor time and peak memory.
import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

/** What one run took. */
export interface CommandCost {
  readonly seconds: number;
  /** Processor time of the process, all threads together. */
  readonly cpuSeconds: number;
  /** Peak resident memory of the process in bytes. */
  readonly peakBytes: number;
}

/** A command whose process states what it took in the file $COST_FILE when it ends, see process-cost.mjs. */
export interface Command {
  readonly file: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly costFile: string;
}

const root = fileURLToPath(new URL("../..", import.meta.url));

/** A script of this project as such a command: `script` is its path in the repository. */
export function ourCommand(script: string, args: readonly string[], cwd: string, costFile: string): Command {
  const hook = `${root}bench/process-cost.mjs`;
  return { file: process.execPath, args: ["--import", hook, root + script, ...args], cwd, costFile };
}

/** Runs a command once. @throws Error with its standard error when it fails. */
export async function runCommand({ file, args, cwd, costFile }: Command): Promise<CommandCost> {
  const begin = performance.now();
  const child = spawn(file, args, {
    cwd,
    env: { ...process.env, COST_FILE: costFile, PYTHONDONTWRITEBYTECODE: "1" },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let complaint = "";
  child.stderr
    .setEncoding("utf8")
    .on("data", (text: string) => (complaint = (complaint + text).slice(-4000)));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject).on("close", resolve);
  });
  const seconds = (performance.now() - begin) / 1000;
  if (code !== 0) throw new Error(`${file} ${args.join(" ")} ended with ${code}:\n${complaint}`);
  const cost: { peakKiB: number; cpuSeconds: number } = JSON.parse(await readFile(costFile, "utf8"));
  return { seconds, cpuSeconds: cost.cpuSeconds, peakBytes: 1024 * cost.peakKiB };
}
