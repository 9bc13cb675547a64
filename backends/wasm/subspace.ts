// Leading singular triplets by randomized subspace iteration: Halko, Martinsson and Tropp, Finding structure with
// randomness, 2011, algorithm 4.4, with Rayleigh-Ritz after each step and, where the spectrum is flat, Chebyshev
// polynomials in place of powers (Rutishauser, Simultaneous iteration, 1970). The passes over A are made by others: the
// generators say which they need next.
import { type SvdRequest, svdRounding, type TruncatedSvd } from "../../src/backend-svd.ts";
import {
  type Columns,
  elementsOf,
  jacobi,
  lengthOf,
  multiply,
  orthonormalize,
  someColumns,
  subtractSpan,
  takeColumns,
} from "./columns.ts";
import { type Gaussian, gaussian } from "./gaussian.ts";
import { KernelMemory } from "./kernel-memory.ts";
import {
  normBound,
  PROBE_DEGREES,
  PROBES,
  type Residuals,
  residualNormBound,
  valueBounds,
} from "./svd-bounds.ts";
import { leaderBytes, type Pass, padded, type SvdMemory, type SvdPlan, sumsDoubles } from "./svd-plan.ts";

/** Highest degree of the polynomial between two orthonormalisations. */
const MAX_DEGREE = 16;
/** Logarithm of how far columns may grow apart before they are made orthonormal again: rounding takes 2^-53 of that. */
const MAX_GROWTH = 18;
/** Probes that have grown so far are near enough to the bound that they can give. */
const LARGE_PROBE = 1e100;

/** Passes to make, one after another, and at last the result. */
export type Passes<T> = Generator<Pass, T, void>;

/** Owns the WebAssembly memory in which the triplets of one matrix grow. */
export class SubspaceIteration {
  readonly #memory: KernelMemory;
  readonly #plan: SvdPlan;
  readonly #request: SvdRequest;
  readonly #shared: SvdMemory;
  readonly #check: () => void;
  readonly #random: Gaussian;
  /** Four blocks of right vectors, of which the passes and rotations make the next from the others. */
  readonly #right: readonly [Columns, Columns, Columns, Columns];
  readonly #images: Columns;
  readonly #u: Columns;
  readonly #triangle: Columns;
  readonly #rotation: Columns;
  readonly #coefficients: number;
  /** Vectors as the passes take them, and one slice's sums as they give them. */
  readonly #panels: number;
  #passes = 1; // the matrix has been examined
  #s = new Float64Array(0);

  /** @param check - called often; what it throws ends the work. */
  constructor(module: WebAssembly.Module, { plan, request, shared }: SubspaceWork, check: () => void) {
    const [rows, columns] = plan.shape;
    const memory = new KernelMemory(module, leaderBytes(plan));
    const right = () => takeColumns(memory, columns, plan.sums);
    this.#memory = memory;
    this.#plan = plan;
    this.#request = request;
    this.#shared = shared;
    this.#check = check;
    this.#random = gaussian(request.seed);
    this.#right = [right(), right(), right(), right()];
    this.#images = takeColumns(memory, rows, Math.max(plan.width, PROBES));
    this.#u = takeColumns(memory, rows, plan.rank);
    this.#triangle = takeColumns(memory, plan.width, plan.width);
    this.#rotation = takeColumns(memory, plan.width, plan.width);
    this.#coefficients = memory.take(8 * plan.sums ** 2);
    this.#panels = memory.take(8 * sumsDoubles(plan));
  }

  /** Computes the triplets of A, of which the passes see 2^-exponent A. */
  *run(exponent: number): Passes<TruncatedSvd> {
    const spaces = yield* this.#iterate();
    const residuals = yield* this.#examine(spaces);
    return this.#result(spaces.v, residuals, 2 ** exponent);
  }

  /** Leaves the values, and U, beside the right singular vectors that it returns. */
  *#iterate(): Passes<Spaces> {
    const { width, shape, rank } = this.#plan;
    const [first, second, third, fourth] = this.#right;
    const wide = (columns: Columns) => someColumns(columns, width);
    let [x, z, v, w] = [wide(first), wide(second), wide(third), wide(fourth)];
    this.#draw(x);
    for (;;) {
      orthonormalize(this.#memory, x, this.#triangle, this.#check);
      yield* this.#multiply(x, z, 0);
      this.#ritz(x, z, v, w);
      const residual = this.#largestResidual(v, w, x);
      const left = this.#request.maxPasses - this.#passes;
      if (residual <= this.#enough() || left <= 0) break;
      // A subspace as wide as the matrix needs nothing but the null space taken away.
      const degree = width === Math.min(...shape) ? 1 : Math.min(left, this.#degree(residual));
      const state = yield* this.#filter({ old: v, now: w, free: x }, degree);
      [x, z, v, w] = [state.now, z, state.old, state.free];
    }
    this.#leftVectors();
    return { v: someColumns(v, rank), spare: [x, z, w] };
  }

  /** V = X J and W = Z J = A^T A V, such that A V has orthogonal columns, whose lengths are the values. */
  #ritz(x: Columns, z: Columns, v: Columns, w: Columns): void {
    this.#loadImages(this.#images, this.#plan.width);
    const images = someColumns(this.#images, this.#plan.width);
    orthonormalize(this.#memory, images, this.#triangle, this.#check);
    const small = { g: this.#triangle, rotation: this.#rotation, scratch: this.#coefficients };
    this.#s = Float64Array.from(jacobi(this.#memory, small, this.#check));
    multiply(this.#memory, x, this.#rotation, v);
    multiply(this.#memory, z, this.#rotation, w);
  }

  /** The largest |A^T u - s v| of the triplets that are wanted, but for what rounding adds; `free` is overwritten. */
  #largestResidual(v: Columns, w: Columns, free: Columns): number {
    const { rank } = this.#plan;
    const rest = someColumns(free, rank);
    elementsOf(this.#memory, rest).set(elementsOf(this.#memory, someColumns(w, rank)));
    subtractSpan(this.#memory, rest, { v, b: v, y: rest, scratch: this.#coefficients });
    let most = 0;
    for (let i = 0; i < rank; i++) {
      const value = this.#s[i] ?? 0;
      if (value > 0) most = Math.max(most, lengthOf(this.#memory, rest, i) / value);
    }
    return most;
  }

  /** Half of what is allowed, so that what is measured at the end stays within. */
  #enough(): number {
    const largest = this.#s[0] ?? 0;
    return Math.max((this.#request.tolerance * largest) / 2, svdRounding(this.#plan.shape, largest) / 2);
  }

  /** Degree that is expected to do, within what growth allows. */
  #degree(residual: number): number {
    const square = (i: number) => (this.#s[i] ?? 0) ** 2;
    const least = square(this.#plan.width - 1);
    const rate = (i: number) => Math.acosh(Math.max(1, (2 * square(i)) / least - 1));
    const allowed = Math.floor(MAX_GROWTH / rate(0));
    const needed = Math.ceil(Math.log((4 * residual) / this.#enough()) / rate(this.#plan.rank - 1));
    const degree = Math.min(allowed, needed, MAX_DEGREE);
    return degree >= 1 ? degree : 1;
  }

  /**
   * T(2 A^T A / c - 1) V of that degree, c the smallest value's square: it grows above c and stays below 1 in magnitude
   * under it. The first degree is the plain power A^T A V.
   *
   * @param blocks - V, A^T A V, and one to overwrite; the result is `now` of what is returned.
   */
  *#filter(blocks: Recurrence, degree: number): Passes<Recurrence> {
    if (degree === 1) return blocks;
    const c = (this.#s[this.#plan.width - 1] ?? 0) ** 2;
    const { old, now } = blocks;
    this.#combine(2 / c, now, -1, old, 0, old);
    let state = blocks;
    for (let j = 2; j <= degree; j++) {
      yield* this.#multiply(state.now, state.free, 0);
      state = this.#step(state, c);
    }
    return state;
  }

  /** The three-term recurrence: with `free` A^T A T_j it becomes T_(j + 1). */
  #step({ old, now, free }: Recurrence, c: number): Recurrence {
    this.#combine(4 / c, free, -2, now, -1, old);
    return { old: now, now: free, free: old };
  }

  #combine(a: number, x: Columns, b: number, y: Columns, c: number, z: Columns): void {
    this.#memory.kernels.combine(a, x.at, b, y.at, c, z.at, x.ld * x.count);
  }

  /** U from the orthonormal images and the rotated triangle. */
  #leftVectors(): void {
    const { rank, width } = this.#plan;
    const images = someColumns(this.#images, width);
    const small = someColumns(this.#triangle, rank);
    orthonormalize(this.#memory, small, someColumns(this.#rotation, rank), this.#check);
    multiply(this.#memory, images, small, this.#u);
    new Float64Array(this.#shared.left).set(elementsOf(this.#memory, this.#u));
  }

  /** Measures A^T U - V S, and probes what the triplets leave of A. */
  *#examine({ v, spare: [first, second, third] }: Spaces): Passes<Residuals> {
    const { rank, shape } = this.#plan;
    const probes = rank < Math.min(...shape) ? PROBES : 0;
    const w = someColumns(first, probes);
    this.#draw(w);
    subtractSpan(this.#memory, w, { v, b: v, y: w, scratch: this.#coefficients });

    const sums = someColumns(second, probes + rank);
    yield* this.#multiply(w, sums, rank);
    const g = someColumns(second, rank, probes);
    const state = { old: w, now: someColumns(sums, probes), free: someColumns(third, probes) };
    const rest = probes === 0 ? 0 : yield* this.#probe({ v, g }, state);

    const s = this.#s.slice(0, rank);
    // A V - U S is Q (R J - U' S), rotations of the triangle: rounding, which the allowance covers.
    const left = new Float64Array(rank);
    const right = new Float64Array(rank);
    for (let i = 0; i < rank; i++) {
      const column = someColumns(g, 1, i);
      this.#combine(1, column, -(s[i] ?? 0), someColumns(v, 1, i), 0, column);
      right[i] = lengthOf(this.#memory, column, 0);
    }
    return { s, left, right, rest };
  }

  /**
   * An upper bound on the norm of F = (1 - U U^T) A (1 - V V^T).
   *
   * @param known - V and A^T U.
   * @param begun - the probes, and A^T A of them.
   */
  *#probe({ v, g }: { readonly v: Columns; readonly g: Columns }, begun: Recurrence): Passes<number> {
    const next = this.#s[this.#plan.rank] ?? 0;
    const c = Math.max(next, svdRounding(this.#plan.shape, this.#s[0] ?? 0)) ** 2;
    const wanted = this.#s[this.#plan.rank - 1] ?? 0;
    this.#deflate({ v, g }, begun.now);
    this.#combine(2 / c, begun.now, -1, begun.old, 0, begun.old);
    let state = begun;
    let bound = Infinity;
    for (let degree = 1; ; degree++) {
      let most = 0;
      for (let i = 0; i < PROBES; i++) most = Math.max(most, lengthOf(this.#memory, state.now, i));
      bound = Math.min(bound, normBound(most, degree, c));
      if (bound <= wanted || degree === PROBE_DEGREES || most > LARGE_PROBE) return bound;
      yield* this.#multiply(state.now, state.free, 0);
      this.#deflate({ v, g }, state.free);
      state = this.#step(state, c);
    }
  }

  /** From A^T A W to F^T F W, for W orthogonal to V: the part of A W along U is taken away, and what is along V. */
  #deflate({ v, g }: { readonly v: Columns; readonly g: Columns }, z: Columns): void {
    const images = someColumns(this.#images, PROBES);
    this.#loadImages(images, PROBES);
    subtractSpan(this.#memory, z, { v: g, b: this.#u, y: images, scratch: this.#coefficients });
    subtractSpan(this.#memory, z, { v, b: v, y: z, scratch: this.#coefficients });
  }

  #result(v: Columns, residuals: Residuals, unit: number): TruncatedSvd {
    const { rank, shape } = this.#plan;
    const [rows, columns] = shape;
    const { s, left, right } = residuals;
    const largest = s[0] ?? 0;
    const rounding = svdRounding(shape, largest);
    const u = new Float64Array(rows * rank);
    const vt = new Float64Array(rank * columns);
    for (let j = 0; j < rank; j++) {
      const column = elementsOf(this.#memory, someColumns(this.#u, 1, j));
      for (let i = 0; i < rows; i++) u[i * rank + j] = column[i] ?? 0;
      vt.set(elementsOf(this.#memory, someColumns(v, 1, j)).subarray(0, columns), j * columns);
    }
    const own = Float64Array.from(s, (_, i) => Math.max(left[i] ?? 0, right[i] ?? 0) + rounding);
    const limit = Math.max(this.#request.tolerance * largest, 2 * rounding);
    return {
      rank,
      u,
      s: s.map((value) => value * unit),
      vt,
      residuals: own.map((value) => value * unit),
      bounds: valueBounds(residuals).map((value) => (value + rounding) * unit),
      residualNorm: (residualNormBound(residuals) + rounding) * unit,
      converged: own.every((value) => value <= limit),
      passes: this.#passes,
    };
  }

  /** Independent standard normal elements. */
  #draw(x: Columns): void {
    const elements = elementsOf(this.#memory, x).fill(0);
    for (let j = 0; j < x.count; j++) this.#random(elements.subarray(j * x.ld, j * x.ld + x.rows));
  }

  /** One pass: z = A^T A X, followed by A^T U for that many columns of U. */
  *#multiply(x: Columns, z: Columns, left: number): Passes<void> {
    const { kernels } = this.#memory;
    const basis = new Float64Array(this.#shared.basis);
    const size = x.rows * padded(x.count);
    kernels.columnsToPanels(x.at, x.ld, x.rows, x.count, this.#panels, x.rows);
    basis.set(this.#memory.doubles(this.#panels, size));
    yield { vectors: x.count, left };
    this.#passes++;
    elementsOf(this.#memory, z).fill(0);
    const sums = new Float64Array(this.#shared.sums);
    const doubles = sumsDoubles(this.#plan);
    for (let slice = 0; slice < this.#plan.slices; slice++) {
      this.#check();
      const tiles = sums.subarray(slice * doubles, (slice + 1) * doubles);
      this.#memory.doubles(this.#panels, doubles).set(tiles);
      kernels.addTiles(this.#panels, x.rows, z.count, z.at, z.ld);
    }
  }

  #loadImages(into: Columns, count: number): void {
    const images = new Float64Array(this.#shared.images, 0, into.ld * count);
    elementsOf(this.#memory, someColumns(into, count)).set(images);
  }
}

/** What an iteration works on. */
export interface SubspaceWork {
  readonly plan: SvdPlan;
  readonly request: SvdRequest;
  readonly shared: SvdMemory;
}

/** The right singular vectors, and the blocks that are free. */
interface Spaces {
  readonly v: Columns;
  readonly spare: readonly [Columns, Columns, Columns];
}

/** Three blocks of vectors: T_(j - 1), T_j, and one that takes T_(j + 1). */
interface Recurrence {
  readonly old: Columns;
  readonly now: Columns;
  readonly free: Columns;
}
