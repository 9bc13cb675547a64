// One worker's share of the passes of a truncated SVD: blocks of rows of A times the vectors, and A^T times the images.
import { floatDTypeBytes } from "../../../src/tensor/dtype.ts";
import { KernelMemory } from "../kernel-memory.ts";
import { DTYPE_NUMBER } from "../kernels.ts";
import {
  DECODED,
  type Pass,
  padded,
  productBytes,
  rawBytes,
  rowsOf,
  type Share,
  type SvdMemory,
  type SvdPlan,
  slicesOf,
  sumsDoubles,
} from "./plan.ts";

/** A block of rows in shared memory. */
export interface RowBlock {
  /** Number of the block: its first row is block * plan.blockRows. */
  readonly block: number;
  readonly buffer: SharedArrayBuffer;
  readonly offset: number;
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
  readonly #at: { readonly [part in "raw" | "basis" | "panels" | "columns" | "decoded" | "sums"]: number };
  /** Where the blocks that are held lie, by number. */
  readonly #held = new Map<number, number>();
  #pass: Pass = { vectors: 0, left: 0 };
  #factor = 1;

  constructor(module: WebAssembly.Module, { plan, shared }: ProductWork, share: Share) {
    const { shape, blockRows } = plan;
    this.#memory = new KernelMemory(module, productBytes(plan, share));
    this.#plan = plan;
    this.#share = share;
    this.#images = new Float64Array(shared.images);
    this.#left = new Float64Array(shared.left);
    this.#basis = new Float64Array(shared.basis);
    this.#sums = new Float64Array(shared.sums);
    const take = (doubles: number) => this.#memory.take(8 * doubles);
    const vectors = padded(plan.sums);
    this.#at = {
      raw: this.#memory.take(rawBytes(plan, share)),
      basis: take(padded(shape[1]) * vectors),
      panels: take(blockRows * vectors),
      columns: take(blockRows * vectors),
      decoded: take(DECODED),
      sums: take(slicesOf(plan, share) * sumsDoubles(plan)),
    };
  }

  /** Largest magnitude of the block's elements; NaN when one is not finite. Holds the block where the plan says so. */
  examine(block: RowBlock): number {
    const size = this.#plan.blockRows * this.#plan.shape[1] * floatDTypeBytes(this.#plan.dtype);
    const at = this.#at.raw + this.#held.size * size;
    this.#load(block, at);
    if (this.#plan.held) this.#held.set(block.block, at);
    const count = rowsOf(this.#plan, block.block) * this.#plan.shape[1];
    return this.#memory.kernels.maxAbs(at, count, DTYPE_NUMBER[this.#plan.dtype]);
  }

  /** Starts a pass over A, every element of which is multiplied by `factor`. */
  begin(pass: Pass, factor: number): void {
    this.#pass = pass;
    this.#factor = factor;
    const size = padded(this.#plan.shape[1]) * padded(pass.vectors);
    this.#memory.doubles(this.#at.basis, size).set(this.#basis.subarray(0, size));
    this.#memory.kernels.clear(this.#at.sums, slicesOf(this.#plan, this.#share) * sumsDoubles(this.#plan));
  }

  /** Takes a block, of a slice that is this worker's; the blocks of a slice come in order. */
  add(block: RowBlock): void {
    this.#load(block, this.#at.raw);
    this.#multiply(block.block, this.#at.raw);
  }

  /** Takes all blocks that are held. */
  addHeld(check: () => void): void {
    for (const [block, at] of this.#held) {
      check();
      this.#multiply(block, at);
    }
  }

  /** Ends the pass: hands the sums over. */
  end(): void {
    const size = sumsDoubles(this.#plan);
    const used = padded(this.#plan.shape[1]) * (this.#pass.vectors + this.#pass.left);
    const { worker, workers } = this.#share;
    for (let slice = worker, own = 0; slice < this.#plan.slices; slice += workers, own++) {
      this.#sums.set(this.#memory.doubles(this.#at.sums + 8 * own * size, used), slice * size);
    }
  }

  #multiply(block: number, at: number): void {
    const { shape, dtype, slices, blockRows } = this.#plan;
    const { basis, panels, decoded, sums } = this.#at;
    const { vectors, left } = this.#pass;
    const rows = rowsOf(this.#plan, block);
    const ld = padded(shape[1]);
    const slice = Math.floor((block % slices) / this.#share.workers);
    this.#loadLeft(block * blockRows, rows);
    this.#memory.kernels.sketch(
      at,
      DTYPE_NUMBER[dtype],
      shape[1],
      rows,
      this.#factor,
      basis,
      ld,
      padded(vectors),
      padded(left),
      panels,
      sums + 8 * slice * sumsDoubles(this.#plan),
      ld,
      decoded,
    );
    this.#storeImages(block * blockRows, rows);
  }

  #load({ block, buffer, offset }: RowBlock, at: number): void {
    const bytes = rowsOf(this.#plan, block) * this.#plan.shape[1] * floatDTypeBytes(this.#plan.dtype);
    this.#memory.bytes(at, bytes).set(new Uint8Array(buffer, offset, bytes));
  }

  #storeImages(row: number, rows: number): void {
    const { vectors } = this.#pass;
    const ld = padded(rows);
    this.#memory.kernels.panelsToColumns(this.#at.panels, rows, vectors, this.#at.columns, ld);
    const columns = this.#memory.doubles(this.#at.columns, ld * vectors);
    for (let j = 0; j < vectors; j++) {
      this.#images.set(columns.subarray(j * ld, j * ld + rows), j * padded(this.#plan.shape[0]) + row);
    }
  }

  /** Puts the rows of U where the images would be. */
  #loadLeft(row: number, rows: number): void {
    const { left } = this.#pass;
    const ld = padded(rows);
    const columns = this.#memory.doubles(this.#at.columns, ld * left);
    for (let j = 0; j < left; j++) {
      const from = j * padded(this.#plan.shape[0]) + row;
      columns.set(this.#left.subarray(from, from + rows), j * ld);
    }
    this.#memory.kernels.columnsToPanels(this.#at.columns, ld, rows, left, this.#at.panels);
  }
}
