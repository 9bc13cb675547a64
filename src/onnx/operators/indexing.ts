// Operators that read and write at indices.
import { sameShape } from "../dim.ts";
import { type Graph, int, string, type Value } from "../graph.ts";

/** Rows of `table` at `indices`: [...indices, ...rest of table]. */
export function gatherRows(g: Graph, table: Value, indices: Value): Value {
  indexType(indices);
  return g.emit("Gather", [table, indices], {
    type: table.type,
    shape: [...indices.shape, ...table.shape.slice(1)],
    attributes: { axis: int(0) },
  });
}

/** x[i, index[i, j]]: along the last axis. */
export function gatherElements(g: Graph, x: Value, index: Value): Value {
  indexType(index);
  return g.emit("GatherElements", [x, index], {
    type: x.type,
    shape: index.shape,
    attributes: { axis: int(x.shape.length - 1) },
  });
}

/** What {@link scatterElements} writes, and how. */
export interface ScatterOptions {
  readonly axis: number;
  readonly index: Value;
  readonly updates: Value;
  /** `add` sums where an index is repeated; without it no index may be repeated. */
  readonly reduction?: "add";
}

/** x with `updates` put at, or added to, the places that `index` gives along an axis. */
export function scatterElements(g: Graph, x: Value, options: ScatterOptions): Value {
  const { axis, index, updates, reduction } = options;
  indexType(index);
  if (!sameShape(index.shape, updates.shape) || x.type !== updates.type) {
    throw new RangeError(
      `Cannot scatter ${updates.type} [${updates.shape}] by an index [${index.shape}] into ${x.type} [${x.shape}]`,
    );
  }
  return g.emit("ScatterElements", [x, index, updates], {
    type: x.type,
    shape: x.shape,
    attributes: { axis: int(axis), ...(reduction ? { reduction: string(reduction) } : {}) },
  });
}

/**
 * Rotates the pairs (x_i, x_(i + D/2)) by angles: x [batch, heads, sequence, D]; cosines and sines
 * [batch, sequence, D/2].
 */
export function rotaryEmbedding(
  g: Graph,
  x: Value,
  { cosines, sines }: { cosines: Value; sines: Value },
): Value {
  const [batch, , sequence, size] = x.shape;
  const expected = [batch ?? 0, sequence ?? 0, Number(size) / 2];
  if (!sameShape(cosines.shape, expected) || !sameShape(sines.shape, expected)) {
    throw new RangeError(`Cannot rotate [${x.shape}] by angles of shape [${cosines.shape}]`);
  }
  return g.emit("RotaryEmbedding", [x, cosines, sines], { type: x.type, shape: x.shape });
}

/** The type of indices or bounds. @throws TypeError when they are no integers. */
export function indexType({ name, type }: Value): "int32" | "int64" {
  if (type === "int32" || type === "int64") return type;
  throw new TypeError(`Cannot index with ${type}: ${name}`);
}
