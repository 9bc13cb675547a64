// Encodes float32 values as little-endian elements of a checkpoint's dtype, to the nearest, ties to even.
import type { MatrixDType } from "./dtype.ts";

/**
 * Encodes values. NaN stays NaN.
 *
 * @throws RangeError when a finite value is too large for F16.
 */
export function encode(values: Float32Array, dtype: MatrixDType): Uint8Array<ArrayBuffer> {
  switch (dtype) {
    case "F64":
      return new Uint8Array(Float64Array.from(values).buffer);
    case "F32":
      return new Uint8Array(Float32Array.from(values).buffer);
    case "F16":
      return new Uint8Array(Uint16Array.from(values, f16Code).buffer);
    case "BF16":
      return encodeBF16(values);
    default:
      return dtype satisfies never;
  }
}

/** A BF16 is the upper half of an F32. */
function encodeBF16(values: Float32Array): Uint8Array<ArrayBuffer> {
  const bits = new Uint32Array(Float32Array.from(values).buffer);
  const codes = new Uint16Array(values.length);
  for (let i = 0; i < codes.length; i++) {
    const word = bits[i] as number;
    const notANumber = (word & 0x7fffffff) > 0x7f800000;
    // Half of the lower half is added, less one where the upper half is even; NaN could turn into Infinity.
    codes[i] = notANumber ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return new Uint8Array(codes.buffer);
}

const SMALLEST_NORMAL_F16 = 2 ** -14;
const LARGEST_F16 = 65504;

function f16Code(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  if (Number.isNaN(magnitude)) return 0x7e00;
  if (magnitude === Number.POSITIVE_INFINITY) return sign | 0x7c00;
  // From this half-way point on, the nearest would be 2^16.
  if (magnitude >= LARGEST_F16 + 16)
    throw new RangeError(`Cannot store ${value} as F16: expected at most ${LARGEST_F16}; save as float32`);
  const exponent = magnitude < SMALLEST_NORMAL_F16 ? -14 : Math.floor(Math.log2(magnitude));
  // In units of the last place, the code counts on through the exponents: rounding up carries into the next one.
  const steps = roundHalfEven(magnitude / 2 ** (exponent - 10));
  return sign | (magnitude < SMALLEST_NORMAL_F16 ? steps : ((exponent + 14) << 10) + steps);
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest === 0.5) return floor + (floor % 2);
  return rest > 0.5 ? floor + 1 : floor;
}
