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
  const wide = cast(g, x, exact);
  const normed = g.has("RMSNormalization")
    ? rmsNormalization(g, [wide, w], { epsilon })
    : mul(g, mul(g, wide, inverseRoot(g, wide, epsilon)), w);
  const output = cast(g, normed, x.type);
  const size = dimOf(weight, 0);
  return g.record({
    inputs: [x, weight],
    output,
    gradient({ dy, into }) {
      const exactX = g.during("recompute", () => cast(g, x, exact));
      const exactDy = cast(g, dy, exact);
      const r = g.during("recompute", () => inverseRoot(g, exactX, epsilon));
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

/** 1 / sqrt(mean(x^2) + epsilon) over the last axis, which is kept with size 1. */
function inverseRoot(g: Graph, x: Value, epsilon: number): Value {
  const last = x.shape.length - 1;
  const meanSquare = scale(g, reduceSumSquare(g, x, [last]), 1 / Number(dimOf(x, last)));
  return reciprocal(g, sqrt(g, add(g, meanSquare, scalar(g, x.type, epsilon))));
}
