// The Gram matrix and its reduction to a band, with the large products by ONNX Runtime: see kernels/blocks.c.
import type { Kernels } from "../../wasm/kernels.ts";
import { blockColumnOffset, type HybridLayout } from "./layout.ts";
import type { Place, Products } from "./products.ts";

/** Rows of a block column that are multiplied at once: they stay in the cache from one product to the next. */
const ROWS = 1024;

/** What both parts work with. */
export interface StageOne {
  readonly kernels: Kernels;
  /** For the Gram matrix: on a device, where there is one. */
  readonly gramProducts: Products;
  /** For its reduction, in small steps: on the CPU. */
  readonly products: Products;
  readonly memory: ArrayBuffer;
  readonly layout: HybridLayout;
  /** Called before each product; throws to end the work. */
  readonly checkInterrupted: () => void;
}

/** Rows `row` .. `row + rows - 1` of block column `index`. */
function blockRows(layout: HybridLayout, index: number, row: number, rows: number): Place {
  const { blocks, order, width } = layout;
  const columns = Math.min(width, order - index * width);
  const first = blocks + blockColumnOffset(order, width, index);
  return { at: first + 8 * columns * (row - index * width), rows, columns };
}

/** Rows of a matrix of `columns` columns that has a row for each row of the whole. */
function rowsOf(at: number, columns: number, row: number, rows: number): Place {
  return { at: at + 8 * columns * row, rows, columns };
}

/** Adds A^T A (tall) or A A^T (wide) of the `depth` rows or columns that are decoded: order x depth, row-major. */
export async function addGram(work: StageOne, depth: number): Promise<void> {
  const { gramProducts, memory, layout } = work;
  const { order, width, decoded } = layout;
  for (let column = 0; column < order; column += width) {
    const b = rowsOf(decoded, depth, column, Math.min(width, order - column));
    for (let row = column; row < order; row += ROWS) {
      work.checkInterrupted();
      const rows = Math.min(ROWS, order - row);
      const a = rowsOf(decoded, depth, row, rows);
      await gramProducts.add("nt", memory, { a, b, c: blockRows(layout, column / width, row, rows) });
    }
  }
}

/** The largest element of the diagonal, which bounds all others. */
export function largestOfDiagonal({ memory, layout }: Pick<StageOne, "memory" | "layout">): number {
  let most = 0;
  for (let i = 0; i < layout.n; i++) {
    const { at } = blockRows(layout, Math.floor(i / layout.width), i, 1);
    const [x = 0] = new Float64Array(memory, at + 8 * (i % layout.width), 1);
    most = Math.max(most, x);
  }
  return most;
}

/** Reduces the matrix to a band with the same eigenvalues. */
export async function reduceToBand(work: StageOne): Promise<void> {
  const { kernels, layout } = work;
  const { order, width, blocks, band, workspace, reflectors, smallOrder, panels, smallLd } = layout;
  const half = kernels.bandWidth();
  kernels.clear(band, layout.bandDoubles);
  let j = 0;
  for (; order - j > smallOrder; j += half) {
    work.checkInterrupted();
    kernels.factorBlocks(blocks, order, width, j, band, workspace, reflectors);
    await applyPanel(work, j + half);
  }
  kernels.blocksToPanels(blocks, order, width, j, panels, smallLd);
  const rest = band + 8 * j * kernels.bandLd();
  for (let i = 0; i < order - j; i += half) {
    work.checkInterrupted();
    kernels.reducePanel(panels, smallLd, order - j, i, rest, workspace);
  }
}

/** Applies the reflectors of the panel above row `o` to the trailing matrix, which begins there. */
async function applyPanel(work: StageOne, o: number): Promise<void> {
  const { kernels, layout } = work;
  const { order, width, workspace, reflectors, products: y, left, right } = layout;
  const half = kernels.bandWidth();
  const start = Math.floor(o / width) * width;
  // The block column that o cuts is multiplied whole: its dead columns meet zeros.
  kernels.clear(reflectors + 8 * half * start, half * (o - start));
  kernels.clear(y + 8 * half * start, half * (order - start));
  for (let column = start; column < order; column += width) await multiplyColumn(work, column, o);
  kernels.formUpdate(workspace, order - o, y + 8 * half * o, left + 16 * half * o, right + 16 * half * o);
  kernels.clear(right + 16 * half * start, 2 * half * (o - start));
  for (let column = start; column < order; column += width) await updateColumn(work, column, o);
}

/** Adds to Y what the block column that begins at `column`, and its mirror image, contribute to A V. */
async function multiplyColumn(work: StageOne, column: number, o: number): Promise<void> {
  const { kernels, products, memory, layout } = work;
  const { order, width, reflectors, products: y } = layout;
  const half = kernels.bandWidth();
  const columns = Math.min(width, order - column);
  for (let row = Math.max(column, o); row < order; ) {
    work.checkInterrupted();
    const rows = Math.min(row < column + columns ? column + columns - row : ROWS, order - row);
    const a = blockRows(layout, column / width, row, rows);
    const b = rowsOf(reflectors, half, column, columns);
    await products.add("nn", memory, { a, b, c: rowsOf(y, half, row, rows) });
    if (row >= column + columns) {
      const below = rowsOf(reflectors, half, row, rows);
      await products.add("tn", memory, { a, b: below, c: rowsOf(y, half, column, columns) });
    }
    row += rows;
  }
}

async function updateColumn(work: StageOne, column: number, o: number): Promise<void> {
  const { kernels, products, memory, layout } = work;
  const { order, width, left, right } = layout;
  const twice = 2 * kernels.bandWidth();
  const columns = Math.min(width, order - column);
  for (let row = Math.max(column, o); row < order; row += ROWS) {
    work.checkInterrupted();
    const rows = Math.min(ROWS, order - row);
    const c = blockRows(layout, column / width, row, rows);
    const a = rowsOf(left, twice, row, rows);
    const b = rowsOf(right, twice, column, columns);
    await products.add("nt", memory, { a, b, c });
  }
}
