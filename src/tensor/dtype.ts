// The element types of the safetensors format: their names and sizes. Decoding is in decode.ts.

/** Bits per element of every dtype that a safetensors header may name. */
const DTYPE_BITS = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
} as const;

/** An element type, spelled as in a safetensors header. */
export type DType = keyof typeof DTYPE_BITS;

/** The element types in which backends take matrices. */
export type MatrixDType = "F64" | "F32" | "F16" | "BF16";

/** The 8-bit floats, which come with scales or without. */
export type Float8DType = "F8_E4M3" | "F8_E5M2";

/** The element types that decode to real numbers, hence can be scored. */
export type FloatDType = MatrixDType | Float8DType;

const FLOAT_DTYPES: ReadonlySet<string> = new Set<FloatDType>([
  "F64",
  "F32",
  "F16",
  "BF16",
  "F8_E4M3",
  "F8_E5M2",
]);

/** Says whether a string from a header names a dtype of the format. */
export function isDType(name: string): name is DType {
  return Object.hasOwn(DTYPE_BITS, name);
}

/** Says whether a dtype decodes to real numbers (see {@link FloatDType}). */
export function isFloatDType(dtype: DType): dtype is FloatDType {
  return FLOAT_DTYPES.has(dtype);
}

/** Says whether a dtype is a float of 8 bits. */
export function isFloat8(dtype: DType): dtype is Float8DType {
  return dtype === "F8_E4M3" || dtype === "F8_E5M2";
}

/** Bits that one element takes; 4 and 6 for the sub-byte formats, which are packed without padding. */
export function dtypeBits(dtype: DType): number {
  return DTYPE_BITS[dtype];
}

/** Bytes per element of a float dtype. */
export function floatDTypeBytes(dtype: FloatDType): 1 | 2 | 4 | 8 {
  switch (dtype) {
    case "F64":
      return 8;
    case "F32":
      return 4;
    case "F16":
    case "BF16":
      return 2;
    case "F8_E4M3":
    case "F8_E5M2":
      return 1;
    default:
      return dtype satisfies never;
  }
}
