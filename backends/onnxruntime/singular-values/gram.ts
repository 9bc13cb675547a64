// The Gram matrix of rows that are decoded, with its products by ONNX Runtime: of doubles, or of floats that are added up
// in doubles, with an exact diagonal and a measured error (kernels/probe.c).
import type { Kernels } from "../../wasm/kernels.ts";
import { type FloatGramError, spreadOf } from "../../wasm/singular-values/guard.ts";
import { type Blocks, blockRows, diagonalOf, rowsOf } from "./blocks.ts";
import { type HybridLayout, ROWS } from "./layout.ts";
import type { FloatProducts, Operands, Place, Products } from "./products.ts";

/** What the steps of one matrix work with. */
export interface Workplace {
  readonly kernels: Kernels;
  readonly memory: ArrayBuffer;
  readonly layout: HybridLayout;
  /** Called before each product; throws to end the work. */
  readonly checkInterrupted: () => void;
}

/** The Gram matrix in doubles. */
export function gramOf({ blocks, order, width }: HybridLayout): Blocks {
  return { at: blocks, bytes: 8, order, width };
}

/** Adds A^T A (tall) or A A^T (wide) of the `depth` rows or columns that are decoded: order x depth, row-major. */
export async function addGram(work: Workplace, products: Products, depth: number): Promise<void> {
  for (const { a, b, c } of gramProducts(work, 8, depth)) await products.add("nt", work.memory, { a, b, c });
}

/** Adds up, of floats that are decoded, the squared lengths and what the probe's vector of signs becomes. */
export function addProbe({ kernels, layout }: Workplace, depth: number): void {
  const { order, decoded, signs, scratch, image, lengths } = layout;
  kernels.probeAddRows(decoded, order, depth, signs, scratch, image, lengths);
}

/** {@link addGram} of floats, but for the diagonal. */
export async function addFloatGram(work: Workplace, products: FloatProducts, depth: number): Promise<void> {
  for (const operands of gramProducts(work, 4, depth)) await addProduct(work, products, operands);
}

/** c += a b^T for floats a and b and doubles c, of at most {@link ROWS} rows and a block column's width. */
export async function addProduct(
  { kernels, memory, layout }: Workplace,
  products: FloatProducts,
  { a, b, c }: Operands,
): Promise<void> {
  await products.multiply(memory, { a, b, c: { ...c, at: layout.tile } });
  kernels.addFloats(layout.tile, c.rows * c.columns, c.at);
}

/** The products that make the lower half: where their operands lie, and where their result belongs. */
function* gramProducts({ layout, checkInterrupted }: Workplace, bytes: 8 | 4, depth: number) {
  const { order, width } = layout;
  const rows = { at: layout.decoded, bytes, columns: depth };
  const gram = gramOf(layout);
  for (let column = 0; column < order; column += width) {
    const b = rowsOf(rows, column, Math.min(width, order - column));
    for (let row = column; row < order; row += ROWS) {
      checkInterrupted();
      const count = Math.min(ROWS, order - row);
      const c: Place = blockRows(gram, column / width, row, count);
      yield { a: rowsOf(rows, row, count), b, c };
    }
  }
}

/** Begins a Gram matrix: zeros. */
export function clearGram({ kernels, layout }: Pick<Workplace, "kernels" | "layout">, floats: boolean): void {
  kernels.clear(layout.blocks, layout.blocksDoubles);
  if (!floats) return;
  const { n, order, signs, image, lengths } = layout;
  for (const vector of [signs, image, lengths]) kernels.clear(vector, order);
  kernels.probeSigns(n, signs);
}

/** Multiplies what has been added up by a factor. */
export function scaleGram(
  { kernels, layout }: Pick<Workplace, "kernels" | "layout">,
  { factor, floats }: { readonly factor: number; readonly floats: boolean },
): void {
  kernels.scale(layout.blocks, layout.blocksDoubles, factor);
  if (!floats) return;
  kernels.scale(layout.image, layout.order, factor);
  kernels.scale(layout.lengths, layout.order, factor);
}

/** Puts the diagonal in its place: sums of squares never cancel, and their rounding errors lean to one side. */
export function setDiagonal({ memory, layout }: Pick<Workplace, "memory" | "layout">): void {
  const lengths = new Float64Array(memory, layout.lengths, layout.n);
  for (const [i, at] of diagonalOf(gramOf(layout), layout.n).entries()) {
    new Float64Array(memory, at, 1)[0] = lengths[i] ?? 0;
  }
}

/** The diagonal, whose largest element bounds all others. */
export function diagonal({ memory, layout }: Pick<Workplace, "memory" | "layout">): Float64Array {
  return Float64Array.from(
    diagonalOf(gramOf(layout), layout.n),
    (at) => new Float64Array(memory, at, 1)[0] ?? 0,
  );
}

/** n tr(G^2) / tr(G)^2 of the Gram matrix, the first trace estimated from the probe: |G x|^2 for a vector of signs x. */
export function gramFlatness(work: Pick<Workplace, "memory" | "layout">): number {
  const { n, image } = work.layout;
  const squares = new Float64Array(work.memory, image, n).reduce((sum, x) => sum + x * x, 0);
  const trace = diagonal(work).reduce((sum, x) => sum + x, 0);
  return (n * squares) / trace ** 2;
}

/**
 * The error of a Gram matrix of float products that was scaled by 4^-exponent. Its diagonal is right, hence its trace, and the
 * mean of its eigenvalues.
 */
export function gramError({ kernels, memory, layout }: Workplace, exponent: number): FloatGramError {
  const { order, width, blocks, signs, image, turnedImage } = layout;
  const doubles = (at: number) => new Float64Array(memory, at, order);
  doubles(turnedImage).set(doubles(image));
  kernels.blocksResidual(blocks, order, width, signs, turnedImage);
  return { spread: spreadOf(doubles(turnedImage), layout, exponent), bias: 0 };
}
