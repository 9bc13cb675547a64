// Products of matrices.
import { broadcast, type Dim, sameShape } from "../dim.ts";
import { type Graph, int, type Value } from "../graph.ts";

/** Options of {@link gemm}. */
export interface GemmOptions {
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
  /** Added to the product, broadcast to it. */
  readonly plus?: Value | null;
}

/** A B of two matrices, either transposed first, plus a third. */
export function gemm(g: Graph, [a, b]: readonly [Value, Value], options: GemmOptions = {}): Value {
  const { transposeA = false, transposeB = false, plus = null } = options;
  const [m, ka] = sides(a, transposeA);
  const [kb, n] = sides(b, transposeB);
  if (ka !== kb || a.type !== b.type || (plus !== null && plus.type !== a.type)) throw mismatch(a, b);
  if (plus !== null && !sameShape(broadcast(plus.shape, [m, n]), [m, n])) {
    throw new RangeError(`Cannot add [${plus.shape}] to a product of shape [${[m, n]}]`);
  }
  return g.emit("Gemm", plus === null ? [a, b] : [a, b, plus], {
    type: a.type,
    shape: [m, n],
    attributes: {
      ...(transposeA ? { transA: int(1) } : {}),
      ...(transposeB ? { transB: int(1) } : {}),
    },
  });
}

function sides(x: Value, transposed: boolean): readonly [Dim, Dim] {
  const [rows, columns] = x.shape;
  if (x.shape.length !== 2 || rows === undefined || columns === undefined) {
    throw new RangeError(`Cannot take ${x.name} of shape [${x.shape}] for a matrix`);
  }
  return transposed ? [columns, rows] : [rows, columns];
}

/** The products of the matrices on the last two axes; the other axes broadcast. */
export function matmul(g: Graph, a: Value, b: Value): Value {
  const [m, ka] = a.shape.slice(-2);
  const [kb, n] = b.shape.slice(-2);
  if (ka === undefined || ka !== kb || m === undefined || n === undefined || a.type !== b.type)
    throw mismatch(a, b);
  const batch = broadcast(a.shape.slice(0, -2), b.shape.slice(0, -2));
  return g.emit("MatMul", [a, b], { type: a.type, shape: [...batch, m, n] });
}

function mismatch(a: Value, b: Value): RangeError {
  return new RangeError(
    `Cannot multiply ${a.name}, ${a.type} [${a.shape}], with ${b.name}, ${b.type} [${b.shape}]`,
  );
}
