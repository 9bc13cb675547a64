// y = w x r with r = 1 / sqrt(mean(x^2) + epsilon), over the last axis.
import { product } from "../dim.ts";
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
  const w = cast(g, weight, x.type);
  const output = g.has("RMSNormalization")
    ? rmsNormalization(g, [x, w], { epsilon })
    : mul(g, mul(g, x, inverseRoot(g, x, epsilon)), w);
  const size = dimOf(weight, 0);
  return g.record({
    inputs: [x, weight],
    output,
    gradient({ dy, into }) {
      const r = g.during("recompute", () => inverseRoot(g, x, epsilon));
      const p = mul(g, dy, x);
      into(weight, (sum) => {
        const rows = product(x.shape.slice(0, -1));
        const dw = gemm(g, [reshape(g, r, [rows, 1]), reshape(g, p, [rows, size])], { transposeA: true });
        return plus(g, sum, cast(g, reshape(g, dw, [size]), weight.type));
      });
      into(x, (sum) => {
        const along = scale(g, matmul(g, p, reshape(g, w, [size, 1])), 1 / Number(size));
        const cubed = mul(g, pow(g, r, scalar(g, x.type, 3)), along);
        const dx = sub(g, mul(g, mul(g, dy, w), r), mul(g, x, cubed));
        return plus(g, sum, dx);
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
