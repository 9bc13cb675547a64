// How one truncated SVD is cut up: blocks of rows, the slices whose sums are kept apart, and sizes. Depends on the matrix
// and the rank alone, never on the number of threads: so do the bits of the result.
import type { SvdRequest } from "../../src/backend-svd.ts";
import { MatrixError } from "../../src/errors.ts";
import { floatDTypeBytes, type MatrixDType } from "../../src/tensor/dtype.ts";
import { PROBES } from "./svd-bounds.ts";

const BLOCK_BYTES = 2 ** 21;
const SLICES = 8;
/** What the sums of all slices may take. */
const SLICES_BYTES = 2 ** 28;
const WASM_BYTES = 2 ** 32;
const SPARE_BYTES = 2 ** 24;

/** Sizes of one SVD; `padded` is the next multiple of 4. */
export interface SvdPlan {
  readonly shape: readonly [rows: number, columns: number];
  readonly dtype: MatrixDType;
  readonly rank: number;
  /** Columns of the subspace: rank and some more, at most min(rows, columns). */
  readonly width: number;
  /** Most vectors whose sums one pass makes: the subspace, or the probes and U. */
  readonly sums: number;
  readonly blockRows: number;
  readonly blocks: number;
  /** Block b belongs to slice b % slices, whose blocks one worker takes in order. */
  readonly slices: number;
}

/** One reading of the matrix: A times `vectors` vectors, and A^T times these images and `left` columns of U. */
export interface Pass {
  readonly vectors: number;
  readonly left: number;
}

/** What all workers of one SVD see. */
export interface SvdMemory {
  /** Vectors to multiply: panels of columns x 4. */
  readonly basis: SharedArrayBuffer;
  /** Their images, column-major, padded(rows) apart. */
  readonly images: SharedArrayBuffer;
  /** U, column-major, padded(rows) apart. */
  readonly left: SharedArrayBuffer;
  /** A^T times images and U: for each slice the tiles of `sums` vectors. */
  readonly sums: SharedArrayBuffer;
}

export function padded(count: number): number {
  return Math.ceil(count / 4) * 4;
}

/** Doubles of one slice's sums. */
export function sumsDoubles({ shape, sums }: SvdPlan): number {
  return padded(shape[1]) * padded(sums);
}

/**
 * Plans one SVD.
 *
 * @throws MatrixError when it needs more than the 4 GiB that WebAssembly addresses.
 */
export function planSvd({ shape, rank }: SvdRequest, dtype: MatrixDType): SvdPlan {
  const [rows, columns] = shape;
  const width = Math.min(padded(rank + Math.max(8, Math.ceil(rank / 2))), ...shape);
  const sums = Math.max(width, PROBES + rank);
  const rowBytes = columns * floatDTypeBytes(dtype);
  const blockRows = Math.max(16, Math.min(256, padded(rows), 4 * Math.floor(BLOCK_BYTES / rowBytes / 4)));
  const blocks = Math.ceil(rows / blockRows);
  const sliceBytes = 8 * padded(columns) * padded(sums);
  const slices = Math.max(1, Math.min(SLICES, blocks, Math.floor(SLICES_BYTES / sliceBytes)));
  const plan = { shape, dtype, rank, width, sums, blockRows, blocks, slices };
  const needed = Math.max(leaderBytes(plan), productBytes(plan, slices));
  if (needed <= WASM_BYTES) return plan;
  throw new MatrixError(
    `Cannot compute ${rank} singular triplets of a ${rows} x ${columns} matrix of ${dtype}: the wasm backend would need ` +
      `${(needed / 2 ** 30).toFixed(1)} GiB, and WebAssembly addresses 4 GiB; ask for a lower rank`,
  );
}

/** Bytes of the worker that leads: five blocks of right vectors, the images, U, and small squares. */
export function leaderBytes({ shape, rank, width, sums }: SvdPlan): number {
  const vectors = Math.max(width, PROBES);
  const squares = 4 * padded(width) * width + sums ** 2;
  const doubles = 5 * padded(shape[1]) * padded(sums) + padded(shape[0]) * (vectors + rank) + squares;
  return 8 * doubles + SPARE_BYTES;
}

/** Bytes of a worker with that many slices. */
export function productBytes(plan: SvdPlan, slices: number): number {
  const { shape, dtype, width, blockRows, sums } = plan;
  const block = blockRows * shape[1] * floatDTypeBytes(dtype);
  const doubles =
    shape[1] * padded(Math.max(width, PROBES)) +
    blockRows * (2 * padded(sums) + 8 + 256) +
    slices * sumsDoubles(plan);
  return block + 8 * doubles + SPARE_BYTES;
}

/** Memory for all workers. */
export function shareSvdMemory(plan: SvdPlan): SvdMemory {
  const [rows, columns] = plan.shape;
  const vectors = padded(Math.max(plan.width, PROBES));
  return {
    basis: new SharedArrayBuffer(8 * columns * vectors),
    images: new SharedArrayBuffer(8 * padded(rows) * vectors),
    left: new SharedArrayBuffer(8 * padded(rows) * plan.rank),
    sums: new SharedArrayBuffer(8 * plan.slices * sumsDoubles(plan)),
  };
}
