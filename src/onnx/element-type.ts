// The element types of tensors in a graph: their codes in ONNX and their sizes.
import type { DType } from "../tensor/dtype.ts";
import { TensorProto_DataType } from "./onnx.pb.ts";

const TYPES = {
  float32: { code: TensorProto_DataType.FLOAT, bytes: 4 },
  float64: { code: TensorProto_DataType.DOUBLE, bytes: 8 },
  float16: { code: TensorProto_DataType.FLOAT16, bytes: 2 },
  bfloat16: { code: TensorProto_DataType.BFLOAT16, bytes: 2 },
  int32: { code: TensorProto_DataType.INT32, bytes: 4 },
  int64: { code: TensorProto_DataType.INT64, bytes: 8 },
  bool: { code: TensorProto_DataType.BOOL, bytes: 1 },
} as const;

/** An element type, spelled as in ONNX Runtime's JavaScript API where it has it. */
export type ElementType = keyof typeof TYPES;

/** The element types that graphs compute in. */
export type FloatType = "float32" | "float64" | "float16";

/** The code of `TensorProto.DataType`. */
export function typeCode(type: ElementType): number {
  return TYPES[type].code;
}

/** Bytes per element. */
export function typeBytes(type: ElementType): number {
  return TYPES[type].bytes;
}

/** The element type of a checkpoint's dtype, or null where graphs do not read it. */
export function elementTypeOf(dtype: DType): ElementType | null {
  switch (dtype) {
    case "F32":
      return "float32";
    case "F64":
      return "float64";
    case "F16":
      return "float16";
    case "BF16":
      return "bfloat16";
    default:
      return null;
  }
}
