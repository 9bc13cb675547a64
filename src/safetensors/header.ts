// Parses the header of a safetensors file. Pure: bytes in, table out; whoever reads the file asks headerEnd first.
// Rules as in the reference implementation (github.com/huggingface/safetensors, tensor.rs).
import { type DType, dtypeBits, isDType } from "../tensor/dtype.ts";
import {
  expectEnd,
  type JsonCursor,
  jsonCursor,
  readArray,
  readObject,
  readSize,
  readString,
  skipValue,
} from "./json.ts";

/** Bytes before the header's JSON: its length, 64-bit little-endian. */
export const PREFIX_BYTES = 8;

/** The longest header's JSON that is read, as in the reference implementation. */
export const MAX_HEADER_BYTES = 100_000_000;

/** The key under which a header holds strings about the file, hence no name for a tensor. */
export const METADATA_KEY = "__metadata__";

/** A tensor of a safetensors file. */
export interface HeaderTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Byte range [begin, end) from the start of the file. */
  readonly begin: number;
  readonly end: number;
}

/** A parsed header. */
export interface SafetensorsHeader {
  /** `__metadata__`; empty when there is none. */
  readonly metadata: ReadonlyMap<string, string>;
  /** Every tensor by name, in order of offset; together they cover the file from the header to its end. */
  readonly tensors: ReadonlyMap<string, HeaderTensor>;
}

/** How a file of git begins that git-lfs has not yet replaced by the real one. */
const LFS_POINTER = "version ";

/** The file that a header comes from: its name, for messages, and its size. */
export interface HeaderSource {
  readonly file: string;
  readonly sizeBytes: number;
}

/**
 * Offset at which the header ends and the tensors begin, from the first 8 bytes of a file.
 *
 * @throws RangeError when it is over the bound or beyond the file, before anyone allocates for it.
 */
export function headerEnd(prefix: Uint8Array, source: HeaderSource): number {
  if (source.sizeBytes < PREFIX_BYTES || prefix.length < PREFIX_BYTES) {
    throw new RangeError(
      `Cannot read ${source.file}: a safetensors file has at least ${PREFIX_BYTES} bytes, this one has ${source.sizeBytes}`,
    );
  }
  if (new TextDecoder().decode(prefix.subarray(0, PREFIX_BYTES)) === LFS_POINTER)
    throw new RangeError(
      `Cannot read ${source.file}: it is a pointer of git-lfs and not the weights; fetch them with git lfs pull`,
    );
  const length = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true);
  if (length > MAX_HEADER_BYTES) {
    throw new RangeError(
      `Cannot read ${source.file}: its header claims ${length} bytes, expected at most ${MAX_HEADER_BYTES}; it is not a safetensors file, or a broken one`,
    );
  }
  const end = PREFIX_BYTES + Number(length);
  if (end > source.sizeBytes) {
    throw new RangeError(
      `Cannot read ${source.file}: its header ends at byte ${end}, but the file has ${source.sizeBytes}; it is cut short or broken`,
    );
  }
  return end;
}

/**
 * Parses a header's JSON, the bytes [8, headerEnd) of the file.
 *
 * @throws SyntaxError when it is no strict JSON of the format; RangeError when a shape or an offset does not fit
 * its dtype or the file, or tensors overlap or leave holes.
 */
export function parseHeader(json: Uint8Array, source: HeaderSource): SafetensorsHeader {
  const metadata = new Map<string, string>();
  const tensors: HeaderTensor[] = [];
  try {
    const cursor = jsonCursor(json);
    if (!cursor.text.startsWith("{")) throw new SyntaxError('it does not begin with "{"');
    readObject(cursor, (key) => {
      if (key === METADATA_KEY) readObject(cursor, (name) => metadata.set(name, readString(cursor)));
      else tensors.push(readTensor(cursor, key, PREFIX_BYTES + json.length));
    });
    expectEnd(cursor);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new SyntaxError(`Cannot read the header of ${source.file}: ${error.message}`, { cause: error });
  }
  tensors.sort((a, b) => a.begin - b.begin || a.end - b.end);
  checkLayout(tensors, PREFIX_BYTES + json.length, source);
  return { metadata, tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])) };
}

function readTensor(cursor: JsonCursor, name: string, dataBegin: number): HeaderTensor {
  let dtype: string | undefined;
  let shape: number[] | undefined;
  let offsets: number[] | undefined;
  readObject(cursor, (key) => {
    if (key === "dtype") dtype = readString(cursor);
    else if (key === "shape") shape = readSizes(cursor);
    else if (key === "data_offsets") offsets = readSizes(cursor);
    else skipValue(cursor);
  });
  const label = `tensor ${JSON.stringify(name)}`;
  if (dtype === undefined) throw new SyntaxError(`${label} has no dtype`);
  if (!isDType(dtype)) throw new SyntaxError(`${label} has the unknown dtype ${JSON.stringify(dtype)}`);
  if (shape === undefined) throw new SyntaxError(`${label} has no shape`);
  const [begin, end, ...more] = offsets ?? [];
  if (begin === undefined || end === undefined || more.length > 0) {
    throw new SyntaxError(`${label} needs two data_offsets, got ${offsets?.length ?? 0}`);
  }
  return { name, dtype, shape, begin: dataBegin + begin, end: dataBegin + end };
}

function readSizes(cursor: JsonCursor): number[] {
  const sizes: number[] = [];
  readArray(cursor, () => sizes.push(readSize(cursor)));
  return sizes;
}

/** Tensors, in order of offset, must follow each other from the header to the end of the file. */
function checkLayout(tensors: readonly HeaderTensor[], dataBegin: number, source: HeaderSource): void {
  let expected = dataBegin;
  for (const { name, dtype, shape, begin, end } of tensors) {
    const cannot = `Cannot read tensor ${JSON.stringify(name)} of ${source.file}`;
    if (begin === expected && end > source.sizeBytes)
      throw new RangeError(
        `${cannot}: it ends at byte ${end}, but the file has ${source.sizeBytes}; it is cut short or broken`,
      );
    if (begin !== expected || end < begin) {
      throw new RangeError(
        `${cannot}: it lies at bytes ${begin} to ${end}, expected it to begin at ${expected}; tensors must neither overlap nor leave holes`,
      );
    }
    const sizeBytes = tensorBytes(dtype, shape);
    if (end - begin !== sizeBytes) {
      throw new RangeError(
        `${cannot}: ${dtype} of shape [${shape.slice(0, 8)}] needs ${sizeBytes ?? "more than 2^53 or a broken number of"} bytes, got ${end - begin}`,
      );
    }
    expected = end;
  }
  if (expected !== source.sizeBytes) {
    throw new RangeError(
      `Cannot read ${source.file}: its tensors end at byte ${expected}, but the file has ${source.sizeBytes}`,
    );
  }
}

/** Bytes that a tensor takes; null when they overflow 2^53 or are no whole number. */
export function tensorBytes(dtype: DType, shape: readonly number[]): number | null {
  let elements = 1;
  for (const size of shape) {
    elements *= size;
    if (!Number.isSafeInteger(elements)) return null;
  }
  const bits = elements * dtypeBits(dtype);
  return Number.isSafeInteger(bits) && bits % 8 === 0 ? bits / 8 : null;
}
