// Probes what approximate right singular vectors V leave of A: see bounds.ts.
import { svdRounding } from "../../../src/backend-svd.ts";
import { eigenvalueBound, normBound, PROBES } from "./bounds.ts";
import { type Columns, elementsOf, lengthOf, someColumns, subtractSpan, takeColumns } from "./columns.ts";
import type { KrylovWork } from "./krylov.ts";
import type { Passes } from "./passes.ts";
import { padded } from "./plan.ts";

/** With so many the bound is within some 5 % of the norm, whatever the spectrum. */
const MOST_PASSES = 10;
/** A step so short has vanished, and none follows it. */
const VANISHED = 1e-290;

/** Owns the random vectors. */
export class Remainder {
  readonly #work: KrylovWork;
  /** X_(j - 1), X_j, and one that takes A^T A X_j. */
  #blocks: readonly [Columns, Columns, Columns];
  readonly #images: Columns;
  readonly #scratch: number;

  constructor(work: KrylovWork) {
    const { memory, plan } = work;
    const take = () => takeColumns(memory, plan.shape[1], PROBES);
    this.#work = work;
    this.#blocks = [take(), take(), take()];
    this.#images = takeColumns(memory, plan.shape[0], PROBES);
    this.#scratch = memory.take(8 * padded(plan.rank + PROBES) * PROBES);
  }

  /**
   * An upper bound on |A (1 - V V^T)|, as near as it takes to be below `wanted`; V is orthonormal.
   *
   * @param largest - the largest singular value of A, which rounding is in proportion to.
   */
  *bound(v: Columns, wanted: number, largest: number): Passes<number> {
    const { memory, passes, plan } = this.#work;
    const rounding = svdRounding(plan.shape, largest);
    let [before, now, next] = this.#blocks;
    const length = this.#begin(v, now);
    const a: number[] = [];
    const b: number[] = [];
    elementsOf(memory, before).fill(0);
    for (let least = Infinity; ; [before, now, next] = [now, next, before]) {
      yield* passes.square(now, next);
      if (a.length === 0) {
        passes.loadImages(this.#images);
        least = normBound(length * this.#length(this.#images)) + rounding;
      }
      this.#deflate(v, next);
      a.push(this.#product(now, next));
      this.#combine(next, -(a.at(-1) ?? 0), now, -(b.at(-1) ?? 0), before);
      b.push(this.#length(next));
      const square = eigenvalueBound({ length, a, b }) + rounding * largest;
      least = Math.min(least, Math.sqrt(square));
      if (least <= wanted || a.length === MOST_PASSES || (b.at(-1) ?? 0) < VANISHED) return least;
      memory.kernels.scale(next.at, next.ld * PROBES, 1 / (b.at(-1) ?? 1));
    }
  }

  /** Standard normal vectors without their part in V, then made 1 long together; returns how long they were. */
  #begin(v: Columns, x: Columns): number {
    const { memory, random } = this.#work;
    for (let j = 0; j < PROBES; j++) {
      random(elementsOf(memory, someColumns(x, 1, j)).subarray(0, x.rows));
    }
    this.#deflate(v, x);
    const length = this.#length(x);
    memory.kernels.scale(x.at, x.ld * PROBES, 1 / length);
    return length;
  }

  #deflate(v: Columns, x: Columns): void {
    subtractSpan(this.#work.memory, x, { v, b: v, y: x, scratch: this.#scratch });
  }

  #combine(x: Columns, b: number, y: Columns, c: number, z: Columns): void {
    this.#work.memory.kernels.combine(1, x.at, b, y.at, c, z.at, x.ld * PROBES);
  }

  /** Of all as one long vector. */
  #length(x: Columns): number {
    return Math.hypot(...Array.from({ length: PROBES }, (_, j) => lengthOf(this.#work.memory, x, j)));
  }

  #product(x: Columns, y: Columns): number {
    return this.#work.memory.kernels.dot(x.at, y.at, x.ld * PROBES);
  }
}
