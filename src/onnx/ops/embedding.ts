// y_i = E[id_i]: the rows of a table.
import { sameShape } from "../dim.ts";
import type { FloatType } from "../element-type.ts";
import type { Graph, Value } from "../graph.ts";
import { cast, scale } from "../operators/elementwise.ts";
import { gatherRows, scatterElements } from "../operators/indexing.ts";
import { dimOf, expand, reshape } from "../operators/layout.ts";
import { total } from "../operators/reductions.ts";

/**
 * Rows of `table` [vocabulary, size] at `ids` int32 [rows], converted to `type` after they are picked.
 *
 * dE is zero but for the rows picked, where the dy of each repetition are added, in order: the sum is the same in
 * every run.
 */
export function embedding(g: Graph, table: Value, { ids, type }: { ids: Value; type: FloatType }): Value {
  const output = cast(g, gatherRows(g, table, ids), type);
  return g.record({
    inputs: [table],
    output,
    gradient({ dy, into }) {
      into(table, (sum) =>
        scatterElements(g, sum ?? zeros(g, table, ids), {
          axis: 0,
          index: expand(g, reshape(g, ids, [dimOf(ids, 0), 1]), dy.shape),
          updates: cast(g, dy, table.type),
          reduction: "add",
        }),
      );
    },
  });
}

/** Made from the ids: as a constant it would be folded into the model, as large as the table. */
function zeros(g: Graph, like: Value, ids: Value): Value {
  const zero = total(g, scale(g, cast(g, ids, like.type), 0));
  return sameShape(like.shape, []) ? zero : expand(g, zero, like.shape);
}
