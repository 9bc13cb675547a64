// Reverse-mode differentiation over the tape of a graph, pruned to what trains.
import type { Flow, Graph, Step, Value } from "./graph.ts";
import { scalar } from "./operators/elementwise.ts";

/**
 * The gradients of a scalar loss with respect to trainable values (see {@link Graph.train}), appended to the graph.
 * Steps that no trainable value reaches are not on the tape, and a gradient that nobody needs is not computed: none of a
 * frozen weight, none below the lowest trainable one.
 *
 * @throws RangeError when the loss does not depend on one of them.
 */
export function differentiate(
  g: Graph,
  loss: Value,
  parameters: readonly Value[],
): ReadonlyMap<Value, Value> {
  if (loss.shape.length !== 0)
    throw new RangeError(`Cannot differentiate ${loss.name} of shape [${loss.shape}]: expected a scalar`);
  return g.during("backward", () => {
    const sums = new Map<Value, Value>([[loss, scalar(g, loss.type, 1)]]);
    const kept = new Set(parameters);
    const into: Flow["into"] = (input, compute) => {
      if (g.isTracked(input)) sums.set(input, compute(sums.get(input) ?? null));
    };
    const walk = (steps: readonly Step[]) => {
      for (const step of steps.toReversed()) {
        const dy = sums.get(step.output);
        if (dy === undefined) continue;
        const through: Flow["through"] = (inner, output) => {
          sums.set(output, dy);
          walk(inner);
        };
        step.gradient({ dy, isLoss: step.output === loss, into, through });
        // A sum that is complete is no longer needed, unless it was asked for.
        if (!kept.has(step.output)) sums.delete(step.output);
      }
    };
    walk(g.steps);
    return new Map(parameters.map((parameter) => [parameter, gradientOf(parameter, sums)]));
  });
}

function gradientOf(parameter: Value, sums: ReadonlyMap<Value, Value>): Value {
  const gradient = sums.get(parameter);
  if (gradient === undefined) {
    throw new RangeError(`Cannot train ${parameter.name}: the loss does not depend on it`);
  }
  return gradient;
}
