// What one matrix takes of a worker's memory.
import { describe, expect, it } from "vitest";
import { CREW_BYTES, MAX_HELPERS } from "../../backends/wasm/crew/control.ts";
import { instantiateKernels } from "../../backends/wasm/kernels.ts";
import { compileKernels } from "../../backends/wasm/kernels-module.ts";
import { STAGING_BYTES } from "../../backends/wasm/protocol.ts";
import { layOut, type MatrixHeader } from "../../backends/wasm/singular-values/layout.ts";
import type { MatrixDType } from "../../src/tensor/dtype.ts";
import { smallMatrices } from "./matrices.ts";

const kernels = instantiateKernels(
  compileKernels().module,
  new WebAssembly.Memory({ initial: 4, maximum: 4 }),
);

/** Memory of a matrix in flight, with as many helpers as can be. */
function bytesOf(header: MatrixHeader): number {
  return layOut(header, kernels, MAX_HELPERS).sizeBytes + STAGING_BYTES + CREW_BYTES;
}

/** The same over that of the matrix in float64. */
function timesFloat64(shape: readonly [number, number], dtype: MatrixDType, rereadable: boolean): number {
  return bytesOf({ shape, dtype, rereadable }) / (8 * shape[0] * shape[1]);
}

describe("layOut()", () => {
  for (const [shape, most] of [
    [[2048, 2048], 1.5],
    [[4096, 4096], 1.21],
    [[14336, 4096], 0.36],
    [[131072, 4096], 0.04],
    [[128256, 8192], 0.07],
  ] as const) {
    it(`takes ${most} times a ${shape.join(" x ")} matrix in float64 when its rows can be read again`, () => {
      for (const dtype of ["F32", "BF16"] as const) {
        expect(timesFloat64(shape, dtype, true)).toBeLessThanOrEqual(most);
      }
    });
  }

  it("takes at most 2.5 times a matrix in float64, also where the rows come once and where it is wide", () => {
    for (const shape of [
      [1024, 4096],
      [1728, 1728],
      [2048, 2048],
      [2048, 2049],
      [4096, 4096],
      [4096, 14336],
      [8192, 28672],
      [14336, 4096],
      [28672, 8192],
      [131072, 4096],
    ] as const) {
      for (const dtype of ["F64", "F32", "BF16"] as const) {
        for (const rereadable of [true, false]) {
          expect(timesFloat64(shape, dtype, rereadable), `${shape.join(" x ")} ${dtype}`).toBeLessThanOrEqual(
            2.5,
          );
        }
      }
    }
  });

  it("takes no more for smaller ones that can be read again, from order 1280 on", () => {
    for (const [shape, dtype, rereadable] of smallMatrices()) {
      if (dtype === "F64" || !rereadable || Math.min(...shape) < 1280) continue;
      expect(timesFloat64(shape, dtype, rereadable), `${shape.join(" x ")} ${dtype}`).toBeLessThanOrEqual(
        2.5,
      );
    }
  });

  it("takes at most 5 MB more than that where the matrix is smaller", () => {
    for (const [shape, dtype, rereadable] of smallMatrices()) {
      const more = bytesOf({ shape, dtype, rereadable }) - 2.5 * 8 * shape[0] * shape[1];
      expect(more, `${shape.join(" x ")} ${dtype}`).toBeLessThanOrEqual(5e6);
    }
  });

  it("holds a wide matrix whole, undecoded, because each product of its rows needs all of them", () => {
    const { whole, blockBytes } = layOut({ shape: [4096, 14336], dtype: "BF16", rereadable: true }, kernels);
    expect([whole, blockBytes]).toEqual([true, 2 * 4096 * 14336]);
    expect(timesFloat64([4096, 14336], "BF16", true)).toBeLessThanOrEqual(0.62);
  });
});
