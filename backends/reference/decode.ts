// Bytes of a checkpoint to numbers, one element at a time: an oracle shares no code with what it judges.
import { floatDTypeBytes, type MatrixDType } from "../../src/tensor/dtype.ts";

/** Decodes little-endian elements; the length of `bytes` is a multiple of the element's. */
export function decodeElements(bytes: Uint8Array, dtype: MatrixDType): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const step = floatDTypeBytes(dtype);
  return Array.from({ length: bytes.length / step }, (_, i) => decodeElement(view, i * step, dtype));
}

function decodeElement(view: DataView, at: number, dtype: MatrixDType): number {
  switch (dtype) {
    case "F64":
      return view.getFloat64(at, true);
    case "F32":
      return view.getFloat32(at, true);
    case "F16":
      return decodeHalf(view.getUint16(at, true));
    case "BF16":
      return decodeBrainFloat(view.getUint16(at, true));
    default:
      return dtype satisfies never;
  }
}

/** IEEE 754 binary16: 1 bit of sign, 5 of exponent with bias 15, 10 of fraction. */
function decodeHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** The upper half of an IEEE 754 binary32. */
function decodeBrainFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 7) & 0xff;
  const fraction = bits & 0x7f;
  if (exponent === 0xff) return fraction === 0 ? sign * Infinity : NaN;
  if (exponent === 0) return sign * fraction * 2 ** -133;
  return sign * (128 + fraction) * 2 ** (exponent - 134);
}
