// The element types of tensors in a graph: their codes in ONNX.
import type { DType } from "../tensor/dtype.ts";
import { TensorProto_DataType } from "./onnx.pb.ts";

const CODES = {
  float32: TensorProto_DataType.FLOAT,
  float64: TensorProto_DataType.DOUBLE,
  float16: TensorProto_DataType.FLOAT16,
  bfloat16: TensorProto_DataType.BFLOAT16,
  float8e4m3fn: TensorProto_DataType.FLOAT8E4M3FN,
  float8e5m2: TensorProto_DataType.FLOAT8E5M2,
  int32: TensorProto_DataType.INT32,
  int64: TensorProto_DataType.INT64,
  uint32: TensorProto_DataType.UINT32,
  bool: TensorProto_DataType.BOOL,
} as const;

/** An element type, spelled as in ONNX Runtime's JavaScript API where it has it; 8-bit floats are for frozen weights alone. */
export type ElementType = keyof typeof CODES;

/** The element types that graphs compute in. */
export type FloatType = "float32" | "float64" | "float16" | "bfloat16";

/** The element types of constants. */
export type ConstantType = FloatType | "int32" | "int64" | "uint32";

/** In which the statistics of norms, softmax and loss are computed where the rest is computed in `type`. */
export function statisticsType(type: ElementType): "float32" | "float64" {
  return type === "float64" ? "float64" : "float32";
}

/** The code of `TensorProto.DataType`. */
export function typeCode(type: ElementType): number {
  return CODES[type];
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
    case "F8_E4M3":
      return "float8e4m3fn";
    case "F8_E5M2":
      return "float8e5m2";
    default:
      return null;
  }
}
