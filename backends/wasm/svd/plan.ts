// How one truncated SVD is cut up: blocks of rows, the slices whose sums are kept apart, and sizes. Depends on the matrix
// and the rank alone, never on the number of threads: so do the bits of the result.
import type { SvdRequest } from "../../../src/backend-svd.ts";
import { MatrixError } from "../../../src/errors.ts";
import { floatDTypeBytes, type MatrixDType } from "../../../src/tensor/dtype.ts";
import { PROBES } from "./bounds.ts";

const BLOCK_BYTES = 2 ** 21;
const SLICES = 8;
/** What the sums of all slices may take. */
const SLICES_BYTES = 2 ** 28;
/** Up to this size the workers hold the matrix, undecoded, between passes. */
const HELD_BYTES = 2 ** 30;
const WASM_BYTES = 2 ** 32;
const SPARE_BYTES = 2 ** 24;
/** Vectors multiplied at once. Fewer need fewer products, more need fewer passes: below 8 decoding costs as much. */
const LEAST_BLOCK = 8;
/** Rows that are rotated at once. */
export const ROTATED_ROWS = 256;
/** Doubles that the kernel decodes at once, padding included: see kernels/sketch.c. */
export const DECODED = 65536 + 4096;

/** Sizes of one SVD; `padded` is the next multiple of 4. */
export interface SvdPlan {
  readonly shape: readonly [rows: number, columns: number];
  readonly dtype: MatrixDType;
  readonly rank: number;
  /** Vectors by which the basis grows in one pass. */
  readonly block: number;
  /** Most vectors in the basis; it is cut down to the best of them before it grows further. */
  readonly most: number;
  /** Most vectors whose sums one pass makes. */
  readonly sums: number;
  readonly blockRows: number;
  readonly blocks: number;
  /** Block b belongs to slice b % slices, whose blocks one worker takes in order. */
  readonly slices: number;
  /** Whether the workers hold the rows between passes; otherwise these come again for each. */
  readonly held: boolean;
}

/** One reading of the matrix: A^T A times `vectors` vectors, or A^T times `left` columns of U. */
export interface Pass {
  readonly vectors: number;
  readonly left: number;
}

/** What all workers of one SVD see: vectors are columns, padded to a multiple of 4. */
export interface SvdMemory {
  /** Vectors to multiply. */
  readonly basis: SharedArrayBuffer;
  /** Their images under A. */
  readonly images: SharedArrayBuffer;
  /** U. */
  readonly left: SharedArrayBuffer;
  /** A^T times images or U, a sum for each slice. */
  readonly sums: SharedArrayBuffer;
}

export function padded(count: number): number {
  return Math.ceil(count / 4) * 4;
}

/** Doubles of one slice's sums. */
export function sumsDoubles({ shape, sums }: SvdPlan): number {
  return padded(shape[1]) * padded(sums);
}

/** The worker that takes the block. */
export function workerOf({ slices }: SvdPlan, block: number, workers: number): number {
  return (block % slices) % workers;
}

/** Rows of a block. */
export function rowsOf({ shape, blockRows }: SvdPlan, block: number): number {
  return Math.min(blockRows, shape[0] - block * blockRows);
}

/**
 * Plans one SVD.
 *
 * @throws MatrixError when it needs more than the 4 GiB that WebAssembly addresses.
 */
export function planSvd({ shape, rank, maxPasses }: SvdRequest, dtype: MatrixDType): SvdPlan {
  const [rows, columns] = shape;
  const passes = Math.max(1, maxPasses - 1); // the first looks for NaN and the largest element
  const wide = Math.max(LEAST_BLOCK, 4 * Math.ceil(rank / 16), padded(rank / passes));
  const block = Math.min(wide, columns);
  const most = Math.min(columns, 3 * rank + 8 * block);
  const sums = Math.max(block, rank, PROBES);
  const rowBytes = columns * floatDTypeBytes(dtype);
  const blockRows = Math.max(16, Math.min(256, padded(rows), 4 * Math.floor(BLOCK_BYTES / rowBytes / 4)));
  const blocks = Math.ceil(rows / blockRows);
  const sliceBytes = 8 * padded(columns) * padded(sums);
  const slices = Math.max(1, Math.min(SLICES, blocks, Math.floor(SLICES_BYTES / sliceBytes)));
  const held = rows * rowBytes <= HELD_BYTES;
  const plan = { shape, dtype, rank, block, most, sums, blockRows, blocks, slices, held };
  const needed = Math.max(leaderBytes(plan), productBytes(plan, { worker: 0, workers: 1 }));
  if (needed <= WASM_BYTES) return plan;
  throw new MatrixError(
    `Cannot compute ${rank} singular triplets of a ${rows} x ${columns} matrix of ${dtype}: the wasm backend would need ` +
      `${(needed / 2 ** 30).toFixed(1)} GiB, and WebAssembly addresses 4 GiB; ask for a lower rank`,
  );
}

/** Bytes of the worker that leads: the basis, its images, the blocks of one step, and small squares. */
export function leaderBytes({ shape, rank, most, block }: SvdPlan): number {
  const [rows, columns] = [padded(shape[0]), padded(shape[1])];
  const found = rank + PROBES;
  const across = most + 2 * block + rank + 3 * PROBES;
  const down = most + PROBES;
  const squares =
    (padded(most) + 4) * (4 * most + 3 * block + 3 * found) + padded(found) * (2 * found + PROBES);
  return 8 * (columns * across + rows * down + squares + ROTATED_ROWS * (most + found)) + SPARE_BYTES;
}

/** Which part of the work a worker does: slices `worker`, `worker + workers`, .. */
export interface Share {
  readonly worker: number;
  readonly workers: number;
}

/** Bytes of a worker with that share. */
export function productBytes(plan: SvdPlan, share: Share): number {
  const { shape, blockRows, sums } = plan;
  const columns = padded(shape[1]);
  const vectors = padded(sums);
  const doubles =
    columns * vectors + 2 * blockRows * vectors + DECODED + slicesOf(plan, share) * sumsDoubles(plan);
  return rawBytes(plan, share) + 8 * doubles + SPARE_BYTES;
}

/** Slices of that share. */
export function slicesOf({ slices }: SvdPlan, { worker, workers }: Share): number {
  return Math.max(0, Math.ceil((slices - worker) / workers));
}

/** Bytes of rows that such a worker holds at a time. */
export function rawBytes(plan: SvdPlan, { worker, workers }: Share): number {
  const blockBytes = plan.blockRows * plan.shape[1] * floatDTypeBytes(plan.dtype);
  if (!plan.held) return blockBytes;
  let own = 0;
  for (let block = 0; block < plan.blocks; block++) if (workerOf(plan, block, workers) === worker) own++;
  return own * blockBytes;
}

/** Memory for all workers. */
export function shareSvdMemory(plan: SvdPlan): SvdMemory {
  const [rows, columns] = [padded(plan.shape[0]), padded(plan.shape[1])];
  const vectors = padded(Math.max(plan.block, PROBES));
  return {
    basis: new SharedArrayBuffer(8 * columns * vectors),
    images: new SharedArrayBuffer(8 * rows * vectors),
    left: new SharedArrayBuffer(8 * rows * plan.rank),
    sums: new SharedArrayBuffer(8 * plan.slices * sumsDoubles(plan)),
  };
}
