// When a further thread goes to a matrix, and to which.
import { describe, expect, it } from "vitest";
import {
  chooseMatrix,
  gainOfThread,
  SHARED_ORDER,
  sharedFlops,
} from "../../backends/wasm/crew/cost-model.ts";
import { instantiateKernels } from "../../backends/wasm/kernels.ts";
import { compileKernels } from "../../backends/wasm/kernels-module.ts";

const fresh = (rows: number, columns: number) =>
  ({ shape: [rows, columns], floats: false, doneMflops: 0, threads: 1 }) as const;
const started = { started: true };

describe("sharedFlops()", () => {
  it("is the Gram matrix, stage one and the bulges, the same for the transpose, less with float products", () => {
    const [n, m] = [4096, 14336];
    const parts = [m * n ** 2, (4 / 3) * n ** 3 + 210 * n ** 2, 2 * 6 * 32 * n ** 2];
    expect(sharedFlops(fresh(m, n))).toBeCloseTo(
      parts.reduce((sum, part) => sum + part),
      -1,
    );
    expect(sharedFlops(fresh(1024, 4096))).toBe(sharedFlops(fresh(4096, 1024)));
    const saved = sharedFlops(fresh(4096, 2048)) - sharedFlops({ ...fresh(4096, 2048), floats: true });
    expect(saved).toBeCloseTo((4096 * 2048 ** 2) / 2, -1);
  });

  it("leaves out stage one where the kernels do not cut it", () => {
    const kernels = instantiateKernels(
      compileKernels().module,
      new WebAssembly.Memory({ initial: 4, maximum: 4 }),
    );
    expect([SHARED_ORDER - 1, SHARED_ORDER].map((order) => kernels.bandShares(order) > 1)).toEqual([
      false,
      true,
    ]);
    expect(sharedFlops(fresh(9000, SHARED_ORDER - 1))).toBe(9000 * (SHARED_ORDER - 1) ** 2);
    expect(sharedFlops({ ...fresh(9000, 1000), floats: true })).toBe((9000 * 1000 ** 2) / 2);
  });
});

describe("gainOfThread()", () => {
  it("is nearly half of what is left for a second thread, and less for each further one", () => {
    const seconds = sharedFlops(fresh(4096, 4096)) / 26e9;
    const gains = [1, 2, 3, 7].map((threads) => gainOfThread({ ...fresh(4096, 4096), threads }, started));
    expect((gains[0] ?? NaN) / seconds).toBeGreaterThan(0.47);
    expect((gains[0] ?? NaN) / seconds).toBeLessThan(0.5);
    expect(gains).toEqual(gains.toSorted((a, b) => b - a));
    expect(gains.every((gain) => gain > 0)).toBe(true);
  });

  it("shrinks as the matrix is done, to nothing", () => {
    const all = sharedFlops(fresh(2048, 2048)) / 1e6;
    const gains = [0, 0.5, 0.9, 1, 1.5].map((part) =>
      gainOfThread({ ...fresh(2048, 2048), doneMflops: part * all }, started),
    );
    expect(gains).toEqual(gains.toSorted((a, b) => b - a));
    expect(gains.slice(3)).toEqual([0, 0]);
  });

  it("is less for a thread that has to be started", () => {
    expect(gainOfThread(fresh(1024, 1024), { started: false })).toBeLessThan(
      gainOfThread(fresh(1024, 1024), started) - 0.02,
    );
  });
});

describe("chooseMatrix()", () => {
  it("takes none when there is none, or all are small or nearly done", () => {
    const all = sharedFlops(fresh(4096, 4096)) / 1e6;
    expect(chooseMatrix([], started)).toBe(null);
    expect(chooseMatrix([fresh(576, 576), fresh(1024, 512)], started)).toBe(null);
    expect(chooseMatrix([{ ...fresh(4096, 4096), doneMflops: 0.998 * all }], started)).toBe(null);
  });

  it("takes the one that has most left for each of its threads", () => {
    const half = { ...fresh(4096, 4096), doneMflops: sharedFlops(fresh(4096, 4096)) / 2e6 };
    expect(chooseMatrix([half, fresh(4096, 4096), fresh(1024, 1024)], started)).toBe(1);
    expect(chooseMatrix([half, { ...fresh(4096, 4096), threads: 4 }], started)).toBe(0);
  });

  it("takes a matrix of a few rows or columns of many, whose Gram matrix alone is shared", () => {
    expect(chooseMatrix([fresh(131072, 576)], started)).toBe(0);
    expect(chooseMatrix([fresh(1, 1e6)], started)).toBe(null);
  });
});
