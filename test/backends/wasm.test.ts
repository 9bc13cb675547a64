import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Worker } from "node:worker_threads";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as reference from "../../backends/reference/index.ts";
import * as wasm from "../../backends/wasm/index.ts";
import { instantiateKernels } from "../../backends/wasm/kernels.ts";
import { KERNELS_BASE64, RELAXED_KERNELS_BASE64 } from "../../backends/wasm/kernels.wasm.ts";
import { compileKernels } from "../../backends/wasm/kernels-module.ts";
import { floatGramSuffices, gramSuffices } from "../../backends/wasm/singular-values/guard.ts";
import { Solver } from "../../backends/wasm/singular-values/solver.ts";
import type { Backend } from "../../src/backend.ts";
import { MatrixError } from "../../src/errors.ts";
import { expectExact, expectFast, singularValues, testBackend } from "./conformance.ts";
import { testFast } from "./fast-conformance.ts";
import { drawMatrix, encode, fixture, matrixOfSpectrum, sourceOf } from "./matrices.ts";

testBackend(wasm);
testBackend(wasm, "fast");
testFast(wasm, {
  shapes: [
    [648, 576],
    [600, 190],
    [190, 601],
    [350, 301],
    [1541, 1537],
    [950, 801],
  ],
  order: 200,
});

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

  it("finds a spectrum that is known, of an order that goes by way of a band", async () => {
    const values = Array.from({ length: 800 }, (_, i) => 1 - i / 1000);
    const matrix = matrixOfSpectrum([810, 800], values, 4);
    expectExact(await singularValues(backend, sourceOf(matrix, "F64")), values);
  });

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
