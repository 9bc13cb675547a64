// Writes a safetensors file as a stream: the header first, then each tensor's bytes as they come. The file is written
// aside and renamed when it is whole.
import { randomBytes } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { type DType, dtypeBits } from "../tensor/dtype.ts";
import { MAX_HEADER_BYTES, METADATA_KEY, PREFIX_BYTES, tensorBytes } from "./header.ts";

/** A tensor to be written. */
export interface TensorToWrite {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Its little-endian elements in row-major order, in blocks of any size; asked for when its turn comes. */
  readonly blocks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
}

/** Options of {@link writeSafetensors}. */
export interface WriteOptions {
  /** Strings for `__metadata__`; default `{format: "pt"}`, which transformers asks for. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/**
 * Writes tensors to a file, wider dtypes first and then by name, as the reference implementation orders them.
 *
 * @throws RangeError when a tensor's blocks do not add up to its shape, or a name is not allowed; the file is then
 * as it was before.
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorToWrite[],
  options: WriteOptions = {},
): Promise<void> {
  const ordered = [...tensors].sort(
    (a, b) => dtypeBits(b.dtype) - dtypeBits(a.dtype) || (a.name < b.name ? -1 : 1),
  );
  const header = headerBytes(ordered, options.metadata ?? { format: "pt" });
  const aside = `${path}.${randomBytes(6).toString("hex")}.incomplete`;
  const file = await open(aside, "wx");
  try {
    await file.appendFile(header);
    for (const tensor of ordered) {
      let written = 0;
      for await (const block of tensor.blocks) {
        await file.appendFile(block);
        written += block.length;
      }
      const expected = tensorBytes(tensor.dtype, tensor.shape);
      if (written !== expected) {
        throw new RangeError(
          `Cannot write tensor "${tensor.name}": expected ${expected} bytes, got ${written}`,
        );
      }
    }
    await file.close();
    await rename(aside, path);
  } catch (error) {
    await file.close();
    await rm(aside, { force: true });
    throw error;
  }
}

/** The length prefix and the JSON, padded with spaces so that the tensors begin at a multiple of 8. */
function headerBytes(
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const entries = new Map<string, unknown>();
  if (Object.keys(metadata).length > 0) entries.set(METADATA_KEY, metadata);
  let begin = 0;
  for (const { name, dtype, shape } of tensors) {
    const sizeBytes = tensorBytes(dtype, shape);
    if (sizeBytes === null) {
      throw new RangeError(
        `Cannot write tensor "${name}": ${dtype} of shape [${shape}] has no size in bytes`,
      );
    }
    if (entries.has(name) || name === METADATA_KEY) {
      throw new RangeError(`Cannot write tensor "${name}": the name is taken`);
    }
    entries.set(name, { dtype, shape, data_offsets: [begin, begin + sizeBytes] });
    begin += sizeBytes;
  }
  // Written entry by entry: in an object, names such as "__proto__" or "0" would be lost or change the order.
  const members = [...entries].map(([name, entry]) => `${JSON.stringify(name)}:${JSON.stringify(entry)}`);
  const json = new TextEncoder().encode(`{${members.join(",")}}`);
  const length = Math.ceil(json.length / 8) * 8;
  if (length > MAX_HEADER_BYTES) {
    throw new RangeError(`Cannot write a header of ${length} bytes: expected at most ${MAX_HEADER_BYTES}`);
  }
  const header = new Uint8Array(PREFIX_BYTES + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(json, PREFIX_BYTES);
  return header;
}
