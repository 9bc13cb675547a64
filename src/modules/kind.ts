// What a tensor is good for: a matrix to rank, a vector to list, or something that cannot be scored, and why.
import { type DType, isFloatDType } from "../tensor/dtype.ts";

/** A tensor by name, as far as finding modules needs it. */
export interface NamedTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** The kind of a tensor with what belongs to it: the matrix to score, or the reason why not. */
export type Classified =
  | { readonly kind: "matrix"; readonly matrix: readonly [rows: number, columns: number] }
  | { readonly kind: "vector" }
  | { readonly kind: "other"; readonly reason: string };

/** Buffers that old checkpoints hold: rotary frequencies, causal masks, positions. */
const BUFFER = /(?:^|[._])(?:inv_freq|masked_bias|position_ids|token_type_ids|causal_mask|attention_mask)$/;

/** Last segment of a norm's name. Its weight may have two axes: Cohere's `q_norm` is [heads, head size]. */
const NORM = /(?:norm|^ln(?:_[a-z0-9]+)?)\d*$/i;

/**
 * Classifies a weight of any shape. A matrix is [out, in] for a linear layer, [in, out] for GPT-2's Conv1D
 * (a transposition changes no singular value) and [out, in * kernel] for a convolution. Leading axes of length 1
 * of a bare parameter (`probe` [1, 1, width]) do not count.
 */
export function classify(tensor: NamedTensor): Classified {
  const { name, dtype, shape } = tensor;
  const elements = shape.reduce((product, size) => product * size, 1);
  if (elements === 0) return { kind: "other", reason: "has no elements" };
  if (isBuffer(name, shape)) return { kind: "other", reason: "is a buffer that no training changes" };
  if (!isFloatDType(dtype)) return { kind: "other", reason: `${dtype} does not hold real numbers` };
  const sizes = name.endsWith(".weight") ? shape : shape.slice(shape.findIndex((size) => size !== 1));
  const rows = sizes[0];
  if (rows === undefined || sizes.length < 2 || isVector(name)) return { kind: "vector" };
  if (name.endsWith("A_log")) return { kind: "other", reason: "holds decay rates, which multiply no vector" };
  return { kind: "matrix", matrix: [rows, elements / rows] };
}

function isVector(tensor: string): boolean {
  const segments = tensor.replace(/\.weight$/, "").split(".");
  return NORM.test(segments.at(-1) ?? "") || tensor.endsWith("bias");
}

function isBuffer(name: string, shape: readonly number[]): boolean {
  const causalMask = /attn\.bias$|attention\.bias$/.test(name) && shape.length === 4;
  return causalMask || BUFFER.test(name);
}
