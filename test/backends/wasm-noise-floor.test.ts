// The noise in a matrix, estimated before its singular values are known, and what `fast` makes of that.
import { describe, expect, it } from "vitest";
import { mulberry32 } from "../../backends/calibration/mulberry32.ts";
import { compileKernels } from "../../backends/wasm/kernels-module.ts";
import { floatsArePromising } from "../../backends/wasm/singular-values/guard.ts";
import { noiseFloor, outlookOf } from "../../backends/wasm/singular-values/noise-floor.ts";
import { Solver } from "../../backends/wasm/singular-values/solver.ts";
import { ALONE } from "../../backends/wasm/singular-values/team.ts";
import type { Precision } from "../../src/backend.ts";
import { drawMatrix, drawSpiked, encode, type Matrix } from "./matrices.ts";

/** The noise floor of a tall matrix. */
function floorOf({ shape: [m, n], elements }: Matrix): number {
  const gram = (row: number, column: number) => {
    let sum = 0;
    for (let i = 0; i < m; i++) sum += (elements[i * n + row] ?? 0) * (elements[i * n + column] ?? 0);
    return sum;
  };
  return noiseFloor(gram, [m, n]);
}

/** Uniform numbers in [-1, 1) have a variance of a third. */
const VARIANCE = 1 / 3;

describe("noiseFloor()", () => {
  it("is the longer side times the variance of noise", () => {
    for (const shape of [
      [400, 300],
      [900, 40],
      [64, 64],
    ] as const) {
      const floor = floorOf(drawMatrix(shape, "F32", 51));
      expect(Math.abs(floor / (VARIANCE * shape[0]) - 1), shape.join(" x ")).toBeLessThan(0.15);
    }
  });

  it("does not see large values, whatever their height", () => {
    for (const noise of [1e-1, 1e-3]) {
      const floor = floorOf(drawSpiked([400, 300], noise, 52));
      expect(floor / (noise ** 2 * VARIANCE * 400)).toBeCloseTo(1, 1);
    }
  });

  it("is zero where columns depend on each other", () => {
    const matrix = drawMatrix([50, 20], "F32", 53);
    expect(floorOf({ ...matrix, elements: matrix.elements.map((x, at) => (at % 20 === 2 ? 0 : x)) })).toBe(0);
    expect(noiseFloor(() => 0, [1, 1])).toBe(0);
    expect(noiseFloor(() => 7, [1, 1])).toBe(7);
  });
});

describe("floatsArePromising()", () => {
  it("wants the errors of squares small beside the noise", () => {
    const isPromising = (spread: number) => floatsArePromising({ spread, floor: 100 });
    expect([1e-9, 8.9e-7, 9.1e-7, 1].map(isPromising)).toEqual([true, true, false, false]);
    expect(floatsArePromising({ spread: 1e-30, floor: 0 })).toBe(false);
  });
});

describe("outlookOf()", () => {
  it("waits for a quarter of the matrix, and expects errors to add up at random", () => {
    const identity = (row: number, column: number) => (row === column ? 1 : 0);
    const judge = (lines: number, spread: number, added?: number) =>
      outlookOf(
        { lines, m: 400, n: 200, element: (i, j) => lines * identity(i, j), spread: () => spread },
        added,
      );
    expect(judge(99, NaN)).toBe("open");
    // Noise of variance 1, whose floor will be 400, but for columns of which others take nothing away.
    const floor = noiseFloor((i, j) => 100 * identity(i, j), [100, 200]);
    expect([0.99, 1.01].map((share) => judge(100, 2 * 9e-9 * share * floor))).toEqual(["good", "poor"]);
    expect([0.99, 1.01].map((share) => judge(100, 2 * 4e-9 * share * floor, 5e-9))).toEqual(["good", "poor"]);
  });
});

describe("wasm's solver, with a square matrix", () => {
  /** The values, and how many matrices it reduced for them. */
  function solve({ shape, elements }: Matrix, precision: Precision) {
    let reduced = 0;
    const team: typeof ALONE = {
      ...ALONE,
      chaseBulges(...args) {
        reduced++;
        ALONE.chaseBulges(...args);
      },
    };
    const solver = new Solver(compileKernels().module, precision, () => false, team);
    const bytes = encode({ shape, elements }, "F32");
    solver.begin({ shape, dtype: "F32", rereadable: true });
    for (;;) {
      solver.append(bytes);
      const values = solver.finish();
      if (values !== null) return { values, reduced };
    }
  }

  const order = 1536;
  const random = mulberry32(54);
  const noise = Float64Array.from({ length: order ** 2 }, () => Math.fround(random() - 0.5));

  it("reduces noise once, of floats where fast is asked for", () => {
    const fast = solve({ shape: [order, order], elements: noise }, "fast");
    expect(fast.reduced).toBe(1);
    expect(fast.values).not.toEqual(solve({ shape: [order, order], elements: noise }, "exact").values);
  });

  it("gives floats up before that where a large value makes them too coarse, to the bits of exact, at every scale", () => {
    const shape = [order, order] as const;
    const spike = (at: number) => 3 * Math.cos(at % order) * Math.sin(at / order);
    const elements = noise.map((x, at) => Math.fround(x + spike(at)));
    const fast = solve({ shape, elements }, "fast");
    expect(fast).toEqual(solve({ shape, elements }, "exact"));
    expect(fast.reduced).toBe(1);
    for (const power of [-30, 30]) {
      const scaled = solve({ shape, elements: elements.map((x) => x * 2 ** power) }, "fast");
      expect({ ...scaled, values: scaled.values.map((value) => value / 2 ** power) }).toEqual(fast);
    }
  });
});
