// Operators that move elements and compute nothing.
import { type Dim, product, sameShape } from "../dim.ts";
import { type Graph, int, ints, type Value } from "../graph.ts";
import { scalar } from "./elementwise.ts";
import { indexType } from "./indexing.ts";

/**
 * x in another shape with as many elements.
 *
 * @throws RangeError when the elements are not as many.
 */
export function reshape(g: Graph, x: Value, shape: readonly Dim[]): Value {
  if (sameShape(x.shape, shape)) return x;
  checkElements(x, shape);
  return g.emit("Reshape", [x, targetShape(g, x, shape)], { type: x.type, shape });
}

/** The second input of Reshape. 0 takes the input's dimension of the same axis, and one -1 what is left over. */
function targetShape(g: Graph, x: Value, shape: readonly Dim[]): Value {
  const codes = shape.map((dim, axis) => (typeof dim === "number" ? dim : dim === x.shape[axis] ? 0 : null));
  const open = codes.indexOf(null);
  if (open !== -1) codes[open] = -1;
  if (!codes.includes(null)) return g.constant("int64", [shape.length], codes.map(Number));
  const sizes = codes.map((code, axis) => (code === null ? (shape[axis] ?? 1) : code));
  return shapeTensor(g, sizes);
}

/** Like `reshape`, of an x that may be empty: each dimension is stated, since none can be inferred from nothing. */
export function reshapeStated(g: Graph, x: Value, shape: readonly Dim[]): Value {
  if (sameShape(x.shape, shape)) return x;
  checkElements(x, shape);
  const attributes = { allowzero: int(1) };
  return g.emit("Reshape", [x, shapeTensor(g, shape)], { type: x.type, shape, attributes });
}

function checkElements(x: Value, shape: readonly Dim[]): void {
  if (product(x.shape) !== product(shape)) {
    throw new RangeError(`Cannot reshape ${x.name} of shape [${x.shape}] to [${shape}]`);
  }
}

/** Dimensions as an int64 tensor. */
function shapeTensor(g: Graph, dims: readonly Dim[]): Value {
  if (dims.every((dim) => typeof dim === "number")) return g.constant("int64", [dims.length], dims);
  return g.once(`shape ${dims}`, () =>
    dims.length === 1
      ? g.dimension(dims[0] ?? 1)
      : g.emit(
          "Concat",
          dims.map((dim) => g.dimension(dim)),
          {
            type: "int64",
            shape: [dims.length],
            attributes: { axis: int(0) },
          },
        ),
  );
}

/** The size of one axis of x when the graph runs: int64 [1]. */
export function sizeOf(g: Graph, x: Value, axis: number): Value {
  return g.emit("Shape", [x], {
    type: "int64",
    shape: [1],
    attributes: { start: int(axis), end: int(axis + 1) },
  });
}

/** x with its axes in another order. */
export function transpose(g: Graph, x: Value, order: readonly number[]): Value {
  if (order.length !== x.shape.length)
    throw new RangeError(`Cannot order the axes of [${x.shape}] as ${order}`);
  const shape = order.map((axis) => dimOf(x, axis));
  return g.emit("Transpose", [x], { type: x.type, shape, attributes: { perm: ints(order) } });
}

/** x with its last two axes swapped. */
export function swapLast(g: Graph, x: Value): Value {
  const rank = x.shape.length;
  const order = Array.from({ length: rank }, (_, axis) => axis);
  return transpose(g, x, [...order.slice(0, -2), rank - 1, rank - 2]);
}

/** A range of one axis. Bounds are int64 tensors of shape [1], or int32 both; `size` is what they enclose. */
export interface Range {
  readonly axis: number;
  readonly begin: Value;
  readonly end: Value;
  readonly size: Dim;
}

/** x from `begin` up to `end` along an axis; x itself where they enclose all of it. */
export function slice(g: Graph, x: Value, { axis, begin, end, size }: Range): Value {
  if (dimOf(x, axis) === size) return x;
  const type = indexType(begin);
  if (type !== end.type) throw new TypeError(`Cannot slice ${x.name} from ${type} to ${end.type}`);
  return g.emit("Slice", [x, begin, end, g.constant(type, [1], [axis])], {
    type: x.type,
    shape: x.shape.map((dim, at) => (at === axis ? size : dim)),
  });
}

/** The first element of x, with size 1 along every axis. */
export function corner(g: Graph, x: Value): Value {
  const [begin, end] = [g.constant("int64", [1], [0]), g.constant("int64", [1], [1])];
  return x.shape.reduce<Value>((part, _, axis) => slice(g, part, { axis, begin, end, size: 1 }), x);
}

/** Tensors one after the other along an axis, of which `size` is the sum. */
export function concat(
  g: Graph,
  parts: readonly Value[],
  { axis, size }: { axis: number; size: Dim },
): Value {
  const [first] = parts;
  if (first === undefined) throw new RangeError("Cannot concatenate nothing");
  if (parts.length === 1) return first;
  const shape = first.shape.map((dim, at) => (at === axis ? size : dim));
  for (const part of parts) {
    const fits = part.shape.every((dim, at) => at === axis || dim === shape[at]);
    if (part.type !== first.type || part.shape.length !== shape.length || !fits) {
      throw new RangeError(
        `Cannot concatenate ${first.type} [${first.shape}] and ${part.type} [${part.shape}]`,
      );
    }
  }
  return g.emit("Concat", parts, { type: first.type, shape, attributes: { axis: int(axis) } });
}

/** Zeros before and after x along one axis; `before` and `after` are int64 tensors of shape [1]. */
export function pad(
  g: Graph,
  x: Value,
  { axis, before, after, size }: { axis: number; before: Value; after: Value; size: Dim },
): Value {
  dimOf(x, axis);
  const amounts = g.once(`pads ${before.name} ${after.name}`, () =>
    concat(g, [before, after], { axis: 0, size: 2 }),
  );
  return g.emit("Pad", [x, amounts, scalar(g, x.type, 0), g.constant("int64", [1], [axis])], {
    type: x.type,
    shape: x.shape.map((dim, at) => (at === axis ? size : dim)),
  });
}

/** x repeated along the axes where it has size 1. */
export function expand(g: Graph, x: Value, shape: readonly Dim[]): Value {
  return g.emit("Expand", [x, shapeTensor(g, shape)], { type: x.type, shape });
}

/** A dimension of x. @throws RangeError when x has no such axis. */
export function dimOf(x: Value, axis: number): Dim {
  const dim = x.shape[axis];
  if (dim === undefined)
    throw new RangeError(`Cannot use axis ${axis} of ${x.name}, which has shape [${x.shape}]`);
  return dim;
}
