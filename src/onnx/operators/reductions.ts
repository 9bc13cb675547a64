// Operators that take the elements along an axis together.
import { float, type Graph, int, type Value } from "../graph.ts";
import type { OperatorName } from "./table.ts";

type Reduction = (g: Graph, x: Value, axes: readonly number[]) => Value;

/** Reduced axes are kept, with size 1. */
function reduction(op: OperatorName): Reduction {
  return (g, x, axes) =>
    g.emit(op, [x, g.constant("int64", [axes.length], axes)], {
      type: x.type,
      shape: x.shape.map((dim, axis) => (axes.includes(axis) ? 1 : dim)),
    });
}

export const reduceMax = reduction("ReduceMax");
export const reduceSum = reduction("ReduceSum");
export const reduceSumSquare = reduction("ReduceSumSquare");

/** The sum of all elements, of shape []. */
export function total(g: Graph, x: Value): Value {
  return g.emit("ReduceSum", [x], { type: x.type, shape: [], attributes: { keepdims: int(0) } });
}

/** Along the last axis. */
export function softmax(g: Graph, x: Value): Value {
  return g.emit("Softmax", [x], { type: x.type, shape: x.shape, attributes: { axis: int(-1) } });
}

/** Sums up to and with each element along an axis. */
export function cumulativeSum(g: Graph, x: Value, axis: number): Value {
  return g.emit("CumSum", [x, g.constant("int64", [], [axis])], { type: x.type, shape: x.shape });
}

/** Index of the first largest element along the last axis, which goes; int64. */
export function argMax(g: Graph, x: Value): Value {
  return g.emit("ArgMax", [x], {
    type: "int64",
    shape: x.shape.slice(0, -1),
    attributes: { axis: int(-1), keepdims: int(0) },
  });
}

/** w x / sqrt(mean(x^2) + epsilon) along the last axis. */
export function rmsNormalization(
  g: Graph,
  [x, weight]: readonly [Value, Value],
  { epsilon }: { epsilon: number },
): Value {
  if (weight.shape.length !== 1 || weight.shape[0] !== x.shape.at(-1) || weight.type !== x.type) {
    throw new RangeError(
      `Cannot normalise ${x.type} [${x.shape}] with a weight ${weight.type} [${weight.shape}]: ${weight.name}`,
    );
  }
  return g.emit("RMSNormalization", [x, weight], {
    type: x.type,
    shape: x.shape,
    attributes: { axis: int(-1), epsilon: float(epsilon) },
  });
}
