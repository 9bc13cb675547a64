// Operators of weights in 8 bits.
import { sameShape } from "../dim.ts";
import { type Attribute, type Graph, int, type Value } from "../graph.ts";

/**
 * The elements of an 8-bit matrix [rows, columns] times their scales, float32: one scale for all ([]), one for each row
 * ([rows]), or one for each `blockSize` columns of a row ([rows, blocks]).
 */
export function dequantizeLinear(
  g: Graph,
  x: Value,
  { scale, blockSize }: { readonly scale: Value; readonly blockSize: number },
): Value {
  const [rows = 0, columns = 0] = x.shape;
  const expected = [[], [rows], [rows, Math.ceil(Number(columns) / blockSize)]][scale.shape.length];
  if (x.shape.length !== 2 || expected === undefined || !sameShape(scale.shape, expected))
    throw new RangeError(
      `Cannot scale ${x.name} of shape [${x.shape}] by [${scale.shape}] in blocks of ${blockSize}`,
    );
  return g.emit("DequantizeLinear", [x, scale], {
    type: scale.type,
    shape: x.shape,
    attributes: attributesOf(scale.shape.length, blockSize),
  });
}

function attributesOf(rank: number, blockSize: number): Readonly<Record<string, Attribute>> {
  if (rank === 0) return {};
  return rank === 1 ? { axis: int(0) } : { axis: int(1), block_size: int(blockSize) };
}
