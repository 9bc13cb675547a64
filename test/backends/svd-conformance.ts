// What every backend that computes leading singular triplets must do. Called by a test file per backend.
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend, BackendEntry, MatrixSource } from "../../src/backend.ts";
import type { SvdOptions, TruncatedSvd } from "../../src/backend-svd.ts";
import { MatrixError, UsageError } from "../../src/errors.ts";
import type { MatrixDType } from "../../src/tensor/dtype.ts";
import {
  drawMatrix,
  drawSpiked,
  encode,
  fixture,
  type Matrix,
  matrixOfSpectrum,
  type Shape,
  sourceOf,
  transpose,
} from "./matrices.ts";

interface FallingCase {
  readonly shape: Shape;
  readonly halving: number;
  readonly rank: number;
  readonly seed: number;
  readonly values: readonly number[];
  /** The first singular vectors, by LAPACK. */
  readonly u: readonly number[];
  readonly v: readonly number[];
}

/** Made by scripts/fixtures/truncated-svd.py. */
const falling: { readonly cases: readonly FallingCase[] } = JSON.parse(
  readFileSync(new URL("../fixtures/singular-values/truncated.json", import.meta.url), "utf8"),
);

/** The same as case() of scripts/fixtures/truncated-svd.py makes. */
function drawFalling({ shape, halving, seed }: FallingCase): Matrix {
  const { elements } = drawMatrix(shape, "F32", seed);
  return {
    shape,
    elements: elements.map((x, at) => x * 2 ** -Math.floor(Math.floor(at / shape[1]) / halving)),
  };
}

/** Runs a backend's `svd`. */
export async function svd(
  backend: Backend,
  source: MatrixSource,
  { rank, ...options }: SvdOptions & { readonly rank: number },
): Promise<TruncatedSvd> {
  if (backend.svd === undefined) throw new Error(`${backend.name} computes no singular vectors`);
  return backend.svd(source, rank, options);
}

/** Row i of a row-major matrix of that width. */
const rowOf = (elements: Float64Array, width: number, i: number) =>
  elements.subarray(i * width, (i + 1) * width);

const dot = (x: Float64Array, y: Float64Array) => x.reduce((sum, each, i) => sum + each * (y[i] ?? NaN), 0);

/** |A x - s y| */
function distance({ shape, elements }: Matrix, x: Float64Array, y: Float64Array, s: number): number {
  const [rows, columns] = shape;
  let square = 0;
  for (let i = 0; i < rows; i++) square += (dot(rowOf(elements, columns, i), x) - s * (y[i] ?? NaN)) ** 2;
  return Math.sqrt(square);
}

function expectOrthonormal(rows: Float64Array, count: number): void {
  const width = rows.length / count;
  for (let i = 0; i < count; i++) {
    for (let j = 0; j <= i; j++) {
      const product = dot(rowOf(rows, width, i), rowOf(rows, width, j));
      if (!(Math.abs(product - (i === j ? 1 : 0)) <= 1e-12)) expect.fail(`vectors ${i} and ${j}: ${product}`);
    }
  }
}

/** Everything that {@link TruncatedSvd} says, held against the matrix and against its true singular values. */
export function expectTrue(result: TruncatedSvd, matrix: Matrix, truth: ArrayLike<number>): void {
  const [rows, columns] = matrix.shape;
  const { rank, u, s, vt, residuals, bounds, residualNorm } = result;
  expect([u.length, s.length, vt.length, residuals.length, bounds.length]).toEqual([
    rows * rank,
    rank,
    rank * columns,
    rank,
    rank,
  ]);
  const left = transpose({ shape: [rows, rank], elements: u }).elements;
  expectOrthonormal(left, rank);
  expectOrthonormal(vt, rank);
  const across = transpose(matrix);
  const all = Array.from(truth);
  for (const [i, value] of s.entries()) {
    expect(value).toBeGreaterThanOrEqual(0);
    expect(value).toBeLessThanOrEqual(s[i - 1] ?? Infinity);
    const [x, y] = [rowOf(vt, columns, i), rowOf(left, rows, i)];
    const residual = Math.max(distance(matrix, x, y, value), distance(across, y, x, value));
    const claim = residuals[i] ?? NaN;
    expect(residual, `residual ${i}`).toBeLessThanOrEqual(claim);
    const nearest = Math.min(...all.map((sigma) => Math.abs(sigma - value)));
    expect(nearest, `distance of value ${i} from any`).toBeLessThanOrEqual(claim);
    const error = Math.abs((all[i] ?? NaN) - value);
    expect(error, `error of value ${i}`).toBeLessThanOrEqual(bounds[i] ?? NaN);
  }
  // No approximation of that rank comes nearer (Eckart and Young).
  expect(residualNorm).toBeGreaterThanOrEqual((all[rank] ?? 0) * (1 - 1e-12));
}

/** A - U S V^T */
function remainder(matrix: Matrix, { rank, u, s, vt }: TruncatedSvd): Matrix {
  const columns = matrix.shape[1];
  const elements = matrix.elements.map((x, at) => {
    const [i, j] = [Math.floor(at / columns), at % columns];
    let sum = 0;
    for (let k = 0; k < rank; k++)
      sum += (u[i * rank + k] ?? NaN) * (s[k] ?? NaN) * (vt[k * columns + j] ?? NaN);
    return x - sum;
  });
  return { shape: matrix.shape, elements };
}

/** The suite. `entry` is a backend's module, and available here. */
export function testSvd(entry: BackendEntry): void {
  describe(`svd() of the ${entry.name} backend`, () => {
    let backend: Backend;
    beforeAll(async () => {
      backend = await entry.open({ precision: "exact", threads: 2 });
    });
    afterAll(() => backend.close());
    const compute = (matrix: Matrix, rank: number, dtype: MatrixDType = "F64") =>
      svd(backend, sourceOf(matrix, dtype), { rank });

    it("is among the capabilities", () => {
      expect(entry.capabilities).toContain("svd");
    });

    for (const { shape, dtype, seed, values } of fixture.lapack) {
      const ranks = new Set([1, Math.ceil(values.length / 3), values.length]);
      it(`holds its bounds against LAPACK for ${shape.join("x")} of ${dtype}, ranks ${[...ranks]}`, async () => {
        const matrix = drawMatrix(shape, dtype, seed);
        for (const rank of ranks) {
          const result = await compute(matrix, rank, dtype);
          expect(result.converged).toBe(true);
          expectTrue(result, matrix, values);
        }
      });
    }

    for (const each of falling.cases) {
      it(`finds the leading ${each.rank} of a falling spectrum, ${each.shape.join("x")}, and proves it`, async () => {
        const matrix = drawFalling(each);
        const result = await compute(matrix, each.rank);
        expect(result.converged).toBe(true);
        expectTrue(result, matrix, each.values);
        const largest = each.values[0] ?? NaN;
        expect(result.bounds[0]).toBeLessThan(1e-7 * largest);
        // Up to the sign, which is anybody's.
        const [rows, columns] = each.shape;
        const u = Float64Array.from({ length: rows }, (_, i) => result.u[i * each.rank] ?? NaN);
        expect(Math.abs(dot(u, Float64Array.from(each.u)))).toBeGreaterThan(1 - 1e-12);
        expect(Math.abs(dot(rowOf(result.vt, columns, 0), Float64Array.from(each.v)))).toBeGreaterThan(
          1 - 1e-12,
        );
      });
    }

    it("gives every bound near rounding when the values fall fast", async () => {
      const values = Array.from({ length: 40 }, (_, i) => 10 ** -i);
      const matrix = matrixOfSpectrum([40, 55], values, 31);
      const result = await compute(matrix, 6);
      expectTrue(result, matrix, values);
      expect(Math.max(...result.bounds)).toBeLessThan(1e-8);
      expect(result.residualNorm).toBeLessThan(1e-5);
    });

    it("bounds the norm of what is left, from above and not by far", async () => {
      const { shape, seed, values } = fixture.lapack[7] ?? { shape: [1, 1] as const, seed: 0, values: [] };
      const matrix = drawMatrix(shape, "BF16", seed);
      for (const rank of [1, 5, 20]) {
        const result = await compute(matrix, rank, "BF16");
        const rest = await svd(backend, sourceOf(remainder(matrix, result), "F64"), { rank: 1 });
        expect(rest.s[0]).toBeLessThanOrEqual(result.residualNorm);
        expect(result.residualNorm).toBeLessThan(1.1 * (values[rank] ?? NaN));
      }
    });

    it("makes U S V^T the matrix at full rank", async () => {
      for (const shape of [
        [20, 31],
        [31, 20],
        [24, 24],
      ] as const) {
        const matrix = drawMatrix(shape, "F64", 32);
        const { elements } = remainder(matrix, await compute(matrix, Math.min(...shape)));
        expect(Math.max(...elements.map(Math.abs))).toBeLessThan(1e-13);
      }
    });

    it("takes a flat spectrum: equal values, whose vectors are any", async () => {
      const ones = Array<number>(70).fill(1);
      for (const shape of [
        [70, 70],
        [70, 90],
        [90, 70],
      ] as const) {
        const matrix = matrixOfSpectrum(shape, ones, 33);
        for (const rank of [1, 9, 70]) expectTrue(await compute(matrix, rank), matrix, ones);
      }
    });

    it("takes clusters of equal values that the rank cuts", async () => {
      const values = [5, 5, 5, 2, 2, 2, 2, 1, 1, 0.5].flatMap((value) => [value, value, value, value]);
      const matrix = matrixOfSpectrum([41, 40], values, 34);
      for (const rank of [6, 12, 13]) expectTrue(await compute(matrix, rank), matrix, values);
    });

    it("takes a rank above that of the matrix: zeros, with orthonormal vectors", async () => {
      const values = Array.from({ length: 45 }, (_, i) => (i < 11 ? 11 - i : 0));
      for (const shape of [
        [45, 90],
        [90, 45],
      ] as const) {
        const matrix = matrixOfSpectrum(shape, values, 35);
        for (const rank of [10, 11, 12, 30, 45]) {
          const result = await compute(matrix, rank);
          expect(result.converged).toBe(true);
          expectTrue(result, matrix, values);
        }
      }
    });

    it("takes one value far above the rest", async () => {
      for (const { shape, noise, seed, values } of fixture.spiked) {
        const matrix = drawSpiked(shape, noise, seed);
        for (const each of [matrix, transpose(matrix)]) {
          const result = await compute(each, 3);
          expectTrue(result, each, values);
          expect(result.bounds[0]).toBeLessThan(1e-8 * (values[0] ?? NaN));
        }
      }
    });

    it("takes 1x1, a row and a column", async () => {
      const one = await compute({ shape: [1, 1], elements: Float64Array.of(-0.375) }, 1);
      expect([one.s[0], Math.abs(one.u[0] ?? NaN), (one.u[0] ?? NaN) * (one.vt[0] ?? NaN)]).toEqual([
        0.375, 1, -1,
      ]);
      const elements = Float64Array.from({ length: 300 }, (_, i) => (i === 7 ? 3 : i === 290 ? -4 : 0));
      for (const shape of [
        [1, 300],
        [300, 1],
      ] as const) {
        expectTrue(await compute({ shape, elements }, 1), { shape, elements }, [5]);
      }
    });

    it("takes a zero matrix, and is sure of it", async () => {
      for (const shape of [
        [1, 1],
        [5, 3],
        [3, 70],
      ] as const) {
        const matrix = { shape, elements: new Float64Array(shape[0] * shape[1]) };
        for (const rank of [1, Math.min(...shape)]) {
          const result = await compute(matrix, rank);
          expect(result).toMatchObject({ converged: true, residualNorm: 0 });
          expectTrue(result, matrix, Array(Math.min(...shape)).fill(0));
        }
      }
    });

    it("takes zero rows and columns and a rank of one", async () => {
      const shape: Shape = [67, 35];
      const elements = new Float64Array(67 * 35);
      elements.fill(1, 35 * 33, 35 * 34);
      const values = [Math.sqrt(35), ...Array<number>(34).fill(0)];
      for (const rank of [1, 2, 35]) {
        expectTrue(await compute({ shape, elements }, rank), { shape, elements }, values);
      }
    });

    it("takes values graded over 12 decades", async () => {
      const values = Array.from({ length: 60 }, (_, i) => 10 ** (-i / 5));
      const matrix = matrixOfSpectrum([80, 60], values, 36);
      for (const rank of [20, 45]) expectTrue(await compute(matrix, rank), matrix, values);
    });

    it("takes elements near 2^-1000 and 2^1000", async () => {
      const spectrum = [4, 3, 2, 1, 0.5];
      const unit = matrixOfSpectrum([9, 5], spectrum, 37);
      const expected = await compute(unit, 2);
      for (const power of [-1000, -500, 500, 1000]) {
        const result = await compute({ ...unit, elements: unit.elements.map((x) => x * 2 ** power) }, 2);
        expect(result.s.map((x) => x * 2 ** -power)).toEqual(expected.s);
        for (const [i, bound] of result.bounds.entries()) {
          expect(bound * 2 ** -power).toBeCloseTo(expected.bounds[i] ?? NaN, 20); // subnormal, at 2^-1000
        }
      }
    });

    it("gives the same bits for the same seed, however the rows are cut and however often they can be read", async () => {
      for (const [shape, dtype] of [
        [[71, 23], "F32"],
        [[23, 71], "F16"],
        [[600, 9], "BF16"],
        [[300, 40], "F64"],
      ] as const) {
        const matrix = drawMatrix(shape, dtype, 77);
        const rows = [encode(matrix, dtype)];
        const whole = await svd(backend, { shape, dtype, rows, rereadable: true }, { rank: 5, seed: 3 });
        for (const rowsPerBlock of [1, 7, 64, 1000]) {
          expect(await svd(backend, sourceOf(matrix, dtype, rowsPerBlock), { rank: 5, seed: 3 })).toEqual(
            whole,
          );
        }
        expectTrue(
          whole,
          matrix,
          (await svd(backend, sourceOf(matrix, dtype), { rank: Math.min(...shape) })).s,
        );
      }
    });

    it("gives the same bits on one thread and on five", async () => {
      const matrix = drawMatrix([1500, 30], "F32", 78);
      const results = [];
      for (const threads of [1, 5]) {
        const own = await entry.open({ precision: "exact", threads });
        results.push(await svd(own, sourceOf(matrix, "F32"), { rank: 6, seed: 9 }));
        await own.close();
      }
      expect(results[0]).toEqual(results[1]);
    });

    it("refuses ranks and options that cannot be, before it reads", async () => {
      const unread: MatrixSource = {
        shape: [5, 3],
        dtype: "F32",
        rows: (function* () {
          yield expect.fail("read");
        })(),
      };
      for (const rank of [0, 4, -1, 1.5, NaN]) {
        await expect(svd(backend, unread, { rank })).rejects.toThrow(UsageError);
        await expect(svd(backend, unread, { rank })).rejects.toThrow(/5 x 3 .* give a rank from 1 to 3/);
      }
      for (const options of [
        { seed: -1 },
        { seed: 2 ** 32 },
        { tolerance: 0 },
        { tolerance: NaN },
        { maxPasses: 0 },
      ]) {
        await expect(svd(backend, unread, { rank: 1, ...options })).rejects.toThrow(UsageError);
      }
      await expect(svd(backend, { ...unread, shape: [0, 3] }, { rank: 1 })).rejects.toThrow(RangeError);
    });

    for (const dtype of ["F64", "F32", "F16", "BF16"] as const) {
      it(`refuses NaN and Infinity in ${dtype}, at any place`, async () => {
        for (const bad of [NaN, Infinity, -Infinity]) {
          for (const [shape, place] of [
            [[3, 5], 0],
            [[3, 5], 14],
            [[300, 3], 899],
            [[1, 1], 0],
          ] as const) {
            const matrix = drawMatrix(shape, dtype, 81);
            matrix.elements[place] = bad;
            await expect(compute(matrix, 1, dtype)).rejects.toThrow(MatrixError);
          }
        }
      });
    }

    it("refuses rows that do not add up, as the reader's fault", async () => {
      const bytes = encode(drawMatrix([4, 3], "F32", 82), "F32");
      const wrong = [
        [],
        [bytes.subarray(12)],
        [bytes, bytes.subarray(12)],
        [bytes.subarray(0, 20), bytes.subarray(20)],
      ];
      for (const rows of wrong) {
        const refusal = await svd(backend, { shape: [4, 3], dtype: "F32", rows }, { rank: 2 }).catch(
          (error) => error,
        );
        expect(refusal).toBeInstanceOf(RangeError);
        expect(refusal).not.toBeInstanceOf(MatrixError);
        expect(String(refusal)).toMatch(/4 x 3/);
      }
    });

    it("passes on what the rows throw, and computes the next matrix as if nothing had happened", async () => {
      const matrix = drawMatrix([50, 20], "F32", 83);
      const expected = await compute(matrix, 4, "F32");
      const broken = new Error("the disk is gone");
      function* failing() {
        yield encode(matrix, "F32").subarray(0, 80);
        throw broken;
      }
      const source = { shape: [50, 20], dtype: "F32", rows: failing() } as const;
      await expect(svd(backend, source, { rank: 4 })).rejects.toBe(broken);
      expect(await compute(matrix, 4, "F32")).toEqual(expected);
    });

    it("refuses to compute once closed", async () => {
      const own = await entry.open({ precision: "exact", threads: 1 });
      await own.close();
      await expect(svd(own, sourceOf(drawMatrix([4, 3], "F32", 1), "F32"), { rank: 1 })).rejects.toThrow(
        /closed/,
      );
    });
  });
}
