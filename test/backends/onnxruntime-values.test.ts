import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cpu, cuda } from "../../backends/onnxruntime/index.ts";
import { type Form, openForms, productsOf } from "../../backends/onnxruntime/singular-values/products.ts";
import * as wasm from "../../backends/wasm/index.ts";
import type { Backend, MatrixSource } from "../../src/backend.ts";
import { MatrixError } from "../../src/errors.ts";
import { expectExact, singularValues, testBackend } from "./conformance.ts";
import { drawMatrix, encode, fixture, matrixOfSpectrum, sourceOf } from "./matrices.ts";

testBackend(cpu);
if ((await cuda.availability()).ok) testBackend(cuda);

describe("the onnxruntime-cpu backend, in particular", () => {
  let backend: Backend;
  let oracle: Backend;
  beforeAll(async () => {
    backend = await cpu.open({ precision: "exact", threads: 2 });
    oracle = await wasm.open({ precision: "exact", threads: 2 });
  });
  afterAll(() => Promise.all([backend.close(), oracle.close()]));

  for (const { shape, dtype, seed, values } of fixture.lapackLarge) {
    it(`is within 1e-13 sigma_1^2 of LAPACK for ${shape.join("x")} of ${dtype}`, async () => {
      expectExact(await singularValues(backend, sourceOf(drawMatrix(shape, dtype, seed), dtype)), values);
    });
  }

  // Orders above 640 are reduced block column by block column, the last one narrower than the others.
  it("finds a spectrum that is known, of a matrix of several block columns", async () => {
    const values = Array.from({ length: 811 }, (_, i) => 3 - i / 400);
    for (const shape of [
      [811, 1300],
      [1300, 811],
    ] as const) {
      const source = sourceOf(matrixOfSpectrum(shape, values, 11), "F64", 100);
      expectExact(await singularValues(backend, source), values);
    }
  });

  it("agrees with the wasm backend where orders and depths are no multiples of anything", async () => {
    for (const [shape, dtype] of [
      [[641, 641], "F32"],
      [[1027, 771], "BF16"],
      [[2051, 645], "F16"],
      [[897, 1025], "F64"],
      [[1100, 1100], "BF16"],
    ] as const) {
      const matrix = drawMatrix(shape, dtype, shape[0]);
      const expected = await singularValues(oracle, sourceOf(matrix, dtype));
      expectExact(await singularValues(backend, sourceOf(matrix, dtype, 300)), [...expected]);
    }
  });

  it("computes again, without squaring, what its Gram matrix is too coarse for", async () => {
    const values = Array.from({ length: 700 }, (_, i) => (i === 0 ? 1 : 1e-5 * (1 - i / 1400)));
    for (const shape of [
      [700, 720],
      [720, 700],
    ] as const) {
      const bytes = encode(matrixOfSpectrum(shape, values, 12), "F64");
      const sources: readonly MatrixSource[] = [
        { shape, dtype: "F64", rows: [bytes] },
        { shape, dtype: "F64", rows: [bytes], rereadable: true },
      ];
      for (const source of sources) {
        const actual = await singularValues(backend, source);
        for (const [i, value] of actual.entries()) {
          expect(Math.abs(value - (values[i] ?? NaN))).toBeLessThan(1e-14);
        }
      }
    }
  });

  it("gives the same bits after a larger and after a smaller matrix", async () => {
    const single = await cpu.open({ precision: "exact", threads: 1 });
    const source = () => sourceOf(drawMatrix([660, 700], "BF16", 3), "BF16");
    const first = await singularValues(single, source());
    await singularValues(single, sourceOf(drawMatrix([800, 801], "F32", 4), "F32"));
    expect(await singularValues(single, source())).toEqual(first);
    await singularValues(single, sourceOf(drawMatrix([2, 2], "F32", 4), "F32"));
    expect(await singularValues(single, source())).toEqual(first);
    await single.close();
  });

  it("computes as many matrices at once as it has threads", () => {
    expect(backend.concurrency).toBe(2);
  });

  it("names the runtime and the kernels in its version", () => {
    expect(backend.version).toMatch(/^\d+-\d+\.\d+\.\d+-\d+-[0-9a-f]{12}/);
  });

  it("refuses a matrix that WebAssembly cannot hold, and says the size", async () => {
    const call = singularValues(backend, { shape: [34_000, 40_000], dtype: "BF16", rows: [] });
    await expect(call).rejects.toThrow(/34000 x 40000 matrix of BF16: .* need \d+\.\d GiB/);
    await expect(call).rejects.toThrow(MatrixError);
  });

  it("stops in the middle of a long matrix when closed", async () => {
    const own = await cpu.open({ precision: "exact", threads: 1 });
    const n = 1500;
    const bytes = encode(drawMatrix([n, n], "BF16", 10), "BF16");
    const call = singularValues(own, { shape: [n, n], dtype: "BF16", rows: [bytes], rereadable: true });
    const rejected = expect(call).rejects.toThrow("The onnxruntime-cpu backend was closed");
    await new Promise((resolve) => setTimeout(resolve, 300));
    const begun = performance.now();
    await own.close();
    await rejected;
    expect(performance.now() - begun).toBeLessThan(1000);
  });
});

describe("productsOf()", () => {
  /** c + a b with either transposed, by the definition. */
  function added(
    form: Form,
    [a, b, c]: readonly Float64Array[],
    [m, n, k]: readonly [number, number, number],
  ) {
    return Float64Array.from({ length: m * n }, (_, at) => {
      const [i, j] = [Math.floor(at / n), at % n];
      let sum = c?.[at] ?? NaN;
      for (let l = 0; l < k; l++) {
        const x = a?.[form === "tn" ? l * m + i : i * k + l] ?? NaN;
        sum += x * (b?.[form === "nt" ? j * k + l : l * n + j] ?? NaN);
      }
      return sum;
    });
  }

  it("adds each form where the sum lies, in place or copied there, and touches nothing else", async () => {
    const forms = await openForms("cpu");
    const [m, n, k] = [7, 5, 9] as const;
    for (const inPlace of [true, false]) {
      const products = productsOf(forms, inPlace);
      for (const form of ["nn", "tn", "nt"] as const) {
        const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 }).buffer;
        const all = new Float64Array(memory);
        all.set(drawMatrix([1, all.length], "F32", 5).elements);
        const expected = added(form, [all.slice(8), all.slice(100), all.slice(200)], [m, n, k]);
        const before = all.slice();
        const [rowsOfA, columnsOfA] = form === "tn" ? [k, m] : [m, k];
        const [rowsOfB, columnsOfB] = form === "nt" ? [n, k] : [k, n];
        await products.add(form, memory, {
          a: { at: 64, rows: rowsOfA, columns: columnsOfA },
          b: { at: 800, rows: rowsOfB, columns: columnsOfB },
          c: { at: 1600, rows: m, columns: n },
        });
        for (const [i, x] of expected.entries())
          expect(Math.abs((all[200 + i] ?? NaN) - x)).toBeLessThan(1e-14);
        expect(all.subarray(0, 200)).toEqual(before.subarray(0, 200));
        expect(all.subarray(200 + m * n)).toEqual(before.subarray(200 + m * n));
      }
    }
    await productsOf(forms, true).release();
  });
});
