// A record as it stands in a file, before anything is asked of its shape.

/** A record's value, or why it cannot be read; and the line, or for Parquet the row, where it begins, from 1. */
export type RawRecord =
  | { readonly line: number; readonly value: unknown; readonly reason: null }
  | { readonly line: number; readonly reason: string };

/** The longest record that is read, in bytes of its file. */
export const MAX_RECORD_BYTES = 16 * 2 ** 20;
