// y = x W^T + b, with W [out, in] as checkpoints hold it.
import type { ElementType } from "../element-type.ts";
import type { Graph, Value } from "../graph.ts";
import { cast, plus } from "../operators/elementwise.ts";
import { dimOf, reshape, swapLast } from "../operators/layout.ts";
import { gemm } from "../operators/matrices.ts";
import { reduceSum } from "../operators/reductions.ts";
import { weightAs } from "./weight.ts";

/**
 * x [rows, in] -> [rows, out]. A weight of another dtype is converted to x's.
 *
 * dx = dy W; dW = dy^T x; db = the sum of dy's rows.
 */
export function linear(g: Graph, x: Value, [weight, bias]: readonly [Value, Value | null]): Value {
  const output = gemm(g, [x, weightAs(g, weight, x.type)], {
    transposeB: true,
    plus: bias && cast(g, bias, x.type),
  });
  return g.record({
    inputs: bias === null ? [x, weight] : [x, weight, bias],
    output,
    gradient({ dy, into }) {
      into(weight, (sum) => weightGradient(g, [dy, x], { type: weight.type, sum }));
      if (bias !== null)
        into(bias, (sum) => {
          const db = reduceSum(g, cast(g, dy, bias.type), [0]);
          return plus(g, sum, reshape(g, db, [dimOf(bias, 0)]));
        });
      // The conversion is made again, so that a frozen weight need not be held in two dtypes from forward to backward.
      into(x, (sum) =>
        gemm(g, [dy, g.during("recompute", () => weightAs(g, weight, x.type))], { plus: sum }),
      );
    },
  });
}

/** dy^T x, added to `sum` in the weight's own type. */
function weightGradient(
  g: Graph,
  [dy, x]: readonly [Value, Value],
  { type, sum }: { type: ElementType; sum: Value | null },
): Value {
  const turned = transposed(g, dy);
  if (type === x.type) return gemm(g, [turned, x], { plus: sum });
  return plus(g, sum, cast(g, gemm(g, [turned, x]), type));
}

/**
 * A matrix transposed ahead of its product, which would transpose it anew for each panel of columns. Its rank is 3 meanwhile: an
 * optimizer takes the transpose of a matrix into the product again.
 */
function transposed(g: Graph, x: Value): Value {
  const [rows, columns] = [dimOf(x, 0), dimOf(x, 1)];
  return reshape(g, swapLast(g, reshape(g, x, [1, rows, columns])), [columns, rows]);
}
