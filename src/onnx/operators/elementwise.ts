// Operators that work element by element, with broadcasting.
import { broadcast } from "../dim.ts";
import type { ElementType } from "../element-type.ts";
import { typeCode } from "../element-type.ts";
import { type Graph, int, type Value } from "../graph.ts";
import type { OperatorName } from "./table.ts";

type Binary = (g: Graph, a: Value, b: Value) => Value;
type Unary = (g: Graph, x: Value) => Value;

function binary(op: OperatorName, result?: ElementType): Binary {
  return (g, a, b) => {
    if (a.type !== b.type) throw new TypeError(`Cannot ${op} ${a.type} and ${b.type}: ${a.name}, ${b.name}`);
    return g.emit(op, [a, b], { type: result ?? a.type, shape: broadcast(a.shape, b.shape) });
  };
}

function unary(op: OperatorName): Unary {
  return (g, x) => g.emit(op, [x], { type: x.type, shape: x.shape });
}

export const add = binary("Add");
export const sub = binary("Sub");
export const mul = binary("Mul");
export const div = binary("Div");
export const max = binary("Max");
export const equal = binary("Equal", "bool");
export const greater = binary("Greater", "bool");

export const exp = unary("Exp");
export const log = unary("Log");
export const neg = unary("Neg");
export const reciprocal = unary("Reciprocal");
export const sigmoid = unary("Sigmoid");
export const sqrt = unary("Sqrt");
export const tanh = unary("Tanh");

/** Powers of a base that is not negative, or with a whole exponent. */
export const pow = binary("Pow");

/** x, converted; x itself where it has that type already. */
export function cast(g: Graph, x: Value, type: ElementType): Value {
  if (x.type === type) return x;
  return g.emit("Cast", [x], { type, shape: x.shape, attributes: { to: int(typeCode(type)) } });
}

/** a where `condition` holds, else b. */
export function where(g: Graph, condition: Value, [a, b]: readonly [Value, Value]): Value {
  if (condition.type !== "bool" || a.type !== b.type) {
    throw new TypeError(`Cannot choose by ${condition.type} between ${a.type} and ${b.type}`);
  }
  const shape = broadcast(condition.shape, broadcast(a.shape, b.shape));
  return g.emit("Where", [condition, a, b], { type: a.type, shape });
}

/** x limited to [low, high]; null leaves a side open. */
export function clip(g: Graph, x: Value, [low, high]: readonly [number | null, number | null]): Value {
  const bound = (limit: number | null) => (limit === null ? null : scalar(g, x.type, limit));
  return g.emit("Clip", [x, bound(low), bound(high)], { type: x.type, shape: x.shape });
}

/** A constant of shape []. */
export function scalar(g: Graph, type: ElementType, number: number): Value {
  if (type === "bool" || type === "float8e4m3fn" || type === "float8e5m2")
    throw new TypeError(`Cannot make a scalar of type ${type}`);
  return g.constant(type, [], [number]);
}

/** x times a number. */
export function scale(g: Graph, x: Value, factor: number): Value {
  return factor === 1 ? x : mul(g, x, scalar(g, x.type, factor));
}

/** The sum of what there is already, if anything, and x. */
export function plus(g: Graph, sum: Value | null, x: Value): Value {
  return sum === null ? x : add(g, sum, x);
}
