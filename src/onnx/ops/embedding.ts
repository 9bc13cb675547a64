// y_i = E[id_i]: the rows of a table, which may come in blocks.
import type { FloatType } from "../element-type.ts";
import type { Graph, Value } from "../graph.ts";
import { add, cast, clip, mul, scalar, scale, sub } from "../operators/elementwise.ts";
import { gatherRows, scatterElements } from "../operators/indexing.ts";
import { dimOf, expand, reshape } from "../operators/layout.ts";
import { total } from "../operators/reductions.ts";

/** What {@link embedding} picks, and in which type. */
export interface EmbeddingOptions {
  /** int32 [rows] */
  readonly ids: Value;
  /** Rows are converted to this type after they are picked. */
  readonly type: FloatType;
}

/**
 * Rows of tables [size, hidden], numbered through from the first table to the last.
 *
 * dE is zero but for the rows picked, where the dy of each repetition are added, in order: the sum is the same in
 * every run.
 */
export function embedding(g: Graph, tables: readonly Value[], { ids, type }: EmbeddingOptions): Value {
  const blocks = blocksOf(g, tables, ids);
  const output = blocks
    .map(({ table, index, isInside }) => {
      const rows = cast(g, gatherRows(g, table, index), type);
      return isInside === null ? rows : mul(g, rows, cast(g, isInside, type));
    })
    .reduce((a, b) => add(g, a, b));
  return g.record({
    inputs: tables,
    output,
    gradient({ dy, into }) {
      for (const { table, index, isInside } of blocks) {
        into(table, (sum) =>
          scatterElements(g, sum ?? zeros(g, table, ids), {
            axis: 0,
            index: expand(g, reshape(g, index, [dimOf(ids, 0), 1]), dy.shape),
            updates: cast(g, isInside === null ? dy : mul(g, dy, cast(g, isInside, dy.type)), table.type),
            reduction: "add",
          }),
        );
      }
    },
  });
}

interface Block {
  readonly table: Value;
  /** int32 [rows]: the row of this table, any of them where the id is another table's. */
  readonly index: Value;
  /** float32 [rows, 1]: 1 where the id is this table's, else 0; null for the only table. */
  readonly isInside: Value | null;
}

function blocksOf(g: Graph, tables: readonly Value[], ids: Value): readonly Block[] {
  const [only, ...others] = tables;
  if (only !== undefined && others.length === 0) return [{ table: only, index: ids, isInside: null }];
  const places = cast(g, ids, "float32");
  const number = (x: number) => scalar(g, "float32", x);
  let begin = 0;
  return tables.map((table) => {
    const size = Number(dimOf(table, 0));
    const place = sub(g, places, number(begin));
    begin += size;
    const notBefore = clip(g, add(g, place, number(1)), [0, 1]);
    const notAfter = clip(g, sub(g, number(size), place), [0, 1]);
    return {
      table,
      index: cast(g, clip(g, place, [0, size - 1]), "int32"),
      isInside: reshape(g, mul(g, notBefore, notAfter), [dimOf(ids, 0), 1]),
    };
  });
}

/** Made from the ids: as a constant it would be folded into the model, as large as the table. */
function zeros(g: Graph, like: Value, ids: Value): Value {
  return expand(g, total(g, scale(g, cast(g, ids, like.type), 0)), like.shape);
}
