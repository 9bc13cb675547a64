import type { Worker } from "node:worker_threads";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as reference from "../../backends/reference/index.ts";
import * as wasm from "../../backends/wasm/index.ts";
import {
  eigenvalueBound,
  normBound,
  PROBES,
  type Recurrence,
  valueBounds,
} from "../../backends/wasm/svd/bounds.ts";
import { gaussian } from "../../backends/wasm/svd/gaussian.ts";
import type { Backend } from "../../src/backend.ts";
import { MatrixError } from "../../src/errors.ts";
import { singularValues } from "./conformance.ts";
import { drawMatrix, encode, fixture, matrixOfSpectrum, sourceOf } from "./matrices.ts";
import { expectTrue, svd, testSvd } from "./svd-conformance.ts";

testSvd(wasm);

describe("svd() of the wasm backend, in particular", () => {
  let backend: Backend;
  let oracle: Backend;
  beforeAll(async () => {
    backend = await wasm.open({ precision: "exact", threads: 2 });
    oracle = await reference.open({ precision: "exact" });
  });
  afterAll(() => Promise.all([backend.close(), oracle.close()]));

  for (const { shape, dtype, seed, values } of fixture.lapackLarge) {
    it(`holds its bounds against LAPACK for ${shape.join("x")} of ${dtype}`, async () => {
      const matrix = drawMatrix(shape, dtype, seed);
      expectTrue(await svd(backend, sourceOf(matrix, dtype), { rank: 8 }), matrix, values);
    });
  }

  it("holds its bounds on any shape, type, rank, seed and number of passes", async () => {
    const side = fc.integer({ min: 1, max: 60 });
    const dtypes = fc.constantFrom("F64", "F32", "F16", "BF16");
    const property = fc.asyncProperty(
      fc.tuple(side, side, fc.integer({ min: 1, max: 60 })),
      dtypes,
      fc.nat(2 ** 31),
      fc.constantFrom(1, 2, 5, 100),
      async ([m, n, k], dtype, seed, maxPasses) => {
        const matrix = drawMatrix([m, n], dtype, seed);
        const truth = await singularValues(oracle, sourceOf(matrix, dtype));
        const rank = Math.min(k, m, n);
        expectTrue(await svd(backend, sourceOf(matrix, dtype), { rank, seed, maxPasses }), matrix, truth);
      },
    );
    await fc.assert(property, { numRuns: 100, seed: 4 });
  });

  const spectra: Readonly<Record<string, (i: number, count: number) => number>> = {
    flat: () => 1,
    "falling slowly, so that the basis is cut down often": (i, count) => 1 - i / (2 * count),
    "falling fast": (i) => 0.5 ** i,
    "with a gap": (i) => (i < 5 ? 10 - i : 0.1 - i * 1e-4),
    "in clusters a hair apart": (i) => 1 / (1 + Math.floor(i / 11)) - 1e-12 * i,
    "of values repeated more often than a block has vectors": (i) => (i < 20 ? 3 : i < 33 ? 2 : 1),
    "of low rank": (i) => (i < 7 ? 7 - i : 0),
    "with a tail of rounding": (i) => (i < 9 ? 1 : 1e-14),
  };
  for (const [name, spectrum] of Object.entries(spectra)) {
    it(`holds its bounds on a spectrum ${name}, of any size`, async () => {
      let seed = 900;
      for (const [shape, ranks, scale] of [
        [[150, 110], [1, 4, 17, 40], 1],
        [[110, 150], [2, 9, 110], 2 ** -300],
        [[300, 90], [3, 20, 90], 2 ** 300],
      ] as const) {
        const values = Array.from({ length: Math.min(...shape) }, (_, i, all = Math.min(...shape)) =>
          spectrum(i, all),
        );
        const unit = matrixOfSpectrum(shape, values, seed++);
        const matrix = { shape, elements: unit.elements.map((x) => x * scale) };
        const truth = values.map((value) => value * scale);
        for (const rank of ranks) {
          const result = await svd(backend, sourceOf(matrix, "F64"), { rank, seed });
          expect(result.converged).toBe(true);
          expectTrue(result, matrix, truth);
        }
      }
    });
  }

  it("says so when the passes did not suffice, and its bounds hold all the same", async () => {
    const { shape, dtype, seed, values } = fixture.lapackLarge[0] ?? expect.fail("no fixture");
    const matrix = drawMatrix(shape, dtype, seed);
    const [few, many] = [
      await svd(backend, sourceOf(matrix, dtype), { rank: 10, maxPasses: 3 }),
      await svd(backend, sourceOf(matrix, dtype), { rank: 10 }),
    ];
    expect([few.converged, many.converged]).toEqual([false, true]);
    expectTrue(few, matrix, values);
    expectTrue(many, matrix, values);
    expect(Math.max(...few.residuals)).toBeGreaterThan(1e5 * Math.max(...many.residuals));
    expect(few.passes).toBeLessThan(many.passes);
    expect(many.bounds.every((bound, i) => bound <= (few.bounds[i] ?? NaN))).toBe(true);
  });

  it("gives other bits, and no other answer, for another seed", async () => {
    const values = Array.from({ length: 50 }, (_, i) => 2 ** -i);
    const matrix = matrixOfSpectrum([70, 50], values, 41);
    const [first, second] = [
      await svd(backend, sourceOf(matrix, "F64"), { rank: 4, seed: 1 }),
      await svd(backend, sourceOf(matrix, "F64"), { rank: 4, seed: 2 }),
    ];
    expect(first.vt).not.toEqual(second.vt);
    for (const [i, value] of first.s.entries())
      expect(Math.abs(value - (second.s[i] ?? NaN))).toBeLessThan(1e-14);
  });

  it("meets a tolerance that is asked for, with as few passes as it takes", async () => {
    const values = Array.from({ length: 80 }, (_, i) => 0.9 ** i);
    const matrix = matrixOfSpectrum([80, 120], values, 42);
    let passes = 0;
    for (const tolerance of [1e-2, 1e-5, 1e-9]) {
      const result = await svd(backend, sourceOf(matrix, "F64"), { rank: 6, tolerance });
      expect(result.converged).toBe(true);
      expect(Math.max(...result.residuals)).toBeLessThanOrEqual(tolerance);
      expectTrue(result, matrix, values);
      expect(result.passes).toBeGreaterThanOrEqual(passes);
      passes = result.passes;
    }
  });

  it("reads a source that comes once no more than once", async () => {
    const matrix = drawMatrix([700, 30], "F32", 43);
    let begun = 0;
    async function* once() {
      begun++;
      yield encode(matrix, "F32");
    }
    const result = await svd(backend, { shape: [700, 30], dtype: "F32", rows: once() }, { rank: 3 });
    expect(begun).toBe(1);
    expect(result.passes).toBeGreaterThan(2);
  });

  it("computes beside singular values, and gives its threads back", async () => {
    const matrix = drawMatrix([120, 80], "F32", 44);
    const alone = await svd(backend, sourceOf(matrix, "F32"), { rank: 5 });
    const values = await singularValues(backend, sourceOf(matrix, "F32"));
    const together = await Promise.all(
      Array.from({ length: 4 }, () => [
        svd(backend, sourceOf(matrix, "F32"), { rank: 5 }),
        singularValues(backend, sourceOf(matrix, "F32")),
      ]).flat(),
    );
    for (const result of together) expect(result).toEqual("s" in result ? alone : values);
  });

  it("refuses what WebAssembly cannot hold, and says what to do", async () => {
    const call = svd(backend, { shape: [40_000, 30_000], dtype: "BF16", rows: [] }, { rank: 20_000 });
    await expect(call).rejects.toThrow(/40000 x 30000 matrix of BF16: .* GiB.* ask for a lower rank/);
    await expect(call).rejects.toThrow(MatrixError);
  });

  it("rejects when a thread dies, and computes the next one on a new thread", async () => {
    const threads: Worker[] = [];
    const remember = (worker: Worker) => threads.push(worker);
    process.on("worker", remember);
    const own = await wasm.open({ precision: "exact", threads: 2 });
    const matrix = drawMatrix([600, 40], "F32", 45);
    async function* dying() {
      yield encode(matrix, "F32").subarray(0, 160);
      await expect.poll(() => threads.length).toBe(2);
      await threads[1]?.terminate();
      yield encode(matrix, "F32").subarray(160);
    }
    const broken = svd(own, { shape: [600, 40], dtype: "F32", rows: dying() }, { rank: 3 });
    await expect(broken).rejects.toThrow(/A worker of the wasm backend stopped/);
    const next = await svd(own, sourceOf(matrix, "F32"), { rank: 3 });
    expect(next).toEqual(await svd(backend, sourceOf(matrix, "F32"), { rank: 3 }));
    process.off("worker", remember);
    await own.close();
  });

  it("rejects when closed although the rows never come", async () => {
    const own = await wasm.open({ precision: "exact", threads: 2 });
    async function* silent() {
      yield await new Promise<Uint8Array>(() => {});
    }
    const call = svd(own, { shape: [50, 20], dtype: "F32", rows: silent() }, { rank: 3 });
    const rejected = expect(call).rejects.toThrow("The wasm backend was closed");
    await new Promise((resolve) => setTimeout(resolve, 100));
    await own.close();
    await rejected;
  });

  it("stops in the middle of a long matrix when closed", async () => {
    const own = await wasm.open({ precision: "exact", threads: 2 });
    const n = 1500;
    const bytes = encode(drawMatrix([n, n], "BF16", 46), "BF16");
    const source = { shape: [n, n], dtype: "BF16", rows: [bytes], rereadable: true } as const;
    const call = svd(own, source, { rank: 200, tolerance: 1e-13, maxPasses: 1000 });
    const rejected = expect(call).rejects.toThrow("The wasm backend was closed");
    await new Promise((resolve) => setTimeout(resolve, 400));
    const begun = performance.now();
    await own.close();
    await rejected;
    expect(performance.now() - begun).toBeLessThan(1500);
  });
});

describe("gaussian()", () => {
  it("draws numbers of mean 0, variance 1 and kurtosis 3, each seed its own", () => {
    const draw = (seed: number) => {
      const out = new Float64Array(200_000);
      gaussian(seed)(out);
      return out;
    };
    const numbers = draw(7);
    const moment = (power: number) => numbers.reduce((sum, x) => sum + x ** power, 0) / numbers.length;
    expect(Math.abs(moment(1))).toBeLessThan(0.01);
    expect(Math.abs(moment(2) - 1)).toBeLessThan(0.015);
    expect(Math.abs(moment(4) - 3)).toBeLessThan(0.15);
    expect(draw(7)).toEqual(numbers);
    const other = draw(8);
    const correlation = numbers.reduce((sum, x, i) => sum + x * (other[i] ?? NaN), 0) / numbers.length;
    expect(Math.abs(correlation)).toBeLessThan(0.01);
  });
});

describe("eigenvalueBound()", () => {
  /** Lanczos' recurrence for a diagonal matrix, over one long vector of PROBES normal ones. */
  function lanczos(lambda: readonly number[], steps: number, seed: number): Recurrence {
    const draw = gaussian(seed);
    let now = new Float64Array(PROBES * lambda.length);
    draw(now);
    const length = Math.hypot(...now);
    now = now.map((x) => x / length);
    let before = now.map(() => 0);
    const [a, b]: [number[], number[]] = [[], []];
    for (let step = 0; step < steps; step++) {
      const image = now.map((x, i) => x * (lambda[i % lambda.length] ?? NaN));
      const along = image.reduce((sum, x, i) => sum + x * (now[i] ?? NaN), 0);
      const next = image.map((x, i) => x - along * (now[i] ?? NaN) - (b.at(-1) ?? 0) * (before[i] ?? NaN));
      a.push(along);
      b.push(Math.hypot(...next));
      if (b.at(-1) === 0) break;
      [before, now] = [now, next.map((x) => x / (b.at(-1) ?? NaN))];
    }
    return { length, a, b };
  }

  const spectra: readonly (readonly [name: string, lambda: readonly number[], slack: number])[] = [
    ["falling slowly", Array.from({ length: 300 }, (_, i) => 1 - i / 300), 1.15],
    ["falling fast", Array.from({ length: 300 }, (_, i) => 0.7 ** i), 1.02],
    ["all equal", Array<number>(300).fill(1), 1.0001],
    ["one above many", Array.from({ length: 300 }, (_, i) => (i === 0 ? 1 : 0.95)), 1.1],
    ["one alone", [1], 1.0001],
  ];
  for (const [name, lambda, slack] of spectra) {
    it(`is above the largest eigenvalue, not by far after ten steps, of a spectrum ${name}`, () => {
      for (let seed = 0; seed < 50; seed++) {
        for (const steps of [1, 2, 4, 7]) {
          expect(eigenvalueBound(lanczos(lambda, steps, seed))).toBeGreaterThanOrEqual(1 - 1e-12);
        }
        const bound = eigenvalueBound(lanczos(lambda, 10, seed));
        expect(bound).toBeGreaterThanOrEqual(1 - 1e-12);
        expect(bound).toBeLessThan(slack);
      }
    });
  }

  it("finds what the probes hardly see: an eigenvector nearly at right angles to them", () => {
    // As far off as a chance of 1e-10 allows: the bound is made for that.
    const { length, a, b } = lanczos([1, ...Array.from({ length: 300 }, (_, i) => 0.5 - i / 900)], 10, 3);
    expect(eigenvalueBound({ length, a: a.slice(0, 2), b: b.slice(0, 2) })).toBeGreaterThan(1);
    expect(normBound(2)).toBeGreaterThan(2 / 0.13);
    expect(normBound(2)).toBeLessThan(2 / 0.11);
  });
});

describe("valueBounds()", () => {
  const none = new Float64Array(3);
  it("is nothing for exact triplets that stand above the rest, and the gap for those that do not", () => {
    const s = Float64Array.of(5, 3, 2);
    expect([...valueBounds({ s, left: none, right: none, rest: 1.5 })]).toEqual([0, 0, 0]);
    expect([...valueBounds({ s, left: none, right: none, rest: 3.5 })]).toEqual([0, 0.5, 1.5]);
  });
  it("does not let a bad last triplet spoil the first", () => {
    const bounds = valueBounds({
      s: Float64Array.of(5, 3, 2),
      left: none,
      right: Float64Array.of(1e-12, 1e-9, 0.1),
      rest: 1,
    });
    expect(bounds[0]).toBeLessThan(2e-12);
    expect(bounds[1]).toBeLessThan(2e-9);
    expect(bounds[2]).toBeGreaterThanOrEqual(0.1);
  });
});
