// The passes over A as the leading worker sees them: vectors in, A^T A times them or A^T times U out. The rows are
// multiplied by all workers; the generators say which pass they need next.

import type { KernelMemory } from "../kernel-memory.ts";
import { type Columns, elementsOf } from "./columns.ts";
import { type Pass, padded, sumsDoubles } from "./plan.ts";
import type { ProductWork } from "./row-products.ts";

/** Passes to make, one after another, and at last the result. */
export type Passes<T> = Generator<Pass, T, void>;

/** Owns nothing: moves vectors between the leader's memory and what all workers share, and counts the passes. */
export class MatrixPasses {
  readonly #memory: KernelMemory;
  readonly #work: ProductWork;
  #count = 1; // the matrix has been examined

  constructor(memory: KernelMemory, work: ProductWork) {
    this.#memory = memory;
    this.#work = work;
  }

  /** How often the matrix has been read. */
  get count(): number {
    return this.#count;
  }

  /** z = A^T A X; the images A X are to be loaded before the next pass. */
  *square(x: Columns, z: Columns): Passes<void> {
    const basis = new Float64Array(this.#work.shared.basis, 0, x.ld * padded(x.count));
    basis.fill(0, x.ld * x.count);
    basis.set(elementsOf(this.#memory, x));
    yield { vectors: x.count, left: 0 };
    this.#addUp(z);
  }

  /** z = A^T U */
  *transposed(u: Columns, z: Columns): Passes<void> {
    new Float64Array(this.#work.shared.left).set(elementsOf(this.#memory, u));
    yield { vectors: 0, left: u.count };
    this.#addUp(z);
  }

  /** The images that the last pass made. */
  loadImages(into: Columns): void {
    elementsOf(this.#memory, into).set(new Float64Array(this.#work.shared.images, 0, into.ld * into.count));
  }

  /** The sums of all slices, in their order. */
  #addUp(z: Columns): void {
    this.#count++;
    const { plan, shared } = this.#work;
    const size = z.ld * z.count;
    const out = elementsOf(this.#memory, z);
    out.set(new Float64Array(shared.sums, 0, size));
    for (let slice = 1; slice < plan.slices; slice++) {
      const sums = new Float64Array(shared.sums, 8 * slice * sumsDoubles(plan), size);
      for (let i = 0; i < size; i++) out[i] = (out[i] ?? 0) + (sums[i] ?? 0);
    }
  }
}
