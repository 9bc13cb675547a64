// Which token each position is to predict, and how much it counts.
import { product } from "../dim.ts";
import type { Graph, Value } from "../graph.ts";
import { add, cast, clip, div, greater, mul, scalar, scale, where } from "../operators/elementwise.ts";
import { concat, reshape, slice } from "../operators/layout.ts";

/** What {@link nextTokens} reads: labels and positions int32 [batch, sequence]; items float32 []. */
export interface TokenInputs {
  readonly labels: Value;
  readonly positions: Value;
  readonly items: Value;
}

/** Rows are batch sequence. */
export interface NextTokens {
  /** int32 [rows, 1]: the label of the next position; 0 where there is none. */
  readonly targets: Value;
  /** float32 [rows, 1]: 1 where the target counts, else 0. */
  readonly counts: Value;
  /** float32 []: 1 / num_items; 0 for no items. */
  readonly perItem: Value;
}

/**
 * Shifts labels by one position. Nobody predicts a label below 0, a token at position 0, which begins a segment, or
 * what follows the end of a row.
 */
export function nextTokens(g: Graph, { labels, positions, items }: TokenInputs): NextTokens {
  const rows = [product(labels.shape), 1];
  // As float32, exact up to 2^24: WebGPU slices no integers. The last column wraps around and is at position 0.
  const targets = shifted(g, cast(g, labels, "float32"), 1);
  const places = shifted(g, cast(g, positions, "float32"), 0);
  const zero = scalar(g, "float32", 0);
  const one = scalar(g, "float32", 1);
  const isTarget = mul(g, clip(g, add(g, targets, one), [0, 1]), clip(g, places, [0, 1]));
  const inverse = div(g, one, items);
  return {
    targets: reshape(g, cast(g, clip(g, targets, [0, null]), "int32"), rows),
    counts: reshape(g, isTarget, rows),
    perItem: where(g, greater(g, items, zero), [inverse, zero]),
  };
}

/** Each column in the place of the one before it; the first, times `wrapped`, in the place of the last. */
function shifted(g: Graph, x: Value, wrapped: 0 | 1): Value {
  const [, sequence = 1] = x.shape;
  const number = (n: number) => g.constant("int64", [1], [n]);
  const rest = slice(g, x, {
    axis: 1,
    begin: number(1),
    end: g.dimension(sequence),
    size: `${sequence} - 1`,
  });
  const first = slice(g, x, { axis: 1, begin: number(0), end: number(1), size: 1 });
  return concat(g, [rest, scale(g, first, wrapped)], { axis: 1, size: sequence });
}
