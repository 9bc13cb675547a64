// Where things lie in a worker's WebAssembly memory while it works on one matrix. Plain arithmetic, no memory touched.
import { type MatrixDType, matrixDTypeBytes } from "../../src/tensor/dtype.ts";
import type { Kernels } from "./kernels.ts";

/** Rows (tall) or columns (wide) that are packed and added to the Gram matrix at once: part of the numerics. */
export const DEPTH = 256;

const WASM_BYTES = 2 ** 32;

/** What a matrix is, before any of it has been read. */
export interface MatrixHeader {
  readonly shape: readonly [rows: number, columns: number];
  readonly dtype: MatrixDType;
}

/** Sizes of one matrix and the byte addresses of its parts. */
export interface Layout {
  /** Smaller side: the order of the Gram matrix, and the number of singular values. */
  readonly n: number;
  /** Larger side. */
  readonly m: number;
  readonly wide: boolean;
  /** `n` padded with zeros to a multiple of the half-bandwidth. */
  readonly order: number;
  /** Leading dimension of the Gram matrix's panels. */
  readonly ld: number;
  /** Undecoded bytes: the whole matrix when wide, {@link DEPTH} rows when tall. */
  readonly raw: number;
  readonly rawBytes: number;
  readonly packed: number;
  readonly gram: number;
  readonly band: number;
  readonly bandDoubles: number;
  readonly workspace: number;
  /** The diagonal of the tridiagonal matrix and the elements below it, `n` doubles each. */
  readonly diagonal: number;
  readonly below: number;
  /** End of the last part. */
  readonly sizeBytes: number;
}

/**
 * Lays one matrix out.
 *
 * @throws RangeError when it needs more than the 4 GiB that WebAssembly addresses.
 */
export function layOut({ shape, dtype }: MatrixHeader, kernels: Kernels): Layout {
  const [rows, columns] = shape;
  const n = Math.min(rows, columns);
  const m = Math.max(rows, columns);
  const wide = rows < columns;
  const order = Math.ceil(n / kernels.bandWidth()) * kernels.bandWidth();
  const ld = order + 8; // no power of two, else all panels fall into the same cache sets
  const rawBytes = matrixDTypeBytes(dtype) * n * (wide ? m : Math.min(DEPTH, m));
  const bandDoubles = kernels.bandLd() * (order + 1);

  let end = Number(kernels.__heap_base.value);
  const take = (bytes: number): number => {
    const at = Math.ceil(end / 64) * 64;
    end = at + bytes;
    return at;
  };
  const layout = {
    n,
    m,
    wide,
    order,
    ld,
    raw: take(rawBytes),
    rawBytes,
    packed: take(8 * 4 * Math.ceil(n / 4) * Math.min(DEPTH, m)),
    gram: take(8 * ld * order),
    band: take(8 * bandDoubles),
    bandDoubles,
    workspace: take(8 * kernels.bandWorkspace(order)),
    diagonal: take(8 * n),
    below: take(8 * n),
    sizeBytes: take(64),
  };
  if (layout.sizeBytes > WASM_BYTES) {
    const gib = (layout.sizeBytes / 2 ** 30).toFixed(1);
    throw new RangeError(
      `Cannot compute the singular values of a ${rows} x ${columns} matrix of ${dtype}: the wasm backend would ` +
        `need ${gib} GiB, and WebAssembly addresses 4 GiB; exclude this module or choose another backend`,
    );
  }
  return layout;
}
