// Dimensions known only when a graph runs: symbols and their products, compared by name.

/** A dimension: its size, or a symbol such as `batch`, or a product such as `batch*sequence`. */
export type Dim = number | string;

/** The product of dimensions, in one spelling: the number first, then the symbols in order. */
export function product(dims: readonly Dim[]): Dim {
  let size = 1;
  const symbols: string[] = [];
  for (const dim of dims) {
    if (typeof dim === "number") size *= dim;
    else
      for (const factor of dim.split("*")) {
        if (/^\d+$/.test(factor)) size *= Number(factor);
        else symbols.push(factor);
      }
  }
  if (symbols.length === 0 || size === 0) return size;
  const name = symbols.sort().join("*");
  return size === 1 ? name : `${size}*${name}`;
}

/** Half of a dimension that is even whatever its symbols stand for; null of any other. */
export function half(dim: Dim): Dim | null {
  const whole = product([dim]);
  const [factor, ...symbols] = typeof whole === "number" ? [whole] : whole.split("*");
  const even = Number(factor) % 2 === 0;
  return even ? product([Number(factor) / 2, ...symbols]) : null;
}

/** Whether two shapes are the same. */
export function sameShape(a: readonly Dim[], b: readonly Dim[]): boolean {
  return a.length === b.length && a.every((dim, axis) => dim === b[axis]);
}

/**
 * The shape of an elementwise result, by ONNX's multidirectional broadcasting.
 *
 * @throws RangeError when two dimensions differ and neither is 1.
 */
export function broadcast(a: readonly Dim[], b: readonly Dim[]): readonly Dim[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis) => {
    const da = a[axis - rank + a.length] ?? 1;
    const db = b[axis - rank + b.length] ?? 1;
    if (da === db || db === 1) return da;
    if (da === 1) return db;
    throw new RangeError(`Cannot broadcast [${a}] with [${b}]: ${da} and ${db} differ`);
  });
}
