// Tokens in rows that are long enough to be cut: WebGPU takes nothing that is empty.
import type { Graph, Value } from "../graph.ts";
import { max, sub } from "../operators/elementwise.ts";
import { dimOf, pad } from "../operators/layout.ts";

/**
 * Zeros after each row of fewer than `least` tokens: int32 [batch, sequence] -> [batch, padded]. Among positions a 0 begins
 * a segment that nobody else sees, and is no target.
 */
export function paddedTokens(g: Graph, tokens: Value, least: number): Value {
  if (least <= 1) return tokens;
  const sequence = dimOf(tokens, 1);
  const padded = "padded";
  g.measure(padded, () => max(g, g.dimension(sequence), g.constant("int64", [1], [least])));
  const after = g.once(`after ${sequence}`, () => sub(g, g.dimension(padded), g.dimension(sequence)));
  return pad(g, tokens, { axis: 1, before: g.constant("int64", [1], [0]), after, size: padded });
}
