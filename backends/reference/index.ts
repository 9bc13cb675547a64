// The `reference` backend: obvious and slow, in plain float64 on the calling thread. The oracle for the other backends,
// and what is left where nothing else runs.
import type { Availability, Backend, BackendOptions, MatrixSource } from "../../src/backend.ts";
import { checkSvd, type SvdRequest, type TruncatedSvd } from "../../src/backend-svd.ts";
import { MatrixError } from "../../src/errors.ts";
import { floatDTypeBytes } from "../../src/tensor/dtype.ts";
import { decodeElements } from "./decode.ts";
import { transpose } from "./transpose.ts";

export const name = "reference";

export const capabilities = ["singularValues", "svd"] as const;

export const lastResort = true;

/** Always ok. */
export async function availability(): Promise<Availability> {
  return { ok: true };
}

/** Opens the backend. Both precisions compute, and report, `exact`. */
export async function open(_options: BackendOptions): Promise<Backend> {
  // mathjs takes a while to load: not before it is needed.
  const [{ jacobiSingularValues }, { truncatedSvd }] = await Promise.all([
    import("./jacobi.ts"),
    import("./truncated-svd.ts"),
  ]);
  let closed = false;
  let last: Promise<unknown> = Promise.resolve();
  const checkOpen = () => {
    if (closed) throw new Error("The reference backend was closed");
  };

  async function compute(matrix: MatrixSource): Promise<Float64Array> {
    checkOpen();
    const rows = await readRows(matrix, checkOpen);
    const unit = scaleToOne(rows);
    if (unit === 0) return new Float64Array(Math.min(...matrix.shape));
    const columns = matrix.shape[0] < matrix.shape[1] ? rows : transpose(rows);
    const values = await jacobiSingularValues(columns, checkOpen);
    return values.map((value) => value * unit);
  }

  async function computeSvd(matrix: MatrixSource, request: SvdRequest): Promise<TruncatedSvd> {
    checkOpen();
    const rows = await readRows(matrix, checkOpen);
    const unit = scaleToOne(rows);
    return truncatedSvd(rows, { request, unit, checkOpen });
  }

  /** Runs after the calls before it, which may fail: that is their callers' to know. */
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = last.then(work);
    last = result.catch(() => undefined);
    return result;
  }

  async function close(): Promise<void> {
    closed = true;
  }

  return {
    name,
    version: "1",
    precision: "exact",
    concurrency: 1,
    singularValues: (matrix) => inTurn(() => compute(matrix)),
    async svd(matrix, rank, options) {
      const request = checkSvd(matrix.shape, rank, options);
      return inTurn(() => computeSvd(matrix, request));
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function readRows(
  { shape, dtype, rows: blocks }: MatrixSource,
  checkOpen: () => void,
): Promise<number[][]> {
  const [rows, columns] = shape;
  const matrix = `a ${rows} x ${columns} matrix of ${dtype}`;
  if (!shape.every((side) => Number.isSafeInteger(side) && side >= 1)) {
    throw new RangeError(`Cannot compute the singular values of ${matrix}: it has no elements`);
  }
  const rowBytes = columns * floatDTypeBytes(dtype);
  const decoded: number[][] = [];
  for await (const block of blocks) {
    checkOpen();
    if (block.length % rowBytes !== 0) {
      throw new RangeError(
        `Cannot read ${matrix}: got a block of ${block.length} bytes, which is no multiple of a row's ${rowBytes}`,
      );
    }
    for (let at = 0; at < block.length && decoded.length <= rows; at += rowBytes) {
      const row = decodeElements(block.subarray(at, at + rowBytes), dtype);
      if (!row.every(Number.isFinite)) {
        throw new MatrixError(
          `Cannot compute the singular values of ${matrix}: row ${decoded.length} holds NaN or Infinity`,
        );
      }
      decoded.push(row);
    }
    if (decoded.length > rows) break;
  }
  if (decoded.length !== rows) {
    const got = decoded.length > rows ? "more" : String(decoded.length);
    throw new RangeError(`Cannot read ${matrix}: expected ${rows} rows, got ${got}`);
  }
  return decoded;
}

/** Multiplies with a power of two, such that the largest element is near 1; returns what undoes it, 0 for zeros. */
function scaleToOne(rows: readonly number[][]): number {
  const largest = rows.flat().reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  if (largest === 0) return 0;
  const exponent = Math.max(-1000, Math.min(1000, Math.floor(Math.log2(largest))));
  for (const row of rows) for (const [i, x] of row.entries()) row[i] = x * 2 ** -exponent;
  return 2 ** exponent;
}
