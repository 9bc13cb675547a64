// Reads datasets: one file or a folder of them, JSON Lines, JSON, CSV or Parquet.
import { createReadStream } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import { UsageError } from "../errors.ts";
import type { ChatRecord } from "./conversation.ts";
import { csvRecords } from "./csv-records.ts";
import { jsonLines, jsonRecords } from "./json-records.ts";
import type { RawRecord } from "./raw-record.ts";
import { parquetRecords } from "./read-parquet.ts";
import { recordFrom } from "./shapes.ts";

/** Where a record stands. */
export interface RecordPlace {
  readonly file: string;
  /** Line of the file, for Parquet the row, from 1. */
  readonly line: number;
}

/** A record, and where it stands. */
export interface PlacedRecord extends RecordPlace {
  readonly record: ChatRecord;
}

/** A record that cannot be used, and why. */
export interface BadRecord extends RecordPlace {
  readonly reason: string;
}

/** What to do about records that cannot be used. */
export interface BadRecordOptions {
  /** Default `fail`: the first one ends the reading. */
  readonly onBadRecord?: "skip" | "fail";
  /** Told of each record that is skipped. */
  readonly onSkip?: (bad: BadRecord) => void;
}

const READERS: ReadonlyMap<string, (path: string) => AsyncIterable<RawRecord>> = new Map([
  [".jsonl", (path: string) => jsonLines(createReadStream(path))],
  [".ndjson", (path: string) => jsonLines(createReadStream(path))],
  [".json", (path: string) => jsonRecords(createReadStream(path))],
  [".csv", (path: string) => csvRecords(createReadStream(path))],
  [".parquet", parquetRecords],
]);

/**
 * Reads the records of a file, or of the files in a folder, in order.
 *
 * @throws UsageError when there is no such file or folder, or none that can be read; Error naming file and line of a
 *   record that is malformed, unless these are skipped.
 */
export async function* readDataset(
  path: string,
  options: BadRecordOptions = {},
): AsyncGenerator<PlacedRecord> {
  for (const file of await datasetFiles(path)) {
    const read = READERS.get(extension(file));
    if (read === undefined) throw unreadable(file);
    for await (const raw of read(file)) {
      const { line } = raw;
      if (raw.reason !== null) {
        rejectRecord({ file, line, reason: raw.reason }, options);
        continue;
      }
      let record: ChatRecord;
      try {
        record = recordFrom(raw.value);
      } catch (error) {
        if (!(error instanceof TypeError)) throw error;
        rejectRecord({ file, line, reason: error.message }, options);
        continue;
      }
      yield { record, file, line };
    }
  }
}

/**
 * Deals with a record that cannot be used.
 *
 * @throws Error that names it, unless such records are skipped.
 */
export function rejectRecord(bad: BadRecord, { onBadRecord = "fail", onSkip }: BadRecordOptions): void {
  if (onBadRecord === "fail")
    throw new Error(
      `Cannot use the record at ${bad.file}:${bad.line}: ${bad.reason}; mend it, or skip such records (--on-bad-record skip)`,
    );
  onSkip?.(bad);
}

/**
 * The files of a dataset, sorted. Of a folder whose files name their split (train, test, validation) those of `train`;
 * subfolders are looked into, hidden ones not.
 *
 * @throws UsageError when there is none.
 */
export async function datasetFiles(path: string): Promise<readonly string[]> {
  const found = await statOrNull(path);
  if (found === null) throw missing(path);
  if (found.isFile()) {
    if (!READERS.has(extension(path))) throw unreadable(path);
    return [path];
  }
  const names = (await readdir(path, { recursive: true }))
    .filter((name) => READERS.has(extension(name)) && !/(^|[\\/])\./.test(name))
    .sort();
  const splits = names.map((name) => splitOf(name));
  const isSplit = splits.some((split) => split !== null);
  const files = names.filter((_, at) => !isSplit || splits[at] === "train");
  if (files.length === 0)
    throw new UsageError(
      `${path} holds no ${isSplit ? "file of the split train" : "dataset"}: expected files that end in ${[...READERS.keys()].join(", ")}`,
    );
  return files.map((name) => join(path, name));
}

const SPLITS: readonly (readonly [split: string, word: RegExp])[] = [
  ["train", /(^|[^a-z])train(ing)?([^a-z]|$)/],
  ["test", /(^|[^a-z])(test|testing|eval|evaluation)([^a-z]|$)/],
  ["validation", /(^|[^a-z])(validation|valid|val|dev)([^a-z]|$)/],
];

/** The split that a file's name, or a folder above it, says it belongs to. */
function splitOf(name: string): string | null {
  for (const part of [basename(name), name]) {
    for (const [split, word] of SPLITS) {
      if (word.test(part.toLowerCase())) return split;
    }
  }
  return null;
}

function extension(path: string): string {
  return extname(path).toLowerCase();
}

function unreadable(path: string): UsageError {
  return new UsageError(
    `Cannot read ${path}: expected a file that ends in ${[...READERS.keys()].join(", ")}`,
  );
}

function missing(path: string): UsageError {
  if (/^[\w.-]+\/[\w.-]+$/.test(path))
    return new UsageError(
      `There is no file or folder ${path}; this version reads datasets from files and folders only: for the Hub's dataset of that name, ` +
        `run "hf download --repo-type dataset ${path} --local-dir FOLDER" and give the folder`,
    );
  return new UsageError(`There is no file or folder ${path}`);
}

async function statOrNull(path: string) {
  try {
    return await stat(path);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  }
}
