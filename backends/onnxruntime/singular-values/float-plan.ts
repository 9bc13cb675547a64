// What of a matrix is tried in products of floats where `fast` is asked for: docs/decisions/0012. Pure.
import { FLOATS_ORDER, isDirectInFloats } from "../../wasm/singular-values/direct.ts";
import type { MatrixHeader } from "../../wasm/singular-values/layout.ts";

/**
 * `none`: nothing. `wasm`: what wasm's solver does, whose sums of floats are shorter. `gram`: the Gram matrix, which the
 * kernels then reduce directly. `updates`: the Gram matrix, and what stage one adds to it. `all`: that, and what stage one
 * multiplies it by.
 */
export type FloatPlan = "none" | "wasm" | "gram" | "updates" | "all";

/** Sides in this proportion keep the smallest values away from zero, where they would be sensitive. */
const OBLONG = 5 / 4;
/** Calls pay from this order on. */
const OBLONG_ORDER = 512;
/**
 * From this one on the errors of long sums are small enough for the smallest values of a matrix that is nearly square: of 1792
 * columns of noise one in some ten was refused, for a gain of a seventh in the others.
 */
const SQUARE_ORDER = 2048;
/** From this one on those of stage one are, too, unless the largest values are far above the others. */
const FLAT_SQUARE_ORDER = 4096;
/**
 * Most of n tr(G^2) / tr(G)^2 for that, G the Gram matrix. Measured at 4096: 2 for noise, 6.5 with 8 values 3 times above its
 * edge, 50 with 6 times, 560 with 20 times.
 */
const FLAT = 10;

/** The plan for a matrix on the processor. */
export function floatPlan({ shape, dtype }: MatrixHeader): FloatPlan {
  if (dtype === "F64") return "none";
  const n = Math.min(...shape);
  if (isNearlySquare(shape)) {
    if (n < SQUARE_ORDER) return isDirectInFloats(shape) ? "wasm" : "none";
    return n < FLAT_SQUARE_ORDER ? "updates" : "all";
  }
  if (n < OBLONG_ORDER) return "wasm";
  return n <= FLOATS_ORDER ? "gram" : "all";
}

/** What products of floats in stage one add to the spread of a Gram matrix's error, in units of the noise's floor. */
export const STAGE_SPREAD = 3e-9;

/**
 * What of the plan `all` stage one follows, once the Gram matrix is there.
 *
 * @param flatness - n tr(G^2) / tr(G)^2 of the Gram matrix, or an estimate.
 */
export function stagePlan({ shape }: MatrixHeader, flatness: number): "updates" | "all" {
  return isNearlySquare(shape) && flatness > FLAT ? "updates" : "all";
}

/** Whether the smallest values are so near to zero that small errors matter. */
function isNearlySquare([rows, columns]: MatrixHeader["shape"]): boolean {
  return Math.max(rows, columns) < OBLONG * Math.min(rows, columns);
}
