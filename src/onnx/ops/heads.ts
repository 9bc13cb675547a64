// From rows of tokens to attention heads.
import type { Dim } from "../dim.ts";
import type { Graph, Value } from "../graph.ts";
import { plus } from "../operators/elementwise.ts";
import { reshape, transpose } from "../operators/layout.ts";

/** How rows divide into heads. */
export interface HeadShape {
  readonly batch: Dim;
  readonly sequence: Dim;
  readonly heads: number;
  readonly size: number;
}

/** x [batch sequence, heads size] -> [batch, heads, sequence, size]. */
export function splitHeads(g: Graph, x: Value, { batch, sequence, heads, size }: HeadShape): Value {
  const output = transpose(g, reshape(g, x, [batch, sequence, heads, size]), [0, 2, 1, 3]);
  return g.record({
    inputs: [x],
    output,
    gradient({ dy, into }) {
      into(x, (sum) => plus(g, sum, reshape(g, transpose(g, dy, [0, 2, 1, 3]), x.shape)));
    },
  });
}
