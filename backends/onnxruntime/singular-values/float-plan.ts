// What of a matrix is tried in products of floats where `fast` is asked for: docs/decisions/0012. Pure.
import { FLOATS_ORDER } from "../../wasm/singular-values/direct.ts";
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
/** From this one on the errors of long sums are small enough for the smallest values of a matrix that is nearly square. */
const SQUARE_ORDER = 1536;

/** The plan for a matrix on the processor. */
export function floatPlan({ shape, dtype }: MatrixHeader): FloatPlan {
  if (dtype === "F64") return "none";
  const n = Math.min(...shape);
  if (Math.max(...shape) < OBLONG * n) return n < SQUARE_ORDER ? "wasm" : "updates";
  if (n < OBLONG_ORDER) return "wasm";
  return n <= FLOATS_ORDER ? "gram" : "all";
}
