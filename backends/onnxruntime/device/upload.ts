// What of a matrix goes to a device, and how much of it at once. Pure.
import { decode } from "../../../src/tensor/decode.ts";
import { floatDTypeBytes, type MatrixDType } from "../../../src/tensor/dtype.ts";
import type { MatrixHeader } from "../../wasm/singular-values/layout.ts";
import { CODES } from "./graphs.ts";
import type { Elements } from "./protocol.ts";

/** How a matrix travels. */
export interface Upload {
  readonly elements: Elements;
  /** Rows (tall) or columns (wide) at once, at most. */
  readonly depth: number;
  /** Chunks that may be on their way or at work while the next one is gathered. */
  readonly ahead: number;
}

/** Rows whose products are added up in floats: part of the numerics. */
const FLOAT_DEPTH = 512;
/** Chunks for a device with doubles are half as many bytes as what comes back of each, and no fewer rows than this. */
const LEAST_DEPTH = 1024;

/** How a matrix travels to a device that has doubles, or that has floats alone. */
export function uploadOf({ shape, dtype }: MatrixHeader, floats: boolean): Upload {
  const bytes = floatDTypeBytes(dtype);
  const elements = bytes === 2 ? "codes" : bytes === 4 ? "float32" : "float64";
  if (floats) return { elements, depth: FLOAT_DEPTH, ahead: 2 };
  return {
    elements,
    depth: Math.max(LEAST_DEPTH, 2 * Math.floor(Math.min(...shape) / bytes)),
    ahead: 1,
  };
}

/** What each code of 16 bits stands for, times a power of two. */
export function tableOf(
  dtype: MatrixDType,
  { factor, floats }: { readonly factor: number; readonly floats: boolean },
): Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer> {
  const codes = Uint16Array.from({ length: CODES }, (_, code) => code);
  const table = decode(new Uint8Array(codes.buffer), dtype, new Float64Array(CODES));
  for (let code = 0; code < CODES; code++) table[code] = (table[code] ?? 0) * factor;
  return floats ? Float32Array.from(table) : table;
}
