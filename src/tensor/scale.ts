// Scales of quantised weights: value = element x scale, one scale per block of the matrix (DeepSeek-V3's
// `weight_scale_inv`, which despite its name multiplies), per row, or for the whole tensor.
import { decode } from "./decode.ts";
import { type FloatDType, floatDTypeBytes } from "./dtype.ts";

/** [rows, columns] of the blocks of published block-wise F8 checkpoints. */
const USUAL_BLOCK = 128;

/** Which part of a matrix each of its scales is for. */
export interface BlockLayout {
  readonly blockRows: number;
  readonly blockColumns: number;
}

/** Scales of one matrix. */
export interface BlockScale extends BlockLayout {
  /** [ceil(rows / blockRows), ceil(columns / blockColumns)], row-major. */
  readonly values: Float32Array;
  readonly valuesPerRow: number;
}

/** What {@link blockLayout} needs to know. */
export interface BlockLayoutOptions {
  /** The scaled matrix. */
  readonly shape: readonly [rows: number, columns: number];
  /** [], [1], [rows], [rows, 1] or one scale per block. */
  readonly scaleShape: readonly number[];
  /** `quantization_config.weight_block_size` of the config; default: told from the shapes, 128 where it fits. */
  readonly blockSize?: readonly [rows: number, columns: number] | undefined;
}

/** What {@link blockScale} needs to know. */
export interface BlockScaleOptions extends BlockLayoutOptions {
  /** Elements of the scale tensor, undecoded. */
  readonly scaleBytes: Uint8Array;
  readonly scaleDType: FloatDType;
}

/**
 * Decodes the scales of a matrix and finds out which block each one is for.
 *
 * @throws RangeError when the shapes do not fit each other.
 */
export function blockScale(options: BlockScaleOptions): BlockScale {
  const { scaleBytes, scaleDType, scaleShape } = options;
  const layout = blockLayout(options);
  const [scaleRows = 1, scaleColumns = 1] = scaleShape;
  const values = decode(scaleBytes, scaleDType, new Float32Array(scaleRows * scaleColumns));
  return { values, valuesPerRow: scaleColumns, ...layout };
}

/**
 * Finds out which block of a matrix each of its scales is for.
 *
 * @throws RangeError when the shapes do not fit each other.
 */
export function blockLayout({ shape, scaleShape, blockSize }: BlockLayoutOptions): BlockLayout {
  const [scaleRows = 1, scaleColumns = 1, ...more] = scaleShape;
  const blockRows = blockLength(shape[0], scaleRows, blockSize?.[0]);
  const blockColumns = blockLength(shape[1], scaleColumns, blockSize?.[1]);
  if (more.length === 0 && blockRows !== null && blockColumns !== null) return { blockRows, blockColumns };
  const blocks = blockSize ? ` and blocks of [${blockSize}]` : "";
  throw new RangeError(
    `Cannot scale a matrix of shape [${shape}]: a scale of shape [${scaleShape}]${blocks} does not fit it`,
  );
}

/** Length of the blocks that cut `length` into `count`; null when there is none. One scale, or one each, needs no block size. */
function blockLength(length: number, count: number, stated: number | undefined): number | null {
  if (count === 1) return Math.max(length, 1);
  if (count === length) return 1;
  const fits = (block: number) => block >= 1 && Math.ceil(length / block) === count;
  if (stated !== undefined) return fits(stated) ? stated : null;
  if (fits(USUAL_BLOCK)) return USUAL_BLOCK;
  for (let block = 1; block < length; block *= 2) if (fits(block)) return block;
  return length % count === 0 ? length / count : null;
}

/** Where the rows of {@link dequantizeRows} lie in their matrix. */
export interface RowsPosition {
  readonly firstRow: number;
  readonly columns: number;
}

/**
 * Decodes whole rows of a quantised matrix and multiplies them by their scales, in float32.
 *
 * @param bytes undecoded elements of the rows from `firstRow` on.
 * @returns the rows as little-endian F32.
 * @throws RangeError when the bytes are not whole rows, or rows lie beyond the scales.
 */
export function dequantizeRows(
  bytes: Uint8Array,
  dtype: FloatDType,
  scale: BlockScale & RowsPosition,
): Uint8Array {
  const { values, valuesPerRow, blockRows, blockColumns, firstRow, columns } = scale;
  const elements = bytes.length / floatDTypeBytes(dtype);
  const rows = elements / columns;
  if (!Number.isInteger(rows)) {
    throw new RangeError(
      `Cannot scale ${bytes.length} bytes of ${dtype}: expected whole rows of ${columns} elements`,
    );
  }
  if (Math.ceil((firstRow + rows) / blockRows) * valuesPerRow > values.length) {
    throw new RangeError(`Cannot scale rows ${firstRow} to ${firstRow + rows}: there are scales for fewer`);
  }
  const matrix = decode(bytes, dtype, new Float32Array(elements));
  for (let row = 0; row < rows; row++) {
    const scales = Math.floor((firstRow + row) / blockRows) * valuesPerRow;
    for (let column = 0; column < columns; column++) {
      const at = row * columns + column;
      const factor = values[scales + Math.floor(column / blockColumns)] as number;
      matrix[at] = (matrix[at] as number) * factor;
    }
  }
  return new Uint8Array(matrix.buffer);
}
