// Reads datasets: one file or a folder of them, JSON Lines, JSON, CSV or Parquet.
import { createReadStream } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join, sep } from "node:path";
import { UsageError } from "../errors.ts";
import type { ChatRecord } from "./conversation.ts";
import { csvRecords } from "./csv-records.ts";
import { DATA_EXTENSIONS, extensionOf, splitsByName } from "./data-files.ts";
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

/** Options of {@link readDataset}. */
export interface ReadDatasetOptions extends BadRecordOptions {
  /** Told of the bytes of files as they are read; in all they are the files' sizes. */
  readonly onBytes?: (bytes: number) => void;
}

type Reader = (path: string, onBytes: (bytes: number) => void) => AsyncIterable<RawRecord>;

const READERS: ReadonlyMap<string, Reader> = new Map<string, Reader>([
  [".jsonl", (path, onBytes) => jsonLines(chunksOf(path, onBytes))],
  [".ndjson", (path, onBytes) => jsonLines(chunksOf(path, onBytes))],
  [".json", (path, onBytes) => jsonRecords(chunksOf(path, onBytes))],
  [".csv", (path, onBytes) => csvRecords(chunksOf(path, onBytes))],
  [".parquet", parquetRecords],
]);

async function* chunksOf(path: string, onBytes: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  for await (const chunk of createReadStream(path)) {
    onBytes(chunk.length);
    yield chunk;
  }
}

/**
 * Reads the records of a file, of the files in a folder, or of several files, in order.
 *
 * @throws UsageError when there is no such file or folder, or none that can be read; Error naming file and line of a
 *   record that is malformed, unless these are skipped.
 */
export async function* readDataset(
  source: string | readonly string[],
  options: ReadDatasetOptions = {},
): AsyncGenerator<PlacedRecord> {
  const { onBytes = () => {} } = options;
  for (const file of await datasetFiles(source)) {
    const read = READERS.get(extensionOf(file));
    if (read === undefined) throw unreadable(file);
    for await (const raw of read(file, onBytes)) {
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
 * The files of a dataset, sorted; several are given back as they are. Of a folder whose files name their split (train, test, validation) those of `train`;
 * subfolders are looked into, hidden ones not.
 *
 * @throws UsageError when there is none.
 */
export async function datasetFiles(source: string | readonly string[]): Promise<readonly string[]> {
  if (typeof source !== "string") return source;
  const path = source;
  const found = await statOrNull(path);
  if (found === null) throw new UsageError(`There is no file or folder ${path}`);
  if (found.isFile()) {
    if (!READERS.has(extensionOf(path))) throw unreadable(path);
    return [path];
  }
  const names = (await readdir(path, { recursive: true }))
    .map((name) => name.split(sep).join("/"))
    .filter((name) => READERS.has(extensionOf(name)));
  const splits = splitsByName(names);
  const files = splits.get("train");
  if (files === undefined)
    throw new UsageError(
      `${path} holds no ${splits.size > 0 ? "file of the split train" : "dataset"}: expected files that end in ${DATA_EXTENSIONS.join(", ")}`,
    );
  return files.map((name) => join(path, name));
}

function unreadable(path: string): UsageError {
  return new UsageError(`Cannot read ${path}: expected a file that ends in ${DATA_EXTENSIONS.join(", ")}`);
}

async function statOrNull(path: string) {
  try {
    return await stat(path);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  }
}
