// All singular values of one matrix after another, as wasm's solver computes them, with the large products by ONNX
// Runtime: of floats first where `fast` is asked for. Where squaring has cost too much (wasm/singular-values/guard.ts), wasm's solver
// takes over, which needs no Gram matrix.
import { floatDTypeBytes } from "../../../src/tensor/dtype.ts";
import { DTYPE_NUMBER, instantiateKernels, type Kernels } from "../../wasm/kernels.ts";
import { reduceDirectly, reduceMeasured, startProbe } from "../../wasm/singular-values/direct.ts";
import {
  type FloatGramError,
  floatGramSuffices,
  gramSuffices,
  isOblong,
} from "../../wasm/singular-values/guard.ts";
import type { MatrixHeader } from "../../wasm/singular-values/layout.ts";
import { type Outlook, outlookOf } from "../../wasm/singular-values/noise-floor.ts";
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
import type { DeviceGram } from "../device/gram.ts";
import { PAIR } from "../device/graphs.ts";
import type { Upload } from "../device/upload.ts";
import { type FloatPlan, floatPlan, STAGE_SPREAD, stagePlan } from "./float-plan.ts";
import {
  addFloatGram,
  addGram,
  addProbe,
  clearGram,
  diagonal,
  gramError,
  gramFlatness,
  scaleGram,
  setDiagonal,
  type Workplace,
} from "./gram.ts";
import { type HybridLayout, isHeld, layOutHybrid, reducesDirectly } from "./layout.ts";
import type { ThreadProducts } from "./products.ts";
import { type Begun, reduceFloatsToBand, reduceToBand } from "./stage-one.ts";

/** Half of what the SNR may be off where a device multiplies floats. */
const DEVICE_TOLERANCE = 5e-5;

interface Work {
  readonly header: MatrixHeader;
  /** What of it is products of floats, by the processor, or besides the Gram matrix by the device. */
  readonly plan: FloatPlan;
  /** How it goes to the device; null: there is none. */
  readonly upload: Upload | null;
  readonly layout: HybridLayout;
  readonly dtype: number;
  readonly sizeBytes: number;
  /** The bytes so far, where they may be needed again and have no room in the memory; as long as the matrix. */
  readonly outside: Uint8Array | null;
  arrived: number;
  /** Rows in the area of undecoded bytes are multiplied by 2^-exponent; null until the first value that is not 0. */
  exponent: number | null;
  /** Rows (tall) or columns (wide) that have been folded in. */
  lines: number;
  /** Of float products that are being added up by the processor. */
  outlook: Outlook;
}

/** Rows (tall) or columns (wide) that are folded in. */
interface Folded {
  readonly depth: number;
  /** They are multiplied by it first. */
  readonly factor: number;
}

/** Owns a WebAssembly memory: `begin`, `append` until all rows are in, `finish`. One call at a time. */
export class HybridSolver {
  readonly #module: WebAssembly.Module;
  readonly #products: ThreadProducts;
  /** Makes the Gram matrix; null: the products do. */
  readonly #device: DeviceGram | null;
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
   * @param device - makes the Gram matrix, where there is one.
   */
  constructor(
    module: WebAssembly.Module,
    products: ThreadProducts,
    interrupted: () => boolean,
    device: DeviceGram | null = null,
  ) {
    this.#module = module;
    this.#products = products;
    this.#device = device;
    this.#interrupted = interrupted;
    this.#memory = newMemory();
    this.#kernels = instantiateKernels(module, this.#memory);
  }

  /** Starts a matrix, dropping one in progress. Throws MatrixError when it does not fit WebAssembly's 4 GiB. */
  begin(header: MatrixHeader): void {
    this.#work = null;
    this.#delegate = null;
    const plan = this.#plan(header);
    if (plan === "wasm") {
      this.#delegateToWasm().begin(header);
      return;
    }
    this.#work = this.#workOn(header, plan, null);
  }

  #plan(header: MatrixHeader): FloatPlan {
    if (this.#device !== null) return this.#device.plan(header);
    return this.#products.floatProducts === null ? "none" : floatPlan(header);
  }

  /** @param before - an earlier attempt, whose bytes stay where they are. */
  #workOn(header: MatrixHeader, plan: FloatPlan, before: Work | null): Work {
    const floats = plan !== "none";
    const upload = this.#device?.upload(header) ?? null;
    const layout = layOutHybrid(header, this.#kernels, plan, upload);
    const least = before === null ? 0 : this.#memory.buffer.byteLength;
    this.#reserve(Math.max(least, layout.sizeBytes));
    clearGram({ kernels: this.#kernels, layout }, floats);
    if (upload !== null) this.#device?.begin(layout, upload);
    const sizeBytes = layout.n * layout.m * floatDTypeBytes(header.dtype);
    return {
      header,
      plan,
      upload,
      layout,
      dtype: DTYPE_NUMBER[header.dtype],
      sizeBytes,
      outside: before?.outside ?? (isHeld(header) && layout.held === null ? new Uint8Array(sizeBytes) : null),
      arrived: 0,
      exponent: firstExponent(header, floats),
      lines: 0,
      outlook: floats && upload === null && !isOblong(header.shape) ? "open" : "good",
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
    this.#heldBytes(work)?.set(bytes, work.arrived);
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
    await this.#device?.settle(this.#workplace(work));
    const values = await this.#values(work);
    if (values !== null) return values;
    if (work.plan === "none" || this.#device !== null) return this.#handOver(work);
    this.#work = this.#workOn(header, "none", work);
    return this.#again(this.#heldBytes(this.#work));
  }

  /** Takes all bytes once more, and finishes; null where they are not at hand. */
  async #again(held: Uint8Array | null): Promise<Float64Array<ArrayBuffer> | null> {
    if (held === null) return null;
    for (;;) {
      await this.append(held);
      const values = await this.finish();
      if (values !== null) return values;
    }
  }

  /** Has wasm's solver compute the matrix: from the bytes that lie here, or from its rows, which come again. */
  #handOver(work: Work): Promise<Float64Array<ArrayBuffer> | null> | Float64Array<ArrayBuffer> | null {
    const { header, layout } = work;
    this.#work = null;
    const target = this.#device?.floats ? "gram" : "triangle";
    const wasm = this.#delegateToWasm();
    if (layout.held !== null && wasm.adopt(header, target)) return wasm.finish();
    const held = layout.held === null ? work.outside : (this.#heldBytes(work)?.slice() ?? null);
    wasm.begin({ ...header, rereadable: true }, target);
    return this.#again(held);
  }

  /** All bytes of the matrix, as far as they have arrived, where they may be needed again. */
  #heldBytes({ layout, outside, sizeBytes }: Work): Uint8Array | null {
    if (layout.held === null) return outside;
    return new Uint8Array(this.#memory.buffer, layout.held, sizeBytes);
  }

  #delegateToWasm(): Solver {
    const team = { ...ALONE, memory: this.#memory };
    this.#wasm ??= new Solver(this.#module, "fast", this.#interrupted, team);
    this.#delegate = this.#wasm;
    return this.#wasm;
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
    const held = this.#heldBytes(work);
    for (let left = 0; left < m; left += depth) {
      const columns = Math.min(depth, m - left);
      // To a device go pairs: what the last ones lack are zeros.
      const pitch = work.upload === null ? columns : PAIR * Math.ceil(columns / PAIR);
      const area = new Uint8Array(this.#memory.buffer, raw, n * pitch * elementBytes);
      if (pitch > columns) area.fill(0);
      for (let row = 0; row < n; row++) {
        const at = (row * m + left) * elementBytes;
        const part = held?.subarray(at, at + columns * elementBytes);
        if (part !== undefined) area.set(part, row * pitch * elementBytes);
      }
      await this.#fold(work, pitch);
    }
  }

  /** Folds in the `depth` rows (tall) or columns (wide) that stand in the area of undecoded bytes. */
  async #fold(work: Work, depth: number): Promise<void> {
    const { layout, plan, upload } = work;
    if (work.outlook === "poor") return;
    const factor = await this.#factor(work, layout.n * depth);
    const { floatProducts, products } = this.#products;
    const place = this.#workplace(work);
    if (plan !== "none") {
      this.#decodeFloats(work, { depth, factor });
      addProbe(place, depth);
    }
    if (this.#device !== null && upload !== null)
      await this.#device.add(place, upload, { dtype: work.header.dtype, depth, factor });
    else if (plan !== "none" && floatProducts !== null) {
      await addFloatGram(place, floatProducts, depth);
      work.lines += depth;
      if (work.outlook === "open") work.outlook = this.#outlook(work);
    } else {
      this.#decode(work, { depth, factor });
      await addGram(place, products, depth);
    }
  }

  #decode({ layout, dtype }: Work, { depth, factor }: Folded): void {
    const { raw, decoded, n, order, wide } = layout;
    if (wide) this.#kernels.decode(raw, dtype, n * depth, factor, decoded);
    else this.#kernels.decodeTransposed(raw, dtype, n, depth, factor, decoded);
    this.#kernels.clear(decoded + 8 * n * depth, (order - n) * depth);
  }

  #decodeFloats({ layout, dtype }: Work, { depth, factor }: Folded): void {
    const { raw, decoded, n, order, wide } = layout;
    if (wide) this.#kernels.decodeFloats(raw, dtype, n * depth, factor, decoded);
    else this.#kernels.decodeTransposedFloats(raw, dtype, n, depth, factor, decoded);
    new Float32Array(this.#memory.buffer, decoded + 4 * n * depth, (order - n) * depth).fill(0);
  }

  /** The factor for the `count` values in the area of undecoded bytes; rescales what is folded in already. */
  async #factor(work: Work, count: number): Promise<number> {
    const { header, layout } = work;
    const checkInterrupted = () => this.#checkInterrupted();
    const max = largestMagnitude(this.#kernels, { header, address: layout.raw, count }, checkInterrupted);
    const floats = work.plan !== "none";
    let rescaling = 1;
    const factor = factorFor(work, { max, floats }, (by) => {
      rescaling = by;
    });
    if (rescaling !== 1) {
      await this.#device?.settle(this.#workplace(work));
      scaleGram({ kernels: this.#kernels, layout }, { factor: rescaling, floats });
    }
    return factor;
  }

  /** The values, or null when they may be too coarse. */
  async #values(work: Work): Promise<Float64Array<ArrayBuffer> | null> {
    if (work.outlook === "poor") return null;
    return work.plan === "none" ? this.#fromGram(work) : this.#fromFloatGram(work);
  }

  async #fromGram(work: Work): Promise<Float64Array<ArrayBuffer> | null> {
    const exponent = this.#normalize(work);
    if (exponent === null) return new Float64Array(work.layout.n);
    const values = reducesDirectly(work.plan, work.layout.order)
      ? this.#directly(work, exponent)
      : await this.#byBand(work, { exponent, begun: null });
    return gramSuffices(values) ? values : null;
  }

  /** The same from products of floats, as far as the plan goes and what it gave is accurate enough. */
  async #fromFloatGram(work: Work): Promise<Float64Array<ArrayBuffer> | null> {
    const { products, floatProducts } = this.#products;
    const { plan, layout } = work;
    const place = this.#workplace(work);
    setDiagonal(place);
    const exponent = this.#normalize(work);
    if (exponent === null) return new Float64Array(layout.n);
    if (reducesDirectly(plan, layout.order)) return this.#measuredDirectly(work, exponent);
    const gram = gramError(place, exponent);
    let begun: Begun | null = null;
    if (floatProducts !== null && (plan === "updates" || plan === "all")) {
      const device = this.#device?.client ?? null;
      // The matrix that a device keeps is of floats in any case.
      const isChosen = plan === "all" && device === null;
      const followed = isChosen ? stagePlan(work.header, gramFlatness(place)) : plan;
      const stage = { plan: followed, products, floatProducts, device };
      const reduction = await reduceFloatsToBand(place, stage, exponent);
      const values = this.#valuesOfBand(work, exponent);
      if (this.#floatsSuffice(values, reduction.error)) return values;
      begun = reduction.begun;
      if (begun === null || !this.#floatsSuffice(values, gram)) return null;
    }
    const values = await this.#byBand(work, { exponent, begun });
    return this.#floatsSuffice(values, gram) ? values : null;
  }

  /** What is to be expected of float products by the rows so far. */
  #outlook(work: Work): Outlook {
    const { lines, layout } = work;
    const { n, m, width, blocks } = layout;
    const gram = new Float64Array(this.#memory.buffer, blocks);
    return outlookOf(
      {
        lines,
        m,
        n,
        element: (row, column) => gram[row * width + column] ?? 0,
        spread: () => {
          const place = this.#workplace(work);
          setDiagonal(place);
          return gramError(place, 0).spread;
        },
      },
      STAGE_SPREAD,
    );
  }

  #floatsSuffice(values: Float64Array, error: FloatGramError): boolean {
    return floatGramSuffices(values, error, this.#device === null ? undefined : DEVICE_TOLERANCE);
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
      if (this.#floatsSuffice(values, error)) return values;
      if (!this.#floatsSuffice(values, gramError(place, exponent))) return null;
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
