// A weight in the type of the computation, from the dtype that its checkpoint has.
import type { ElementType } from "../element-type.ts";
import type { Graph, Value, WeightScale } from "../graph.ts";
import { cast } from "../operators/elementwise.ts";
import { gatherRows } from "../operators/indexing.ts";
import { dimOf, reshape } from "../operators/layout.ts";
import { dequantizeLinear } from "../operators/quantization.ts";

/** A weight in `type`: converted, and times its scales where it has any. Made anew by each call. */
export function weightAs(g: Graph, weight: Value, type: ElementType): Value {
  const scale = g.scaleOf(weight);
  return cast(g, scale === null ? weight : dequantized(g, weight, scale), type);
}

/** Scales of blocks are repeated for each row: DequantizeLinear knows blocks along one axis alone. */
function dequantized(g: Graph, weight: Value, { value, blockRows, blockColumns }: WeightScale): Value {
  const [rows, columns] = [Number(dimOf(weight, 0)), Number(dimOf(weight, 1))];
  const across = Math.ceil(columns / blockColumns);
  const down = Math.ceil(rows / blockRows);
  const numbers = cast(g, value, "float32");
  const of = (scale: Value) => dequantizeLinear(g, weight, { scale, blockSize: blockColumns });
  if (down * across === 1) return of(reshape(g, numbers, []));
  const perBlock = reshape(g, numbers, [down, across]);
  const perRow = down === rows ? perBlock : gatherRows(g, perBlock, blockOfRow(g, rows, blockRows));
  return of(across === 1 ? reshape(g, perRow, [rows]) : perRow);
}

/** int32 [rows]: for each row which block of rows it is in. */
function blockOfRow(g: Graph, rows: number, blockRows: number): Value {
  return g.once(`blocks of ${blockRows} among ${rows}`, () =>
    g.constant(
      "int32",
      [rows],
      Int32Array.from({ length: rows }, (_, row) => Math.floor(row / blockRows)),
    ),
  );
}
