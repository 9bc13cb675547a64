// The operators of the ONNX standard that graphs are made of, which of ONNX Runtime's providers run them, and the
// operators of its training builds.

/** Opset of a graph unless another is asked for: RMSNormalization and RotaryEmbedding came with it. */
export const OPSET = 23;

/** The last opset that ONNX Runtime's training builds read, which ended at 1.19.2. */
export const TRAINING_OPSET = 21;

/** Version of the file format that goes with each opset. */
export const IR_VERSIONS = { [TRAINING_OPSET]: 10, [OPSET]: 11 } as const;

/** An opset that graphs are written in. */
export type Opset = keyof typeof IR_VERSIONS;

/** What a provider does with an operator. */
interface OperatorSupport {
  /** The first opset with the form that is used here. */
  readonly since: number;
  readonly cpu: true;
  readonly cuda: boolean;
  /** Whether ONNX Runtime 1.30's WebGPU provider has a kernel for the types used here; `shape`: computed on the host, on shapes alone. */
  readonly webgpu: boolean | "shape";
}

const everywhere = (since: number): OperatorSupport => ({ since, cpu: true, cuda: true, webgpu: true });

/** Every operator of the standard that a graph may hold. */
export const OPERATORS = {
  Add: everywhere(14),
  ArgMax: everywhere(13),
  Cast: everywhere(19),
  Clip: everywhere(13),
  Concat: everywhere(13),
  CumSum: everywhere(14),
  DequantizeLinear: { since: 21, cpu: true, cuda: true, webgpu: false },
  Div: everywhere(14),
  Equal: everywhere(19),
  Exp: everywhere(13),
  Expand: everywhere(13),
  Gather: everywhere(13),
  GatherElements: everywhere(13),
  Gemm: everywhere(13),
  Greater: everywhere(13),
  Identity: everywhere(21),
  Log: everywhere(13),
  MatMul: everywhere(13),
  Max: { since: 13, cpu: true, cuda: true, webgpu: "shape" },
  Mul: everywhere(14),
  Neg: everywhere(13),
  Pad: everywhere(21),
  Pow: everywhere(15),
  Reciprocal: everywhere(13),
  ReduceMax: everywhere(20),
  ReduceSum: everywhere(13),
  ReduceSumSquare: everywhere(18),
  Reshape: everywhere(21),
  RMSNormalization: { since: 23, cpu: true, cuda: true, webgpu: true },
  RotaryEmbedding: { since: 23, cpu: true, cuda: true, webgpu: true },
  ScatterElements: everywhere(18),
  Shape: { since: 21, cpu: true, cuda: true, webgpu: "shape" },
  Sigmoid: everywhere(13),
  Slice: everywhere(13),
  Softmax: everywhere(13),
  Tanh: everywhere(13),
  Sqrt: everywhere(13),
  Sub: everywhere(14),
  Transpose: everywhere(21),
  Where: everywhere(16),
} as const satisfies Record<string, OperatorSupport>;

/** Domain of the operators that ONNX Runtime adds. */
export const RUNTIME_DOMAIN = "com.microsoft";

/** Operators of {@link RUNTIME_DOMAIN}, which only ONNX Runtime's training builds run. */
export const TRAINING_OPERATORS = ["InPlaceAccumulatorV2"] as const;

/** The name of an operator of the standard. */
export type StandardOperator = keyof typeof OPERATORS;

/** The name of any operator. */
export type OperatorName = StandardOperator | (typeof TRAINING_OPERATORS)[number];

/** Whether an operator is of the standard. */
export function isStandard(op: OperatorName): op is StandardOperator {
  return op in OPERATORS;
}
