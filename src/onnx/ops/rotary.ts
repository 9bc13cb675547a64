// Rotary position embedding: each pair (x_i, x_(i + D/2)) turned by an angle of its position.
import type { Graph, Value } from "../graph.ts";
import { neg, plus } from "../operators/elementwise.ts";
import { rotaryEmbedding } from "../operators/indexing.ts";

/** What a position's angles are, as tensors [batch, sequence, D/2]; both may carry a common factor. */
export interface Angles {
  readonly cosines: Value;
  readonly sines: Value;
}

/** x [batch, heads, sequence, D]. The gradient is turned back: the same with the sines negated. */
export function rotary(g: Graph, x: Value, { cosines, sines }: Angles): Value {
  const output = rotaryEmbedding(g, x, { cosines, sines });
  return g.record({
    inputs: [x],
    output,
    gradient({ dy, into }) {
      into(x, (sum) => {
        const back = g.once(`negated ${sines.name}`, () => neg(g, sines));
        return plus(g, sum, rotaryEmbedding(g, dy, { cosines, sines: back }));
      });
    },
  });
}
