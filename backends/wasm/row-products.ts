// One worker's share of the passes of a truncated SVD: blocks of rows of A times the vectors, and A^T times the images.
import { floatDTypeBytes } from "../../src/tensor/dtype.ts";
import { KernelMemory } from "./kernel-memory.ts";
import { DTYPE_NUMBER } from "./kernels.ts";
import { PROBES } from "./svd-bounds.ts";
import { type Pass, padded, productBytes, type SvdMemory, type SvdPlan, sumsDoubles } from "./svd-plan.ts";

/** A block of rows in shared memory. */
export interface RowBlock {
  /** Number of the block: its first row is block * plan.blockRows. */
  readonly block: number;
  readonly buffer: SharedArrayBuffer;
  readonly offset: number;
}

/** Which part of the work a worker does: slices `worker`, `worker + workers`, .. */
export interface Share {
  readonly worker: number;
  readonly workers: number;
}

/** What all workers know of one SVD. */
export interface ProductWork {
  readonly plan: SvdPlan;
  readonly shared: SvdMemory;
}

/** Owns the WebAssembly memory of one worker for one SVD. */
export class RowProducts {
  readonly #memory: KernelMemory;
  readonly #plan: SvdPlan;
  readonly #share: Share;
  readonly #images: Float64Array;
  readonly #left: Float64Array;
  readonly #basis: Float64Array;
  readonly #sums: Float64Array;
  readonly #at: { readonly [part in "raw" | "basis" | "panels" | "columns" | "packed" | "sums"]: number };
  /** Slices that are this worker's. */
  readonly #slices: number;
  #pass: Pass = { vectors: 0, left: 0 };
  #factor = 1;

  constructor(module: WebAssembly.Module, { plan, shared }: ProductWork, share: Share) {
    const { shape, dtype, blockRows } = plan;
    const slices = Math.max(0, Math.ceil((plan.slices - share.worker) / share.workers));
    this.#slices = slices;
    this.#memory = new KernelMemory(module, productBytes(plan, slices));
    this.#plan = plan;
    this.#share = share;
    this.#images = new Float64Array(shared.images);
    this.#left = new Float64Array(shared.left);
    this.#basis = new Float64Array(shared.basis);
    this.#sums = new Float64Array(shared.sums);
    const take = (doubles: number) => this.#memory.take(8 * doubles);
    this.#at = {
      raw: this.#memory.take(blockRows * shape[1] * floatDTypeBytes(dtype)),
      basis: take(shape[1] * padded(Math.max(plan.width, PROBES))),
      panels: take(blockRows * (padded(plan.sums) + 4)),
      columns: take(blockRows * (padded(plan.sums) + 4)),
      packed: take(blockRows * 256),
      sums: take(slices * sumsDoubles(plan)),
    };
  }

  /** Largest magnitude of the block's elements; NaN when one is not finite. */
  examine(block: RowBlock): number {
    const rows = this.#load(block);
    return this.#memory.kernels.maxAbs(
      this.#at.raw,
      rows * this.#plan.shape[1],
      DTYPE_NUMBER[this.#plan.dtype],
    );
  }

  /** Starts a pass over A, every element of which is multiplied by `factor`. */
  begin(pass: Pass, factor: number): void {
    this.#pass = pass;
    this.#factor = factor;
    const vectors = this.#plan.shape[1] * padded(pass.vectors);
    this.#memory.doubles(this.#at.basis, vectors).set(this.#basis.subarray(0, vectors));
    this.#memory.kernels.clear(this.#at.sums, this.#slices * sumsDoubles(this.#plan));
  }

  /** Takes a block, of a slice that is this worker's; the blocks of a slice come in order. */
  add(block: RowBlock): void {
    const { kernels } = this.#memory;
    const { shape, dtype, blockRows, slices } = this.#plan;
    const { raw, basis, panels, packed, sums } = this.#at;
    const rows = this.#load(block);
    const number = DTYPE_NUMBER[dtype];
    const images = padded(this.#pass.vectors) / 4;
    if (images > 0) {
      kernels.sketchImages(raw, number, shape[1], rows, this.#factor, basis, images, panels, packed);
      this.#storeImages(block.block * blockRows, rows);
    }
    this.#loadLeft(block.block * blockRows, rows);
    const count = images + padded(this.#pass.left) / 4;
    const slice = Math.floor((block.block % slices) / this.#share.workers);
    const target = sums + 8 * slice * sumsDoubles(this.#plan);
    kernels.sketchAdd(raw, number, shape[1], rows, this.#factor, panels, count, target, packed);
  }

  /** Ends the pass: hands the sums over. */
  end(): void {
    const size = sumsDoubles(this.#plan);
    const { worker, workers } = this.#share;
    for (let slice = worker, own = 0; slice < this.#plan.slices; slice += workers, own++) {
      this.#sums.set(this.#memory.doubles(this.#at.sums + 8 * own * size, size), slice * size);
    }
  }

  /** Copies a block in; returns its rows. */
  #load({ block, buffer, offset }: RowBlock): number {
    const { shape, dtype, blockRows } = this.#plan;
    const rows = Math.min(blockRows, shape[0] - block * blockRows);
    const bytes = rows * shape[1] * floatDTypeBytes(dtype);
    this.#memory.bytes(this.#at.raw, bytes).set(new Uint8Array(buffer, offset, bytes));
    return rows;
  }

  #storeImages(row: number, rows: number): void {
    const { kernels } = this.#memory;
    const ld = padded(rows);
    kernels.panelsToColumns(this.#at.panels, ld, rows, this.#pass.vectors, this.#at.columns, ld);
    const columns = this.#memory.doubles(this.#at.columns, ld * this.#pass.vectors);
    for (let j = 0; j < this.#pass.vectors; j++) {
      this.#images.set(columns.subarray(j * ld, j * ld + rows), j * padded(this.#plan.shape[0]) + row);
    }
  }

  /** Puts the rows of U behind the images. */
  #loadLeft(row: number, rows: number): void {
    const ld = padded(rows);
    const columns = this.#memory.doubles(this.#at.columns, ld * this.#pass.left);
    for (let j = 0; j < this.#pass.left; j++) {
      const from = j * padded(this.#plan.shape[0]) + row;
      columns.set(this.#left.subarray(from, from + rows), j * ld);
    }
    const behind = this.#at.panels + 8 * ld * padded(this.#pass.vectors);
    this.#memory.kernels.columnsToPanels(this.#at.columns, ld, rows, this.#pass.left, behind, ld);
  }
}
