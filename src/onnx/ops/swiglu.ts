// y = silu(gate) up, the gated unit of Llama's kin; silu(x) = x sigmoid(x).
import type { Graph, Value } from "../graph.ts";
import { add, mul, neg, plus, scalar, sigmoid, sub } from "../operators/elementwise.ts";

/**
 * gate and up of one shape.
 *
 * With n = 1 - sigmoid(gate): dup = dy silu(gate); dgate = dy up (1 - n) (1 + gate n).
 */
export function swiglu(g: Graph, gate: Value, up: Value): Value {
  const output = mul(g, mul(g, gate, sigmoid(g, gate)), up);
  return g.record({
    inputs: [gate, up],
    output,
    gradient({ dy, into }) {
      const one = scalar(g, gate.type, 1);
      // sigmoid(-x), so that no optimizer takes it for the forward's sigmoid and holds that one until here.
      const n = g.during("recompute", () => sigmoid(g, neg(g, gate)));
      const s = g.during("recompute", () => sub(g, one, n));
      into(up, (sum) => plus(g, sum, mul(g, dy, mul(g, gate, s))));
      into(gate, (sum) => {
        const slope = mul(g, s, add(g, mul(g, gate, n), one));
        return plus(g, sum, mul(g, mul(g, dy, up), slope));
      });
    },
  });
}
