// The training graph as ONNX Runtime's training builds take it: gradients are added to buffers that the runtime owns.
import type { Graph } from "../../onnx/graph.ts";
import { accumulateInPlace } from "../../onnx/operators/training.ts";
import { type GraphSource, lossGraph } from "../graphs.ts";

/**
 * Inputs of the training graph, then a buffer for each trained parameter's gradient and `lazy_reset_grad`, bool [1]: true
 * begins a new sum. Outputs: the loss, and for each buffer that it has been written. The names are those that the
 * runtime looks for.
 */
export function accumulationGraph(source: GraphSource): Graph {
  const { g, gradients } = lossGraph(source);
  const sums = [...gradients].map(([{ name, type, shape }, gradient]) => ({
    name: `${name}_grad.accumulation`,
    buffer: g.input(`${name}_grad.accumulation.buffer`, type, shape),
    gradient,
  }));
  const reset = g.input("lazy_reset_grad", "bool", [1]);
  for (const { name, buffer, gradient } of sums) {
    const done = g.during("backward", () => accumulateInPlace(g, { buffer, gradient, reset }));
    g.output(`${name}.out`, done);
  }
  return g;
}
