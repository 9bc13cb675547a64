import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cpu, cuda, webgpu } from "../../backends/onnxruntime/index.ts";
import {
  type Form,
  openForms,
  openThreadProducts,
  productsOf,
} from "../../backends/onnxruntime/singular-values/products.ts";
import { HybridSolver } from "../../backends/onnxruntime/singular-values/solver.ts";
import * as wasm from "../../backends/wasm/index.ts";
import { compileKernels } from "../../backends/wasm/kernels-module.ts";
import type { Backend, MatrixSource } from "../../src/backend.ts";
import { MatrixError } from "../../src/errors.ts";
import { spectrumStatistics } from "../../src/snr/estimators.ts";
import { expectExact, expectFast, singularValues, testBackend } from "./conformance.ts";
import { testFast } from "./fast-conformance.ts";
import { drawMatrix, drawSpiked, encode, fixture, matrixOfSpectrum, sourceOf } from "./matrices.ts";

testBackend(cpu);
testBackend(cpu, "fast");
testFast(cpu, {
  // Each plan: Gram matrix alone, all of stage one, its updates.
  shapes: [
    [1536, 576],
    [530, 701],
    [1024, 1301],
    [1927, 1541],
    [2053, 2049],
  ],
  order: 520,
});
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

  it("does so in the memory that it has, bytes that come once included", async () => {
    const products = await openThreadProducts({ floats: false });
    const solver = new HybridSolver(compileKernels().module, products, () => false);
    const shape = [700, 720] as const;
    const bytes = encode(matrixOfSpectrum(shape, [1], 12), "F64");
    const { Memory } = WebAssembly;
    let made = 0;
    class Counted extends Memory {
      constructor(size: ConstructorParameters<typeof Memory>[0]) {
        super(size);
        made++;
      }
    }
    Reflect.set(WebAssembly, "Memory", Counted);
    try {
      const before = process.memoryUsage().arrayBuffers;
      solver.begin({ shape, dtype: "F64", rereadable: false });
      await solver.append(bytes);
      const held = process.memoryUsage().arrayBuffers - before;
      expect(held).toBeLessThan(bytes.length / 2); // the bytes are held in that memory too
      const values = await solver.finish();
      expect(values?.[0]).toBeCloseTo(1, 14);
      expect(values?.[1]).toBeLessThan(1e-15); // squared and rounded it would be 1e-8
      expect(made).toBe(0);
    } finally {
      Reflect.set(WebAssembly, "Memory", Memory);
      await products.release();
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

describe("the onnxruntime-cpu backend, fast, in particular", () => {
  let fast: Backend;
  let exact: Backend;
  let wasmFast: Backend;
  beforeAll(async () => {
    fast = await cpu.open({ precision: "fast", threads: 1 });
    exact = await wasm.open({ precision: "exact", threads: 1 });
    wasmFast = await wasm.open({ precision: "fast", threads: 1 });
  });
  afterAll(() => Promise.all([fast.close(), exact.close(), wasmFast.close()]));
  const both = async (source: () => MatrixSource) =>
    [await singularValues(fast, source()), await singularValues(exact, source())] as const;

  it("leaves to wasm's kernels what their shorter sums are better for, to the same bits", async () => {
    for (const shape of [
      [300, 200],
      [900, 800],
    ] as const) {
      const source = () => sourceOf(drawMatrix(shape, "BF16", 41), "BF16");
      expect(await singularValues(fast, source())).toEqual(await singularValues(wasmFast, source()));
    }
  });

  // Of the values that stand above the rest, stage one splits off some before it goes on in floats.
  const [tall, wide] = [[1930, 1540] as const, [1540, 1930] as const];
  for (const { what, shape, valueAt } of [
    { what: "a flat spectrum", shape: tall, valueAt: (share: number) => 1 - 0.9 * share },
    { what: "values graded by 80", shape: tall, valueAt: (share: number) => 80 ** -share }, // stage one takes doubles
    { what: "a power law", shape: wide, valueAt: (share: number) => (1 + 1023 * share) ** -0.5 },
    { what: "values 20 times the others", shape: tall, valueAt: (share: number) => (share < 0.4 ? 1 : 0.05) },
  ]) {
    it(`gives the SNR of ${what}, read once, ${shape.join("x")}`, async () => {
      const values = Array.from({ length: 1540 }, (_, i) => valueAt(i / 1539));
      const matrix = matrixOfSpectrum(shape, values, 42);
      const [actual, expected] = await both(() => sourceOf(matrix, "F32", 100));
      expect(actual).not.toEqual(expected);
      expectFast(actual, expected, shape);
    });
  }

  it("gives the SNR of noise with a spike 10 times above its edge, whatever is multiplied", async () => {
    for (const shape of [
      [1600, 700],
      [1960, 1560],
      [2060, 2061],
    ] as const) {
      const spiked = drawSpiked(shape, 1, 43);
      const matrix = { shape, elements: Float64Array.from(new Float32Array(spiked.elements)) };
      const [actual, expected] = await both(() => sourceOf(matrix, "F32", 200));
      expect(actual).not.toEqual(expected);
      expectFast(actual, expected, shape);
    }
  });

  it("has ONNX Runtime's doubles compute what its floats are too coarse for", async () => {
    const own = await cpu.open({ precision: "exact", threads: 1 });
    const values = Array.from({ length: 1024 }, (_, i) => (i < 5 ? 1 : 1e-3 * (1 - i / 2048)));
    const bytes = encode(matrixOfSpectrum([1400, 1024], values, 44), "F32");
    for (const rereadable of [true, false]) {
      const source = { shape: [1400, 1024], dtype: "F32", rows: [bytes], rereadable } as const;
      expect(await singularValues(fast, source)).toEqual(await singularValues(own, source));
    }
    await own.close();
  });

  it("refuses NaN in the last rows of a large matrix, and computes the next one", async () => {
    const good = drawMatrix([1300, 520], "BF16", 45);
    const expected = await singularValues(fast, sourceOf(good, "BF16"));
    const bad = { ...good, elements: good.elements.slice() };
    bad.elements[1299 * 520] = NaN;
    await expect(singularValues(fast, sourceOf(bad, "BF16", 100))).rejects.toThrow(MatrixError);
    expect(await singularValues(fast, sourceOf(good, "BF16", 100))).toEqual(expected);
  });
});

describe("the webgpu backend", async () => {
  const { ok } = await webgpu.availability();

  /** Values of both, for sources that can be read twice. */
  async function onBoth(source: MatrixSource): Promise<readonly [Float64Array, Float64Array]> {
    const device = await webgpu.open({ precision: "fast", threads: 1 });
    const oracle = await wasm.open({ precision: "exact", threads: 1 });
    const values = [await singularValues(device, source), await singularValues(oracle, source)] as const;
    await Promise.all([device.close(), oracle.close()]);
    return values;
  }

  it.skipIf(!ok)("multiplies floats, and says so", async () => {
    const device = await webgpu.open({ precision: "fast", threads: 1 });
    expect(device).toMatchObject({
      name: "webgpu",
      precision: "fast",
      version: expect.stringMatching(/-f32$/),
    });
    await device.close();
  });

  it.skipIf(!ok)("gives the SNR within 1e-4 of an ordinary matrix of any type", async () => {
    for (const [shape, dtype] of [
      [[300, 170], "F32"],
      [[170, 1100], "BF16"],
      [[90, 61], "F16"],
      [[700, 660], "F64"],
    ] as const) {
      const rows = [encode(drawMatrix(shape, dtype, 21), dtype)];
      const [values, truth] = await onBoth({ shape, dtype, rows, rereadable: true });
      const [actual, expected] = [values, truth].map(
        (each) => spectrumStatistics(each, shape).snr.spectrum ?? NaN,
      );
      expect(Math.abs((actual ?? NaN) / (expected ?? NaN) - 1)).toBeLessThan(1e-4);
      for (const [i, value] of values.entries()) {
        expect(Math.abs(value - (truth[i] ?? NaN))).toBeLessThan(1e-6 * (truth[0] ?? NaN));
      }
      // Eight bits times eight add up exactly in a float; 24 bits do not, so that this is the device's work.
      if (dtype === "F32") expect(values).not.toEqual(truth);
    }
  });

  it.skipIf(!ok)("takes values whose squares no float holds", async () => {
    const unit = drawMatrix([200, 90], "F32", 22);
    const rows = (power: number) => [
      encode({ ...unit, elements: unit.elements.map((x) => x * 2 ** power) }, "F32"),
    ];
    const shape = unit.shape;
    const [middle] = await onBoth({ shape, dtype: "F32", rows: rows(0), rereadable: true });
    for (const power of [-100, 100]) {
      const [values] = await onBoth({ shape, dtype: "F32", rows: rows(power), rereadable: true });
      expect(values).toEqual(middle.map((value) => value * 2 ** power));
    }
  });

  it.skipIf(!ok)("has wasm compute what floats are too coarse for, to the same bits", async () => {
    const few = matrixOfSpectrum([80, 70], [1, ...Array<number>(69).fill(1e-3)], 23);
    const less = matrixOfSpectrum([80, 70], [1, ...Array<number>(69).fill(1e-5)], 23);
    for (const matrix of [few, less]) {
      const rows = [encode(matrix, "F32")];
      for (const rereadable of [true, false]) {
        const [values, truth] = await onBoth({ shape: matrix.shape, dtype: "F32", rows, rereadable });
        expect(values).toEqual(truth);
      }
    }
  });

  it.skipIf(!ok)("refuses NaN", async () => {
    const bad = drawMatrix([30, 20], "F32", 24);
    bad.elements[599] = NaN;
    const device = await webgpu.open({ precision: "fast", threads: 1 });
    await expect(singularValues(device, sourceOf(bad, "F32"))).rejects.toThrow(MatrixError);
    await device.close();
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
    const forms = await openForms({ type: "float64", adds: true });
    const [m, n, k] = [7, 5, 9] as const;
    for (const inPlace of [true, false]) {
      const products = productsOf(forms, { type: "float64", inPlace });
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
    await productsOf(forms, { type: "float64", inPlace: true }).release();
  });
});
