// TensorBoard event files with scalars: records of length, masked checksums and a protobuf each. Formats: TensorFlow's
// tensorflow/core/lib/io/record_writer.h, util/event.proto and framework/summary.proto.
import { type FileHandle, mkdir, open } from "node:fs/promises";
import { join } from "node:path";

/** Scalars by tag. */
export type Scalars = Readonly<Record<string, number>>;

/** An open event file. */
export interface EventFile {
  write(step: number, scalars: Scalars): Promise<void>;
  close(): Promise<void>;
}

/**
 * Makes an event file in a folder. TensorBoard reads all files of a folder as one run, and forgets what earlier ones
 * hold from `step` on.
 *
 * @param now seconds since 1970 as of each call, which TensorBoard orders events by.
 */
export async function openEventFile(
  folder: string,
  step: number,
  now: () => number = () => Date.now() / 1000,
): Promise<EventFile> {
  await mkdir(folder, { recursive: true });
  const seconds = String(Math.floor(now())).padStart(10, "0");
  const name = `events.out.tfevents.${seconds}.${process.pid}.${step}`;
  const file: FileHandle = await open(join(folder, name), "a");
  await file.appendFile(
    record(event(now(), 0, lengthDelimited(3, new TextEncoder().encode("brain.Event:2")))),
  );
  // SessionLog.START: the run goes on from here.
  await file.appendFile(record(event(now(), step, lengthDelimited(7, Uint8Array.of(8, 1)))));
  return {
    async write(at, scalars) {
      await file.appendFile(record(event(now(), at, lengthDelimited(5, summary(scalars)))));
    },
    close: () => file.close(),
  };
}

/** Event: wall_time (1, double), step (2, int64, left out where it is 0), then the content. */
function event(wallTime: number, step: number, content: Uint8Array): Uint8Array {
  return concat(
    fixed(1, 8, (view) => view.setFloat64(1, wallTime, true)),
    step === 0 ? new Uint8Array() : varintField(2, step),
    content,
  );
}

/** Summary: repeated value (1) of tag (1) and simple_value (2, float). */
function summary(scalars: Scalars): Uint8Array {
  const values = Object.entries(scalars).map(([tag, value]) =>
    lengthDelimited(
      1,
      concat(
        lengthDelimited(1, new TextEncoder().encode(tag)),
        fixed(2, 4, (view) => view.setFloat32(1, value, true)),
      ),
    ),
  );
  return concat(...values);
}

function fixed(field: number, size: 4 | 8, write: (view: DataView) => void): Uint8Array {
  const bytes = new Uint8Array(1 + size);
  bytes[0] = (field << 3) | (size === 8 ? 1 : 5);
  write(new DataView(bytes.buffer));
  return bytes;
}

function varintField(field: number, value: number): Uint8Array {
  return Uint8Array.of(field << 3, ...varint(value));
}

function lengthDelimited(field: number, content: Uint8Array): Uint8Array {
  return concat(Uint8Array.of((field << 3) | 2, ...varint(content.length)), content);
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return [...bytes, rest];
}

/** A record: length (uint64), its masked checksum, the content, its masked checksum. */
function record(content: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(16 + content.length);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(content.length), true);
  view.setUint32(8, maskedCrc32c(bytes.subarray(0, 8)), true);
  bytes.set(content, 12);
  view.setUint32(12 + content.length, maskedCrc32c(content), true);
  return bytes;
}

function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(parts);
}

/** The checksum as records hold it: rotated right by 15 bits, plus a constant. */
export function maskedCrc32c(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

// Castagnoli's polynomial, bits reversed.
const POLYNOMIAL = 0x82f63b78;
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  return crc;
});

/** CRC-32C (RFC 3720, appendix B.4). */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (TABLE[(crc ^ byte) & 0xff] as number) ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
