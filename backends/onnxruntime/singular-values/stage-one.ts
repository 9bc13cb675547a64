// The reduction of the Gram matrix to a band, with the large products by ONNX Runtime: see kernels/blocks.c. In doubles,
// or in floats with the error measured of all that was done since the matrix's bytes.
import { type FloatGramError, spreadOf } from "../../wasm/singular-values/guard.ts";
import type { DeviceClient } from "../device/client.ts";
import { DeviceTrailing } from "../device/trailing.ts";
import { type Blocks, blockRows, diagonalOf, rowsOf } from "./blocks.ts";
import { addProduct, gramOf, type Workplace } from "./gram.ts";
import { ROWS } from "./layout.ts";
import type { FloatProducts, Operands, Products } from "./products.ts";

/** As long as a panel's products shrink faster than this from one to the next, large values are being split off. */
const SETTLED = 0.9;
/** Panels after which that is no longer waited for. */
const MOST_SPLITTING = 8;

interface StageOne extends Workplace {
  readonly matrix: Blocks;
  /** Of the matrix's element type, in small steps: on the CPU. */
  readonly products: Products;
  /** Of what is added to a matrix of doubles; null: doubles as well. */
  readonly updates: FloatProducts | null;
  /** The matrix of floats from where it is loaded on; null: it is here, all of it. */
  readonly trailing: DeviceTrailing | null;
}

/** Who multiplies what in a reduction with products of floats. */
export interface FloatStage {
  readonly plan: "updates" | "all";
  readonly products: Products;
  readonly floatProducts: FloatProducts;
  /** Does the large products of the plan `all`; null: the processor does. */
  readonly device: DeviceClient | null;
}

/** A reduction in doubles that can be gone on with, once the band has been used for something else. */
export interface Begun {
  /** First row of the trailing matrix. */
  readonly row: number;
  /** The band's columns before it. */
  readonly band: Float64Array;
}

/** Reduces the matrix to a band with the same eigenvalues, or goes on with that; the matrix is lost. */
export async function reduceToBand(
  work: Workplace,
  products: Products,
  begun: Begun | null = null,
): Promise<void> {
  const { kernels, memory, layout } = work;
  const { row, band } = begun ?? { row: 0, band: new Float64Array() };
  kernels.clear(layout.band, layout.bandDoubles);
  new Float64Array(memory, layout.band, band.length).set(band);
  const stage = { ...work, matrix: gramOf(layout), products, updates: null, trailing: null };
  const o = await reducePanels(stage, row, () => layout.order);
  toPanels(stage, o);
  reduceRest(work, o);
}

/** What {@link reduceFloatsToBand} leaves besides the band. */
export interface FloatReduction {
  /** Of the matrix that has the band's eigenvalues. */
  readonly error: FloatGramError;
  /** What was done in doubles, unless the matrix in doubles is lost. */
  readonly begun: Begun | null;
}

/**
 * The same with products of floats, in all but the first panels: their reflectors span what the largest eigenvalues belong
 * to, and rounding errors are a share of the largest eigenvalue that is left. In the plan `updates` floats are what is added
 * to the matrix of doubles, in the plan `all` the matrix itself, rounded; the one in doubles then stays as the first
 * panels leave it. What is subtracted from the rounded diagonal, and added to the band's, is its mean: elements become as
 * small as they can be, and the errors with them.
 *
 * Reflectors, hence the transformation Q, are orthogonal in doubles in any case. A vector of signs x and A^T A x are turned
 * by it, and at the end the band B shows by B Q^T x - Q^T A^T A x how far off it is.
 *
 * @param exponent - the matrix is 4^-exponent times what it stands for.
 */
export async function reduceFloatsToBand(
  work: Workplace,
  { plan, products, floatProducts, device }: FloatStage,
  exponent: number,
): Promise<FloatReduction> {
  const { kernels, memory, layout } = work;
  const { order, width, rounded, signs, image, turnedSigns, turnedImage, workspace, band } = layout;
  const vector = (at: number, length = order) => new Float64Array(memory, at, length);
  kernels.clear(band, layout.bandDoubles);
  vector(turnedSigns).set(vector(signs));
  vector(turnedImage).set(vector(image));
  const turn = (row: number) => {
    for (const at of [turnedSigns, turnedImage]) kernels.reflect(workspace, order - row, at + 8 * row);
    return order;
  };
  const doubles: StageOne = { ...work, matrix: gramOf(layout), products, updates: null, trailing: null };
  const begunAt = await splitOff(doubles, turn);
  const begun = { row: begunAt, band: vector(band, begunAt * kernels.bandLd()).slice() };
  const isRounded = plan === "all";
  const here: StageOne = isRounded
    ? { ...doubles, matrix: { at: rounded, bytes: 4, order, width }, products: floatProducts }
    : { ...doubles, updates: floatProducts };
  const mean = isRounded ? roundShifted(here, begunAt) : 0;
  const trailing =
    device === null ? null : await DeviceTrailing.load(device, work, { matrix: here.matrix, o: begunAt });
  const floats = { ...here, trailing };
  const o = await reducePanels(floats, begunAt, turn);
  toPanels(floats, o);
  for (const at of isRounded ? diagonalOfBand(work, begunAt, o) : []) addTo(memory, at, mean);
  const error = errorOfBand(work, o, exponent);
  reduceRest(work, o);
  return { error, begun: isRounded ? begun : null };
}

/** Reduces panels until the largest values have been split off, or are not going to be; returns the first row left. */
function splitOff(work: StageOne, turn: (row: number) => number): Promise<number> {
  const most = MOST_SPLITTING * work.kernels.bandWidth();
  let last = Infinity;
  return reducePanels(work, 0, (row, size) => {
    const end = turn(row);
    const isSettled = size > SETTLED * last || row >= most;
    last = size;
    return isSettled ? row : end;
  });
}

/** Copies the matrix, rounded, less the mean of its diagonal from row `o` on, which is returned. */
function roundShifted({ kernels, memory, layout, matrix }: StageOne, o: number): number {
  const { n, blocks, blocksDoubles, rounded } = layout;
  kernels.roundToFloats(blocks, blocksDoubles, rounded);
  const exact = diagonalOf(gramOf(layout), n).map((at) => new Float64Array(memory, at, 1)[0] ?? 0);
  const mean = exact.slice(o).reduce((sum, x) => sum + x, 0) / (n - o);
  for (const [i, at] of diagonalOf(matrix, n).entries()) {
    new Float32Array(memory, at, 1)[0] = (exact[i] ?? 0) - mean;
  }
  return mean;
}

function addTo(memory: ArrayBuffer, at: number, x: number): void {
  const element = new Float64Array(memory, at, 1);
  element[0] = (element[0] ?? 0) + x;
}

/** The error of B, the band's first `o` columns and the trailing matrix in panel format, scaled by 4^-exponent. */
function errorOfBand(work: Workplace, o: number, exponent: number): FloatGramError {
  const { kernels, memory, layout } = work;
  const { n, order, band, bandDoubles, panels, smallLd, turnedSigns, turnedImage, lengths } = layout;
  kernels.probeResidual(panels, order - o, smallLd, turnedSigns + 8 * o, turnedImage + 8 * o);
  const x = new Float64Array(memory, turnedSigns, order);
  const z = new Float64Array(memory, turnedImage, order);
  const b = new Float64Array(memory, band, bandDoubles);
  const ld = kernels.bandLd();
  for (let c = 0; c < o; c++) z[c] = -(z[c] ?? 0);
  for (let c = 0; c < o; c++) {
    for (let i = 0; i <= kernels.bandWidth() && c + i < order; i++) {
      const element = b[c * ld + i] ?? 0;
      z[c] = (z[c] ?? 0) + element * (x[c + i] ?? 0);
      if (i > 0) z[c + i] = (z[c + i] ?? 0) + element * (x[c] ?? 0);
    }
  }
  let trace = 0;
  for (const at of diagonalOfBand(work, 0, o)) trace += new Float64Array(memory, at, 1)[0] ?? 0;
  for (const length of new Float64Array(memory, lengths, n)) trace -= length;
  return { spread: spreadOf(z, layout, exponent), bias: (Math.abs(trace) / n) * 4 ** exponent };
}

/** Addresses of the diagonal of the band's columns `from` .. `o - 1`, and of the trailing matrix in panel format. */
function diagonalOfBand({ kernels, layout }: Workplace, from: number, o: number): number[] {
  const { n, band, panels, smallLd } = layout;
  return Array.from({ length: n - from }, (_, i) => {
    const [row, rest] = [from + i, from + i - o];
    if (row < o) return band + 8 * row * kernels.bandLd();
    return panels + 8 * ((Math.floor(rest / 4) * smallLd + rest) * 4 + (rest % 4));
  });
}

/**
 * Reduces panels from row `o` on until the trailing matrix is small. A panel's update waits for the next panel's V, so
 * that a block is updated and multiplied while it is in the cache.
 *
 * @param onPanel - called with each trailing matrix's first row and the length of Y; returns the row at which to end.
 * @returns the first row of the trailing matrix.
 */
async function reducePanels(
  work: StageOne,
  o: number,
  onPanel: (row: number, size: number) => number,
): Promise<number> {
  const { kernels, layout, matrix } = work;
  const { order, width, band, workspace, reflectors, smallOrder } = layout;
  const half = kernels.bandWidth();
  const floats = floatsOf(matrix);
  const begin = o;
  for (let end = order; order - o > smallOrder && o < end; ) {
    work.checkInterrupted();
    const pending = await updateOfPanel(work, o, o > begin);
    kernels.factorBlocks(matrix.at, floats, order, width, o, pending, band, workspace, reflectors);
    const size = await applyPanel(work, o + half, o > begin);
    o += half;
    end = onPanel(o, size);
  }
  if (work.trailing !== null) await work.trailing.finish(o, besides(work), o > begin);
  else if (o > begin) await forEachBlock(work, o, (block) => update(work, block));
  return o;
}

/** The pending update of columns `o` .. `o + b - 1`, zeros where none is pending: rows as those of Y, in its place. */
async function updateOfPanel(work: StageOne, o: number, isPending: boolean): Promise<number> {
  const { kernels, layout } = work;
  const { left, right, y } = besides(work);
  const rows = layout.order - o;
  const c = rowsOf(y, o, rows);
  kernels.clear(c.at, (rows * y.columns * y.bytes) / 8);
  work.trailing?.putPanel(y, o);
  if (isPending) await addUpdate(work, { a: rowsOf(left, o, rows), b: rowsOf(right, o, y.columns), c });
  return y.at;
}

function toPanels({ kernels, layout, matrix }: StageOne, o: number): void {
  const { order, width, panels, smallLd } = layout;
  kernels.blocksToPanels(matrix.at, floatsOf(matrix), order, width, o, panels, smallLd);
}

/** Reduces the trailing matrix in panel format, which begins at row `o`. */
function reduceRest({ kernels, layout, checkInterrupted }: Workplace, o: number): void {
  const { order, band, panels, smallLd, workspace } = layout;
  const rest = band + 8 * o * kernels.bandLd();
  for (let i = 0; i < order - o; i += kernels.bandWidth()) {
    checkInterrupted();
    kernels.reducePanel(panels, smallLd, order - o, i, rest, workspace);
  }
}

function floatsOf({ bytes }: Pick<Blocks, "bytes">): number {
  return bytes === 4 ? 1 : 0;
}

interface Beside {
  readonly at: number;
  readonly bytes: 8 | 4;
  readonly columns: number;
}

/** The row-major matrices beside the blocks: V and Y of half-bandwidth columns, [V | X] and [-X | -V] of twice as many. */
function besides({
  kernels,
  layout,
  matrix: { bytes },
  updates,
}: StageOne): Record<"v" | "y" | "left" | "right", Beside> {
  const half = kernels.bandWidth();
  const updateBytes = updates === null ? bytes : 4;
  return {
    v: { at: layout.reflectors, bytes, columns: half },
    y: { at: layout.products, bytes, columns: half },
    left: { at: layout.left, bytes: updateBytes, columns: 2 * half },
    right: { at: layout.right, bytes: updateBytes, columns: 2 * half },
  };
}

/**
 * Multiplies the trailing matrix, which begins at row `o`, by the reflectors of the panel above, after the update that is
 * pending, and makes its own update; returns the length of Y.
 */
async function applyPanel(work: StageOne, o: number, isPending: boolean): Promise<number> {
  const { kernels, layout } = work;
  const { order, width, workspace } = layout;
  const { v, y, left, right } = besides(work);
  const start = Math.floor(o / width) * width;
  const clear = (part: Beside, row: number, rows: number) =>
    kernels.clear(rowsOf(part, row, rows).at, (rows * part.columns * part.bytes) / 8);
  // The block column that o cuts is multiplied whole: its dead columns meet zeros.
  clear(v, start, o - start);
  clear(y, start, order - start);
  if (work.trailing !== null) await work.trailing.step(o, { left, right, v, y }, isPending);
  else {
    await forEachBlock(work, o, async (block) => {
      if (isPending) await update(work, block);
      await multiply(work, block);
    });
  }
  const from = (part: Beside) => rowsOf(part, o, order - o).at;
  const size = kernels.columnNorm(from(y), ((order - o) * y.columns * y.bytes) / 8);
  kernels.formUpdate(workspace, order - o, from(y), floatsOf(y), from(left), from(right), floatsOf(left));
  clear(right, start, o - start);
  return size;
}

/** Rows of a block column. */
interface Block {
  readonly column: number;
  readonly columns: number;
  readonly row: number;
  readonly rows: number;
}

/** Goes through the trailing matrix that begins at row `o`, as many rows at once as stay in the cache. */
async function forEachBlock(
  { layout: { order, width }, checkInterrupted }: StageOne,
  o: number,
  visit: (block: Block) => Promise<void>,
): Promise<void> {
  for (let column = Math.floor(o / width) * width; column < order; column += width) {
    const columns = Math.min(width, order - column);
    for (let row = Math.max(column, o); row < order; row += ROWS) {
      checkInterrupted();
      await visit({ column, columns, row, rows: Math.min(ROWS, order - row) });
    }
  }
}

/** Adds to Y what a block, and the mirror image of what of it is not on the diagonal, contribute to A V. */
async function multiply(work: StageOne, { column, columns, row, rows }: Block): Promise<void> {
  const { products, memory, layout, matrix } = work;
  const { v, y } = besides(work);
  const index = column / layout.width;
  const a = blockRows(matrix, index, row, rows);
  await products.add("nn", memory, { a, b: rowsOf(v, column, columns), c: rowsOf(y, row, rows) });
  const below = Math.max(row, column + columns);
  const left = row + rows - below;
  if (left <= 0) return;
  const mirrored = blockRows(matrix, index, below, left);
  await products.add("tn", memory, { a: mirrored, b: rowsOf(v, below, left), c: rowsOf(y, column, columns) });
}

/** A += left right^T for a block. */
async function update(work: StageOne, { column, columns, row, rows }: Block): Promise<void> {
  const { left, right } = besides(work);
  const c = blockRows(work.matrix, column / work.layout.width, row, rows);
  await addUpdate(work, { a: rowsOf(left, row, rows), b: rowsOf(right, column, columns), c });
}

async function addUpdate(work: StageOne, operands: Operands): Promise<void> {
  if (work.updates === null) await work.products.add("nt", work.memory, operands);
  else await addProduct(work, work.updates, operands);
}
