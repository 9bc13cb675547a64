// Hands a matrix out in blocks of rows in shared memory, as often as it is asked to: once where the workers hold it, else
// read again where the source allows that, or held here undecoded from the first time.
import type { MatrixSource } from "../../../src/backend.ts";
import { floatDTypeBytes } from "../../../src/tensor/dtype.ts";
import type { SvdPlan } from "./plan.ts";
import type { RowBlock } from "./row-products.ts";

/** Blocks in flight for each worker. */
const SLOTS_PER_WORKER = 2;

/** Takes a block; the block's bytes stay as they are until the promise settles. */
type TakeBlock<T> = (rows: RowBlock) => Promise<T>;

/** Owns the shared memory that the rows go through. */
export class RowFeed {
  readonly #matrix: MatrixSource;
  readonly #plan: SvdPlan;
  readonly #blockBytes: number;
  readonly #totalBytes: number;
  readonly #slots: number;
  /** The whole matrix, or one block for each slot. */
  readonly #buffer: SharedArrayBuffer;
  readonly #holds: boolean;
  #held = false;

  constructor(matrix: MatrixSource, plan: SvdPlan, workers: number) {
    const rowBytes = plan.shape[1] * floatDTypeBytes(plan.dtype);
    this.#matrix = matrix;
    this.#plan = plan;
    this.#blockBytes = plan.blockRows * rowBytes;
    this.#totalBytes = plan.shape[0] * rowBytes;
    this.#slots = SLOTS_PER_WORKER * workers;
    this.#holds = matrix.rereadable !== true && !plan.held;
    this.#buffer = new SharedArrayBuffer(
      this.#holds ? this.#totalBytes : Math.min(plan.blocks, this.#slots) * this.#blockBytes,
    );
  }

  /**
   * Hands out every block, in order.
   *
   * @returns what `take` made of each.
   * @throws RangeError when the rows of the source do not add up to the matrix.
   */
  async read<T>(take: TakeBlock<T>): Promise<T[]> {
    const taken: Promise<T>[] = [];
    try {
      if (this.#held) await this.#readHeld(taken, take);
      else await this.#readSource(taken, take);
      return await Promise.all(taken);
    } finally {
      await Promise.allSettled(taken); // nobody writes into a block that is being read
    }
  }

  async #readHeld<T>(taken: Promise<T>[], take: TakeBlock<T>): Promise<void> {
    for (let block = 0; block < this.#plan.blocks; block++) {
      await taken[block - this.#slots];
      this.#hand(block, taken, take);
    }
  }

  async #readSource<T>(taken: Promise<T>[], take: TakeBlock<T>): Promise<void> {
    let arrived = 0;
    for await (const bytes of this.#matrix.rows) {
      this.#checkRows(bytes.length, arrived + bytes.length);
      for (let at = 0; at < bytes.length; ) {
        const block = taken.length;
        const from = arrived % this.#blockBytes;
        if (from === 0) await taken[block - this.#slots];
        const part = bytes.subarray(at, at + this.#blockBytes - from);
        const offset = this.#offset(block);
        new Uint8Array(this.#buffer, offset + from, part.length).set(part);
        at += part.length;
        arrived += part.length;
        if (arrived === this.#totalBytes || arrived % this.#blockBytes === 0) {
          this.#hand(block, taken, take);
        }
      }
    }
    if (arrived !== this.#totalBytes) throw this.#wrongSize(arrived);
    this.#held = this.#holds;
  }

  #hand<T>(block: number, taken: Promise<T>[], take: TakeBlock<T>): void {
    const made = take({ block, buffer: this.#buffer, offset: this.#offset(block) });
    made.catch(() => undefined); // read() throws it, once it gets there
    taken.push(made);
  }

  #offset(block: number): number {
    return this.#blockBytes * (this.#holds ? block : block % this.#slots);
  }

  #checkRows(length: number, arrived: number): void {
    const rowBytes = this.#blockBytes / this.#plan.blockRows;
    if (arrived > this.#totalBytes) throw this.#wrongSize(arrived);
    if (length % rowBytes === 0) return;
    throw new RangeError(
      `Cannot read a ${this.#plan.shape.join(" x ")} matrix of ${this.#plan.dtype}: ` +
        `got a block of ${length} bytes, which is no multiple of a row's ${rowBytes}`,
    );
  }

  #wrongSize(got: number): RangeError {
    return new RangeError(
      `Cannot read a ${this.#plan.shape.join(" x ")} matrix of ${this.#plan.dtype}: expected ` +
        `${this.#totalBytes} bytes of rows, got ${got > this.#totalBytes ? "at least" : "only"} ${got}`,
    );
  }
}
