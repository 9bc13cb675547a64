// Packed tokens on disk: a first pass writes them, so that the dataset need not fit in memory and totals, order and
// resuming are exact. A folder with header.json and the file of rows (32-bit little-endian words) that it names; the
// header is put in place last, in one step.
import { createHash, randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { UsageError } from "../errors.ts";
import { replaceFile } from "../files.ts";
import type { TokenBatch } from "./batch.ts";
import { TemplateTimeout } from "./bounded-jinja.ts";
import { countTargets, type EncodedRecord, type EncodeOptions, encodeRecord } from "./encode.ts";
import { batchOf, packRows } from "./pack.ts";
import { type PackedHeader, ROWS_FILE, readHeader, SCHEMA_VERSION } from "./packed-header.ts";
import {
  type BadRecordOptions,
  datasetFiles,
  type ReadDatasetOptions,
  readDataset,
  rejectRecord,
} from "./read-dataset.ts";
import { shuffledOrder } from "./shuffle.ts";

/** How far the packing of a dataset is. */
export interface PackingProgress {
  readonly records: number;
  readonly tokens: number;
  /** Bytes of the files that are read. */
  readonly bytes: number;
  readonly totalBytes: number;
  readonly elapsedMs: number;
}

/** How to pack a dataset. */
export interface PackDatasetOptions extends EncodeOptions, BadRecordOptions {
  /** Where header and rows go; made when it is not there. */
  readonly folder: string;
  /** Positions of a row, 2 or more; longer records are cut. */
  readonly sequence: number;
  /** Whether records share rows. Default true. */
  readonly packing?: boolean;
  /** Tokens of the model, which every id is to be one of. Default: whatever there is. */
  readonly vocabularySize?: number;
  /** Told now and then how far it is. */
  readonly onProgress?: (progress: PackingProgress) => void;
  readonly signal?: AbortSignal;
}

/** Records between two words of progress. */
const PROGRESS_RECORDS = 100;

/** Which batches, in which order. */
export interface BatchOptions {
  /** Rows of a batch; the last one of an epoch may have fewer. */
  readonly batch: number;
  /** Shuffles the rows, in each epoch anew; null keeps the order on disk. */
  readonly seed: number | null;
  /** Default 0. */
  readonly epoch?: number;
  /** Batches to pass over, when an epoch is resumed. Default 0. */
  readonly skip?: number;
}

/** A packed dataset. */
export interface PackedDataset {
  readonly folder: string;
  readonly header: PackedHeader;
  /** Batches of an epoch, `ceil(rows / batch)`. */
  batchCount(batch: number): number;
  /** The batches of one epoch. The same options give the same batches. */
  batches(options: BatchOptions): AsyncGenerator<TokenBatch>;
}

/**
 * Packs a dataset, or opens it when the folder holds just this already.
 *
 * @param source a file, a folder or files, as for {@link readDataset}.
 * @throws UsageError when the options or the path cannot be, or naming the first record with a token that the model does not
 *   have, Error naming the first record that cannot be used (unless these are skipped) or when nothing is left to train
 *   on. What was in the folder stays then.
 */
export async function packDataset(
  source: string | readonly string[],
  options: PackDatasetOptions,
): Promise<PackedDataset> {
  const { folder, sequence } = options;
  if (!Number.isInteger(sequence) || sequence < 2)
    throw new UsageError(`Cannot pack sequences of ${sequence} tokens: expected a whole number, 2 or more`);
  const files = await datasetFiles(source);
  const fingerprint = await fingerprintOf(files, options);
  const existing = await readHeader(folder);
  if (existing?.fingerprint === fingerprint) {
    checkTokens(existing, { vocabularySize: options.vocabularySize, place: files.join(", ") });
    return opened(folder, existing);
  }

  await mkdir(folder, { recursive: true });
  const counts = new Counts();
  const records = encodedRecords(files, { options, counts });
  const written = await writeRows(folder, packRows(records, { sequence, packing: options.packing ?? true }));
  if (written.rows === 0) {
    await rm(join(folder, written.rowsFile));
    throw new Error(
      `${files.join(", ").slice(0, 500)} holds no token to train or evaluate on: ${describeUseless(counts, sequence)}`,
    );
  }
  const header: PackedHeader = {
    schemaVersion: SCHEMA_VERSION,
    fingerprint,
    rowsFile: written.rowsFile,
    sequence,
    rows: written.rows,
    ...counts,
  };
  await replaceFile(join(folder, "header.json"), `${JSON.stringify(header, null, 2)}\n`);
  await removeOthers(folder, header.rowsFile);
  return opened(folder, header);
}

function describeUseless({ skippedRecords, droppedRecords }: Counts, sequence: number): string {
  const reasons = [
    ...(skippedRecords > 0 ? [`records skipped: ${skippedRecords}`] : []),
    ...(droppedRecords > 0
      ? [`records with no target among their first ${sequence} tokens: ${droppedRecords}`]
      : []),
  ];
  return reasons.join(", ") || "it has no records";
}

class Counts {
  records = 0;
  tokens = 0;
  targets = 0;
  vocabularySize = 0;
  truncatedRecords = 0;
  truncatedTokens = 0;
  droppedRecords = 0;
  skippedRecords = 0;
}

interface Encoding {
  readonly options: PackDatasetOptions;
  readonly counts: Counts;
}

async function* encodedRecords(
  files: readonly string[],
  { options, counts }: Encoding,
): AsyncGenerator<EncodedRecord> {
  const { sequence, signal } = options;
  const totalBytes = (await Promise.all(files.map((file) => stat(file)))).reduce(
    (sum, { size }) => sum + size,
    0,
  );
  const began = performance.now();
  let bytes = 0;
  const report = () => {
    const { records, tokens } = counts;
    options.onProgress?.({ records, tokens, bytes, totalBytes, elapsedMs: performance.now() - began });
  };
  const badRecords: ReadDatasetOptions = {
    ...options,
    onBytes: (read) => {
      bytes += read;
    },
    onSkip: (bad) => {
      counts.skippedRecords += 1;
      options.onSkip?.(bad);
    },
  };
  for await (const { record, file, line } of readDataset(files, badRecords)) {
    signal?.throwIfAborted();
    let encoded: EncodedRecord;
    try {
      encoded = encodeRecord(record, options);
    } catch (error) {
      // Wrong options are wrong for every record; and a template that does not end may not end on any of them.
      if (error instanceof UsageError || error instanceof TemplateTimeout || !(error instanceof Error))
        throw error;
      rejectRecord({ file, line, reason: error.message }, badRecords);
      continue;
    }
    const kept = truncated(encoded, { sequence, counts });
    if (kept === null) continue;
    counts.records += 1;
    counts.tokens += kept.inputIds.length;
    counts.targets += countTargets(kept.labels);
    for (const id of kept.inputIds) counts.vocabularySize = Math.max(counts.vocabularySize, id + 1);
    checkTokens(counts, { vocabularySize: options.vocabularySize, place: `${file}:${line}` });
    if (counts.records % PROGRESS_RECORDS === 0) report();
    yield kept;
  }
  report();
}

/** Skipping such records is no way out: data with tokens of another tokenizer has wrong ones among the small ids too. */
function checkTokens(
  seen: Pick<PackedHeader, "vocabularySize">,
  { vocabularySize = seen.vocabularySize, place }: { vocabularySize: number | undefined; place: string },
): void {
  if (seen.vocabularySize <= vocabularySize) return;
  throw new UsageError(
    `Cannot pack ${place.slice(0, 500)}: it has the token ${seen.vocabularySize - 1}, and the model has ${vocabularySize} tokens; tokenize with the model's own tokenizer`,
  );
}

/** The first `sequence` tokens, or null when no target is among them. */
function truncated(
  encoded: EncodedRecord,
  { sequence, counts }: { readonly sequence: number; readonly counts: Counts },
): EncodedRecord | null {
  const lost = encoded.inputIds.length - sequence;
  if (lost <= 0) return encoded;
  const kept = { inputIds: encoded.inputIds.slice(0, sequence), labels: encoded.labels.slice(0, sequence) };
  if (countTargets(kept.labels) === 0) {
    counts.droppedRecords += 1;
    return null;
  }
  counts.truncatedRecords += 1;
  counts.truncatedTokens += lost;
  return kept;
}

interface WrittenRows {
  readonly rowsFile: string;
  readonly rows: number;
}

/** Bytes that are written at once. */
const WRITE_BYTES = 2 ** 20;

const PARTIAL = /^\.rows\.[0-9a-f]+\.partial$/;

/** Writes the rows aside, and names the file by what is in it. */
async function writeRows(folder: string, rows: AsyncIterable<Uint32Array>): Promise<WrittenRows> {
  const aside = join(folder, `.rows.${randomBytes(6).toString("hex")}.partial`);
  const hash = createHash("sha256");
  let count = 0;
  try {
    const file = await open(aside, "wx");
    try {
      let pending: Uint8Array[] = [];
      let pendingBytes = 0;
      const flush = async () => {
        await file.writeFile(Buffer.concat(pending));
        pending = [];
        pendingBytes = 0;
      };
      for await (const row of rows) {
        const bytes = new Uint8Array(row.buffer, row.byteOffset, row.byteLength);
        hash.update(bytes);
        pending.push(bytes);
        pendingBytes += bytes.length;
        count += 1;
        if (pendingBytes >= WRITE_BYTES) await flush();
      }
      await flush();
      await file.sync();
    } finally {
      await file.close();
    }
    const rowsFile = `rows-${hash.digest("hex").slice(0, 16)}.bin`;
    await rename(aside, join(folder, rowsFile));
    return { rowsFile, rows: count };
  } catch (error) {
    await rm(aside, { force: true });
    throw error;
  }
}

/** An hour: what is still being written is younger. */
const STALE_MS = 3_600_000;

/** Removes rows that no header names any more, and what a killed process left. */
async function removeOthers(folder: string, rowsFile: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    const isOld = ROWS_FILE.test(name) && name !== rowsFile;
    if (isOld || (PARTIAL.test(name) && Date.now() - (await stat(path)).mtimeMs > STALE_MS))
      await rm(path, { force: true });
  }
}

function opened(folder: string, header: PackedHeader): PackedDataset {
  return {
    folder,
    header,
    batchCount: (batch) => Math.ceil(header.rows / batch),
    batches: (options) => batchesOf(folder, { header, options }),
  };
}

async function* batchesOf(
  folder: string,
  { header, options }: { readonly header: PackedHeader; readonly options: BatchOptions },
): AsyncGenerator<TokenBatch> {
  const { batch, seed, epoch = 0, skip = 0 } = options;
  if (!Number.isInteger(batch) || batch < 1)
    throw new UsageError(`Cannot make batches of ${batch} rows: expected a whole number, 1 or more`);
  const order = seed === null ? null : shuffledOrder(header.rows, { seed, epoch });
  const file = await open(join(folder, header.rowsFile));
  try {
    for (let first = skip * batch; first < header.rows; first += batch) {
      const rows: Uint32Array[] = [];
      for (let at = first; at < Math.min(first + batch, header.rows); at += 1) {
        rows.push(
          await readRow(file, { row: order === null ? at : (order[at] ?? at), sequence: header.sequence }),
        );
      }
      yield batchOf(rows);
    }
  } finally {
    await file.close();
  }
}

async function readRow(
  file: FileHandle,
  { row, sequence }: { readonly row: number; readonly sequence: number },
): Promise<Uint32Array> {
  const words = new Uint32Array(sequence);
  const { bytesRead } = await file.read(words, 0, words.byteLength, row * words.byteLength);
  if (bytesRead !== words.byteLength)
    throw new RangeError(`Cannot read row ${row}: expected ${words.byteLength} bytes, got ${bytesRead}`);
  return words;
}

/** A digest of all that the rows depend on. */
async function fingerprintOf(paths: readonly string[], options: PackDatasetOptions): Promise<string> {
  const { template, tokenizer, trainOn, sequence, packing = true, onBadRecord = "fail", now } = options;
  const files: unknown[] = [];
  for (const file of paths) files.push([basename(file), await sha256OfFile(file)]);
  const isDated = template?.source.includes("strftime_now") ?? false;
  const inputs = {
    version: SCHEMA_VERSION,
    files,
    tokenizer: tokenizer === null ? null : [tokenizer.tokenizerJson, tokenizer.specialTokens],
    template: template?.source ?? null,
    date: isDated ? (now ?? new Date()).toDateString() : null,
    options: { trainOn, sequence, packing, onBadRecord },
  };
  return createHash("sha256").update(JSON.stringify(inputs)).digest("hex");
}

async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest("hex");
}
