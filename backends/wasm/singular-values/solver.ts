// All singular values of one matrix after another, on the calling thread, in one WebAssembly memory: the square roots
// of the eigenvalues of the Gram matrix of the smaller side, whose products are floats first where `fast` is asked for
// and doubles otherwise, or, where squaring has cost too much (guard.ts), those of the triangular factor. Bytes are
// taken as they arrive.
import type { Precision } from "../../../src/backend.ts";
import { floatDTypeBytes } from "../../../src/tensor/dtype.ts";
import { DTYPE_NUMBER, instantiateKernels, type Kernels } from "../kernels.ts";
import {
  type Direct,
  isDirect,
  isDirectInFloats,
  reduceDirectly,
  reduceMeasured,
  startProbe,
} from "./direct.ts";
import { type FloatGramError, floatGramError, floatGramSuffices, gramSuffices, isOblong } from "./guard.ts";
import { DEPTH, type Layout, layOut, type MatrixHeader, triesFloats } from "./layout.ts";
import { type Outlook, outlookOf } from "./noise-floor.ts";
import { exponentOf, factorFor, firstExponent, largestMagnitude } from "./scaling.ts";
import { reduceToBand } from "./stage-one.ts";
import { gramStep } from "./steps.ts";
import { ALONE, type Team } from "./team.ts";

const PAGE_BYTES = 65536;
// A memory that is larger by this than what the next matrix needs is given back first.
const SPARE_BYTES = 64 * 2 ** 20;
// Columns made bidiagonal between two looks at the interruption.
const BIDIAGONAL_STEPS = 16;

/** What the rows are folded into: the Gram matrix, by products of floats or of doubles, or the triangular factor. */
type Target = "floats" | "gram" | "triangle";

interface Work {
  readonly header: MatrixHeader;
  readonly layout: Layout;
  readonly dtype: number;
  target: Target;
  /** Bytes of the matrix that have arrived, and that have been folded in. */
  arrived: number;
  folded: number;
  /** What has been folded in was multiplied by 2^-exponent first; null until the first value that is not 0. */
  exponent: number | null;
  /** Rows (tall) or columns (wide) that have been folded in. */
  lines: number;
  /** Of float products that are being added up. */
  outlook: Outlook;
}

/** Owns one WebAssembly memory and keeps it from matrix to matrix: `begin`, `append` until all rows are in, `finish`. */
export class Solver {
  readonly #module: WebAssembly.Module;
  readonly #precision: Precision;
  readonly #interrupted: () => boolean;
  readonly #team: Team;
  #memory: WebAssembly.Memory<ArrayBufferLike>;
  #kernels: Kernels;
  #work: Work | null = null;

  /**
   * @param module - the compiled kernels, the shared build where the team's memory is shared.
   * @param precision - with `fast`, matrices are tried in float32 products first where `triesFloats` says so.
   * @param interrupted - asked every few milliseconds; once true, the work in progress throws an Error.
   * @param team - who does the large steps.
   */
  constructor(
    module: WebAssembly.Module,
    precision: Precision,
    interrupted: () => boolean,
    team: Team = ALONE,
  ) {
    this.#module = module;
    this.#precision = precision;
    this.#interrupted = interrupted;
    this.#team = team;
    this.#memory = team.memory ?? newMemory();
    this.#kernels = instantiateKernels(module, this.#memory);
  }

  /**
   * Starts a matrix, dropping one in progress; with `triangle` by the way that does not square.
   *
   * @throws MatrixError when it does not fit WebAssembly's 4 GiB.
   */
  begin(header: MatrixHeader, target: Target = this.#targetOf(header)): void {
    this.#work = null;
    const layout = layOut(header, this.#kernels, this.#team.helpers);
    this.#reserve(layout.sizeBytes);
    this.#work = {
      header,
      layout,
      dtype: DTYPE_NUMBER[header.dtype],
      target,
      arrived: 0,
      folded: 0,
      exponent: null,
      lines: 0,
      outlook: "good",
    };
    this.#aim(this.#work, target);
    this.#team.begin(target === "floats");
  }

  /**
   * Starts a matrix all of whose bytes lie where its layout has them, as the first part; false, and nothing done, where the
   * layout has no room for them.
   */
  adopt(header: MatrixHeader, target: Target): boolean {
    const once = { ...header, rereadable: false };
    if (!layOut(once, this.#kernels, this.#team.helpers).whole) return false;
    this.begin(once, target);
    this.#current().arrived = sizeOf(header);
    return true;
  }

  #targetOf(header: MatrixHeader): Target {
    return triesFloats(this.#precision, header) ? "floats" : "gram";
  }

  /** Takes the next bytes, cut anywhere. Throws MatrixError at NaN and Infinity, RangeError at bytes past its end. */
  append(bytes: Uint8Array): void {
    const work = this.#current();
    const { layout } = work;
    if (work.arrived + bytes.length > sizeOf(work.header))
      throw wrongSize(work.header, work.arrived + bytes.length);
    for (let at = 0; at < bytes.length; ) {
      const held = work.arrived - work.folded;
      const part = bytes.subarray(at, at + layout.blockBytes - held);
      new Uint8Array(this.#memory.buffer, blockAt(work) + held, part.length).set(part);
      at += part.length;
      work.arrived += part.length;
      if (held + part.length === layout.blockBytes && !layout.wide) this.#foldRows(work);
    }
  }

  /**
   * Computes the singular values, descending; null when the rows are needed again: append them, and finish.
   *
   * @throws RangeError when rows are missing; Error when an iteration does not converge.
   */
  finish(): Float64Array<ArrayBuffer> | null {
    const work = this.#current();
    if (work.arrived !== sizeOf(work.header)) throw wrongSize(work.header, work.arrived);
    for (;;) {
      this.#foldRest(work);
      if (work.target === "triangle") return this.#fromTriangle(work);
      const values = work.outlook === "poor" ? null : this.#fromGram(work);
      if (values !== null) return values;
      this.#aim(work, work.target === "floats" ? "gram" : "triangle");
      if (work.target === "gram") this.#team.restart(false); // nobody can help with a triangle
      if (!work.layout.whole) break;
    }
    if (!work.header.rereadable) {
      throw new Error(
        `Cannot compute the small singular values of a ${work.header.shape.join(" x ")} matrix accurately: ` +
          "its rows are needed a second time, and can be read only once",
      );
    }
    work.arrived = 0;
    return null;
  }

  /** Begins to fold the rows into `target`, from the first one. */
  #aim(work: Work, target: Target): void {
    const { square, ld, order, n, lengths, signs, product } = work.layout;
    work.target = target;
    work.folded = 0;
    work.lines = 0;
    work.outlook = target === "floats" && !isOblong(work.header.shape) ? "open" : "good";
    work.exponent = firstExponent(work.header, target === "floats");
    this.#kernels.clear(square, ld * order);
    if (target !== "floats") return;
    this.#kernels.probeSigns(n, signs);
    this.#kernels.clear(lengths, order);
    this.#kernels.clear(product, order);
  }

  #current(): Work {
    if (this.#work === null) throw new Error("No matrix has been begun");
    return this.#work;
  }

  #reserve(sizeBytes: number): void {
    if (this.#team.memory !== null) {
      growTo(this.#team.memory, sizeBytes); // others have it too; a shared one is freed with its threads alone
      return;
    }
    const memory = reserve(this.#memory, sizeBytes);
    if (memory === this.#memory) return;
    this.#memory = memory;
    this.#kernels = instantiateKernels(this.#module, memory);
  }

  #checkInterrupted(): void {
    if (this.#interrupted()) throw new Error("The wasm backend was closed");
  }

  /** The factor for the next values, `count` of them at `address`; rescales what is folded in already. */
  #factor(work: Work, address: number, count: number): number {
    const { header, target, layout } = work;
    const max = largestMagnitude(this.#kernels, { header, address, count }, () => this.#checkInterrupted());
    const floats = target === "floats";
    return factorFor(work, { max, floats }, (factor) => {
      const { square, ld, order, lengths, product } = layout;
      this.#kernels.scale(square, ld * order, factor);
      if (!floats) return;
      this.#kernels.scale(lengths, order, factor);
      this.#kernels.scale(product, order, factor);
    });
  }

  /** Folds in the rows of a tall matrix that have arrived since the last time. */
  #foldRows(work: Work): void {
    this.#checkInterrupted();
    const { n, packed } = work.layout;
    const rowBytes = n * floatDTypeBytes(work.header.dtype);
    const block = Math.min(work.layout.blockBytes, work.arrived - work.folded);
    const k = block / rowBytes;
    const address = blockAt(work);
    work.folded += block;
    if (work.outlook === "poor") return;
    const factor = this.#factor(work, address, k * n);
    if (work.target === "floats") this.#kernels.packRowsFloats(address, work.dtype, n, k, factor, packed);
    else this.#kernels.packRows(address, work.dtype, n, k, factor, packed);
    this.#foldPacked(work, k);
  }

  /** Folds in what has arrived and is not folded in yet; all of a wide matrix. */
  #foldRest(work: Work): void {
    const { n, m, raw, packed, wide } = work.layout;
    if (!wide) {
      while (work.folded < work.arrived) this.#foldRows(work);
      return;
    }
    const factor = this.#factor(work, raw, n * m);
    for (let k0 = 0; k0 < m && work.outlook !== "poor"; k0 += DEPTH) {
      this.#checkInterrupted();
      const k = Math.min(DEPTH, m - k0);
      if (work.target === "floats") {
        this.#kernels.packColumnsFloats(raw, work.dtype, n, m, k0, k, factor, packed);
      } else {
        this.#kernels.packColumns(raw, work.dtype, n, m, k0, k, factor, packed);
      }
      this.#foldPacked(work, k);
    }
  }

  #foldPacked(work: Work, k: number): void {
    const { target, layout } = work;
    const { n, packed, square, order, columns, lengths, signs, product, scratch } = layout;
    switch (target) {
      case "floats":
        this.#team.run(this.#kernels, gramStep("gramFloats", layout, { depth: k, kernels: this.#kernels }));
        this.#kernels.probeAdd(packed, n, k, signs, scratch, product, lengths);
        work.lines += k;
        if (work.outlook === "open") work.outlook = this.#outlook(work);
        return;
      case "gram":
        this.#team.run(this.#kernels, gramStep("gram", layout, { depth: k, kernels: this.#kernels }));
        return;
      case "triangle":
        this.#kernels.qrAdd(packed, n, k, square, order, columns);
        return;
      default:
        target satisfies never;
    }
  }

  /** The values, or null when they may be too coarse. */
  #fromGram(work: Work): Float64Array<ArrayBuffer> | null {
    const { n, order, ld, square, lengths } = work.layout;
    const floats = work.target === "floats";
    if (floats) this.#kernels.setDiagonal(square, n, ld, lengths);
    const max = this.#kernels.gramMax(square, n, ld);
    if (max === 0) return new Float64Array(n);
    const half = Math.floor(exponentOf(max) / 2); // an even power of two: its root is one as well
    if (floats) return this.#fromFloatGram(work, half);
    const values = isDirect(order) ? this.#directly(work, half) : this.#byBand(work, half);
    return gramSuffices(values) ? values : null;
  }

  /** The same from float products: null as soon as they are seen not to suffice. */
  #fromFloatGram(work: Work, half: number): Float64Array<ArrayBuffer> | null {
    const { header, layout } = work;
    let rough: Float64Array | null = null;
    if (isDirectInFloats(header.shape)) {
      const { values, error } = this.#measuredDirectly(work, { half, floats: true });
      if (floatGramSuffices(values, error)) return values;
      rough = values;
    }
    const gram = this.#gramError(work, work.exponent ?? 0);
    if (rough !== null && !floatGramSuffices(rough, gram)) return null;
    if (isDirect(layout.order)) {
      const { values, error } = this.#measuredDirectly(work, { half, floats: false });
      return floatGramSuffices(values, error) ? values : null;
    }
    const values = this.#byBand(work, half);
    return floatGramSuffices(values, gram) ? values : null;
  }

  /** Mirrors the Gram matrix, which is 4^-exponent times what it stands for, and compares it to the probe. */
  #gramError({ layout }: Work, exponent: number): FloatGramError {
    const { n, ld, square, signs, product, turnedImage } = layout;
    const { buffer: memory } = this.#memory;
    const ex = new Float64Array(memory, turnedImage, n);
    ex.set(new Float64Array(memory, product, n));
    this.#kernels.gramMirror(square, n, ld);
    this.#kernels.probeResidual(square, n, ld, signs, turnedImage);
    return floatGramError(new Float64Array(memory, signs, n), ex, exponent);
  }

  /** What is to be expected of float products by the rows so far. */
  #outlook(work: Work): Outlook {
    const { layout, lines } = work;
    const { n, m, ld, square, lengths } = layout;
    const gram = new Float64Array(this.#memory.buffer, square);
    return outlookOf({
      lines,
      m,
      n,
      element: (row, column) => gram[4 * (Math.floor(row / 4) * ld + column) + (row % 4)] ?? 0,
      spread: () => {
        this.#kernels.setDiagonal(square, n, ld, lengths);
        return this.#gramError(work, 0).spread;
      },
    });
  }

  /** The values of a small order; the Gram matrix is left as it is. */
  #directly(work: Work, half: number): Float64Array<ArrayBuffer> {
    const direct = this.#toLower(work, half);
    reduceDirectly(direct);
    return this.#tridiagonalValues(work, half);
  }

  /** The same with the error measured since the matrix's bytes, the tridiagonal form in doubles or in floats. */
  #measuredDirectly(work: Work, { half, floats }: { readonly half: number; readonly floats: boolean }) {
    const { signs, product } = work.layout;
    const direct = this.#toLower(work, half);
    startProbe(direct, { signs, image: product, factor: 2 ** (-2 * half) });
    const error = reduceMeasured(direct, { floats, exponent: half + (work.exponent ?? 0) });
    return { values: this.#tridiagonalValues(work, half), error };
  }

  /** Copies the Gram matrix, scaled, to where small orders are reduced. */
  #toLower({ layout }: Work, half: number): Direct {
    const kernels = this.#kernels;
    const { order, ld, square, lower, lowerLd } = layout;
    kernels.panelsToLower(square, ld, order, 2 ** (-2 * half), lower, lowerLd);
    return {
      kernels,
      memory: this.#memory.buffer,
      layout,
      checkInterrupted: () => this.#checkInterrupted(),
    };
  }

  #tridiagonalValues({ layout, exponent }: Work, half: number): Float64Array<ArrayBuffer> {
    const eigenvalues = tridiagonalEigenvalues(this.#kernels, this.#memory.buffer, layout);
    return rootsOf(eigenvalues, half + (exponent ?? 0));
  }

  /** The values by way of a band; the Gram matrix is lost. */
  #byBand({ target, layout, exponent }: Work, half: number): Float64Array<ArrayBuffer> {
    const kernels = this.#kernels;
    const { n, order, ld, square } = layout;
    if (target === "gram") kernels.gramMirror(square, n, ld); // that of floats has been mirrored for its error
    kernels.scale(square, ld * order, 2 ** (-2 * half));
    const check = () => this.#checkInterrupted();
    reduceToBand(this.#team, kernels, layout, check);
    this.#team.chaseBulges(kernels, layout, check);
    return rootsOf(bandEigenvalues(kernels, this.#memory.buffer, layout), half + (exponent ?? 0));
  }

  #fromTriangle({ layout, exponent }: Work): Float64Array<ArrayBuffer> {
    const kernels = this.#kernels;
    const { n, order, square, diagonal, beside, vectors } = layout;
    kernels.clear(vectors, 3 * n + 1);
    for (let i = 0; i < n; i += BIDIAGONAL_STEPS) {
      this.#checkInterrupted();
      kernels.bidiagonalize(
        square,
        order,
        n,
        i,
        Math.min(n, i + BIDIAGONAL_STEPS),
        diagonal,
        beside,
        vectors,
      );
    }
    if (kernels.bidiagonalValues(n, diagonal, beside, vectors) < 0) {
      throw new Error(`The singular values of a bidiagonal matrix of order ${n} did not converge`);
    }
    return descending(new Float64Array(this.#memory.buffer, diagonal, n), (value) => value, exponent ?? 0);
  }
}

export function newMemory(): WebAssembly.Memory {
  return new WebAssembly.Memory({ initial: 2, maximum: 65536 });
}

/** A memory of at least that size: this one, or a new one when it is much too large. Throws an Error when there is none. */
export function reserve<B extends ArrayBufferLike>(
  before: WebAssembly.Memory<B>,
  sizeBytes: number,
): WebAssembly.Memory<B> | WebAssembly.Memory {
  const memory = before.buffer.byteLength > sizeBytes + SPARE_BYTES ? newMemory() : before;
  growTo(memory, sizeBytes);
  return memory;
}

/** Makes a memory at least that large. Throws an Error when it cannot be had. */
function growTo(memory: WebAssembly.Memory<ArrayBufferLike>, sizeBytes: number): void {
  const missing = Math.ceil((sizeBytes - memory.buffer.byteLength) / PAGE_BYTES);
  if (missing <= 0) return;
  try {
    memory.grow(missing);
  } catch (cause) {
    const mib = Math.ceil(sizeBytes / 2 ** 20);
    throw new Error(`Cannot reserve ${mib} MiB for a matrix; use fewer threads or free some memory`, {
      cause,
    });
  }
}

/**
 * The eigenvalues of the symmetric matrix of order `n` whose band lies at `band`, its bulges chased, in no order: a view
 * of `diagonal`.
 *
 * @throws Error when the iteration does not converge.
 */
export function bandEigenvalues(
  kernels: Kernels,
  memory: ArrayBufferLike,
  {
    n,
    band,
    bandDoubles,
    diagonal,
    beside,
  }: Pick<Layout, "n" | "band" | "bandDoubles" | "diagonal" | "beside">,
): Float64Array {
  const bandLd = kernels.bandLd();
  const b = new Float64Array(memory, band, bandDoubles);
  const d = new Float64Array(memory, diagonal, n);
  const e = new Float64Array(memory, beside, n);
  for (let i = 0; i < n; i++) {
    d[i] = b[i * bandLd] ?? 0;
    e[i] = b[i * bandLd + 1] ?? 0;
  }
  return tridiagonalEigenvalues(kernels, memory, { n, diagonal, beside });
}

/** The same of a symmetric tridiagonal matrix: its diagonal, and what is beside it. */
export function tridiagonalEigenvalues(
  kernels: Kernels,
  memory: ArrayBufferLike,
  { n, diagonal, beside }: Pick<Layout, "n" | "diagonal" | "beside">,
): Float64Array {
  if (kernels.ql(n, diagonal, beside) < 0) {
    throw new Error(`The eigenvalues of a tridiagonal matrix of order ${n} did not converge`);
  }
  return new Float64Array(memory, diagonal, n);
}

/** The roots of eigenvalues of a Gram matrix times 2^exponent, largest first; what rounding made negative is 0. */
export function rootsOf(eigenvalues: Float64Array, exponent: number): Float64Array<ArrayBuffer> {
  return descending(eigenvalues, (value) => Math.sqrt(Math.max(value, 0)), exponent);
}

/** f(x) 2^exponent of all x, largest first. */
function descending(xs: Float64Array, f: (x: number) => number, exponent: number): Float64Array<ArrayBuffer> {
  const values = Float64Array.from(xs, (x) => f(x) * 2 ** exponent);
  return values.sort().reverse();
}

/** Address of the first byte that is not folded in yet. */
function blockAt({ layout, folded }: Work): number {
  return layout.raw + (layout.whole && !layout.wide ? folded : 0);
}

function sizeOf({ shape, dtype }: MatrixHeader): number {
  return shape[0] * shape[1] * floatDTypeBytes(dtype);
}

export function wrongSize(header: MatrixHeader, got: number): RangeError {
  const { shape, dtype } = header;
  const expected = sizeOf(header);
  return new RangeError(
    `Cannot read a ${shape[0]} x ${shape[1]} matrix of ${dtype}: ` +
      `expected ${expected} bytes of rows, got ${got > expected ? "at least" : "only"} ${got}`,
  );
}
