import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Worker } from "node:worker_threads";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as reference from "../../backends/reference/index.ts";
import { floatGramSuffices, gramSuffices } from "../../backends/wasm/guard.ts";
import * as wasm from "../../backends/wasm/index.ts";
import { instantiateKernels } from "../../backends/wasm/kernels.ts";
import { KERNELS_BASE64, RELAXED_KERNELS_BASE64 } from "../../backends/wasm/kernels.wasm.ts";
import { compileKernels } from "../../backends/wasm/kernels-module.ts";
import { Solver } from "../../backends/wasm/solver.ts";
import type { Backend, MatrixSource } from "../../src/backend.ts";
import { MatrixError } from "../../src/errors.ts";
import { expectExact, expectFast, singularValues, testBackend } from "./conformance.ts";
import { drawMatrix, encode, fixture, matrixOfSpectrum, sourceOf } from "./matrices.ts";

testBackend(wasm);
testBackend(wasm, "fast");

describe("the wasm backend, in particular", () => {
  let backend: Backend;
  let oracle: Backend;
  beforeAll(async () => {
    backend = await wasm.open({ precision: "exact", threads: 2 });
    oracle = await reference.open({ precision: "exact" });
  });
  afterAll(() => Promise.all([backend.close(), oracle.close()]));

  for (const { shape, dtype, seed, values } of fixture.lapackLarge) {
    it(`is within 1e-13 sigma_1^2 of LAPACK for ${shape.join("x")} of ${dtype}`, async () => {
      expectExact(await singularValues(backend, sourceOf(drawMatrix(shape, dtype, seed), dtype)), values);
    });
  }

  it("agrees with the reference backend on any shape, type and cut", async () => {
    const side = fc.integer({ min: 1, max: 40 });
    const dtypes = fc.constantFrom("F64", "F32", "F16", "BF16");
    const property = fc.asyncProperty(
      side,
      side,
      dtypes,
      fc.nat(2 ** 31),
      side,
      async (m, n, dtype, seed, cut) => {
        const matrix = drawMatrix([m, n], dtype, seed);
        const expected = await singularValues(oracle, sourceOf(matrix, dtype));
        expectExact(await singularValues(backend, sourceOf(matrix, dtype, cut)), expected);
      },
    );
    await fc.assert(property, { numRuns: 100, seed: 2 });
  });

  it("returns a whole spectrum when half of it is zero, to 1e-14 sigma_1", async () => {
    const values = Array.from({ length: 160 }, (_, i) => (i < 80 ? 1 + (80 - i) / 8 : 0));
    for (const shape of [
      [160, 200],
      [200, 160],
    ] as const) {
      const matrix = matrixOfSpectrum(shape, values, 5);
      const actual = await singularValues(backend, sourceOf(matrix, "F64"));
      for (const [i, value] of actual.entries()) {
        expect(Math.abs(value - (values[i] ?? NaN)) / 11).toBeLessThan(1e-14);
      }
    }
  });

  it("gives the same bits after a larger and after a smaller matrix", async () => {
    const single = await wasm.open({ precision: "exact", threads: 1 });
    const source = () => sourceOf(drawMatrix([60, 47], "BF16", 3), "BF16");
    const first = await singularValues(single, source());
    await singularValues(single, sourceOf(drawMatrix([300, 301], "F32", 4), "F32"));
    expect(await singularValues(single, source())).toEqual(first);
    await singularValues(single, sourceOf(drawMatrix([2, 2], "F32", 4), "F32"));
    expect(await singularValues(single, source())).toEqual(first);
    await single.close();
  });

  it("does not ask for the rows of a matrix before a thread is free for it", async () => {
    const single = await wasm.open({ precision: "exact", threads: 1 });
    const matrix = drawMatrix([5, 4], "F32", 6);
    let reading = 0;
    let most = 0;
    async function* watched() {
      most = Math.max(most, ++reading);
      await new Promise((resolve) => setTimeout(resolve, 5));
      yield encode(matrix, "F32");
      reading--;
    }
    const source = () => ({ shape: matrix.shape, dtype: "F32", rows: watched() }) as const;
    await Promise.all([source(), source(), source()].map((each) => singularValues(single, each)));
    expect(most).toBe(1);
    await single.close();
  });

  it("refuses a matrix that WebAssembly cannot hold, and says the size", async () => {
    const call = singularValues(backend, { shape: [30_000, 40_000], dtype: "BF16", rows: [] });
    await expect(call).rejects.toThrow(/30000 x 40000 matrix of BF16: .* need \d+\.\d GiB/);
    await expect(call).rejects.toThrow(MatrixError);
  });

  it("rejects the call whose thread dies, and computes the next one on a new thread", async () => {
    const threads: Worker[] = [];
    const remember = (worker: Worker) => threads.push(worker);
    process.on("worker", remember);
    const own = await wasm.open({ precision: "exact", threads: 1 });
    const matrix = drawMatrix([40, 40], "F32", 9);
    async function* dying() {
      yield encode(matrix, "F32").subarray(0, 160);
      await expect.poll(() => threads.length).toBe(1);
      await Promise.all(threads.map((thread) => thread.terminate()));
      yield encode(matrix, "F32").subarray(160);
    }
    const broken = singularValues(own, { shape: [40, 40], dtype: "F32", rows: dying() });
    const next = singularValues(own, sourceOf(matrix, "F32"));
    await expect(broken).rejects.toThrow(/A worker of the wasm backend stopped/);
    expect(await next).toEqual(await singularValues(backend, sourceOf(matrix, "F32")));
    expect(threads.length).toBe(2);
    await threads[1]?.terminate(); // while idle
    expect(await singularValues(own, sourceOf(matrix, "F32"))).toEqual(await next);
    expect(threads.length).toBe(3);
    process.off("worker", remember);
    await own.close();
  });

  it("stops in the middle of a long matrix when closed", async () => {
    const own = await wasm.open({ precision: "exact", threads: 1 });
    const n = 1500;
    const bytes = encode(drawMatrix([n, n], "BF16", 10), "BF16");
    const call = singularValues(own, { shape: [n, n], dtype: "BF16", rows: [bytes], rereadable: true });
    const rejected = expect(call).rejects.toThrow("The wasm backend was closed");
    await new Promise((resolve) => setTimeout(resolve, 150));
    const begun = performance.now();
    await own.close();
    await rejected;
    expect(performance.now() - begun).toBeLessThan(1000);
  });

  it("refuses a number of threads that is none", async () => {
    for (const threads of [0, -1, 1.5, NaN]) {
      await expect(wasm.open({ precision: "exact", threads })).rejects.toThrow(/threads/);
    }
  });
});

describe("the wasm backend, fast", () => {
  let fast: Backend;
  let exact: Backend;
  beforeAll(async () => {
    fast = await wasm.open({ precision: "fast", threads: 2 });
    exact = await wasm.open({ precision: "exact", threads: 2 });
  });
  afterAll(() => Promise.all([fast.close(), exact.close()]));
  const both = async (source: () => MatrixSource) =>
    Promise.all([singularValues(fast, source()), singularValues(exact, source())]);

  it("says so, in its precision and in the version that keys the scores", () => {
    expect([fast.precision, exact.precision]).toEqual(["fast", "exact"]);
    expect(fast.version).not.toBe(exact.version);
  });

  for (const dtype of ["F32", "F16", "BF16"] as const) {
    for (const shape of [
      [576, 576],
      [600, 190],
      [190, 601],
      [350, 301],
    ] as const) {
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

  it("computes F64 as exact does, bit for bit", async () => {
    const [actual, expected] = await both(() => sourceOf(drawMatrix([80, 60], "F64", 32), "F64"));
    expect(actual).toEqual(expected);
  });

  for (const decades of [2, 4, 6, 8, 12]) {
    it(`gives the SNR of values graded over ${decades} decades`, async () => {
      const values = Array.from({ length: 200 }, (_, i) => 10 ** ((-decades * i) / 199));
      for (const shape of [
        [200, 200],
        [500, 200],
        [200, 300],
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
    const values = Array.from({ length: 60 }, (_, i) => (i < 20 ? 20 - i : 0));
    const matrix = matrixOfSpectrum([300, 60], values, 36);
    const bytes = encode(matrix, "F32");
    let reads = 0;
    const rows = {
      *[Symbol.iterator]() {
        reads++;
        yield bytes;
      },
    };
    const again: MatrixSource = { shape: [300, 60], dtype: "F32", rows, rereadable: true };
    const expected = await singularValues(exact, sourceOf(matrix, "F32"));
    expectFast(await singularValues(fast, again), expected, [300, 60]);
    expect(reads).toBe(3);
    expectFast(await singularValues(fast, sourceOf(matrix, "F32", 7)), expected, [300, 60]);
  });

  it("gives the same bits at every scale: neither large nor small values leave float32's range", async () => {
    const unit = drawMatrix([280, 40], "BF16", 37);
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

describe("gramSuffices()", () => {
  it("accepts an ordinary spectrum, and a handful of negligible values among many", () => {
    const ramp = Float64Array.from({ length: 4096 }, (_, i) => 1 - i / 4096);
    expect(gramSuffices(ramp)).toBe(true);
    expect(gramSuffices(new Float64Array(5))).toBe(true);
    expect(gramSuffices(Float64Array.of(1))).toBe(true);
  });
  it("refuses a bulk below sigma_1 / 1000 and one that is zero", () => {
    expect(gramSuffices(Float64Array.of(1, 1e-4, 1e-4, 1e-4))).toBe(false);
    expect(gramSuffices(Float64Array.of(3, 2, 1e-9, 0))).toBe(false);
  });
});

describe("floatGramSuffices()", () => {
  const ramp = Float64Array.from({ length: 1000 }, (_, i) => 1 - i / 1000);
  it("accepts what errs by 1e-9 of the values and refuses what errs by 1e-6, by its spread or its bias", () => {
    expect(floatGramSuffices(ramp, { spread: 1e-9, bias: 1e-9 })).toBe(true);
    expect(floatGramSuffices(ramp, { spread: 1e-6, bias: 0 })).toBe(false);
    expect(floatGramSuffices(ramp, { spread: 0, bias: 1e-6 })).toBe(false);
  });
  it("refuses a bulk that is zero, and an error that is not a number; accepts a zero matrix", () => {
    expect(floatGramSuffices(Float64Array.of(3, 2, 0, 0), { spread: 1e-9, bias: 0 })).toBe(false);
    expect(floatGramSuffices(ramp, { spread: NaN, bias: NaN })).toBe(false);
    expect(floatGramSuffices(new Float64Array(4), { spread: 0, bias: 0 })).toBe(true);
  });
});

describe("kernels.wasm.ts", () => {
  it("was made from the sources beside it", () => {
    const script = fileURLToPath(new URL("../../scripts/build-kernels.mjs", import.meta.url));
    const { status, stderr } = spawnSync(process.execPath, [script, "--check"], { encoding: "utf8" });
    expect(stderr).toMatch(/matches its sources|byte for byte/);
    expect(status).toBe(0);
  });

  const compile = (base64: string) => new WebAssembly.Module(Buffer.from(base64, "base64"));
  const builds = { plain: KERNELS_BASE64, relaxed: RELAXED_KERNELS_BASE64 };

  it.each(["exact", "fast"] as const)("holds two builds, whose %s values agree on any shape", (precision) => {
    expect(compileKernels().roundsOnce).toBeTypeOf("boolean"); // lets old Node compile the relaxed build
    for (const [m, n] of [
      [1, 1],
      [90, 33],
      [64, 200],
      [257, 129],
    ] as const) {
      const bytes = encode(drawMatrix([m, n], "F32", m), "F32");
      const [plain, relaxed] = Object.values(builds).map((base64) => {
        const solver = new Solver(compile(base64), precision, () => false);
        solver.begin({ shape: [m, n], dtype: "F32", rereadable: false });
        solver.append(bytes);
        return solver.finish();
      });
      if (!plain || !relaxed) throw new Error("A second look was asked for");
      if (precision === "exact") expectExact(relaxed, plain);
      else expectFast(relaxed, plain, [m, n]);
    }
  });

  it("says of each build whether it rounds once, and takes the one that does", () => {
    const rounds = Object.values(builds).map((base64) => {
      const memory = new WebAssembly.Memory({ initial: 4, maximum: 4 });
      return instantiateKernels(compile(base64), memory).roundsOnce(2 ** -27) !== 0;
    });
    expect(rounds[0]).toBe(false);
    expect(compileKernels().roundsOnce).toBe(rounds[1]);
  });
});
