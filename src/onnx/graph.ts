// A graph under construction: inputs, initializers and nodes in the order they are made, and the tape of
// differentiable steps that backward.ts walks. Operators with their checks are in operators/.
import { encode } from "../tensor/encode.ts";
import { type Dim, product } from "./dim.ts";
import type { ConstantType, ElementType } from "./element-type.ts";
import { isStandard, OPERATORS, OPSET, type OperatorName, type Opset } from "./operators/table.ts";

/** A tensor in a graph: what a node, an input or an initializer yields. */
export interface Value {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly Dim[];
}

/** An attribute of a node. */
export type Attribute =
  | { readonly kind: "int"; readonly value: number }
  | { readonly kind: "ints"; readonly value: readonly number[] }
  | { readonly kind: "float"; readonly value: number }
  | { readonly kind: "string"; readonly value: string };

/** Which part of a step a node belongs to; in the file the parts follow one another in this order. */
export type Stage = "forward" | "recompute" | "backward";

/** One operator at work. `null` stands for an optional input that is left out. */
export interface Node {
  readonly op: OperatorName;
  readonly inputs: readonly (Value | null)[];
  readonly attributes: Readonly<Record<string, Attribute>>;
  readonly output: Value;
  readonly stage: Stage;
}

/** Bytes of a tensor in another file, as ONNX's external data. */
export interface ExternalBytes {
  /** File, relative to the folder that holds the weights. */
  readonly location: string;
  readonly offset: number;
  readonly length: number;
}

/** A tensor that the model holds: its own little-endian bytes, or a place in another file. */
export interface Initializer {
  readonly value: Value;
  readonly content: Uint8Array | ExternalBytes;
}

/** What the elements of an 8-bit weight, a matrix, are to be multiplied with. */
export interface WeightScale {
  /** As stored: one number for each block, row-major. */
  readonly value: Value;
  /** Size of the blocks; those at the end of a row or column may be smaller. */
  readonly blockRows: number;
  readonly blockColumns: number;
}

/** A gradient on its way down: asked for only where a trainable value depends on it. */
export interface Flow {
  /** The loss's gradient with respect to the step's output. */
  readonly dy: Value;
  /** Whether the output is the loss itself, hence `dy` is 1. */
  readonly isLoss: boolean;
  /**
   * Computes an input's gradient, unless nobody needs it. `compute` gets what other steps have added up so far, and
   * returns it with its own part added.
   */
  into(input: Value, compute: (sum: Value | null) => Value): void;
  /** Takes `dy` through a tape of its own, from its output down. */
  through(steps: readonly Step[], output: Value): void;
}

/** A differentiable step: what it read, what it made, and how a gradient passes through it. */
export interface Step {
  readonly inputs: readonly Value[];
  readonly output: Value;
  readonly gradient: (flow: Flow) => void;
}

/** Largest constant that is looked up before it is stored again. */
const SHARED_CONSTANT_BYTES = 256;

/** A graph being built. It owns its nodes; values are plain data. */
export class Graph {
  readonly opset: Opset;
  readonly inputs: Value[] = [];
  readonly initializers: Initializer[] = [];
  readonly nodes: Node[] = [];
  /** The tape. */
  steps: Step[] = [];
  /** Outputs by their public name, in order. */
  readonly outputs = new Map<string, Value>();
  #stage: Stage = "forward";
  #isPinned = false;
  #count = 0;
  readonly #names = new Set<string>();
  readonly #constants = new Map<string, Value>();
  readonly #dimensions = new Map<string, () => Value>();
  readonly #made = new Map<string, Value>();
  readonly #tracked = new Set<Value>();
  readonly #scales = new Map<Value, WeightScale>();
  /** What nodes made. */
  readonly #produced = new Set<Value>();

  constructor(opset: Opset = OPSET) {
    this.opset = opset;
  }

  /** @throws RangeError when the name is taken. */
  input(name: string, type: ElementType, shape: readonly Dim[]): Value {
    const value = this.#value(name, type, shape);
    this.inputs.push(value);
    return value;
  }

  /** Adds an initializer. @throws RangeError when the name is taken. */
  initializer({ name, type, shape }: Value, content: Uint8Array | ExternalBytes): Value {
    const value = this.#value(name, type, shape);
    this.initializers.push({ value, content });
    return value;
  }

  /** States what a weight's elements are to be multiplied with wherever it is read. */
  setScale(weight: Value, scale: WeightScale): void {
    this.#scales.set(weight, scale);
  }

  /** What a weight's elements are to be multiplied with, if anything. */
  scaleOf(weight: Value): WeightScale | null {
    return this.#scales.get(weight) ?? null;
  }

  /** A constant tensor of few or many numbers, held in the model. Small ones are shared. */
  constant(type: ConstantType, shape: readonly number[], numbers: ArrayLike<number>): Value {
    const size = product(shape);
    if (size !== numbers.length) {
      throw new RangeError(
        `Cannot make a constant of shape [${shape}]: expected ${size} numbers, got ${numbers.length}`,
      );
    }
    const content = constantBytes(type, numbers);
    if (content.length > SHARED_CONSTANT_BYTES) {
      return this.initializer({ name: this.#fresh("constant"), type, shape }, content);
    }
    const key = `${type} [${shape}] ${Array.from(numbers, (x) => (Object.is(x, -0) ? "-0" : x))}`;
    let value = this.#constants.get(key);
    if (value === undefined) {
      value = this.initializer({ name: this.#fresh("constant"), type, shape }, content);
      this.#constants.set(key, value);
    }
    return value;
  }

  /** Whether the graph's opset has an operator. */
  has(op: OperatorName): boolean {
    return !isStandard(op) || OPERATORS[op].since <= this.opset;
  }

  /**
   * Appends a node. The operators in operators/ check what goes in, and say what comes out.
   *
   * @throws RangeError when the graph's opset does not have the operator.
   */
  emit(
    op: OperatorName,
    inputs: readonly (Value | null)[],
    { type, shape, attributes = {} }: EmitOptions,
  ): Value {
    if (!this.has(op)) throw new RangeError(`Cannot use ${op}: opset ${this.opset} does not have it`);
    const output = this.#value(this.#fresh(op), type, shape);
    this.nodes.push({ op, inputs, attributes, output, stage: this.#stage });
    this.#produced.add(output);
    return output;
  }

  /** Declares an output. @throws RangeError when the name is taken. */
  output(name: string, value: Value): void {
    if (this.outputs.has(name) || this.#names.has(name)) {
      throw new RangeError(`Cannot name an output ${name}: the name is taken`);
    }
    const isFree = this.#produced.has(value) && ![...this.outputs.values()].includes(value);
    this.outputs.set(name, isFree ? value : this.emit("Identity", [value], value));
  }

  /** Runs `build` with its nodes in another stage. */
  during<T>(stage: Stage, build: () => T): T {
    return this.#inStage(this.#isPinned ? this.#stage : stage, build);
  }

  /** Runs `build` with all its nodes in the backward stage: they read what that stage made. */
  inBackward<T>(build: () => T): T {
    const before = this.#isPinned;
    this.#isPinned = true;
    try {
      return this.#inStage("backward", build);
    } finally {
      this.#isPinned = before;
    }
  }

  /** Runs `build` with a tape of its own, and gives its steps with what it made. */
  taped<T>(build: () => T): { readonly made: T; readonly steps: readonly Step[] } {
    const before = this.steps;
    this.steps = [];
    try {
      return { made: build(), steps: this.steps };
    } finally {
      this.steps = before;
    }
  }

  #inStage<T>(stage: Stage, build: () => T): T {
    const before = this.#stage;
    this.#stage = stage;
    try {
      return build();
    } finally {
      this.#stage = before;
    }
  }

  /** Says how to measure a symbolic dimension when the graph runs: an int64 tensor of shape [1]. */
  measure(symbol: string, value: () => Value): void {
    this.#dimensions.set(symbol, value);
  }

  /**
   * The size of a dimension as an int64 tensor of shape [1].
   *
   * @throws RangeError when nothing measures it.
   */
  dimension(dim: Dim): Value {
    if (typeof dim === "number") return this.constant("int64", [1], [dim]);
    const measured = this.#dimensions.get(dim);
    if (measured === undefined)
      throw new RangeError(`Cannot compute the dimension ${dim}: nothing measures it`);
    return this.once(`dimension ${dim}`, measured);
  }

  /** A value that depends on nothing but `key`, made in the forward stage when it is first asked for. */
  once(key: string, make: () => Value): Value {
    let value = this.#made.get(key);
    if (value === undefined) {
      value = this.#inStage("forward", make);
      this.#made.set(key, value);
    }
    return value;
  }

  /** Marks a value as trainable: gradients are computed of what depends on it, and of nothing else. */
  train(value: Value): void {
    this.#tracked.add(value);
  }

  /** Whether a value is trainable or depends on one. */
  isTracked(value: Value): boolean {
    return this.#tracked.has(value);
  }

  /** Puts a differentiable step on the tape and returns its output. Steps that no trainable value reaches are dropped. */
  record(step: Step): Value {
    if (step.inputs.some((input) => this.#tracked.has(input))) {
      this.#tracked.add(step.output);
      this.steps.push(step);
    }
    return step.output;
  }

  #fresh(what: string): string {
    this.#count += 1;
    return `${what}.${this.#count}`;
  }

  #value(name: string, type: ElementType, shape: readonly Dim[]): Value {
    if (this.#names.has(name)) throw new RangeError(`Cannot name a tensor ${name}: the name is taken`);
    this.#names.add(name);
    return { name, type, shape };
  }
}

/** What {@link Graph.emit} makes, and how. */
export interface EmitOptions {
  readonly type: ElementType;
  readonly shape: readonly Dim[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
}

function constantBytes(type: ConstantType, numbers: ArrayLike<number>): Uint8Array {
  switch (type) {
    case "float32":
      return bytesOf(Float32Array.from(numbers));
    case "float64":
      return bytesOf(Float64Array.from(numbers));
    case "float16":
      return encode(Float32Array.from(numbers), "F16");
    case "bfloat16":
      return encode(Float32Array.from(numbers), "BF16");
    case "int32":
      return bytesOf(Int32Array.from(numbers));
    case "uint32":
      return bytesOf(Uint32Array.from(numbers));
    case "int64":
      return bytesOf(BigInt64Array.from(Array.from(numbers, (x) => BigInt(x))));
    default:
      return type satisfies never;
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

export function int(value: number): Attribute {
  return { kind: "int", value };
}

export function ints(value: readonly number[]): Attribute {
  return { kind: "ints", value };
}

export function float(value: number): Attribute {
  return { kind: "float", value };
}

export function string(value: string): Attribute {
  return { kind: "string", value };
}
