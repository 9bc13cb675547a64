// Runs a whole command, process start to exit, and measures its time and peak memory.
import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { arch, cpus, platform, totalmem } from "node:os";

/** What one run took. */
export interface CommandCost {
  readonly seconds: number;
  /** Peak resident memory of the process in bytes. */
  readonly peakBytes: number;
}

/** A command whose process states its own peak memory, in KiB, in a file when it ends. */
export interface Command {
  readonly file: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  /** File that the process writes its peak memory to. */
  readonly peakFile: string;
}

/** Runs a command once. @throws Error with its standard error when it fails. */
export async function runCommand({ file, args, cwd, env, peakFile }: Command): Promise<CommandCost> {
  const begin = performance.now();
  const child = spawn(file, args, {
    cwd,
    env: { ...process.env, ...env },
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
  return { seconds, peakBytes: 1024 * Number(await readFile(peakFile, "utf8")) };
}

/** One line that says what machine this is. */
export function hardware(): string {
  const [first] = cpus();
  const memory = Math.round(totalmem() / 2 ** 30);
  return `${cpus().length} x ${first?.model.trim() ?? "unknown processor"}, ${memory} GiB, ${platform()} ${arch()}, Node ${process.version}`;
}
