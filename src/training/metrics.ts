// metrics.jsonl: a line per step and per evaluation. A run that goes on drops the lines after its checkpoint.
import { type FileHandle, mkdir, open, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { replaceFile } from "../files.ts";

/** Numbers of one moment of a run, by their name. */
export interface MetricsLine {
  readonly step: number;
  readonly [name: string]: number;
}

/** An open metrics file. */
export interface MetricsFile {
  write(line: MetricsLine): Promise<void>;
  close(): Promise<void>;
}

/** Opens the file for a run that stands after `step` updates; lines of later ones, or cut short, are dropped. */
export async function openMetrics(path: string, step: number): Promise<MetricsFile> {
  await mkdir(dirname(path), { recursive: true });
  const kept = (await existingLines(path)).filter((line) => stepOf(line) <= step);
  await replaceFile(path, kept.map((line) => `${line}\n`).join(""));
  const file: FileHandle = await open(path, "a");
  return {
    async write(line) {
      await file.appendFile(`${JSON.stringify(line)}\n`);
    },
    close: () => file.close(),
  };
}

async function existingLines(path: string): Promise<readonly string[]> {
  try {
    return (await readFile(path, "utf8")).split("\n");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  }
}

/** The step of a line; Infinity for one that is not whole, as a run that was killed leaves it. */
function stepOf(line: string): number {
  if (!line.startsWith("{") || !line.endsWith("}")) return Number.POSITIVE_INFINITY;
  return Number(/"step":([0-9]+)/.exec(line)?.[1] ?? Number.POSITIVE_INFINITY);
}
