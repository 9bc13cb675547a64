// Reads the records of a Parquet file, some thousand rows at a time.
import { open } from "node:fs/promises";
import * as zlib from "node:zlib";
import {
  type AsyncBuffer,
  type Compressors,
  parquetMetadataAsync,
  parquetReadObjects,
  snappyUncompress,
} from "hyparquet";
import type { RawRecord } from "./raw-record.ts";

/** Rows that are decoded at once. */
const ROWS = 16_384;

/** The largest page that is decompressed. Writers make pages of about 1 MiB. */
const MAX_PAGE_BYTES = 256 * 2 ** 20;

/** Columns that {@link recordFrom} looks at; others are not read. */
const COLUMNS: ReadonlySet<string> = new Set(
  "messages conversations system tools prompt completion instruction input output history text input_ids labels".split(
    " ",
  ),
);

/**
 * Records of a Parquet file; `line` is the row. A group of rows that cannot be decoded is given with the reason, and
 * ends the file.
 */
export async function* parquetRecords(
  path: string,
  onBytes: (bytes: number) => void = () => {},
): AsyncGenerator<RawRecord> {
  const handle = await open(path);
  try {
    const { size } = await handle.stat();
    const file: AsyncBuffer = {
      byteLength: size,
      slice: async (start, end = size) => {
        const bytes = new Uint8Array(Math.max(0, Math.min(end, size) - start));
        const { bytesRead } = await handle.read(bytes, 0, bytes.length, start);
        return bytes.buffer.slice(0, bytesRead);
      },
    };
    yield* rowsOf(file, onBytes);
  } finally {
    await handle.close();
  }
}

async function* rowsOf(file: AsyncBuffer, onBytes: (bytes: number) => void): AsyncGenerator<RawRecord> {
  let first = 0;
  try {
    const metadata = await parquetMetadataAsync(file);
    const names = metadata.schema.map(({ name }) => name).filter((name) => COLUMNS.has(name));
    const roots = new Set(topColumns(metadata.schema));
    const columns = names.filter((name) => roots.has(name));
    const total = Number(metadata.num_rows);
    while (first < total) {
      const rowEnd = Math.min(first + ROWS, total);
      const rows = await parquetReadObjects({
        file,
        metadata,
        compressors: COMPRESSORS,
        rowStart: first,
        rowEnd,
        ...(columns.length > 0 && { columns }),
      });
      if (rows.length === 0) throw new RangeError(`expected ${total} rows, got ${first}`);
      for (const [at, row] of rows.entries()) yield { line: first + at + 1, value: plain(row), reason: null };
      // Not every column is read: the share of the rows tells better how far it is.
      const bytesUpTo = (row: number) => Math.round((file.byteLength * row) / total);
      onBytes(bytesUpTo(first + rows.length) - bytesUpTo(first));
      first += rows.length;
    }
  } catch (error) {
    yield { line: first + 1, reason: `not Parquet: ${error instanceof Error ? error.message : error}` };
  }
}

/** Names of the columns: the children of the schema's root, which is a tree laid flat. */
function topColumns(schema: readonly { readonly name: string; readonly num_children?: number }[]): string[] {
  const names: string[] = [];
  let at = 1;
  while (at < schema.length) {
    names.push(schema[at]?.name ?? "");
    for (let pending = 1; pending > 0 && at < schema.length; at += 1) {
      pending += (schema[at]?.num_children ?? 0) - 1;
    }
  }
  return names;
}

/** 64-bit integers as numbers, throughout. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(plain);
  if (ArrayBuffer.isView(value) && Symbol.iterator in value) return Array.from(Object(value), plain);
  if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype)
    return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
}

/** Decompresses one page to the length that its header states. */
type Decompress = (page: Uint8Array, length: number) => Uint8Array;

const COMPRESSORS: Compressors = {
  SNAPPY: bounded((page, length) => {
    const output = new Uint8Array(length);
    snappyUncompress(page, output);
    return output;
  }),
  GZIP: bounded((page, maxOutputLength) => zlib.gunzipSync(page, { maxOutputLength })),
  BROTLI: bounded((page, maxOutputLength) => zlib.brotliDecompressSync(page, { maxOutputLength })),
  ZSTD: bounded((page, maxOutputLength) => {
    const decompress: unknown = Reflect.get(zlib, "zstdDecompressSync");
    if (typeof decompress !== "function")
      throw new Error(
        "it is compressed with Zstandard, which takes Node 22.15 or later; or write it with Snappy",
      );
    return decompress(page, { maxOutputLength });
  }),
};

function bounded(decompress: Decompress): Decompress {
  return (page, length) => {
    if (length > MAX_PAGE_BYTES)
      throw new RangeError(`a page of ${length} bytes, expected at most ${MAX_PAGE_BYTES}`);
    // A limit of 0 is no limit to zlib.
    return length === 0 ? new Uint8Array(0) : decompress(page, length);
  };
}
