// Places in a symmetric matrix that is kept in block columns, and in the row-major matrices beside it: kernels/blocks.c.
import type { Place } from "./products.ts";

/** Where the matrix is, and what it holds. */
export interface Blocks {
  readonly at: number;
  /** Of an element: 8 for doubles, 4 for floats. */
  readonly bytes: 8 | 4;
  readonly order: number;
  /** Of all block columns but the last one, which may be narrower. */
  readonly width: number;
}

/** Elements before block column `index`. */
function blockColumnOffset(order: number, width: number, index: number): number {
  return width * (index * order - (width * index * (index - 1)) / 2);
}

/** Elements of the whole matrix. */
export function blocksElements(order: number, width: number): number {
  const last = Math.ceil(order / width) - 1;
  return blockColumnOffset(order, width, last) + (order - last * width) ** 2;
}

/** Rows `row` .. `row + rows - 1` of block column `index`. */
export function blockRows(
  { at, bytes, order, width }: Blocks,
  index: number,
  row: number,
  rows: number,
): Place {
  const columns = Math.min(width, order - index * width);
  const before = blockColumnOffset(order, width, index) + columns * (row - index * width);
  return { at: at + bytes * before, rows, columns };
}

/** Addresses of the first `n` elements of the diagonal. */
export function diagonalOf(blocks: Blocks, n: number): number[] {
  const { width, bytes } = blocks;
  return Array.from(
    { length: n },
    (_, i) => blockRows(blocks, Math.floor(i / width), i, 1).at + bytes * (i % width),
  );
}

/** Rows of a matrix that has a row for each row of the whole. */
export function rowsOf(
  { at, bytes, columns }: { readonly at: number; readonly bytes: number; readonly columns: number },
  row: number,
  rows: number,
): Place {
  return { at: at + bytes * columns * row, rows, columns };
}
