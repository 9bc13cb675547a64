// Where things lie in the WebAssembly memory of a hybrid solver while it works on one matrix. Plain arithmetic.
import { MatrixError } from "../../../src/errors.ts";
import { floatDTypeBytes } from "../../../src/tensor/dtype.ts";
import type { Kernels } from "../../wasm/kernels.ts";
import type { MatrixHeader } from "../../wasm/layout.ts";

/** Rows (tall) or columns (wide) that are decoded and multiplied at once. */
const DEPTH = 1024;
/** Widest block column; a multiple of every half-bandwidth. */
const BLOCK = 256;
/** Trailing matrices up to this order go to panel format: WebAssembly's own products take less than the calls. */
const SMALL_ORDER = 640;

const WASM_BYTES = 2 ** 32;

/** Sizes of one matrix and the byte addresses of its parts. */
export interface HybridLayout {
  /** Smaller side: the order of the Gram matrix, and the number of singular values. */
  readonly n: number;
  /** Larger side. */
  readonly m: number;
  readonly wide: boolean;
  /** `n` padded with zeros to a multiple of the half-bandwidth. */
  readonly order: number;
  /** Rows of a tall matrix, columns of a wide one, that are folded in at once. */
  readonly depth: number;
  /** Width of the block columns; see kernels/blocks.c. */
  readonly width: number;
  /** Order from which on the trailing matrix is in panel format, and its leading dimension. */
  readonly smallOrder: number;
  readonly smallLd: number;
  readonly raw: number;
  readonly decoded: number;
  readonly blocks: number;
  readonly blocksDoubles: number;
  /** The trailing matrix in panel format, in the place of `raw` and `decoded`. */
  readonly panels: number;
  readonly band: number;
  readonly bandDoubles: number;
  readonly workspace: number;
  /** Row-major, one row for each of `order`: V and Y of half-bandwidth columns, [V | X] and [-X | -V] of twice as many. */
  readonly reflectors: number;
  readonly products: number;
  readonly left: number;
  readonly right: number;
  readonly diagonal: number;
  readonly beside: number;
  readonly sizeBytes: number;
}

/** Bytes before block column `index` of a matrix whose block columns are `width` wide. */
export function blockColumnOffset(order: number, width: number, index: number): number {
  return 8 * width * (index * order - (width * index * (index - 1)) / 2);
}

/**
 * Lays one matrix out.
 *
 * @throws MatrixError when it needs more than the 4 GiB that WebAssembly addresses.
 */
export function layOutHybrid(header: MatrixHeader, kernels: Kernels): HybridLayout {
  const { shape, dtype } = header;
  const n = Math.min(...shape);
  const m = Math.max(...shape);
  const half = kernels.bandWidth();
  const order = Math.ceil(n / half) * half;
  const depth = Math.ceil(m / Math.ceil(m / DEPTH));
  const width = Math.min(order, BLOCK);
  const smallOrder = Math.min(order, SMALL_ORDER);
  const smallLd = smallOrder + 8; // no power of two, else all panels fall into the same cache sets
  const last = Math.ceil(order / width) - 1;
  const blocksDoubles = blockColumnOffset(order, width, last) / 8 + (order - last * width) ** 2;
  const bandDoubles = kernels.bandLd() * (order + 1);

  let end = Number(kernels.__heap_base.value);
  const take = (bytes: number): number => {
    const at = Math.ceil(end / 64) * 64;
    end = at + bytes;
    return at;
  };
  const raw = take(floatDTypeBytes(dtype) * n * depth);
  const decoded = take(8 * (order * depth + 4));
  take(Math.max(0, raw + 8 * smallLd * smallOrder - end));
  const layout = {
    n,
    m,
    wide: shape[0] < shape[1],
    order,
    depth,
    width,
    smallOrder,
    smallLd,
    raw,
    decoded,
    blocks: take(8 * blocksDoubles),
    blocksDoubles,
    panels: raw,
    band: take(8 * bandDoubles),
    bandDoubles,
    workspace: take(8 * Math.max(kernels.sharesAt(order), kernels.bandWorkspace(smallOrder))),
    reflectors: take(8 * order * half),
    products: take(8 * order * half),
    left: take(16 * order * half),
    right: take(16 * order * half),
    diagonal: take(8 * n),
    beside: take(8 * n),
  };
  const sizeBytes = take(64);
  if (sizeBytes <= WASM_BYTES) return { ...layout, sizeBytes };
  const gib = (sizeBytes / 2 ** 30).toFixed(1);
  throw new MatrixError(
    `Cannot compute the singular values of a ${shape.join(" x ")} matrix of ${dtype}: its Gram matrix and what belongs ` +
      `to it need ${gib} GiB, and WebAssembly addresses 4 GiB; exclude this module or choose another backend`,
  );
}
