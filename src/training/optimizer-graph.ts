// AdamW as a graph: for each parameter its next value and moments. Decoupled decay: https://arxiv.org/abs/1711.05101
import { Graph, type Value } from "../onnx/graph.ts";
import { add, cast, div, mul, scalar, scale, sqrt, sub, tanh } from "../onnx/operators/elementwise.ts";
import type { AdamWConstants, TrainableParameter } from "./manifest.ts";

/**
 * Inputs `p`, `p.grad`, `p.exp_avg`, `p.exp_avg_sq` of each parameter; scalars `learning_rate`, `step` (1 for the first)
 * and `grad_scale`, which the gradients are multiplied with. Outputs `p.next`, `p.exp_avg.next`, `p.exp_avg_sq.next`.
 *
 * m' = b1 m + (1 - b1) g; v' = b2 v + (1 - b2) g^2;
 * p' = p (1 - rate decay) - rate m' / (1 - b1^step) / (sqrt(v' / (1 - b2^step)) + epsilon)
 */
export function optimizerGraph(parameters: readonly TrainableParameter[], constants: AdamWConstants): Graph {
  const { beta1, beta2, epsilon, weightDecay } = constants;
  const g = new Graph();
  const states = parameters.map(({ name, shape, decay }) => ({
    name,
    decay,
    value: g.input(name, "float32", shape),
    gradient: g.input(`${name}.grad`, "float32", shape),
    mean: g.input(`${name}.exp_avg`, "float32", shape),
    square: g.input(`${name}.exp_avg_sq`, "float32", shape),
  }));
  const rate = g.input("learning_rate", "float32", []);
  const step = cast(g, cast(g, g.input("step", "int64", []), "int32"), "float32");
  const gradScale = g.input("grad_scale", "float32", []);
  const one = scalar(g, "float32", 1);
  const meanRate = div(g, rate, oneMinusPower(g, beta1, step));
  const squareRoot = sqrt(g, oneMinusPower(g, beta2, step));
  const kept = sub(g, one, scale(g, rate, weightDecay));
  for (const { name, decay, value, gradient, mean, square } of states) {
    const scaled = mul(g, gradient, gradScale);
    const nextMean = add(g, scale(g, mean, beta1), scale(g, scaled, 1 - beta1));
    const nextSquare = add(g, scale(g, square, beta2), mul(g, scale(g, scaled, 1 - beta2), scaled));
    const divisor = add(g, div(g, sqrt(g, nextSquare), squareRoot), scalar(g, "float32", epsilon));
    const decayed = decay && weightDecay !== 0 ? mul(g, value, kept) : value;
    g.output(`${name}.next`, sub(g, decayed, mul(g, meanRate, div(g, nextMean, divisor))));
    g.output(`${name}.exp_avg.next`, nextMean);
    g.output(`${name}.exp_avg_sq.next`, nextSquare);
  }
  return g;
}

/** 1 - beta^step without cancellation: -2 t / (1 - t) with t = tanh(step ln(beta) / 2). */
function oneMinusPower(g: Graph, beta: number, step: Value): Value {
  const t = tanh(g, scale(g, step, Math.log(beta) / 2));
  return div(g, scale(g, t, -2), sub(g, scalar(g, "float32", 1), t));
}
