// All singular values of one matrix after another, as wasm's solver computes them, with the large products by ONNX
// Runtime: of floats first where `fast` is asked for. Where squaring has cost too much (wasm/singular-values/guard.ts), wasm's solver
// takes over, which needs no Gram matrix.
import { floatDTypeBytes } from "../../../src/tensor/dtype.ts";
import { DTYPE_NUMBER, instantiateKernels, type Kernels } from "../../wasm/kernels.ts";
import { reduceDirectly, reduceMeasured, startProbe } from "../../wasm/singular-values/direct.ts";
import { floatGramSuffices, gramSuffices } from "../../wasm/singular-values/guard.ts";
import type { MatrixHeader } from "../../wasm/singular-values/layout.ts";
import {
  exponentOf,
  factorFor,
  firstExponent,
  largestMagnitude,
} from "../../wasm/singular-values/scaling.ts";
import {
  bandEigenvalues,
  newMemory,
  reserve,
  rootsOf,
  Solver,
  tridiagonalEigenvalues,
  wrongSize,
} from "../../wasm/singular-values/solver.ts";
import { ALONE, chaseBulges } from "../../wasm/singular-values/team.ts";
import { type FloatPlan, floatPlan } from "./float-plan.ts";
import {
  addFloatGram,
  addGram,
  clearGram,
  diagonal,
  gramError,
  scaleGram,
  setDiagonal,
  type Workplace,
} from "./gram.ts";
import { type HybridLayout, layOutHybrid, reducesDirectly } from "./layout.ts";
import type { ThreadProducts } from "./products.ts";
import { type Begun, reduceFloatsToBand, reduceToBand } from "./stage-one.ts";

// Of a Gram matrix of a device's float products: what rounding moves a squared singular value by is taken as
// 2^-22 sigma_1^2, and the sum of the smaller half, hence the SNR, must be known to 1e-4.
const FLOAT_ROUNDOFF = 2 ** -23;
const FLOAT_TOLERANCE = 1e-4;

interface Work {
  readonly header: MatrixHeader;
  /** What of it is products of floats by the processor. */
  readonly plan: FloatPlan;
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
  readonly #products: ThreadProducts;
  readonly #interrupted: () => boolean;
  #memory: WebAssembly.Memory;
  #kernels: Kernels;
  #work: Work | null = null;
  /** Works on the matrix at hand where its Gram matrix did not suffice, or for which the calls are not worth while. */
  #delegate: Solver | null = null;
  /** Does so in the same memory, and is kept as long as that. */
  #wasm: Solver | null = null;

  /**
   * @param module - the compiled kernels.
   * @param interrupted - asked before each product; once true, the work in progress throws an Error.
   */
  constructor(module: WebAssembly.Module, products: ThreadProducts, interrupted: () => boolean) {
    this.#module = module;
    this.#products = products;
    this.#interrupted = interrupted;
    this.#memory = newMemory();
    this.#kernels = instantiateKernels(module, this.#memory);
  }

  /** Starts a matrix, dropping one in progress. Throws MatrixError when it does not fit WebAssembly's 4 GiB. */
  begin(header: MatrixHeader): void {
    this.#work = null;
    this.#delegate = null;
    const plan = this.#products.floatProducts === null ? "none" : floatPlan(header);
    if (plan === "wasm") {
      this.#delegateToWasm().begin(header);
      return;
    }
    this.#work = this.#workOn(header, plan, null);
  }

  /** @param held - the bytes of the whole matrix, where an earlier attempt has them. */
  #workOn(header: MatrixHeader, plan: FloatPlan, held: Uint8Array | null): Work {
    const floats = plan !== "none";
    const layout = layOutHybrid(header, this.#kernels, plan);
    this.#reserve(layout.sizeBytes);
    clearGram({ kernels: this.#kernels, layout }, floats);
    const sizeBytes = layout.n * layout.m * floatDTypeBytes(header.dtype);
    return {
      header,
      plan,
      layout,
      dtype: DTYPE_NUMBER[header.dtype],
      sizeBytes,
      held: held ?? (layout.wide || !header.rereadable ? new Uint8Array(sizeBytes) : null),
      arrived: 0,
      exponent: firstExponent(header, floats || this.#deviceFloats),
    };
  }

  /** Takes the next bytes, cut anywhere. Throws MatrixError at NaN and Infinity, RangeError at bytes past its end. */
  async append(bytes: Uint8Array): Promise<void> {
    if (this.#delegate !== null) {
      this.#delegate.append(bytes);
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
    if (this.#delegate !== null) return this.#delegate.finish();
    const work = this.#current();
    const { layout, header } = work;
    if (work.arrived !== work.sizeBytes) throw wrongSize(header, work.arrived);
    if (layout.wide) await this.#foldColumns(work);
    else if (layout.m % layout.depth > 0) await this.#fold(work, layout.m % layout.depth);
    const values = work.plan === "none" ? await this.#fromGram(work) : await this.#fromFloatGram(work);
    if (values !== null) return values;
    if (work.plan === "none") this.#handOver(header);
    else this.#work = this.#workOn(header, "none", work.held);
    if (work.held === null) return null;
    for (;;) {
      await this.append(work.held);
      const next = await this.finish();
      if (next !== null) return next;
    }
  }

  /** Has wasm's solver compute the matrix, whose rows come again. */
  #handOver(header: MatrixHeader): void {
    this.#work = null;
    const target = this.#deviceFloats ? "gram" : "triangle";
    this.#delegateToWasm().begin({ ...header, rereadable: true }, target);
  }

  #delegateToWasm(): Solver {
    const team = { ...ALONE, memory: this.#memory };
    this.#wasm ??= new Solver(this.#module, "fast", this.#interrupted, team);
    this.#delegate = this.#wasm;
    return this.#wasm;
  }

  /** Whether the Gram matrix is made on a device that has no doubles. */
  get #deviceFloats(): boolean {
    return this.#products.gramProducts.floats;
  }

  #suffices(values: Float64Array): boolean {
    return this.#deviceFloats
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
    this.#wasm = null;
    this.#kernels = instantiateKernels(this.#module, memory);
  }

  #workplace(work: Work): Workplace {
    return {
      kernels: this.#kernels,
      memory: this.#memory.buffer,
      layout: work.layout,
      checkInterrupted: () => this.#checkInterrupted(),
    };
  }

  #checkInterrupted(): void {
    if (this.#interrupted()) throw new Error("The backend was closed");
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
    const { layout, dtype, plan } = work;
    const { raw, decoded, n, order, wide } = layout;
    const kernels = this.#kernels;
    const factor = this.#factor(work, n * depth);
    const { floatProducts, gramProducts } = this.#products;
    if (plan !== "none" && floatProducts !== null) {
      if (wide) kernels.decodeFloats(raw, dtype, n * depth, factor, decoded);
      else kernels.decodeTransposedFloats(raw, dtype, n, depth, factor, decoded);
      new Float32Array(this.#memory.buffer, decoded + 4 * n * depth, (order - n) * depth).fill(0);
      await addFloatGram(this.#workplace(work), floatProducts, depth);
      return;
    }
    if (wide) kernels.decode(raw, dtype, n * depth, factor, decoded);
    else kernels.decodeTransposed(raw, dtype, n, depth, factor, decoded);
    kernels.clear(decoded + 8 * n * depth, (order - n) * depth);
    await addGram(this.#workplace(work), gramProducts, depth);
  }

  /** The factor for the `count` values in the area of undecoded bytes; rescales what is folded in already. */
  #factor(work: Work, count: number): number {
    const { header, layout } = work;
    const checkInterrupted = () => this.#checkInterrupted();
    const max = largestMagnitude(this.#kernels, { header, address: layout.raw, count }, checkInterrupted);
    const floats = work.plan !== "none";
    return factorFor(work, { max, floats: floats || this.#deviceFloats }, (factor) =>
      scaleGram({ kernels: this.#kernels, layout }, { factor, floats }),
    );
  }

  /** The values, or null when they may be too coarse. */
  async #fromGram(work: Work): Promise<Float64Array<ArrayBuffer> | null> {
    const exponent = this.#normalize(work);
    if (exponent === null) return new Float64Array(work.layout.n);
    const values = reducesDirectly(work.plan, work.layout.order)
      ? this.#directly(work, exponent)
      : await this.#byBand(work, { exponent, begun: null });
    return this.#suffices(values) ? values : null;
  }

  /** The same from products of floats, as far as the plan goes and what it gave is accurate enough. */
  async #fromFloatGram(work: Work): Promise<Float64Array<ArrayBuffer> | null> {
    const { products, floatProducts } = this.#products;
    const { plan, layout } = work;
    const place = this.#workplace(work);
    setDiagonal(place);
    const exponent = this.#normalize(work);
    if (exponent === null) return new Float64Array(layout.n);
    if (floatProducts === null || (plan !== "updates" && plan !== "all")) {
      return this.#measuredDirectly(work, exponent);
    }
    const gram = gramError(place, exponent);
    const { error, begun } = await reduceFloatsToBand(place, { plan, products, floatProducts }, exponent);
    const values = this.#valuesOfBand(work, exponent);
    if (floatGramSuffices(values, error)) return values;
    if (begun === null || !floatGramSuffices(values, gram)) return null;
    const careful = await this.#byBand(work, { exponent, begun });
    return floatGramSuffices(careful, gram) ? careful : null;
  }

  async #byBand(
    work: Work,
    { exponent, begun }: { readonly exponent: number; readonly begun: Begun | null },
  ): Promise<Float64Array<ArrayBuffer>> {
    await reduceToBand(this.#workplace(work), this.#products.products, begun);
    return this.#valuesOfBand(work, exponent);
  }

  /** The values of a small Gram matrix, which is left as it is. */
  #directly(work: Work, exponent: number): Float64Array<ArrayBuffer> {
    const place = this.#workplace(work);
    toLower(place);
    reduceDirectly(place);
    return rootsOf(tridiagonalEigenvalues(this.#kernels, place.memory, work.layout), exponent);
  }

  /** The same, with the error measured: in floats where it lets that pass, or else in doubles. */
  #measuredDirectly(work: Work, exponent: number): Float64Array<ArrayBuffer> | null {
    const place = this.#workplace(work);
    const { signs, image } = work.layout;
    for (const floats of [true, false]) {
      toLower(place);
      startProbe(place, { signs, image, factor: 1 });
      const error = reduceMeasured(place, { floats, exponent });
      const values = rootsOf(tridiagonalEigenvalues(this.#kernels, place.memory, work.layout), exponent);
      if (floatGramSuffices(values, error)) return values;
    }
    return null;
  }

  /**
   * Scales the Gram matrix to have its largest element near 1.
   *
   * @returns e for a matrix that is 4^-e times what belongs to the bytes; null when it is zero.
   */
  #normalize(work: Work): number | null {
    const { layout, exponent, plan } = work;
    const max = diagonal(this.#workplace(work)).reduce((most, x) => Math.max(most, x), 0);
    if (max === 0) return null;
    const half = Math.floor(exponentOf(max) / 2); // an even power of two: its root is one as well
    scaleGram({ kernels: this.#kernels, layout }, { factor: 2 ** (-2 * half), floats: plan !== "none" });
    return half + (exponent ?? 0);
  }

  #valuesOfBand({ layout }: Work, exponent: number): Float64Array<ArrayBuffer> {
    const checkInterrupted = () => this.#checkInterrupted();
    chaseBulges(this.#kernels, layout, checkInterrupted);
    const eigenvalues = bandEigenvalues(this.#kernels, this.#memory.buffer, layout);
    return rootsOf(eigenvalues, exponent);
  }
}

/** Copies the Gram matrix to where small orders are reduced. */
function toLower({ kernels, layout }: Workplace): void {
  const { blocks, order, width, lower, lowerLd } = layout;
  kernels.blocksToLower(blocks, order, width, lower, lowerLd);
}
