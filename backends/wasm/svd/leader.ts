// Leads one truncated SVD: a Krylov space for the right singular vectors, their images for the rest, and proofs of both.
import { type SvdRequest, svdRounding, type TruncatedSvd } from "../../../src/backend-svd.ts";
import { KernelMemory } from "../kernel-memory.ts";
import { PROBES, type Residuals, residualNormBound, valueBounds } from "./bounds.ts";
import {
  type Columns,
  elementsOf,
  jacobi,
  lengthOf,
  multiply,
  orthonormalize,
  rotate,
  someColumns,
  takeColumns,
} from "./columns.ts";
import { gaussian } from "./gaussian.ts";
import { BlockKrylov, type KrylovWork, type RitzVectors } from "./krylov.ts";
import { MatrixPasses, type Passes } from "./passes.ts";
import { leaderBytes, ROTATED_ROWS } from "./plan.ts";
import { Remainder } from "./remainder.ts";
import type { ProductWork } from "./row-products.ts";

/** What is to be computed. */
export interface LeaderWork extends ProductWork {
  readonly request: SvdRequest;
}

/** U, V and the singular values of those triplets that were found, of which the first `rank` are wanted. */
interface Triplets {
  readonly u: Columns;
  readonly v: Columns;
  readonly s: Float64Array;
}

/** Owns the WebAssembly memory in which the triplets of one matrix grow. */
export class SvdLeader {
  readonly #work: KrylovWork;
  readonly #krylov: BlockKrylov;
  readonly #remainder: Remainder;
  readonly #backward: Columns;
  /** Of the order of the triplets: a triangle and its rotation; A^T A V in the basis. */
  readonly #triangle: Columns;
  readonly #rotation: Columns;
  readonly #coefficients: Columns;
  readonly #scratch: number;

  /** @param check - called often; what it throws ends the work. */
  constructor(module: WebAssembly.Module, work: LeaderWork, check: () => void) {
    const { plan, request } = work;
    const memory = new KernelMemory(module, leaderBytes(plan));
    const most = Math.min(plan.rank + PROBES, ...plan.shape);
    this.#work = {
      memory,
      plan,
      request,
      check,
      passes: new MatrixPasses(memory, work),
      random: gaussian(request.seed),
    };
    this.#krylov = new BlockKrylov(this.#work);
    this.#remainder = new Remainder(this.#work);
    this.#backward = takeColumns(memory, plan.shape[1], plan.rank);
    this.#triangle = takeColumns(memory, most, most);
    this.#rotation = takeColumns(memory, most, most);
    this.#coefficients = takeColumns(memory, plan.most, most);
    this.#scratch = memory.take(8 * ROTATED_ROWS * most);
  }

  /** Computes the triplets of A, of which the passes see 2^-exponent A. */
  *run(exponent: number): Passes<TruncatedSvd> {
    const { plan, passes } = this.#work;
    const found = this.#krylov.take(yield* this.#krylov.grow());
    const triplets = this.#triplets(found);
    const right = yield* this.#residuals(found, triplets);
    const largest = triplets.s[0] ?? 0;
    const wanted = triplets.s[plan.rank - 1] ?? 0;
    const isAll = found.v.count === Math.min(...plan.shape);
    const rest = isAll ? 0 : yield* this.#remainder.bound(triplets.v, wanted, largest);
    // A V - U S is Q (R J - U' S), rotations of a triangle: rounding, which the allowance covers.
    const residuals = { s: triplets.s, left: new Float64Array(right.length), right, rest };
    return this.#result(triplets, residuals, { unit: 2 ** exponent, passes: passes.count });
  }

  /** A V = Q R and R J = U' S: the triplets are Q U', S and V J. */
  #triplets(found: RitzVectors): Triplets {
    const { memory, check } = this.#work;
    const { v, images, coefficients } = found;
    const order = (columns: Columns): Columns => ({ ...someColumns(columns, v.count), rows: v.count });
    const [triangle, rotation] = [order(this.#triangle), order(this.#rotation)];
    orthonormalize(memory, images, triangle, check);
    const s = jacobi(memory, { g: triangle, rotation, scratch: this.#scratch }, check);
    rotate(memory, v, rotation, this.#scratch);
    rotate(memory, coefficients, rotation, this.#scratch);
    rotate(memory, found.tail, rotation, this.#scratch);
    orthonormalize(memory, triangle, rotation, check);
    return { u: rotate(memory, images, triangle, this.#scratch), v, s };
  }

  /**
   * |A^T u - s v|: from what A^T A V was found to be, as A^T u = A^T A v / s; and measured where rounding, which s divides,
   * leaves that uncertain.
   */
  *#residuals(
    { coefficients, projected, tail }: RitzVectors,
    { u, v, s }: Triplets,
  ): Passes<Float64Array<ArrayBuffer>> {
    const { memory, plan, passes } = this.#work;
    const largest = s[0] ?? 0;
    const rounding = svdRounding(plan.shape, largest);
    const across = someColumns(this.#coefficients, v.count);
    const rest: Columns = { ...across, ld: coefficients.ld, rows: coefficients.rows };
    multiply(memory, projected, coefficients, rest);
    const right = Float64Array.from(s, (value, i) => {
      const [mine, x] = [someColumns(rest, 1, i), someColumns(coefficients, 1, i)];
      memory.kernels.combine(1, mine.at, -(value ** 2), x.at, 0, x.at, x.ld);
      return (Math.hypot(lengthOf(memory, rest, i), lengthOf(memory, tail, i)) + rounding * largest) / value;
    });
    const limit = this.#limit(largest);
    if (right.subarray(0, plan.rank).every((each) => each + rounding <= limit)) return right;
    yield* passes.transposed(someColumns(u, plan.rank), this.#backward);
    for (let i = 0; i < plan.rank; i++) {
      const [mine, x] = [someColumns(this.#backward, 1, i), someColumns(v, 1, i)];
      memory.kernels.combine(1, mine.at, -(s[i] ?? 0), x.at, 0, x.at, x.ld);
      right[i] = lengthOf(memory, mine, 0);
    }
    return right;
  }

  /** Residuals that suffice. */
  #limit(largest: number): number {
    const { request, plan } = this.#work;
    return Math.max(request.tolerance * largest, 2 * svdRounding(plan.shape, largest));
  }

  #result(triplets: Triplets, residuals: Residuals, { unit, passes }: Summary): TruncatedSvd {
    const { memory, plan } = this.#work;
    const { rank, shape } = plan;
    const [rows, columns] = shape;
    const largest = triplets.s[0] ?? 0;
    const rounding = svdRounding(shape, largest);
    const u = new Float64Array(rows * rank);
    const vt = new Float64Array(rank * columns);
    for (let j = 0; j < rank; j++) {
      const column = elementsOf(memory, someColumns(triplets.u, 1, j));
      for (let i = 0; i < rows; i++) u[i * rank + j] = column[i] ?? 0;
      vt.set(elementsOf(memory, someColumns(triplets.v, 1, j)).subarray(0, columns), j * columns);
    }
    const own = residuals.right.slice(0, rank).map((right) => right + rounding);
    return {
      rank,
      u,
      s: Float64Array.from(triplets.s.subarray(0, rank), (value) => value * unit),
      vt,
      residuals: own.map((value) => value * unit),
      bounds: valueBounds(residuals)
        .slice(0, rank)
        .map((value) => (value + rounding) * unit),
      residualNorm: (residualNormBound(residuals, rank) + rounding) * unit,
      converged: own.every((value) => value <= this.#limit(largest)),
      passes,
    };
  }
}

interface Summary {
  /** What the passes took for 1. */
  readonly unit: number;
  readonly passes: number;
}
