// Packs records into sequences of one length. A row holds one 32-bit word per position: the token's id in the low 30
// bits, whether it is a target, and whether a segment begins with it.
import { IGNORED_LABEL, type TokenBatch } from "./batch.ts";
import type { EncodedRecord } from "./encode.ts";

/** The largest token id that a row can hold. */
export const MAX_TOKEN_ID = 2 ** 30 - 2;

const ID_BITS = 2 ** 30 - 1;
const TARGET = 2 ** 30;
const SEGMENT = 2 ** 31;
const PADDING = 2 ** 32 - 1;

/** Rows that wait for records which fit into what is left of them. Bounds the memory: that many sequences. */
const OPEN_ROWS = 256;

/** The id that stands in padding. */
const PADDING_ID = 0;

/** How to pack. */
export interface PackOptions {
  /** Positions of a row. */
  readonly sequence: number;
  /** Whether several records share a row, each a segment of its own. */
  readonly packing: boolean;
}

/**
 * Packs records, none longer than a row, each whole into one row: the fullest open row that has room for it. The order
 * of the rows depends on the records' lengths alone.
 */
export async function* packRows(
  records: AsyncIterable<EncodedRecord> | Iterable<EncodedRecord>,
  { sequence, packing }: PackOptions,
): AsyncGenerator<Uint32Array> {
  const open: OpenRow[] = [];
  for await (const record of records) {
    const length = record.inputIds.length;
    const fitting = open.filter((row) => sequence - row.used >= length);
    let row = fullest(fitting);
    if (row === undefined) {
      const oldest = open.length === OPEN_ROWS ? fullest(open) : undefined;
      if (oldest !== undefined) yield close(open, oldest);
      row = { words: new Uint32Array(sequence).fill(PADDING), used: 0 };
      open.push(row);
    }
    append(row, record);
    // A segment of one token has no target.
    if (!packing || sequence - row.used < 2) yield close(open, row);
  }
  for (const row of open) yield row.words;
}

interface OpenRow {
  readonly words: Uint32Array;
  used: number;
}

/** The row with the least room, the oldest of several. */
function fullest(rows: readonly OpenRow[]): OpenRow | undefined {
  let found = rows[0];
  for (const row of rows) if (found !== undefined && row.used > found.used) found = row;
  return found;
}

function close(open: OpenRow[], row: OpenRow): Uint32Array {
  open.splice(open.indexOf(row), 1);
  return row.words;
}

function append(row: OpenRow, { inputIds, labels }: EncodedRecord): void {
  for (const [at, id] of inputIds.entries()) {
    if (id > MAX_TOKEN_ID)
      throw new RangeError(`Cannot pack the token id ${id}: expected at most ${MAX_TOKEN_ID}`);
    const isTarget = at > 0 && labels[at] !== IGNORED_LABEL;
    row.words[row.used + at] = id + (isTarget ? TARGET : 0) + (at === 0 ? SEGMENT : 0);
  }
  row.used += inputIds.length;
}

/** A batch of packed rows, as long as the longest of them; what lies behind a row's last token is padding. */
export function batchOf(rows: readonly Uint32Array[]): TokenBatch {
  const lengths = rows.map(usedLength);
  const sequence = Math.max(...lengths);
  const size = rows.length * sequence;
  const inputIds = new Int32Array(size).fill(PADDING_ID);
  const labels = new Int32Array(size).fill(IGNORED_LABEL);
  const positionIds = new Int32Array(size);
  let targets = 0;
  for (const [index, row] of rows.entries()) {
    let position = 0;
    for (let at = 0; at < sequence; at += 1) {
      const word = row[at] ?? PADDING;
      const cell = index * sequence + at;
      if (word !== PADDING) {
        const id = word & ID_BITS;
        inputIds[cell] = id;
        if (word >= SEGMENT) position = 0;
        if ((word & TARGET) !== 0) {
          labels[cell] = id;
          targets += 1;
        }
      }
      positionIds[cell] = position;
      position += 1;
    }
  }
  return { batch: rows.length, sequence, inputIds, labels, positionIds, targets };
}

function usedLength(row: Uint32Array): number {
  const padding = row.indexOf(PADDING);
  return padding === -1 ? row.length : padding;
}
