// The `reference` backend: obvious and slow, in plain float64 on the calling thread. The oracle for the other backends,
// and what is left where nothing else runs.
import type { Availability, Backend, BackendOptions, MatrixSource } from "../../src/backend.ts";
import { MatrixError } from "../../src/errors.ts";
import { floatDTypeBytes } from "../../src/tensor/dtype.ts";
import { decodeElements } from "./decode.ts";

export const name = "reference";

export const capabilities = ["singularValues"] as const;

export const lastResort = true;

/** Always ok. */
export async function availability(): Promise<Availability> {
  return { ok: true };
}

/** Opens the backend. Both precisions compute, and report, `exact`. */
export async function open(_options: BackendOptions): Promise<Backend> {
  // mathjs takes a while to load: not before it is needed.
  const { jacobiSingularValues } = await import("./jacobi.ts");
  let closed = false;
  let last: Promise<unknown> = Promise.resolve();
  const checkOpen = () => {
    if (closed) throw new Error("The reference backend was closed");
  };

  async function compute(matrix: MatrixSource): Promise<Float64Array> {
    checkOpen();
    const rows = await readRows(matrix, checkOpen);
    const largest = rows.flat().reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    if (largest === 0) return new Float64Array(Math.min(...matrix.shape));
    const exponent = Math.max(-1000, Math.min(1000, Math.floor(Math.log2(largest))));
    for (const row of rows) for (const [i, x] of row.entries()) row[i] = x * 2 ** -exponent;
    const columns = matrix.shape[0] < matrix.shape[1] ? rows : transpose(rows);
    const values = await jacobiSingularValues(columns, checkOpen);
    return values.map((value) => value * 2 ** exponent);
  }

  async function close(): Promise<void> {
    closed = true;
  }

  return {
    name,
    version: "1",
    precision: "exact",
    concurrency: 1,
    singularValues(matrix) {
      const values = last.then(() => compute(matrix));
      last = values.catch(() => undefined); // a failure is its caller's; the next in line goes on
      return values;
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

function transpose(rows: readonly number[][]): number[][] {
  const width = rows[0]?.length ?? 0;
  return Array.from({ length: width }, (_, j) => rows.map((row) => row[j] ?? 0));
}
