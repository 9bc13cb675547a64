// What every backend must do that computes in both precisions: `fast` held against its own `exact`, with shapes and spectra
// for which its float products are good enough, and others. Called by a test file per backend.
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend, BackendEntry, MatrixSource } from "../../src/backend.ts";
import { expectFast, singularValues } from "./conformance.ts";
import { drawMatrix, encode, matrixOfSpectrum, type Shape, sourceOf } from "./matrices.ts";

/** Where a backend's own products of floats are. */
export interface FastCases {
  /** Of which it makes products of floats. */
  readonly shapes: readonly Shape[];
  /** An order from which on it makes them of matrices 1.4 times as long. */
  readonly order: number;
}

/** The suite. `entry` is a backend's module that is available here and computes in both precisions. */
export function testFast(entry: BackendEntry, { shapes, order }: FastCases): void {
  describe(`the ${entry.name} backend, fast beside exact`, () => {
    let fast: Backend;
    let exact: Backend;
    beforeAll(async () => {
      fast = await entry.open({ precision: "fast", threads: 2 });
      exact = await entry.open({ precision: "exact", threads: 2 });
    });
    afterAll(() => Promise.all([fast.close(), exact.close()]));
    const both = async (source: () => MatrixSource) =>
      Promise.all([singularValues(fast, source()), singularValues(exact, source())]);

    it("says so, in its precision and in the version that keys the scores", () => {
      expect([fast.precision, exact.precision]).toEqual(["fast", "exact"]);
      expect(fast.version).not.toBe(exact.version);
    });

    for (const dtype of ["F32", "F16", "BF16"] as const) {
      for (const shape of shapes) {
        it(`takes float32 products for ${shape.join("x")} of ${dtype}, and the SNR is within 1e-6`, async () => {
          // Of different exponents, so that sums of products have more bits than a float.
          const drawn = drawMatrix(shape, dtype, 31);
          const powers = drawMatrix(shape, dtype, 30).elements.map((x) => 2 ** Math.floor(5 * x));
          const matrix = { shape, elements: drawn.elements.map((x, at) => x * (powers[at] ?? NaN)) };
          const [actual, expected] = await both(() => sourceOf(matrix, dtype, 100));
          expect(actual).not.toEqual(expected);
          expectFast(actual, expected, shape);
        });
      }
    }

    it("computes F64, and small squares, as exact does, bit for bit", async () => {
      for (const [shape, dtype] of [
        [[80, 60], "F64"],
        [[1100, 1100], "BF16"],
      ] as const) {
        const [actual, expected] = await both(() => sourceOf(drawMatrix(shape, dtype, 32), dtype));
        expect(actual).toEqual(expected);
      }
    });

    for (const decades of [2, 4, 6, 8, 12]) {
      it(`gives the SNR of values graded over ${decades} decades`, async () => {
        const values = Array.from({ length: order }, (_, i) => 10 ** ((-decades * i) / (order - 1)));
        for (const shape of [
          [order, order],
          [Math.round(2.5 * order), order],
          [order, Math.round(1.5 * order)],
        ] as const) {
          const matrix = matrixOfSpectrum(shape, values, 33);
          const [actual, expected] = await both(() => sourceOf(matrix, "F32"));
          expectFast(actual, expected, shape);
        }
      });
    }

    it("gives the SNR of noise with spikes of any height, heavy columns and a common mean", async () => {
      const property = fc.asyncProperty(
        fc.integer({ min: 40, max: 160 }),
        fc.integer({ min: 40, max: 160 }),
        fc.double({ min: -1, max: 3, noNaN: true }),
        fc.double({ min: -1, max: 2, noNaN: true }),
        fc.nat(2 ** 31),
        async (m, n, height, mean, seed) => {
          const noise = drawMatrix([m, n], "F32", seed).elements;
          const u = drawMatrix([m, 1], "F32", seed + 1).elements;
          const v = drawMatrix([1, n], "F32", seed + 2).elements;
          const elements = noise.map((x, at) => {
            const spike = 10 ** height * (u[Math.floor(at / n)] ?? 0) * (v[at % n] ?? 0);
            return Math.fround((x + spike + (mean > 0 ? 10 ** mean : 0)) * (at % n === 3 ? 20 : 1));
          });
          const [actual, expected] = await both(() => sourceOf({ shape: [m, n], elements }, "F32"));
          expectFast(actual, expected, [m, n]);
        },
      );
      await fc.assert(property, { numRuns: 150, seed: 3 });
    });

    it("reads a matrix whose smaller half is zero up to three times, and gives the SNR that exact gives", async () => {
      const values = Array.from({ length: order }, (_, i) => (3 * i < order ? order / 3 - i : 0));
      const shape = [2 * order, order] as const;
      const matrix = matrixOfSpectrum(shape, values, 36);
      const bytes = encode(matrix, "F32");
      let reads = 0;
      const rows = {
        *[Symbol.iterator]() {
          reads++;
          yield bytes;
        },
      };
      const again: MatrixSource = { shape, dtype: "F32", rows, rereadable: true };
      const expected = await singularValues(exact, sourceOf(matrix, "F32"));
      expectFast(await singularValues(fast, again), expected, shape);
      expect(reads).toBe(3);
      expectFast(await singularValues(fast, sourceOf(matrix, "F32", 7)), expected, shape);
    });

    it("gives the same bits at every scale: neither large nor small values leave float32's range", async () => {
      const unit = drawMatrix([Math.round(1.4 * order), order], "BF16", 37);
      const expected = await singularValues(fast, sourceOf(unit, "F32"));
      for (const power of [-118, -90, -63, 30, 64, 127]) {
        const elements = unit.elements.map((x) => x * 2 ** power);
        const actual = await singularValues(fast, sourceOf({ shape: unit.shape, elements }, "F32"));
        expect(actual.map((value) => value / 2 ** power)).toEqual(expected);
      }
    });

    it("takes rows of very different magnitudes, the large ones last, and subnormal ones", async () => {
      const elements = new Float64Array(700 * 3);
      for (let i = 0; i < 3; i++) {
        elements[i * 3 + i] = 2 ** -140;
        elements[(300 + i) * 3 + i] = 1;
        elements[(690 + i) * 3 + i] = (i + 1) * 2 ** 120;
      }
      const [actual, expected] = await both(() => sourceOf({ shape: [700, 3], elements }, "F32"));
      expectFast(actual, expected, [700, 3]);
    });
  });
}
