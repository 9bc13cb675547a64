// Where the bytes of a model come from: a folder, a snapshot in the Hub cache, or ranged reads from the Hub.
// read-model.ts makes a Model of any of them.
import type { ByteRange, ModelFile } from "./model.ts";

/** A place that holds the files of one model. */
export interface ModelSource {
  /** As in {@link Model}. */
  readonly id: string;
  readonly revision: string | null;
  readonly folder: string | null;
  /** Names of all files, with forward slashes; those in subfolders may be missing. */
  list(): Promise<readonly string[]>;
  /** One file, or null when it does not exist. */
  stat(name: string): Promise<ModelFile | null>;
  /** The bytes of a range that lies within the file, cut as the range says. */
  read(file: ModelFile, range: ByteRange): AsyncIterable<Uint8Array>;
  close(): Promise<void>;
}

/** Size of the blocks that {@link ModelSource.read} gives where the range does not say. */
export const DEFAULT_BLOCK_BYTES = 8 * 2 ** 20;

/**
 * Reads a whole file that is expected to be small.
 *
 * @throws RangeError, before it reads anything, when the file is larger than `maxBytes`.
 */
export async function readSmall(source: ModelSource, file: ModelFile, maxBytes: number): Promise<Uint8Array> {
  if (file.sizeBytes > maxBytes) {
    throw new RangeError(
      `Cannot read ${file.name} of ${source.id}: it has ${file.sizeBytes} bytes, expected at most ${maxBytes}`,
    );
  }
  return readAll(source, file, { begin: 0, end: file.sizeBytes });
}

/** Reads a range of a file into one array. The caller has bounded its length. */
export async function readAll(source: ModelSource, file: ModelFile, range: ByteRange): Promise<Uint8Array> {
  const all = new Uint8Array(range.end - range.begin);
  let at = 0;
  for await (const block of source.read(file, range)) {
    all.set(block, at);
    at += block.length;
  }
  return all;
}
