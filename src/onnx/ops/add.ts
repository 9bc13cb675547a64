// y = a + b of one shape, as in a residual connection.
import { sameShape } from "../dim.ts";
import type { Graph, Value } from "../graph.ts";
import * as elementwise from "../operators/elementwise.ts";

/** a + b. @throws RangeError when the shapes differ: gradients are not summed over broadcast axes. */
export function add(g: Graph, a: Value, b: Value): Value {
  if (!sameShape(a.shape, b.shape)) throw new RangeError(`Cannot add [${a.shape}] and [${b.shape}]`);
  const output = elementwise.add(g, a, b);
  return g.record({
    inputs: [a, b],
    output,
    gradient({ dy, into }) {
      into(a, (sum) => elementwise.plus(g, sum, dy));
      into(b, (sum) => elementwise.plus(g, sum, dy));
    },
  });
}
