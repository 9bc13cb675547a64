// Where things lie in a worker's WebAssembly memory while it works on one matrix. Plain arithmetic, no memory touched.
import type { Precision } from "../../../src/backend.ts";
import { MatrixError } from "../../../src/errors.ts";
import { floatDTypeBytes, type MatrixDType } from "../../../src/tensor/dtype.ts";
import type { Kernels } from "../kernels.ts";
import { type DirectLayout, directBytes, isDirect, isDirectInFloats, placeDirect } from "./direct.ts";
import { isOblong } from "./guard.ts";

/** Rows (tall) or columns (wide) that are packed and processed at once: part of the numerics. */
export const DEPTH = 256;

const WASM_BYTES = 2 ** 32;
/** Of a helper's stack: the steps that are shared keep no arrays of more than a kilobyte. */
const STACK_BYTES = 16384;

/** What a matrix is, before any of it has been read. */
export interface MatrixHeader {
  readonly shape: readonly [rows: number, columns: number];
  readonly dtype: MatrixDType;
  /** Whether its rows can be asked for a second time; when not, they are held as long as they may be needed. */
  readonly rereadable: boolean;
}

/** Squares below this order gain less by float products than they risk: where these are refused, the work is done twice. */
const SQUARE_ORDER = 1536;

/** Whether the Gram matrix of a matrix is made of float products at first. */
export function triesFloats(
  precision: Precision,
  { shape, dtype }: Pick<MatrixHeader, "shape" | "dtype">,
): boolean {
  return precision === "fast" && dtype !== "F64" && (isOblong(shape) || Math.min(...shape) >= SQUARE_ORDER);
}

/** Sizes of one matrix and the byte addresses of its parts. */
export interface Layout extends DirectLayout {
  /** Smaller side: the order of the Gram matrix, and the number of singular values. */
  readonly n: number;
  /** Larger side. */
  readonly m: number;
  readonly wide: boolean;
  /** `n` padded with zeros to a multiple of the half-bandwidth. */
  readonly order: number;
  /** Leading dimension of the Gram matrix's panels. */
  readonly ld: number;
  /** Bytes of {@link DEPTH} rows of a tall matrix; of all of a wide one. */
  readonly blockBytes: number;
  /** Whether the area of undecoded bytes holds the whole matrix, or one block. */
  readonly whole: boolean;
  readonly raw: number;
  /** Inside what begins at `band`. */
  readonly packed: number;
  /** The Gram matrix, or the triangular factor. */
  readonly square: number;
  /** Stage one and two: the band, then the workspace of stage one. */
  readonly band: number;
  readonly bandDoubles: number;
  readonly workspace: number;
  /** A block of rows unpacked, in the place of `band` and `workspace`. */
  readonly columns: number;
  /** The diagonal of the condensed matrix and the elements beside it, `n` doubles each. */
  readonly diagonal: number;
  readonly beside: number;
  /** Vectors of the bidiagonalisation. */
  readonly vectors: number;
  /**
   * For float products: the Gram matrix's diagonal; the probe's vector of signs, what the matrix makes of it, and
   * scratch for {@link DEPTH} rows.
   */
  readonly lengths: number;
  readonly signs: number;
  readonly product: number;
  readonly scratch: number;
  /** With helpers: a group of sweeps for each thread. */
  readonly sweeps: number;
  /** End of the last part. */
  readonly sizeBytes: number;
}

/**
 * Lays one matrix out.
 *
 * @param helpers - threads besides the first that may work on it; their stacks come first, see {@link stackEnd}.
 * @throws MatrixError when it needs more than the 4 GiB that WebAssembly addresses.
 */
export function layOut(header: MatrixHeader, kernels: Kernels, helpers = 0): Layout {
  const [rows, columns] = header.shape;
  const wide = rows < columns;
  if (!wide && !header.rereadable) {
    const layout = place(header, kernels, { whole: true, helpers });
    if (layout.sizeBytes <= WASM_BYTES) return layout;
  }
  const layout = place(header, kernels, { whole: wide, helpers });
  if (layout.sizeBytes <= WASM_BYTES) return layout;
  const gib = (layout.sizeBytes / 2 ** 30).toFixed(1);
  throw new MatrixError(
    `Cannot compute the singular values of a ${rows} x ${columns} matrix of ${header.dtype}: the wasm backend would ` +
      `need ${gib} GiB, and WebAssembly addresses 4 GiB; exclude this module or choose another backend`,
  );
}

/** Where the stack of helper 1, 2, .. ends, from which it grows downwards. */
export function stackEnd(kernels: Kernels, helper: number): number {
  return Math.ceil(Number(kernels.__heap_base.value) / 64) * 64 + helper * STACK_BYTES;
}

function place(
  { shape, dtype }: MatrixHeader,
  kernels: Kernels,
  { whole, helpers }: { whole: boolean; helpers: number },
): Layout {
  const n = Math.min(...shape);
  const m = Math.max(...shape);
  const wide = shape[0] < shape[1];
  const depth = Math.min(DEPTH, m);
  const order = Math.ceil(n / kernels.bandWidth()) * kernels.bandWidth();
  const ld = order + 8; // no power of two, else all panels fall into the same cache sets
  const blockBytes = floatDTypeBytes(dtype) * n * (wide ? m : depth);
  const hasBand = !isDirect(order);
  const bandDoubles = hasBand ? kernels.bandDoubles(order) : 0;
  const workspaceDoubles = hasBand ? kernels.bandWorkspace(order) : 0;
  // The rows are packed where stage one has its shares later.
  const packedAt = Math.max(hasBand ? bandDoubles + kernels.sharesAt(order) : 0, order * (depth + 1));
  const packedDoubles = 4 * Math.ceil(n / 4) * depth;

  let end = stackEnd(kernels, helpers);
  const take = (bytes: number): number => {
    const at = Math.ceil(end / 64) * 64;
    end = at + bytes;
    return at;
  };
  const raw = take(whole ? floatDTypeBytes(dtype) * n * m : blockBytes);
  const square = take(8 * ld * order);
  const bandBytes = 8 * Math.max(bandDoubles + workspaceDoubles, packedAt + packedDoubles);
  const band = take(
    Math.max(bandBytes, reducesDirectly({ shape, dtype }, order) ? directBytes(kernels, order) : 0),
  );
  const diagonal = take(8 * n);
  const beside = take(8 * n);
  const vectors = take(8 * (5 * n + 1));
  const lengths = take(8 * order);
  const signs = take(8 * order);
  const product = take(8 * order);
  const scratch = take(8 * 2 * depth);
  const turnedSigns = take(8 * order);
  const turnedImage = take(8 * order);
  const sweeps = take(helpers > 0 ? (helpers + 1) * kernels.sweepBytes() : 0);
  return {
    n,
    m,
    wide,
    order,
    ld,
    blockBytes,
    whole,
    raw,
    packed: band + 8 * packedAt,
    square,
    band,
    bandDoubles,
    workspace: band + 8 * bandDoubles,
    columns: band,
    ...placeDirect(band, order),
    diagonal,
    beside,
    vectors,
    lengths,
    signs,
    product,
    scratch,
    turnedSigns,
    turnedImage,
    sweeps,
    sizeBytes: take(64),
  };
}

function reducesDirectly({ shape, dtype }: Pick<MatrixHeader, "shape" | "dtype">, order: number): boolean {
  return isDirect(order) || (dtype !== "F64" && isDirectInFloats(shape));
}
