// All singular values of one matrix after another, as wasm's solver computes them, with the large products by ONNX
// Runtime. Where squaring has cost too much (wasm/guard.ts), wasm's solver takes over, which needs no Gram matrix.
import { MatrixError } from "../../../src/errors.ts";
import { floatDTypeBytes } from "../../../src/tensor/dtype.ts";
import { gramSuffices } from "../../wasm/guard.ts";
import { DTYPE_NUMBER, instantiateKernels, type Kernels } from "../../wasm/kernels.ts";
import type { MatrixHeader } from "../../wasm/layout.ts";
import {
  bandEigenvalues,
  descending,
  exponentOf,
  FLOAT_EXPONENT_LIMIT,
  FLOAT_HEADROOM_BITS,
  HEADROOM_BITS,
  newMemory,
  reserve,
  Solver,
  wrongSize,
} from "../../wasm/solver.ts";
import { chaseBulges } from "../../wasm/team.ts";
import { type HybridLayout, layOutHybrid } from "./layout.ts";
import { addGram, largestOfDiagonal, reduceToBand, type StageOne } from "./stage-one.ts";

// Of a Gram matrix of float products: what rounding moves a squared singular value by is taken as 2^-22 sigma_1^2, and
// the sum of the smaller half, hence the SNR, must be known to 1e-4.
const FLOAT_ROUNDOFF = 2 ** -23;
const FLOAT_TOLERANCE = 1e-4;

interface Work {
  readonly header: MatrixHeader;
  readonly layout: HybridLayout;
  readonly dtype: number;
  readonly sizeBytes: number;
  /** The bytes so far, where they may be needed again; as long as the matrix. */
  readonly held: Uint8Array | null;
  arrived: number;
  /** Rows in the area of undecoded bytes are multiplied by 2^-exponent; null until the first value that is not 0. */
  exponent: number | null;
}

/** Owns a WebAssembly memory: `begin`, `append` until all rows are in, `finish`. One call at a time. */
export class HybridSolver {
  readonly #module: WebAssembly.Module;
  readonly #products: Pick<StageOne, "gramProducts" | "products">;
  readonly #interrupted: () => boolean;
  #memory: WebAssembly.Memory;
  #kernels: Kernels;
  #work: Work | null = null;
  /** Works on the matrix at hand where its Gram matrix did not suffice. */
  #exact: Solver | null = null;

  /**
   * @param module - the compiled kernels.
   * @param products - both may be the same.
   * @param interrupted - asked before each product; once true, the work in progress throws an Error.
   */
  constructor(
    module: WebAssembly.Module,
    products: Pick<StageOne, "gramProducts" | "products">,
    interrupted: () => boolean,
  ) {
    this.#module = module;
    this.#products = products;
    this.#interrupted = interrupted;
    this.#memory = newMemory();
    this.#kernels = instantiateKernels(module, this.#memory);
  }

  /** Starts a matrix, dropping one in progress. Throws MatrixError when it does not fit WebAssembly's 4 GiB. */
  begin(header: MatrixHeader): void {
    this.#work = null;
    this.#exact = null;
    const layout = layOutHybrid(header, this.#kernels);
    this.#reserve(layout.sizeBytes);
    this.#kernels.clear(layout.blocks, layout.blocksDoubles);
    const sizeBytes = layout.n * layout.m * floatDTypeBytes(header.dtype);
    this.#work = {
      header,
      layout,
      dtype: DTYPE_NUMBER[header.dtype],
      sizeBytes,
      held: layout.wide || !header.rereadable ? new Uint8Array(sizeBytes) : null,
      arrived: 0,
      exponent: header.dtype === "F64" || this.#floats ? null : 0,
    };
  }

  /** Takes the next bytes, cut anywhere. Throws MatrixError at NaN and Infinity, RangeError at bytes past its end. */
  async append(bytes: Uint8Array): Promise<void> {
    if (this.#exact !== null) {
      this.#exact.append(bytes);
      return;
    }
    const work = this.#current();
    if (work.arrived + bytes.length > work.sizeBytes)
      throw wrongSize(work.header, work.arrived + bytes.length);
    work.held?.set(bytes, work.arrived);
    if (work.layout.wide) {
      work.arrived += bytes.length;
      return;
    }
    const { raw, n, depth } = work.layout;
    const blockBytes = n * depth * floatDTypeBytes(work.header.dtype);
    for (let at = 0; at < bytes.length; ) {
      const filled = work.arrived % blockBytes;
      const part = bytes.subarray(at, at + blockBytes - filled);
      new Uint8Array(this.#memory.buffer, raw + filled, part.length).set(part);
      at += part.length;
      work.arrived += part.length;
      if (filled + part.length === blockBytes) await this.#fold(work, depth);
    }
  }

  /**
   * Computes the singular values, descending; null when the rows are needed a second time: append them, and finish.
   *
   * @throws RangeError when rows are missing; Error when an iteration does not converge.
   */
  async finish(): Promise<Float64Array<ArrayBuffer> | null> {
    if (this.#exact !== null) return this.#exact.finish();
    const work = this.#current();
    const { layout, header } = work;
    if (work.arrived !== work.sizeBytes) throw wrongSize(header, work.arrived);
    if (layout.wide) await this.#foldColumns(work);
    else if (layout.m % layout.depth > 0) await this.#fold(work, layout.m % layout.depth);
    const values = await this.#fromGram(work);
    if (this.#suffices(values)) return values;

    this.#work = null;
    this.#memory = newMemory();
    this.#kernels = instantiateKernels(this.#module, this.#memory);
    this.#exact = new Solver(this.#module, "exact", this.#interrupted);
    this.#exact.begin({ ...header, rereadable: true }, this.#floats ? "gram" : "triangle");
    if (work.held === null) return null;
    for (;;) {
      this.#exact.append(work.held);
      const exact = this.#exact.finish();
      if (exact !== null) return exact;
    }
  }

  get #floats(): boolean {
    return this.#products.gramProducts.floats;
  }

  #suffices(values: Float64Array): boolean {
    return this.#floats
      ? gramSuffices(values, { tolerance: FLOAT_TOLERANCE, roundoff: FLOAT_ROUNDOFF })
      : gramSuffices(values);
  }

  #current(): Work {
    if (this.#work === null) throw new Error("No matrix has been begun");
    return this.#work;
  }

  #reserve(sizeBytes: number): void {
    const memory = reserve(this.#memory, sizeBytes);
    if (memory === this.#memory) return;
    this.#memory = memory;
    this.#kernels = instantiateKernels(this.#module, memory);
  }

  #stageOne(work: Work): StageOne {
    return {
      kernels: this.#kernels,
      ...this.#products,
      memory: this.#memory.buffer,
      layout: work.layout,
      checkInterrupted: () => {
        if (this.#interrupted()) throw new Error("The backend was closed");
      },
    };
  }

  /** Folds in the columns of a wide matrix, all of whose rows are held. */
  async #foldColumns(work: Work): Promise<void> {
    const { n, m, depth, raw } = work.layout;
    const elementBytes = floatDTypeBytes(work.header.dtype);
    for (let left = 0; left < m; left += depth) {
      const partBytes = Math.min(depth, m - left) * elementBytes;
      const area = new Uint8Array(this.#memory.buffer, raw, n * partBytes);
      for (let row = 0; row < n; row++) {
        const at = (row * m + left) * elementBytes;
        if (work.held !== null) area.set(work.held.subarray(at, at + partBytes), row * partBytes);
      }
      await this.#fold(work, partBytes / elementBytes);
    }
  }

  /** Folds in the `depth` rows (tall) or columns (wide) that stand in the area of undecoded bytes. */
  async #fold(work: Work, depth: number): Promise<void> {
    const { layout, dtype } = work;
    const { raw, decoded, n, order, wide } = layout;
    const factor = this.#factor(work, this.#maxAbs(work, n * depth));
    if (wide) this.#kernels.decode(raw, dtype, n * depth, factor, decoded);
    else this.#kernels.decodeTransposed(raw, dtype, n, depth, factor, decoded);
    this.#kernels.clear(decoded + 8 * n * depth, (order - n) * depth);
    await addGram(this.#stageOne(work), depth);
  }

  #maxAbs({ layout, dtype, header }: Work, count: number): number {
    const max = this.#kernels.maxAbs(layout.raw, count, dtype);
    if (!Number.isNaN(max)) return max;
    throw new MatrixError(
      `Cannot compute the singular values of a ${header.shape.join(" x ")} matrix of ${header.dtype}: it holds NaN or Infinity`,
    );
  }

  /** The factor by which to multiply the next values, of magnitude up to `max`; rescales what is folded in already. */
  #factor(work: Work, max: number): number {
    // As doubles, the other types' values and their squares are well inside the range.
    if (work.header.dtype !== "F64" && !this.#floats) return 1;
    if (max > 0) {
      const limit = this.#floats ? FLOAT_EXPONENT_LIMIT : Infinity;
      const exponent = Math.max(-limit, Math.min(limit, exponentOf(max)));
      const headroom = this.#floats ? FLOAT_HEADROOM_BITS : HEADROOM_BITS;
      if (work.exponent !== null && exponent > work.exponent + headroom) {
        const { blocks, blocksDoubles } = work.layout;
        this.#kernels.scale(blocks, blocksDoubles, 2 ** (2 * (work.exponent - exponent)));
        work.exponent = exponent;
      }
      work.exponent ??= exponent;
    }
    return 2 ** -(work.exponent ?? 0);
  }

  async #fromGram(work: Work): Promise<Float64Array<ArrayBuffer>> {
    const { layout, exponent } = work;
    const stage = this.#stageOne(work);
    const { n, blocks, blocksDoubles, band, bandDoubles, diagonal, beside } = layout;
    const max = largestOfDiagonal(stage);
    if (max === 0) return new Float64Array(n);
    const half = Math.floor(exponentOf(max) / 2); // an even power of two: its root is one as well
    this.#kernels.scale(blocks, blocksDoubles, 2 ** (-2 * half));
    await reduceToBand(stage);
    const tridiagonal = { n, band, bandDoubles, diagonal, beside };
    chaseBulges(this.#kernels, tridiagonal, stage.checkInterrupted);
    const eigenvalues = bandEigenvalues(this.#kernels, this.#memory.buffer, tridiagonal);
    return descending(eigenvalues, (value) => Math.sqrt(Math.max(value, 0)), half + (exponent ?? 0));
  }
}
