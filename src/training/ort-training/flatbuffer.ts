// A FlatBuffers file (https://flatbuffers.dev/internals), laid out from front to back: tables first, long byte vectors
// last, so that their bytes go from where they are to the file without being held. Fields of 4 bytes alone.
import { open } from "node:fs/promises";

/** A table: its fields by their index in the schema. A number is an int32; null stands for one that is left out. */
export interface Table {
  readonly kind: "table";
  readonly fields: readonly (number | Part | null)[];
}

/** Bytes that follow the tables, asked for when their turn comes. */
export interface ByteVector {
  readonly kind: "bytes";
  readonly length: number;
  readonly blocks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
}

/** What a field may refer to. */
export type Part =
  | Table
  | ByteVector
  | { readonly kind: "tables"; readonly tables: readonly Table[] }
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "int64s"; readonly values: readonly number[] };

/** Offsets are 32 bits wide, and readers refuse what a signed one does not reach. */
export const MAX_FLATBUFFER_BYTES = 2 ** 31 - 1;

/** Where everything goes. */
export interface FlatbufferLayout {
  readonly sizeBytes: number;
  /** Address of each part: a table's own, not its vtable's. */
  readonly addresses: ReadonlyMap<Part, number>;
  readonly root: Table;
  /** Four characters. */
  readonly identifier: string;
}

/** The root's offset and the identifier. */
const HEADER_BYTES = 8;

/** Lays out a file: a part stands behind whatever refers to it. */
export function layOut(root: Table, identifier: string): FlatbufferLayout {
  const addresses = new Map<Part, number>();
  const vectors: ByteVector[] = [];
  let end = HEADER_BYTES;
  /** Begins at a multiple of `alignment`, plus `before` bytes, and takes `size` more. */
  const take = (before: number, size: number, alignment: number) => {
    const address = Math.ceil((end + before) / alignment) * alignment;
    end = address + size;
    return address;
  };
  const place = (part: Part) => {
    switch (part.kind) {
      case "table":
        addresses.set(part, take(vtableBytes(part), 4 + 4 * ownFields(part).length, 4));
        for (const field of part.fields) if (typeof field === "object" && field !== null) place(field);
        return;
      case "tables":
        addresses.set(part, take(0, 4 + 4 * part.tables.length, 4));
        for (const table of part.tables) place(table);
        return;
      case "text":
        addresses.set(part, take(0, 4 + new TextEncoder().encode(part.text).length + 1, 4));
        return;
      case "int64s":
        addresses.set(part, take(4, 8 * part.values.length, 8) - 4);
        return;
      case "bytes":
        vectors.push(part);
        return;
      default:
        part satisfies never;
    }
  };
  place(root);
  for (const vector of vectors) addresses.set(vector, take(4, vector.length, 16) - 4);
  return { sizeBytes: end, addresses, root, identifier };
}

function vtableBytes({ fields }: Table): number {
  return 4 + 2 * fields.length;
}

function ownFields({ fields }: Table): readonly (number | Part)[] {
  return fields.filter((field) => field !== null);
}

/**
 * Writes a file that must not exist.
 *
 * @throws RangeError when the layout is longer than a reader takes, or a vector's blocks do not add up to its length.
 */
export async function writeFlatbuffer(path: string, layout: FlatbufferLayout): Promise<void> {
  if (layout.sizeBytes > MAX_FLATBUFFER_BYTES)
    throw new RangeError(`Cannot write ${path}: ${layout.sizeBytes} bytes, at most ${MAX_FLATBUFFER_BYTES}`);
  const vectors = [...layout.addresses].filter((entry): entry is [ByteVector, number] => isVector(entry[0]));
  const file = await open(path, "wx");
  try {
    let written = 0;
    const append = async (bytes: Uint8Array) => {
      await file.appendFile(bytes);
      written += bytes.length;
    };
    await append(headBytes(layout, vectors[0]?.[1] ?? layout.sizeBytes));
    for (const [{ length, blocks }, address] of vectors) {
      const lead = new Uint8Array(address + 4 - written);
      new DataView(lead.buffer).setUint32(lead.length - 4, length, true);
      await append(lead);
      for await (const block of blocks) await append(block);
      const got = written - (address + 4);
      if (got !== length)
        throw new RangeError(`Cannot write ${path}: expected ${length} bytes at ${address + 4}, got ${got}`);
    }
  } finally {
    await file.close();
  }
}

function isVector(part: Part): part is ByteVector {
  return part.kind === "bytes";
}

/** Everything up to the first byte vector. */
function headBytes({ root, identifier, addresses }: FlatbufferLayout, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  const addressOf = (part: Part) => {
    const address = addresses.get(part);
    if (address === undefined) throw new Error(`Cannot write a ${part.kind}: it has no place`);
    return address;
  };
  const refer = (at: number, part: Part) => view.setUint32(at, addressOf(part) - at, true);
  const write = (bytesAt: number, text: string) => bytes.set(new TextEncoder().encode(text), bytesAt);
  refer(0, root);
  write(4, identifier);
  for (const [part, address] of addresses) {
    switch (part.kind) {
      case "table":
        writeTable(view, part, { address, refer });
        break;
      case "tables":
        view.setUint32(address, part.tables.length, true);
        for (const [at, table] of part.tables.entries()) refer(address + 4 + 4 * at, table);
        break;
      case "text":
        view.setUint32(address, new TextEncoder().encode(part.text).length, true);
        write(address + 4, part.text);
        break;
      case "int64s":
        view.setUint32(address, part.values.length, true);
        for (const [at, value] of part.values.entries())
          view.setBigInt64(address + 4 + 8 * at, BigInt(value), true);
        break;
      case "bytes":
        break;
      default:
        part satisfies never;
    }
  }
  return bytes;
}

/** The table, and before it the vtable that says where in it each field is. */
function writeTable(
  view: DataView,
  table: Table,
  { address, refer }: { address: number; refer: (at: number, part: Part) => void },
): void {
  const own = ownFields(table);
  const vtable = address - vtableBytes(table);
  view.setUint16(vtable, vtableBytes(table), true);
  view.setUint16(vtable + 2, 4 + 4 * own.length, true);
  view.setInt32(address, address - vtable, true);
  let place = 4;
  for (const [index, field] of table.fields.entries()) {
    if (field === null) continue;
    view.setUint16(vtable + 4 + 2 * index, place, true);
    if (typeof field === "number") view.setInt32(address + place, field, true);
    else refer(address + place, field);
    place += 4;
  }
}
