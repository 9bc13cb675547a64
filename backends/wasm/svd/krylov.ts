// Leading right singular vectors by block Lanczos on A^T A from random vectors (Musco and Musco, Randomized block Krylov
// methods, 2015), every vector made orthogonal to all others, and restarted with the best of the basis (Wu and Simon,
// Thick-restart Lanczos method, 2000) before it outgrows its bound. The images A V are kept beside the basis V.
import { type SvdRequest, svdRounding } from "../../../src/backend-svd.ts";
import type { KernelMemory } from "../kernel-memory.ts";
import { PROBES } from "./bounds.ts";
import {
  type Columns,
  elementsOf,
  lengthOf,
  multiply,
  orthonormalize,
  rotate,
  someColumns,
  subtractSpan,
  symmetricEigen,
  takeColumns,
} from "./columns.ts";
import type { Gaussian } from "./gaussian.ts";
import type { MatrixPasses, Passes } from "./passes.ts";
import { padded, ROTATED_ROWS, type SvdPlan } from "./plan.ts";

/** A guard's residual, as a share of the least value asked for, that lets it stand for what it found. */
const GUARD_RESIDUAL = 1e-3;
/** Elements of A in a pass that take as long as one of the order^3 of a look. */
const LOOK_COST = 4;
/** Part of the way to where the residuals are expected to suffice after which they are looked at again. */
const EAGERNESS = 0.75;

/** What a Krylov space is grown with. */
export interface KrylovWork {
  readonly memory: KernelMemory;
  readonly plan: SvdPlan;
  readonly request: SvdRequest;
  readonly passes: MatrixPasses;
  readonly random: Gaussian;
  /** Called often; what it throws ends the work. */
  readonly check: () => void;
}

/** Approximate eigenvectors of A^T A, best first. */
export interface RitzVectors {
  readonly v: Columns;
  /** A v */
  readonly images: Columns;
  /** |A^T A x - V T y| of x = V y is |tail y|: coefficients in the basis, the projected matrix, and what led out of it. */
  readonly coefficients: Columns;
  readonly projected: Columns;
  readonly tail: Columns;
}

/** Owns the basis V, its images, and T = V^T A^T A V. */
export class BlockKrylov {
  readonly #work: KrylovWork;
  readonly #basis: Columns;
  readonly #images: Columns;
  readonly #product: Columns;
  /** T, a copy for its eigenvectors, and these. */
  readonly #projected: Columns;
  readonly #copy: Columns;
  readonly #vectors: Columns;
  /** V^T z, found twice: what the first time leaves of z is rounding. */
  readonly #inside: readonly [Columns, Columns];
  /** Q^T z of the block Q that follows, which is all that A^T A V has outside V; and that times the eigenvectors. */
  readonly #outside: Columns;
  readonly #tail: Columns;
  readonly #scratch: number;
  /** Eigenvalues of T, descending. */
  #values = new Float64Array(0);
  /** The longest of A times the last vectors. */
  #reach = 0;
  /** The last look at the residuals, and the pass to look after next. */
  #look = { passes: 0, residual: Infinity, next: 0 };

  constructor(work: KrylovWork) {
    const { memory, plan } = work;
    const [rows, columns] = plan.shape;
    const small = (width: number) => takeColumns(memory, plan.most, width);
    this.#work = work;
    this.#basis = takeColumns(memory, columns, plan.most + plan.block);
    this.#images = takeColumns(memory, rows, plan.most);
    this.#product = takeColumns(memory, columns, plan.block);
    [this.#projected, this.#copy, this.#vectors] = [small(plan.most), small(plan.most), small(plan.most)];
    this.#inside = [small(plan.block), small(plan.block)];
    this.#outside = takeColumns(memory, plan.block, plan.block);
    this.#tail = takeColumns(memory, plan.block, plan.most);
    this.#scratch = memory.take(8 * (ROTATED_ROWS + 4) * padded(plan.most));
  }

  /** Grows the basis until the first `rank` residuals suffice, it spans everything, or the passes are used up. */
  *grow(): Passes<RitzVectors> {
    const { plan, request, passes } = this.#work;
    let block = this.#begin();
    for (let size = block.count; ; size += block.count) {
      const z = someColumns(this.#product, block.count);
      yield* passes.square(block, z);
      const images = someColumns(this.#images, block.count, size - block.count);
      passes.loadImages(images);
      this.#reach = this.#longest(images);
      const lengths = this.#project(z, size);
      if (size === plan.shape[1]) return this.#ritz(size, null);
      block = this.#extend(z, lengths, size);
      const isLast = passes.count >= request.maxPasses && size >= plan.rank;
      const isFull = size + block.count > plan.most;
      if (!isLast && !isFull && !this.#isTimeToLook(size)) continue;
      const found = this.#ritz(size, z.count);
      if (isLast || this.#suffices(found)) return found;
      if (!isFull) continue;
      size = this.#restart(found);
      block = this.#append(block, size);
    }
  }

  /**
   * |A^T A v - lambda v| / sqrt(lambda) of the first `count`: what |A^T u - s v| will be. Below the rounding of A^T A
   * nothing can be seen, and more steps would show nothing; but a value that rounding hides may stand for one that was
   * missed, as long as the last vectors are mapped to what can be seen.
   */
  residuals({ tail }: RitzVectors, count: number): Float64Array<ArrayBuffer> {
    const noise = this.#noise();
    const hidden = svdRounding(this.#work.plan.shape, this.#values[0] ?? 0);
    return Float64Array.from({ length: count }, (_, i) => {
      if ((this.#values[i] ?? 0) <= hidden) return this.#reach ** 2 <= hidden ? 0 : this.#reach;
      const length = lengthOf(this.#work.memory, tail, i);
      return length <= noise ? 0 : length / this.#value(i);
    });
  }

  /**
   * Takes the first `rank` vectors out of the basis, and as many more as are near enough to tell what is left without
   * them; the space is used up by it.
   */
  take(found: RitzVectors): RitzVectors {
    const { memory, plan } = this.#work;
    const most = Math.min(found.v.count, plan.rank + PROBES, ...plan.shape);
    const residuals = this.residuals(found, most);
    const enough = GUARD_RESIDUAL * this.#value(plan.rank - 1);
    let count = plan.rank;
    while (count < most && (residuals[count] ?? 0) + this.#noise() / this.#value(count) <= enough) count++;
    const coefficients = someColumns(found.coefficients, count);
    return {
      v: rotate(memory, found.v, coefficients, this.#scratch),
      images: rotate(memory, found.images, coefficients, this.#scratch),
      coefficients,
      projected: found.projected,
      tail: someColumns(found.tail, count),
    };
  }

  /** Random vectors, orthonormal. */
  #begin(): Columns {
    const { memory, plan, random, check } = this.#work;
    const block = someColumns(this.#basis, plan.block);
    for (let j = 0; j < block.count; j++) {
      random(elementsOf(memory, someColumns(block, 1, j)).subarray(0, block.rows));
    }
    orthonormalize(memory, block, this.#outside, check);
    return block;
  }

  /** z -= V V^T z, and T grows by V^T z, z being A^T A times the last vectors. Returns the lengths after the first time. */
  #project(z: Columns, size: number): readonly number[] {
    const { memory } = this.#work;
    const v = someColumns(this.#basis, size);
    const [first, second] = this.#inside;
    subtractSpan(memory, z, { v, b: v, y: z, scratch: first.at });
    const lengths = Array.from({ length: z.count }, (_, j) => lengthOf(memory, z, j));
    subtractSpan(memory, z, { v, b: v, y: z, scratch: second.at });
    const t = elementsOf(memory, this.#projected);
    const [once, twice] = [
      memory.doubles(first.at, size * z.count),
      memory.doubles(second.at, size * z.count),
    ];
    const { ld } = this.#projected;
    const begin = size - z.count;
    for (let j = 0; j < z.count; j++) {
      for (let i = 0; i < size; i++) {
        const value = (once[j * size + i] ?? 0) + (twice[j * size + i] ?? 0);
        t[(begin + j) * ld + i] = value;
        t[i * ld + begin + j] = value; // of both halves of a symmetric block the later one counts
      }
    }
    return lengths;
  }

  /** Appends an orthonormal basis of z to V; where V leaves less room than that, one of all that V lacks. */
  #extend(z: Columns, lengths: readonly number[], size: number): Columns {
    const { memory, plan, check } = this.#work;
    const block = this.#append(someColumns(z, Math.min(plan.block, plan.shape[1] - size)), size);
    for (let j = 0; j < block.count; j++) {
      check();
      const length = lengthOf(memory, block, j);
      memory.kernels.orthonormalize(block.at, block.ld, block.rows, block.ld, j, this.#scratch);
      const left = memory.doubles(this.#scratch, j + 1)[j] ?? 0;
      // What has all but vanished is no longer at right angles to V; what has vanished became any direction.
      if (length > 0.5 * (lengths[j] ?? 0) && left > 0.1 * length) continue;
      const all = someColumns(this.#basis, size + j + 1);
      memory.kernels.orthonormalize(all.at, all.ld, all.rows, all.ld, size + j, this.#scratch);
    }
    const out = this.#outside;
    memory.kernels.innerProducts(block.at, block.ld, block.count, z.at, z.ld, z.count, z.ld, out.at, out.ld);
    return block;
  }

  /** Copies the vectors behind the first `size` of the basis. */
  #append(vectors: Columns, size: number): Columns {
    const block = someColumns(this.#basis, vectors.count, size);
    elementsOf(this.#work.memory, block).set(elementsOf(this.#work.memory, vectors));
    return block;
  }

  /** Eigenvectors of T, best first; `width`: how many of the last vectors A^T A leads out of V, null for none. */
  #ritz(size: number, width: number | null): RitzVectors {
    const { memory } = this.#work;
    const square = (columns: Columns): Columns => ({ ...someColumns(columns, size), rows: size });
    const projected = square(this.#projected);
    const t = square(this.#copy);
    const coefficients = square(this.#vectors);
    elementsOf(memory, t).set(elementsOf(memory, projected));
    this.#values = symmetricEigen(memory, { t, vectors: coefficients, scratch: this.#scratch });
    const tail = someColumns(this.#tail, size);
    elementsOf(memory, tail).fill(0);
    if (width !== null) {
      const last = { ...coefficients, at: coefficients.at + 8 * (size - width), rows: width };
      multiply(memory, someColumns(this.#outside, width), last, tail);
    }
    return {
      v: someColumns(this.#basis, size),
      images: someColumns(this.#images, size),
      coefficients,
      projected,
      tail,
    };
  }

  /** As soon as it can be enough where a look costs little beside a pass, else when it is expected to be. */
  #isTimeToLook(size: number): boolean {
    const { plan, passes } = this.#work;
    if (size < plan.rank) return false;
    return LOOK_COST * size ** 3 < plan.shape[0] * plan.shape[1] || passes.count >= this.#look.next;
  }

  /** Whether half of what is allowed is reached, so that what is measured at the end stays within; else plans the next look. */
  #suffices(found: RitzVectors): boolean {
    const { plan, request, passes } = this.#work;
    if (found.v.count < plan.rank) return false;
    const largest = this.#value(0);
    const enough = Math.max(request.tolerance * largest, svdRounding(plan.shape, largest)) / 2;
    const residual = Math.max(...this.residuals(found, plan.rank));
    const rate = Math.log(this.#look.residual / residual) / (passes.count - this.#look.passes);
    const needed = rate > 0 && rate < Infinity ? Math.log(residual / enough) / rate : 2;
    const next = passes.count + Math.max(1, Math.floor(EAGERNESS * needed));
    this.#look = { passes: passes.count, residual, next };
    return residual <= enough;
  }

  /** Cuts the basis down to the best; returns how many. */
  #restart(found: RitzVectors): number {
    const { memory, plan } = this.#work;
    const size = Math.max(plan.rank + plan.block, Math.floor(plan.most / 2));
    const coefficients = someColumns(found.coefficients, size);
    rotate(memory, found.v, coefficients, this.#scratch);
    rotate(memory, found.images, coefficients, this.#scratch);
    const t = elementsOf(memory, this.#projected).fill(0);
    for (let i = 0; i < size; i++) t[i * this.#projected.ld + i] = this.#values[i] ?? 0;
    return size;
  }

  #longest(x: Columns): number {
    return Math.max(...Array.from({ length: x.count }, (_, j) => lengthOf(this.#work.memory, x, j)));
  }

  /** What rounding of A^T A was seen to be at most; the allowance for it is larger, so that it holds. */
  #noise(): number {
    return svdRounding(this.#work.plan.shape, Math.max(0, this.#values[0] ?? 0)) / 16;
  }

  /** The i-th singular value, but for what rounding of A^T A hides. */
  #value(i: number): number {
    return Math.sqrt(Math.max(this.#noise(), this.#values[i] ?? 0, Number.MIN_VALUE));
  }
}
