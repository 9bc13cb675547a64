// Rotary position embedding: each pair (x_i, x_(i + D/2)) turned by an angle of its position.
import type { Graph, Value } from "../graph.ts";
import { add, mul, neg, plus, sub } from "../operators/elementwise.ts";
import { rotaryEmbedding } from "../operators/indexing.ts";
import { concat, dimOf, reshape, slice } from "../operators/layout.ts";

/** What a position's angles are, as tensors [batch, sequence, D/2]; both may carry a common factor. */
export interface Angles {
  readonly cosines: Value;
  readonly sines: Value;
}

/** x [batch, heads, sequence, D]. The gradient is turned back: the same with the sines negated. */
export function rotary(g: Graph, x: Value, { cosines, sines }: Angles): Value {
  const output = turned(g, x, { cosines, sines });
  return g.record({
    inputs: [x],
    output,
    gradient({ dy, into }) {
      into(x, (sum) => {
        const back = g.once(`negated ${sines.name}`, () => neg(g, sines));
        return plus(g, sum, turned(g, dy, { cosines, sines: back }));
      });
    },
  });
}

/** (a cos - b sin, b cos + a sin), where a and b are the halves of x. */
function turned(g: Graph, x: Value, angles: Angles): Value {
  if (g.has("RotaryEmbedding")) return rotaryEmbedding(g, x, angles);
  const size = Number(dimOf(x, 3));
  const at = (index: number) => g.constant("int64", [1], [index]);
  const half = (begin: number) =>
    slice(g, x, { axis: 3, begin: at(begin), end: at(begin + size / 2), size: size / 2 });
  const [a, b] = [half(0), half(size / 2)];
  const [cosines, sines] = [perHead(g, angles.cosines), perHead(g, angles.sines)];
  const parts = [sub(g, mul(g, a, cosines), mul(g, b, sines)), add(g, mul(g, b, cosines), mul(g, a, sines))];
  return concat(g, parts, { axis: 3, size });
}

/** Angles [batch, 1, sequence, D/2], the same for all heads. */
function perHead(g: Graph, angles: Value): Value {
  const shape = [dimOf(angles, 0), 1, dimOf(angles, 1), dimOf(angles, 2)];
  return g.once(`${angles.name} per head`, () => reshape(g, angles, shape));
}
