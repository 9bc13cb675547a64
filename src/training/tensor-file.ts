// Reads float32 tensors of a known name and shape from a safetensors file into arrays of their own.
import { type FileHandle, open } from "node:fs/promises";
import { headerEnd, PREFIX_BYTES, parseHeader, type SafetensorsHeader } from "../safetensors/header.ts";

/** A tensor that is expected in a file. */
export interface ExpectedTensor {
  readonly name: string;
  readonly shape: readonly number[];
}

/** Float32 tensors by name. */
export type NamedArrays = Map<string, Float32Array<ArrayBuffer>>;

/** As {@link NamedArrays}, each tensor in slices with memory of their own. */
export type NamedSlices = Map<string, readonly Float32Array<ArrayBuffer>[]>;

/**
 * Reads the tensors. The header is checked against the file's size before anything is allocated.
 *
 * @throws Error naming the file, and the first tensor that is missing or of another dtype or shape.
 */
export async function readTensors(path: string, expected: readonly ExpectedTensor[]): Promise<NamedArrays> {
  const arrays: NamedArrays = new Map();
  await forEachTensor(path, expected, async (name, { values, read }) => {
    arrays.set(name, await read(0, values));
  });
  return arrays;
}

/** As {@link readTensors}, in slices of that many values; the last may be shorter. */
export async function readTensorSlices(
  path: string,
  expected: readonly ExpectedTensor[],
  sliceLength: number,
): Promise<NamedSlices> {
  const arrays: NamedSlices = new Map();
  await forEachTensor(path, expected, async (name, { values, read }) => {
    const slices: Float32Array<ArrayBuffer>[] = [];
    for (let from = 0; from < values; from += sliceLength)
      slices.push(await read(from, Math.min(values, from + sliceLength)));
    arrays.set(name, slices);
  });
  return arrays;
}

/** A tensor in an open file. */
interface StoredTensor {
  /** How many there are. */
  readonly values: number;
  /** Reads the values from `from` to before `to`. */
  read(from: number, to: number): Promise<Float32Array<ArrayBuffer>>;
}

async function forEachTensor(
  path: string,
  expected: readonly ExpectedTensor[],
  visit: (name: string, tensor: StoredTensor) => Promise<void>,
): Promise<void> {
  const file = await open(path);
  try {
    const { tensors } = await readHeader(file, path);
    for (const { name, shape } of expected) {
      const tensor = tensors.get(name);
      const found = tensor === undefined ? "nothing" : `${tensor.dtype} [${tensor.shape}]`;
      if (tensor === undefined || found !== `F32 [${shape}]`)
        throw new Error(`Cannot read tensor "${name}" of ${path}: expected F32 [${shape}], got ${found}`);
      const { begin, end } = tensor;
      const read = async (from: number, to: number) => {
        const { buffer } = await readRange(file, begin + 4 * from, begin + 4 * to);
        return new Float32Array(buffer);
      };
      await visit(name, { values: (end - begin) / 4, read });
    }
  } finally {
    await file.close();
  }
}

async function readHeader(file: FileHandle, path: string): Promise<SafetensorsHeader> {
  const source = { file: path, sizeBytes: (await file.stat()).size };
  const end = headerEnd(await readRange(file, 0, Math.min(PREFIX_BYTES, source.sizeBytes)), source);
  return parseHeader(await readRange(file, PREFIX_BYTES, end), source);
}

async function readRange(file: FileHandle, begin: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(end - begin);
  for (let at = 0; at < bytes.length; ) {
    const { bytesRead } = await file.read(bytes, at, bytes.length - at, begin + at);
    if (bytesRead === 0) throw new RangeError(`The file ended at byte ${begin + at}, expected ${end}`);
    at += bytesRead;
  }
  return bytes;
}
