// What every backend that computes singular values must do. Called by a test file per backend.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend, BackendEntry, MatrixSource, Precision } from "../../src/backend.ts";
import { MatrixError } from "../../src/errors.ts";
import { spectrumStatistics } from "../../src/snr/estimators.ts";
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

const DTYPES: readonly MatrixDType[] = ["F64", "F32", "F16", "BF16"];

/** Every singular value squared is within 1e-13 sigma_1^2 of the truth: the contract of `exact`. */
export function expectExact(values: Float64Array, truth: ArrayLike<number>): void {
  expect(values.length).toBe(truth.length);
  const scale = Math.max(truth[0] ?? 0, Number.MIN_VALUE);
  for (const [i, value] of values.entries()) {
    const [x, y] = [value / scale, (truth[i] ?? NaN) / scale];
    if (!(Math.abs(x * x - y * y) <= 1e-13)) {
      expect.fail(`value ${i} of ${truth.length}: expected ${truth[i]}, got ${value}`);
    }
    if (value < 0 || value > (values[i - 1] ?? Infinity)) {
      expect.fail(`value ${i}, ${value}, is negative or above the one before it`);
    }
  }
}

/** The SNR is within 1e-6 of what the true values give, 1e-4 where sigma_min < 1e-6 sigma_1: the contract of `fast`. */
export function expectFast(
  values: Float64Array,
  truth: ArrayLike<number>,
  shape: Shape = [truth.length, truth.length],
): void {
  expect(values.length).toBe(truth.length);
  const [largest, smallest] = [truth[0] ?? 0, truth[truth.length - 1] ?? 0];
  for (const [i, value] of values.entries()) {
    expect(Math.abs(value - (truth[i] ?? NaN))).toBeLessThanOrEqual(1e-4 * largest);
    if (value < 0 || value > (values[i - 1] ?? Infinity)) {
      expect.fail(`value ${i}, ${value}, is negative or above the one before it`);
    }
  }
  const tolerance = smallest >= 1e-6 * largest ? 1e-6 : 1e-4;
  const [actual, expected] = [values, Float64Array.from(truth)].map(
    (all) => spectrumStatistics(all, shape).snr,
  );
  for (const estimator of ["spectrum", "calibrated"] as const) {
    const [got, wanted] = [actual?.[estimator] ?? null, expected?.[estimator] ?? null];
    if (got === null || wanted === null) expect(got, estimator).toBe(wanted);
    else expect(Math.abs(got - wanted), estimator).toBeLessThanOrEqual(tolerance * wanted);
  }
}

/** Runs a backend's matrix to the end. */
export async function singularValues(backend: Backend, source: MatrixSource): Promise<Float64Array> {
  if (backend.singularValues === undefined) throw new Error(`${backend.name} computes no singular values`);
  return backend.singularValues(source);
}

/** sum of the first `spikes` values over the sum of the rest. */
function snr(values: ArrayLike<number>, spikes: number): number {
  const all = Array.from(values);
  const sum = (part: readonly number[]) => part.reduce((total, value) => total + value, 0);
  return sum(all.slice(0, spikes)) / sum(all.slice(spikes));
}

/** The suite. `entry` is a backend's module, and available here; it must have kernels of that precision. */
export function testBackend(entry: BackendEntry, precision: Precision = "exact"): void {
  const expectAccurate = precision === "exact" ? expectExact : expectFast;
  const tolerance = precision === "exact" ? 1e-9 : 1e-6;
  describe(`the ${entry.name} backend, ${precision}`, () => {
    let backend: Backend;
    beforeAll(async () => {
      backend = await entry.open({ precision, threads: 2 });
    });
    afterAll(() => backend.close());
    const compute = (source: MatrixSource) => singularValues(backend, source);
    const computeMatrix = (matrix: Matrix) => compute(sourceOf(matrix, "F64"));

    it("is available, and states its name, precision, version and concurrency", async () => {
      expect(await entry.availability()).toEqual({ ok: true });
      expect(backend).toMatchObject({ name: entry.name, precision });
      expect(backend.version).toMatch(/\S/);
      expect(backend.concurrency).toBeGreaterThanOrEqual(1);
    });

    it("opens as fast, and says truthfully whether that is still exact", async () => {
      const own = await entry.open({ precision: "fast", threads: 1 });
      const values = await singularValues(
        own,
        sourceOf(matrixOfSpectrum([20, 9], [9, 8, 7, 6, 5, 4, 3, 2, 1], 9), "F64"),
      );
      if (own.precision === "exact") expectExact(values, [9, 8, 7, 6, 5, 4, 3, 2, 1]);
      else if (precision === "exact") expect(own.version).not.toBe(backend.version);
      await own.close();
    });

    describe("accuracy", () => {
      for (const { shape, dtype, seed, values } of fixture.lapack) {
        it(`agrees with LAPACK for ${shape.join("x")} of ${dtype}`, async () => {
          expectAccurate(await compute(sourceOf(drawMatrix(shape, dtype, seed), dtype)), values);
        });
      }

      for (const { shape, noise, seed, values } of fixture.spiked) {
        it(`gives the SNR within ${tolerance} when one value stands ${(1 / noise).toFixed(0)} times above the rest`, async () => {
          const matrix = drawSpiked(shape, noise, seed);
          const rows = [encode(matrix, "F64")];
          const sources: Record<string, MatrixSource> = {
            "rows that come once": sourceOf(matrix, "F64", 7),
            "rows that come again": { shape, dtype: "F64", rows, rereadable: true },
            wide: sourceOf(transpose(matrix), "F64", 7),
          };
          for (const [how, source] of Object.entries(sources)) {
            const actual = await compute(source);
            expectAccurate(actual, values);
            expect(Math.abs(snr(actual, 1) / snr(values, 1) - 1), how).toBeLessThan(tolerance);
          }
        });
      }

      it("returns the absolute value of a 1x1 matrix", async () => {
        expect([...(await computeMatrix({ shape: [1, 1], elements: Float64Array.of(-0.375) }))]).toEqual([
          0.375,
        ]);
      });

      it("returns the length of a single row or column", async () => {
        const elements = Float64Array.from({ length: 300 }, (_, i) => (i === 7 ? 3 : i === 290 ? -4 : 0));
        expectAccurate(await computeMatrix({ shape: [1, 300], elements }), [5]);
        expectAccurate(await computeMatrix({ shape: [300, 1], elements }), [5]);
      });

      it("returns zeros for a zero matrix", async () => {
        for (const shape of [
          [1, 1],
          [5, 3],
          [3, 70],
        ] as const) {
          const elements = new Float64Array(shape[0] * shape[1]);
          expect([...(await computeMatrix({ shape, elements }))]).toEqual(Array(Math.min(...shape)).fill(0));
        }
      });

      it("returns a diagonal's magnitudes in order, negative zero included", async () => {
        const elements = Float64Array.of(-2, 0, 0, 0, 7, 0, 0, 0, -0);
        expectAccurate(await computeMatrix({ shape: [3, 3], elements }), [7, 2, 0]);
      });

      it("keeps duplicated values apart from nothing: an orthogonal matrix has only ones", async () => {
        const ones = Array<number>(70).fill(1);
        expectAccurate(await computeMatrix(matrixOfSpectrum([70, 70], ones, 1)), ones);
      });

      it("finds clusters of equal values", async () => {
        const values = [5, 5, 5, 2, 2, 2, 2, 1, 1, 0.5].flatMap((value) => [value, value, value, value]);
        expectAccurate(await computeMatrix(matrixOfSpectrum([41, 40], values, 2)), values);
      });

      it("finds the zeros of a rank-deficient matrix", async () => {
        const values = Array.from({ length: 45 }, (_, i) => (i < 11 ? 11 - i : 0));
        expectAccurate(await computeMatrix(matrixOfSpectrum([45, 90], values, 3)), values);
        expectAccurate(await computeMatrix(matrixOfSpectrum([90, 45], values, 4)), values);
      });

      it("handles rows and columns of zeros and a rank of one", async () => {
        const shape: Shape = [67, 35];
        const elements = new Float64Array(67 * 35);
        elements.fill(1, 35 * 33, 35 * 34);
        expectAccurate(await computeMatrix({ shape, elements }), [
          Math.sqrt(35),
          ...Array<number>(34).fill(0),
        ]);
      });

      it("handles equal rows, equal columns and all elements equal", async () => {
        const ones = new Float64Array(24 * 30).fill(1);
        expectAccurate(await computeMatrix({ shape: [24, 30], elements: ones }), [
          Math.sqrt(720),
          ...Array<number>(23).fill(0),
        ]);
        const stripes = Float64Array.from({ length: 40 * 21 }, (_, at) => (at % 21) % 3); // columns 0, 1, 2, 0, 1, 2, ..
        expectAccurate(await computeMatrix({ shape: [40, 21], elements: stripes }), [
          Math.sqrt(40 * 7 * 5),
          ...Array<number>(20).fill(0),
        ]);
      });

      it("handles values graded over 12 decades", async () => {
        const values = Array.from({ length: 49 }, (_, i) => 10 ** (-i / 4));
        expectAccurate(await computeMatrix(matrixOfSpectrum([49, 49], values, 5)), values);
        expectAccurate(await computeMatrix(matrixOfSpectrum([49, 131], values, 6)), values);
      });

      it("handles columns graded over 12 decades", async () => {
        const orthogonal = matrixOfSpectrum([64, 33], Array<number>(33).fill(1), 7);
        const scale = (column: number) => 10 ** (-(12 * column) / 32);
        const elements = orthogonal.elements.map((x, at) => x * scale(at % 33));
        const truth = Array.from({ length: 33 }, (_, i) => scale(i));
        expectAccurate(await computeMatrix({ shape: [64, 33], elements }), truth);
      });
    });

    describe("range", () => {
      const spectrum = [4, 3, 2, 1, 0.5];
      for (const power of [-1060, -1000, -500, -130, 130, 500, 1018]) {
        it(`takes F64 values near 2^${power}`, async () => {
          const unit = matrixOfSpectrum([9, 5], spectrum, 8);
          const values = await computeMatrix({ ...unit, elements: unit.elements.map((x) => x * 2 ** power) });
          // Subnormal elements have fewer bits: compare within their spacing.
          const spacing = Math.max(1e-13, 2 ** -1070 / 2 ** power);
          for (const [i, value] of values.entries()) {
            expect(Math.abs(value / 2 ** power - (spectrum[i] ?? NaN))).toBeLessThanOrEqual(spacing);
          }
        });
      }

      it("takes F64 rows of very different magnitudes, the large ones last", async () => {
        const elements = new Float64Array(700 * 3);
        for (let i = 0; i < 3; i++) {
          elements[i * 3 + i] = 1e-300;
          elements[(300 + i) * 3 + i] = 1;
          elements[(690 + i) * 3 + i] = (i + 1) * 1e250;
        }
        expectAccurate(await computeMatrix({ shape: [700, 3], elements }), [3e250, 2e250, 1e250]);
      });

      it("takes F32 values of 1e-30 and 1e30, and subnormal ones", async () => {
        for (const power of [-100, 100, -140]) {
          const elements = Float64Array.of(3, 0, 0, 0, 4, 0).map((x) => x * 2 ** power);
          const values = await compute(sourceOf({ shape: [2, 3], elements }, "F32"));
          expectAccurate(values, [4 * 2 ** power, 3 * 2 ** power]);
        }
      });

      it("takes the subnormal and the largest halves", async () => {
        for (const [large, small] of [
          [2 ** -20, 2 ** -24],
          [65504, 2 ** -14],
        ] as const) {
          const elements = Float64Array.of(0, -small, large, 0);
          expectAccurate(await compute(sourceOf({ shape: [2, 2], elements }, "F16")), [large, small]);
        }
      });
    });

    describe("reading", () => {
      for (const dtype of DTYPES) {
        for (const shape of [
          [71, 13],
          [13, 71],
          [600, 9],
        ] as const) {
          it(`gives the same bits however the rows of ${shape.join("x")} ${dtype} are cut`, async () => {
            const matrix = drawMatrix(shape, dtype, 77);
            const whole = await compute(sourceOf(matrix, dtype));
            for (const rowsPerBlock of [1, 7, 64]) {
              expect(await compute(sourceOf(matrix, dtype, rowsPerBlock))).toEqual(whole);
            }
          });
        }
      }

      it("decodes every element type to the same values", async () => {
        const matrix = drawMatrix([21, 34], "BF16", 78);
        const results = await Promise.all(
          DTYPES.map((dtype) => (dtype === "F16" ? null : compute(sourceOf(matrix, dtype)))),
        );
        const halves = { ...matrix, elements: matrix.elements.map((x) => x * 0.5) };
        const [f64, f32, , bf16] = results;
        expect(f32).toEqual(bf16);
        expectAccurate(f64 ?? new Float64Array(), f32 ?? []);
        expectAccurate(
          (await compute(sourceOf(halves, "F16"))).map((value) => value * 2),
          f32 ?? [],
        );
      });

      it("takes synchronous and asynchronous rows, empty blocks among them", async () => {
        const matrix = drawMatrix([10, 6], "F32", 79);
        const bytes = encode(matrix, "F32");
        async function* late() {
          for (const block of [bytes.subarray(0, 24), bytes.subarray(24, 24), bytes.subarray(24)]) {
            await new Promise((resolve) => setTimeout(resolve, 1));
            yield block;
          }
        }
        const expected = await compute({ shape: [10, 6], dtype: "F32", rows: [bytes] });
        expect(await compute({ shape: [10, 6], dtype: "F32", rows: late() })).toEqual(expected);
      });

      it("takes bytes at any alignment", async () => {
        const matrix = drawMatrix([6, 10], "F32", 80);
        const shifted = new Uint8Array(241);
        shifted.set(encode(matrix, "F32"), 1);
        const values = await compute({ shape: [6, 10], dtype: "F32", rows: [shifted.subarray(1)] });
        expect(values).toEqual(await compute(sourceOf(matrix, "F32")));
      });
    });

    describe("refusals", () => {
      for (const dtype of DTYPES) {
        for (const bad of [NaN, Infinity, -Infinity]) {
          it(`refuses ${bad} in ${dtype}, at any place`, async () => {
            for (const [shape, place] of [
              [[3, 5], 0],
              [[3, 5], 14],
              [[300, 3], 899],
              [[1, 1], 0],
            ] as const) {
              const matrix = drawMatrix(shape, dtype, 81);
              matrix.elements[place] = bad;
              await expect(compute(sourceOf(matrix, dtype))).rejects.toThrow(MatrixError);
            }
          });
        }
      }

      const bytes = encode(drawMatrix([4, 3], "F32", 82), "F32");
      const wrong: Record<string, readonly Uint8Array[]> = {
        "no rows at all": [],
        "a row too few": [bytes.subarray(12)],
        "a row too many": [bytes, bytes.subarray(12)],
        "rows cut in the middle": [bytes.subarray(0, 20), bytes.subarray(20)],
        "a byte too many": [bytes, bytes.subarray(0, 1)],
      };
      for (const [what, rows] of Object.entries(wrong)) {
        it(`refuses ${what}`, async () => {
          const refusal = await compute({ shape: [4, 3], dtype: "F32", rows }).catch((error) => error);
          expect(refusal).toBeInstanceOf(RangeError);
          // The matrix is not at fault: whoever reads it is.
          expect(refusal).not.toBeInstanceOf(MatrixError);
          await expect(compute({ shape: [4, 3], dtype: "F32", rows })).rejects.toThrow(/4 x 3/);
        });
      }

      it("refuses a shape without elements", async () => {
        await expect(compute({ shape: [0, 3], dtype: "F32", rows: [] })).rejects.toThrow(RangeError);
      });

      it("passes on what the rows throw, and computes the next matrix as if nothing had happened", async () => {
        const matrix = drawMatrix([50, 20], "F32", 83);
        const expected = await compute(sourceOf(matrix, "F32"));
        const broken = new Error("the disk is gone");
        function* failing() {
          yield encode(matrix, "F32").subarray(0, 80);
          throw broken;
        }
        for (let i = 0; i < 3; i++) {
          await expect(compute({ shape: [50, 20], dtype: "F32", rows: failing() })).rejects.toBe(broken);
        }
        expect(await compute(sourceOf(matrix, "F32"))).toEqual(expected);
      });

      it("closes the rows it does not read to the end", async () => {
        let closed = false;
        const matrix = drawMatrix([900, 2], "F32", 84);
        matrix.elements[0] = NaN;
        const rowBytes = encode(matrix, "F32");
        function* endless() {
          try {
            for (;;) yield rowBytes;
          } finally {
            closed = true;
          }
        }
        await expect(compute({ shape: [900, 2], dtype: "F32", rows: endless() })).rejects.toThrow(RangeError);
        await expect.poll(() => closed).toBe(true);
      });

      it("closes the rows of a matrix that is refused also when the next one begins at once", async () => {
        const own = await entry.open({ precision, threads: 1 });
        const bad = drawMatrix([2000, 500], "F32", 86);
        bad.elements[0] = NaN;
        const bytes = encode(bad, "F32"); // more than are on their way when the first is refused
        let closed = false;
        function* rows() {
          try {
            yield bytes;
          } finally {
            closed = true;
          }
        }
        const refused = singularValues(own, { shape: bad.shape, dtype: "F32", rows: rows() });
        const next = drawMatrix([4, 3], "F32", 87);
        const [first, second] = await Promise.allSettled([
          refused,
          singularValues(own, sourceOf(next, "F32")),
        ]);
        expect([first.status, second.status]).toEqual(["rejected", "fulfilled"]);
        await expect.poll(() => closed).toBe(true);
        await own.close();
      });
    });

    describe("calls", () => {
      it("gives the same bits for the same bytes, alone and beside others", async () => {
        const matrices = [5, 40, 33, 64, 17, 90].map((n, i) => drawMatrix([n, 50], "F32", 85 + i));
        const alone: Float64Array[] = [];
        for (const matrix of matrices) alone.push(await compute(sourceOf(matrix, "F32")));
        const together = await Promise.all(matrices.map((matrix) => compute(sourceOf(matrix, "F32", 3))));
        expect(together).toEqual(alone);
      });

      it("lets one call fail beside others that succeed", async () => {
        const good = drawMatrix([30, 30], "F32", 91);
        const bad = drawMatrix([30, 30], "F32", 92);
        bad.elements[17] = NaN;
        const [a, b, c] = await Promise.allSettled(
          [good, bad, good].map((each) => compute(sourceOf(each, "F32"))),
        );
        expect(b).toMatchObject({ status: "rejected" });
        expect(a).toMatchObject({ status: "fulfilled" });
        expect(c).toEqual(a);
      });

      it("rejects the calls in flight and in line when closed, and those after", async () => {
        const own = await entry.open({ precision, threads: 1 });
        async function* stuck(): AsyncGenerator<Uint8Array> {
          await new Promise((resolve) => setTimeout(resolve, 50));
          yield new Uint8Array(12);
        }
        const source = (): MatrixSource => ({ shape: [3, 1], dtype: "F32", rows: stuck() });
        const calls = [source(), source(), source()].map((each) => singularValues(own, each));
        const settled = Promise.allSettled(calls);
        await own.close();
        for (const result of await settled) expect(result).toMatchObject({ status: "rejected" });
        await expect(singularValues(own, source())).rejects.toThrow(/closed/);
        await own.close();
      });
    });
  });
}
