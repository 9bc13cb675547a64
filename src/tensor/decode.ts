// Decodes little-endian elements of the float dtypes into numbers. Scales of quantised weights are in scale.ts.
import { type FloatDType, floatDTypeBytes } from "./dtype.ts";

/**
 * Decodes elements into `out` and returns it. Every value is exact, except F64 into a Float32Array, which rounds.
 *
 * @param bytes `out.length` elements, at any alignment.
 * @throws RangeError when the bytes are not as many as `out` needs.
 */
export function decode<T extends Float32Array | Float64Array>(
  bytes: Uint8Array,
  dtype: FloatDType,
  out: T,
): T {
  if (bytes.length !== out.length * floatDTypeBytes(dtype)) {
    throw new RangeError(
      `Cannot decode ${out.length} elements of ${dtype}: expected ${out.length * floatDTypeBytes(dtype)} bytes, got ${bytes.length}`,
    );
  }
  switch (dtype) {
    case "F64":
      out.set(new Float64Array(...aligned(bytes, 8)));
      return out;
    case "F32":
      out.set(new Float32Array(...aligned(bytes, 4)));
      return out;
    case "F16":
      return lookUp(new Uint16Array(...aligned(bytes, 2)), f16Table(), out);
    case "BF16":
      return decodeBF16(new Uint16Array(...aligned(bytes, 2)), out);
    case "F8_E4M3":
      return lookUp(bytes, E4M3, out);
    case "F8_E5M2":
      return lookUp(bytes, E5M2, out);
    default:
      return dtype satisfies never;
  }
}

/** Buffer, offset and length of a view with elements of `size` bytes; a copy when the bytes are not aligned. */
function aligned(bytes: Uint8Array, size: number): [ArrayBufferLike, number, number] {
  const { buffer, byteOffset } = bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes);
  return [buffer, byteOffset, bytes.length / size];
}

function lookUp<T extends Float32Array | Float64Array>(
  codes: Uint8Array | Uint16Array,
  table: Float32Array,
  out: T,
): T {
  for (let i = 0; i < codes.length; i++) out[i] = table[codes[i] as number] as number;
  return out;
}

/** A BF16 is the upper half of an F32. */
function decodeBF16<T extends Float32Array | Float64Array>(codes: Uint16Array, out: T): T {
  if (out instanceof Float32Array) {
    const bits = new Uint32Array(out.buffer, out.byteOffset, out.length);
    for (let i = 0; i < codes.length; i++) bits[i] = (codes[i] as number) << 16;
    return out;
  }
  const value = new Float32Array(1);
  const bits = new Uint32Array(value.buffer);
  for (let i = 0; i < codes.length; i++) {
    bits[0] = (codes[i] as number) << 16;
    out[i] = value[0] as number;
  }
  return out;
}

/** Layout of a float with a sign bit, then the exponent, then the mantissa. */
interface FloatLayout {
  readonly exponentBits: number;
  readonly mantissaBits: number;
  readonly bias: number;
  /** Whether the highest exponent means Inf and NaN; else only its highest mantissa does, and means NaN. */
  readonly ieee: boolean;
}

/** The value of every code of a layout. Formulas: IEEE 754-2019, 3.4; OCP 8-bit floating point, 5.2.1. */
function tableOf({ exponentBits, mantissaBits, bias, ieee }: FloatLayout): Float32Array {
  const exponents = 2 ** exponentBits;
  const mantissas = 2 ** mantissaBits;
  const table = new Float32Array(2 * exponents * mantissas);
  for (let code = 0; code < table.length; code++) {
    const sign = code < exponents * mantissas ? 1 : -1;
    const exponent = (code >> mantissaBits) % exponents;
    const mantissa = code % mantissas;
    let value = (1 + mantissa / mantissas) * 2 ** (exponent - bias);
    if (exponent === 0) value = (mantissa / mantissas) * 2 ** (1 - bias);
    if (exponent === exponents - 1) {
      if (ieee) value = mantissa === 0 ? Number.POSITIVE_INFINITY : Number.NaN;
      else if (mantissa === mantissas - 1) value = Number.NaN;
    }
    table[code] = sign * value;
  }
  return table;
}

const E4M3 = tableOf({ exponentBits: 4, mantissaBits: 3, bias: 7, ieee: false });
const E5M2 = tableOf({ exponentBits: 5, mantissaBits: 2, bias: 15, ieee: true });

let f16: Float32Array | undefined;

/** 256 KiB, made when first needed. */
function f16Table(): Float32Array {
  f16 ??= tableOf({ exponentBits: 5, mantissaBits: 10, bias: 15, ieee: true });
  return f16;
}
