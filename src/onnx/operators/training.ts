// Operators that only ONNX Runtime's training builds have.
import { sameShape } from "../dim.ts";
import type { Graph, Value } from "../graph.ts";

/** What {@link accumulateInPlace} reads. */
export interface Accumulation {
  /** Written in place. */
  readonly buffer: Value;
  /** Of the buffer's shape and type. */
  readonly gradient: Value;
  /** bool [1]: whether the gradient replaces what is in the buffer instead of being added to it. */
  readonly reset: Value;
}

/** Adds a gradient to a buffer; bool [1], true once that is done. */
export function accumulateInPlace(g: Graph, { buffer, gradient, reset }: Accumulation): Value {
  if (!sameShape(buffer.shape, gradient.shape) || buffer.type !== gradient.type) {
    throw new RangeError(
      `Cannot add ${gradient.type} [${gradient.shape}] to ${buffer.name}, ${buffer.type} [${buffer.shape}]`,
    );
  }
  return g.emit("InPlaceAccumulatorV2", [buffer, gradient, reset], { type: "bool", shape: [1] });
}
