// The power of two by which the elements of a matrix are multiplied before they are folded in, so that neither their
// squares nor the sums of these leave the range of doubles or floats; and the check that they are numbers.
import { MatrixError } from "../../../src/errors.ts";
import { floatDTypeBytes } from "../../../src/tensor/dtype.ts";
import { DTYPE_NUMBER, type Kernels } from "../kernels.ts";
import type { MatrixHeader } from "./layout.ts";

// Values of a float64 matrix are scaled to stay below 2^64: squares neither overflow nor vanish.
const HEADROOM_BITS = 64;
// Floats are scaled by at most 2^120, itself a float, to stay below 2^57: 1024 squares of them add up below 2^124.
const FLOAT_HEADROOM_BITS = 56;
const FLOAT_EXPONENT_LIMIT = 120;
// Elements checked between two looks at the interruption.
const CHECKED_ELEMENTS = 2 ** 22;

/** A matrix of which parts have been folded in. */
export interface Scaled {
  readonly header: MatrixHeader;
  /** What has been folded in was multiplied by 2^-exponent first; null until the first value that is not 0. */
  exponent: number | null;
}

/** The exponent that a matrix begins with. As doubles, types other than F64 need no scaling, nor do their squares. */
export function firstExponent({ dtype }: MatrixHeader, floats: boolean): number | null {
  return floats || dtype === "F64" ? null : 0;
}

/**
 * The factor by which to multiply the next values, of magnitude up to `max`.
 *
 * @param floats - whether they become floats.
 * @param rescale - multiplies what is folded in already, which are sums of squares, by a factor.
 */
export function factorFor(
  work: Scaled,
  { max, floats }: { readonly max: number; readonly floats: boolean },
  rescale: (factor: number) => void,
): number {
  if (work.header.dtype !== "F64" && !floats) return 1;
  if (max > 0) {
    const headroom = floats ? FLOAT_HEADROOM_BITS : HEADROOM_BITS;
    const limit = floats ? FLOAT_EXPONENT_LIMIT : Infinity;
    const exponent = Math.max(-limit, Math.min(limit, exponentOf(max)));
    if (work.exponent !== null && exponent > work.exponent + headroom) {
      rescale(2 ** (2 * (work.exponent - exponent)));
      work.exponent = exponent;
    }
    work.exponent ??= exponent;
  }
  return 2 ** -(work.exponent ?? 0);
}

/**
 * Largest magnitude of `count` elements at `address`.
 *
 * @throws MatrixError at NaN and Infinity; what `checkInterrupted` throws.
 */
export function largestMagnitude(
  kernels: Kernels,
  {
    header,
    address,
    count,
  }: { readonly header: MatrixHeader; readonly address: number; readonly count: number },
  checkInterrupted: () => void,
): number {
  const { shape, dtype } = header;
  let most = 0;
  for (let at = 0; at < count; at += CHECKED_ELEMENTS) {
    checkInterrupted();
    const part = Math.min(CHECKED_ELEMENTS, count - at);
    const max = kernels.maxAbs(address + at * floatDTypeBytes(dtype), part, DTYPE_NUMBER[dtype]);
    if (Number.isNaN(max)) {
      throw new MatrixError(
        `Cannot compute the singular values of a ${shape.join(" x ")} matrix of ${dtype}: it holds NaN or Infinity`,
      );
    }
    most = Math.max(most, max);
  }
  return most;
}

/** e such that 2^e <= x < 2^(e + 1), kept within +-1000: a power of two and its inverse are then both finite. */
export function exponentOf(x: number): number {
  const bits = new DataView(new ArrayBuffer(8));
  bits.setFloat64(0, x);
  return Math.max(-1000, Math.min(1000, ((bits.getUint16(0) >> 4) & 0x7ff) - 1023));
}
