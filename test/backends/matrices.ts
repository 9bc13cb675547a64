// Matrices for the tests of backends: drawn from a seed, or with known singular values; and their bytes.
import { readFileSync } from "node:fs";
import type { MatrixSource } from "../../src/backend.ts";
import { floatDTypeBytes, type MatrixDType } from "../../src/tensor/dtype.ts";

export type Shape = readonly [rows: number, columns: number];

/** A row-major matrix of doubles. */
export interface Matrix {
  readonly shape: Shape;
  readonly elements: Float64Array;
}

// Significant bits drawn per element: each element type holds them exactly.
const BITS = { F64: 32, F32: 24, F16: 11, BF16: 8 } as const satisfies Record<MatrixDType, number>;

/** Shapes up to an order of 1728, square and oblong, of each size of element, that can be read again and not. */
export function* smallMatrices(): Generator<readonly [Shape, "F64" | "F32" | "BF16", boolean]> {
  for (let n = 1; n < 1728; n += n < 30 ? 1 : 35) {
    for (const m of [n, n + 1, Math.ceil(1.3 * n), 4 * n]) {
      for (const shape of [[m, n] as const, [n, m] as const]) {
        for (const dtype of ["F64", "F32", "BF16"] as const) {
          for (const rereadable of [true, false]) yield [shape, dtype, rereadable];
        }
      }
    }
  }
}

/** Elements in [-1, 1), each exact in `dtype`; the same as draw() of scripts/fixtures/singular-values.py makes. */
export function drawMatrix(shape: Shape, dtype: MatrixDType, seed: number): Matrix {
  const bits = BITS[dtype];
  let x = seed;
  const elements = Float64Array.from({ length: shape[0] * shape[1] }, () => {
    x = (Math.imul(1664525, x) + 1013904223) >>> 0;
    return (x >>> (32 - bits)) / 2 ** (bits - 1) - 1;
  });
  return { shape, elements };
}

/** u v^T + noise N, in double precision; the same as spiked() of scripts/fixtures/singular-values.py makes. */
export function drawSpiked(shape: Shape, noise: number, seed: number): Matrix {
  const [rows, columns] = shape;
  const u = drawMatrix([rows, 1], "F32", seed).elements;
  const v = drawMatrix([1, columns], "F32", seed + 1).elements;
  const elements = drawMatrix(shape, "F32", seed + 2).elements.map(
    (x, at) => (u[Math.floor(at / columns)] ?? 0) * (v[at % columns] ?? 0) + noise * x,
  );
  return { shape, elements };
}

/** U diag(values) V^T with U and V products of three reflections each; as many values as the smaller side. */
export function matrixOfSpectrum(shape: Shape, values: readonly number[], seed: number): Matrix {
  const [rows, columns] = shape;
  const elements = new Float64Array(rows * columns);
  for (const [i, value] of values.entries()) elements[i * columns + i] = value;
  for (let k = 0; k < 3; k++) {
    reflect(elements, drawMatrix([rows, 1], "F64", seed + k).elements, columns, 1);
    reflect(elements, drawMatrix([columns, 1], "F64", seed + 10 + k).elements, 1, columns);
  }
  return { shape, elements };
}

/** A -= 2 v (v^T A) / (v^T v) along the axis whose elements are `stride` apart; `step` apart along the other. */
function reflect(a: Float64Array, v: Float64Array, stride: number, step: number): void {
  const square = v.reduce((sum, x) => sum + x * x, 0);
  const count = a.length / v.length;
  for (let j = 0; j < count; j++) {
    let product = 0;
    for (const [i, x] of v.entries()) product += x * (a[i * stride + j * step] ?? 0);
    for (const [i, x] of v.entries()) {
      const at = i * stride + j * step;
      a[at] = (a[at] ?? 0) - (2 * product * x) / square;
    }
  }
}

export function transpose({ shape, elements }: Matrix): Matrix {
  const [rows, columns] = shape;
  const at = (i: number) => (i % rows) * columns + Math.floor(i / rows);
  return { shape: [columns, rows], elements: elements.map((_, i) => elements[at(i)] ?? NaN) };
}

/** Little-endian bytes of a matrix whose elements are exact in `dtype` (or, for F64, any). */
export function encode(matrix: Matrix, dtype: MatrixDType): Uint8Array {
  const step = floatDTypeBytes(dtype);
  const bytes = new Uint8Array(matrix.elements.length * step);
  const view = new DataView(bytes.buffer);
  for (const [i, x] of matrix.elements.entries()) {
    if (dtype === "F64") view.setFloat64(i * step, x, true);
    else if (dtype === "F32") view.setFloat32(i * step, x, true);
    else if (dtype === "F16") view.setUint16(i * step, encodeHalf(x), true);
    else view.setUint16(i * step, encodeFloat(x) >>> 16, true);
  }
  return bytes;
}

function encodeFloat(x: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, x);
  return view.getUint32(0);
}

/** Normal and subnormal halves that are exact, and the special ones. */
function encodeHalf(x: number): number {
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(x);
  if (Number.isNaN(x)) return 0x7e00;
  if (magnitude === Infinity) return sign | 0x7c00;
  if (magnitude < 2 ** -14) return sign | (magnitude * 2 ** 24);
  const exponent = Math.floor(Math.log2(magnitude));
  return sign | ((exponent + 15) << 10) | (magnitude * 2 ** (10 - exponent) - 1024);
}

/** One matrix as a backend takes it, in blocks of `rowsPerBlock` rows; by default all at once. */
export function sourceOf(matrix: Matrix, dtype: MatrixDType, rowsPerBlock = matrix.shape[0]): MatrixSource {
  return { shape: matrix.shape, dtype, rows: cutRows(matrix, dtype, rowsPerBlock) };
}

/** The blocks share one buffer, as the contract allows: each is valid until the next is asked for. */
function* cutRows(matrix: Matrix, dtype: MatrixDType, rowsPerBlock: number): Generator<Uint8Array> {
  const bytes = encode(matrix, dtype);
  const blockBytes = rowsPerBlock * matrix.shape[1] * floatDTypeBytes(dtype);
  const buffer = new Uint8Array(blockBytes);
  for (let at = 0; at < bytes.length; at += blockBytes) {
    const block = bytes.subarray(at, at + blockBytes);
    buffer.set(block);
    yield buffer.subarray(0, block.length);
    buffer.fill(0xff); // NaN in every type, for a backend that looks back
  }
}

interface DrawnCase {
  readonly shape: Shape;
  readonly dtype: MatrixDType;
  readonly seed: number;
  readonly values: readonly number[];
}

interface SpikedCase {
  readonly shape: Shape;
  readonly noise: number;
  readonly seed: number;
  readonly values: readonly number[];
}

interface Fixture {
  readonly lapack: readonly DrawnCase[];
  readonly lapackLarge: readonly DrawnCase[];
  readonly spiked: readonly SpikedCase[];
}

/** Singular values made by scripts/fixtures/singular-values.py. */
export const fixture: Fixture = JSON.parse(
  readFileSync(new URL("../fixtures/singular-values/lapack.json", import.meta.url), "utf8"),
);
