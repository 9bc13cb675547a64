// What an open model is to the stages that read it: a config, a table of tensors, and their bytes on demand.
import type { DType } from "../tensor/dtype.ts";

/** A weights file of a model. */
export interface ModelFile {
  /** Path inside the repository or folder, with forward slashes. */
  readonly name: string;
  readonly sizeBytes: number;
  /** SHA-256 of the content in lower-case hex, where the Hub states it; null for a folder (the scan computes it). */
  readonly sha256: string | null;
  /** The Hub's ETag, unquoted, where there is one. */
  readonly etag: string | null;
}

/** A tensor of a checkpoint. */
export interface ModelTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Name of the {@link ModelFile} that holds it. */
  readonly file: string;
  /** Byte range [begin, end) from the start of the file. */
  readonly begin: number;
  readonly end: number;
}

/** An open model. Close it when done: it may hold file handles and connections. */
export interface Model extends AsyncDisposable {
  /** The Hub id `org/name`, or the folder as the caller named it. */
  readonly id: string;
  /** Commit hash on the Hub; null for a folder. */
  readonly revision: string | null;
  /** The folder that holds the files on this machine (for a Hub model its snapshot); null when streamed. */
  readonly folder: string | null;
  /** config.json, parsed; empty when the model has none. */
  readonly config: Readonly<Record<string, unknown>>;
  /** The weights files, sorted by name. */
  readonly files: readonly ModelFile[];
  /** Every tensor by its checkpoint name, in order of file and offset. */
  readonly tensors: ReadonlyMap<string, ModelTensor>;
  /**
   * Bytes [begin, end) of a weights file, in blocks of at most `blockBytes` (default 8 MiB), in order. Each block
   * is a buffer of its own that the caller may keep or transfer, unless the range says that they are `transient`.
   *
   * @throws RangeError when the range leaves the file.
   */
  readFile(file: string, range: ByteRange): AsyncIterable<Uint8Array>;
  close(): Promise<void>;
}

/** A half-open range of bytes, and how it is to be cut. */
export interface ByteRange {
  readonly begin: number;
  readonly end: number;
  /** Every block but the last has this size. Default 8 MiB. */
  readonly blockBytes?: number;
  /** Each block is used up when the next one is asked for: the source may then fill the same buffer. Default false. */
  readonly transient?: boolean;
  readonly signal?: AbortSignal;
}
