// y = w x r with r = 1 / sqrt(mean(x^2) + epsilon), over the last axis. All of it in float32 where x has 16 bits: squares
// of large activations exceed float16.
import { product } from "../dim.ts";
import { statisticsType } from "../element-type.ts";
import type { Graph, Value } from "../graph.ts";
import { add, cast, mul, plus, pow, reciprocal, scalar, scale, sqrt, sub } from "../operators/elementwise.ts";
import { dimOf, reshape } from "../operators/layout.ts";
import { gemm, matmul } from "../operators/matrices.ts";
import { reduceSumSquare, rmsNormalization } from "../operators/reductions.ts";

/**
 * x [..., size], weight [size]; any rank.
 *
 * With p = dy x: dx = r dy w - x r^3 mean(p w); dw = the sum over rows of r p.
 */
export function rmsNorm(
  g: Graph,
  [x, weight]: readonly [Value, Value],
  { epsilon }: { epsilon: number },
): Value {
  const exact = statisticsType(x.type);
  const w = cast(g, weight, exact);
  const output = cast(g, rmsNormalization(g, [cast(g, x, exact), w], { epsilon }), x.type);
  const size = dimOf(weight, 0);
  return g.record({
    inputs: [x, weight],
    output,
    gradient({ dy, into }) {
      const last = x.shape.length - 1;
      const exactX = g.during("recompute", () => cast(g, x, exact));
      const exactDy = cast(g, dy, exact);
      const r = g.during("recompute", () => {
        const meanSquare = scale(g, reduceSumSquare(g, exactX, [last]), 1 / Number(size));
        return reciprocal(g, sqrt(g, add(g, meanSquare, scalar(g, exact, epsilon))));
      });
      const p = mul(g, exactDy, exactX);
      into(weight, (sum) => {
        const rows = product(x.shape.slice(0, -1));
        const dw = gemm(g, [reshape(g, r, [rows, 1]), reshape(g, p, [rows, size])], { transposeA: true });
        return plus(g, sum, cast(g, reshape(g, dw, [size]), weight.type));
      });
      into(x, (sum) => {
        const along = scale(g, matmul(g, p, reshape(g, w, [size, 1])), 1 / Number(size));
        const cubed = mul(g, pow(g, r, scalar(g, exact, 3)), along);
        const dx = sub(g, mul(g, mul(g, exactDy, w), r), mul(g, exactX, cubed));
        return plus(g, sum, cast(g, dx, x.type));
      });
    },
  });
}
