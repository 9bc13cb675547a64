// All singular values of one matrix after another, on the calling thread, in one WebAssembly memory: the square roots
// of the eigenvalues of the float64 Gram matrix of the smaller side. Bytes are taken as they arrive; of a tall matrix
// only the rows at hand are held.
import { matrixDTypeBytes } from "../../src/tensor/dtype.ts";
import { DTYPE_NUMBER, instantiateKernels, type Kernels } from "./kernels.ts";
import { DEPTH, type Layout, layOut, type MatrixHeader } from "./layout.ts";

const PAGE_BYTES = 65536;
// A memory that is larger by this than what the next matrix needs is given back first.
const SPARE_BYTES = 64 * 2 ** 20;
// Values of a float64 matrix are scaled to stay below 2^64: squares neither overflow nor vanish.
const HEADROOM_BITS = 64;
// Elements checked for NaN between two looks at the interruption.
const CHECKED_ELEMENTS = 2 ** 22;

interface Work {
  readonly header: MatrixHeader;
  readonly layout: Layout;
  readonly dtype: number;
  /** Bytes of the matrix that have arrived. */
  arrived: number;
  /** Bytes that lie in the raw area. */
  held: number;
  /** What is in the Gram matrix was multiplied by 2^-exponent first; null until the first value that is not 0. */
  exponent: number | null;
}

/** Owns one WebAssembly memory and keeps it from matrix to matrix: `begin`, `append` until all rows are in, `finish`. */
export class Solver {
  readonly #module: WebAssembly.Module;
  readonly #interrupted: () => boolean;
  #memory: WebAssembly.Memory;
  #kernels: Kernels;
  #work: Work | null = null;

  /**
   * @param module - the compiled kernels.
   * @param interrupted - asked every few milliseconds; once true, the work in progress throws an Error.
   */
  constructor(module: WebAssembly.Module, interrupted: () => boolean) {
    this.#module = module;
    this.#interrupted = interrupted;
    this.#memory = new WebAssembly.Memory({ initial: 2, maximum: 65536 });
    this.#kernels = instantiateKernels(module, this.#memory);
  }

  /** Starts a matrix, dropping one in progress. Throws RangeError when it does not fit WebAssembly's 4 GiB. */
  begin(header: MatrixHeader): void {
    this.#work = null;
    const layout = layOut(header, this.#kernels);
    this.#reserve(layout.sizeBytes);
    this.#kernels.clear(layout.gram, layout.ld * layout.order);
    this.#work = {
      header,
      layout,
      dtype: DTYPE_NUMBER[header.dtype],
      arrived: 0,
      held: 0,
      exponent: header.dtype === "F64" ? null : 0,
    };
  }

  /** Takes the next bytes, cut anywhere. Throws RangeError at NaN, Infinity and bytes past the end of the matrix. */
  append(bytes: Uint8Array): void {
    const work = this.#current();
    const { layout } = work;
    work.arrived += bytes.length;
    if (work.arrived > sizeOf(work.header)) throw wrongSize(work);
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + layout.rawBytes - work.held);
      new Uint8Array(this.#memory.buffer, layout.raw + work.held, part.length).set(part);
      at += part.length;
      work.held += part.length;
      if (work.held === layout.rawBytes && !layout.wide) this.#absorbRows(work);
    }
  }

  /** Computes the singular values, descending. Throws RangeError when rows are missing, Error without convergence. */
  finish(): Float64Array<ArrayBuffer> {
    const work = this.#current();
    if (work.arrived !== sizeOf(work.header)) throw wrongSize(work);
    if (work.layout.wide) this.#absorbColumns(work);
    else if (work.held > 0) this.#absorbRows(work);
    const values = this.#eigenvalues(work);
    this.#work = null;
    return values;
  }

  #current(): Work {
    if (this.#work === null) throw new Error("No matrix has been begun");
    return this.#work;
  }

  #reserve(sizeBytes: number): void {
    if (this.#memory.buffer.byteLength > sizeBytes + SPARE_BYTES) {
      this.#memory = new WebAssembly.Memory({ initial: 2, maximum: 65536 });
      this.#kernels = instantiateKernels(this.#module, this.#memory);
    }
    const missing = Math.ceil((sizeBytes - this.#memory.buffer.byteLength) / PAGE_BYTES);
    if (missing <= 0) return;
    try {
      this.#memory.grow(missing);
    } catch (cause) {
      const mib = Math.ceil(sizeBytes / 2 ** 20);
      throw new Error(`Cannot reserve ${mib} MiB for a matrix; use fewer threads or free some memory`, {
        cause,
      });
    }
  }

  #checkInterrupted(): void {
    if (this.#interrupted()) throw new Error("The wasm backend was closed");
  }

  /** Largest magnitude of `count` elements of the raw area. */
  #maxAbs(work: Work, count: number): number {
    const elementBytes = matrixDTypeBytes(work.header.dtype);
    let most = 0;
    for (let at = 0; at < count; at += CHECKED_ELEMENTS) {
      this.#checkInterrupted();
      const part = Math.min(CHECKED_ELEMENTS, count - at);
      const max = this.#kernels.maxAbs(work.layout.raw + at * elementBytes, part, work.dtype);
      if (Number.isNaN(max)) {
        const [rows, columns] = work.header.shape;
        throw new RangeError(
          `Cannot compute the singular values of a ${rows} x ${columns} matrix: it holds NaN or Infinity`,
        );
      }
      most = Math.max(most, max);
    }
    return most;
  }

  /** The factor by which to multiply the next values, of magnitude up to `max`; rescales what is summed already. */
  #factor(work: Work, max: number): number {
    if (work.header.dtype !== "F64") return 1; // squares of the other types' values are well inside float64's range
    if (max > 0) {
      const exponent = exponentOf(max);
      if (work.exponent !== null && exponent > work.exponent + HEADROOM_BITS) {
        const { gram, ld, order } = work.layout;
        this.#kernels.scale(gram, ld * order, 2 ** (2 * (work.exponent - exponent)));
        work.exponent = exponent;
      }
      work.exponent ??= exponent;
    }
    return 2 ** -(work.exponent ?? 0);
  }

  #absorbRows(work: Work): void {
    const { n, raw, packed, gram, ld } = work.layout;
    const k = work.held / (n * matrixDTypeBytes(work.header.dtype));
    const factor = this.#factor(work, this.#maxAbs(work, k * n));
    this.#kernels.packRows(raw, work.dtype, n, k, factor, packed);
    this.#kernels.gramAdd(packed, n, k, gram, ld);
    work.held = 0;
  }

  #absorbColumns(work: Work): void {
    const { n, m, raw, packed, gram, ld } = work.layout;
    const factor = this.#factor(work, this.#maxAbs(work, n * m));
    for (let k0 = 0; k0 < m; k0 += DEPTH) {
      this.#checkInterrupted();
      const k = Math.min(DEPTH, m - k0);
      this.#kernels.packColumns(raw, work.dtype, n, m, k0, k, factor, packed);
      this.#kernels.gramAdd(packed, n, k, gram, ld);
    }
  }

  #eigenvalues(work: Work): Float64Array<ArrayBuffer> {
    const kernels = this.#kernels;
    const { n, order, ld, gram, band, bandDoubles, workspace, diagonal, below } = work.layout;
    const max = kernels.gramMax(gram, n, ld);
    if (max === 0) return new Float64Array(n);
    kernels.gramMirror(gram, n, ld);
    const half = Math.floor(exponentOf(max) / 2); // an even power of two: its root is one as well
    kernels.scale(gram, ld * order, 2 ** (-2 * half));

    kernels.clear(band, bandDoubles);
    for (let j = 0; j < order; j += kernels.bandWidth()) {
      this.#checkInterrupted();
      kernels.reducePanel(gram, ld, order, j, band, workspace);
    }
    for (let s0 = 0; s0 < n - 1; s0 += kernels.sweepGroup()) {
      this.#checkInterrupted();
      kernels.chaseBulges(band, n, s0);
    }
    const bandLd = kernels.bandLd();
    const b = new Float64Array(this.#memory.buffer, band, bandDoubles);
    const d = new Float64Array(this.#memory.buffer, diagonal, n);
    const e = new Float64Array(this.#memory.buffer, below, n);
    for (let i = 0; i < n; i++) {
      d[i] = b[i * bandLd] ?? 0;
      e[i] = b[i * bandLd + 1] ?? 0;
    }
    if (kernels.ql(n, diagonal, below) < 0) {
      throw new Error(`The eigenvalues of a tridiagonal matrix of order ${n} did not converge`);
    }
    const unit = 2 ** (half + (work.exponent ?? 0));
    return Float64Array.from(d, (value) => Math.sqrt(Math.max(value, 0)) * unit)
      .sort()
      .reverse();
  }
}

function sizeOf({ shape, dtype }: MatrixHeader): number {
  return shape[0] * shape[1] * matrixDTypeBytes(dtype);
}

function wrongSize({ header, arrived }: Work): RangeError {
  const [rows, columns] = header.shape;
  const verb = arrived > sizeOf(header) ? "at least" : "only";
  return new RangeError(
    `Cannot read a ${rows} x ${columns} matrix of ${header.dtype}: ` +
      `expected ${sizeOf(header)} bytes of rows, got ${verb} ${arrived}`,
  );
}

/** e such that 2^e <= x < 2^(e + 1), kept within +-1000: a power of two and its inverse are then both finite. */
function exponentOf(x: number): number {
  const bits = new DataView(new ArrayBuffer(8));
  bits.setFloat64(0, x);
  return Math.max(-1000, Math.min(1000, ((bits.getUint16(0) >> 4) & 0x7ff) - 1023));
}
