// y = f(x), of which only x is held until the backward pass, which computes f again.
import type { Graph, Value } from "../graph.ts";
import { add, plus, scale } from "../operators/elementwise.ts";
import { corner } from "../operators/layout.ts";

/**
 * What `build` makes of x, with its intermediate values computed twice rather than held.
 *
 * The second time x has 0 times a number of dy added. So no provider computes it before dy is there, and no
 * optimizer takes it for the first; the numbers are the same, as long as that is finite.
 */
export function recomputed(g: Graph, x: Value, build: (x: Value) => Value): Value {
  const { made: output, steps } = g.taped(() => build(x));
  const inner = new Set(steps.map((step) => step.output));
  const outer = steps.flatMap(({ inputs }) => inputs).filter((input) => !inner.has(input));
  return g.record({
    inputs: [...new Set([x, ...outer])],
    output,
    gradient({ dy, through }) {
      const { made, steps: again } = g.inBackward(() => g.taped(() => build(after(g, x, dy))));
      g.inBackward(() => through(again, made));
    },
  });
}

/** x, once dy is there. */
function after(g: Graph, x: Value, dy: Value): Value {
  const output = add(g, x, scale(g, corner(g, dy), 0));
  return g.record({
    inputs: [x],
    output,
    gradient({ dy: dx, into }) {
      into(x, (sum) => plus(g, sum, dx));
    },
  });
}
