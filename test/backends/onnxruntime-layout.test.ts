// What one matrix takes of the memory of a thread that computes singular values with ONNX Runtime.
import { describe, expect, it } from "vitest";
import { type FloatPlan, floatPlan } from "../../backends/onnxruntime/singular-values/float-plan.ts";
import { layOutHybrid } from "../../backends/onnxruntime/singular-values/layout.ts";
import { instantiateKernels } from "../../backends/wasm/kernels.ts";
import { compileKernels } from "../../backends/wasm/kernels-module.ts";
import { STAGING_BYTES } from "../../backends/wasm/protocol.ts";
import { floatDTypeBytes } from "../../src/tensor/dtype.ts";

const memory = new WebAssembly.Memory({ initial: 4, maximum: 4 });
const kernels = instantiateKernels(compileKernels().module, memory);

type Shape = readonly [rows: number, columns: number];

/** Those of large orders. */
const PLANS = ["none", "updates", "all"] as const;

/** Memory of a matrix in flight over that of the matrix in float64. */
function timesFloat64(
  shape: Shape,
  {
    dtype,
    isHeld,
    plan,
  }: {
    readonly dtype: "F64" | "F32" | "BF16";
    readonly isHeld: boolean;
    readonly plan: FloatPlan;
  },
): number {
  const { sizeBytes } = layOutHybrid({ shape, dtype, rereadable: !isHeld }, kernels, plan);
  const heldBytes = isHeld ? shape[0] * shape[1] * floatDTypeBytes(dtype) : 0;
  return (sizeBytes + STAGING_BYTES + heldBytes) / (8 * shape[0] * shape[1]);
}

describe("layOutHybrid()", () => {
  for (const [shape, most] of [
    [[1024, 1024], 2.5],
    [[2048, 2048], 1.9],
    [[4096, 4096], 1.2],
    [[14336, 4096], 0.34],
    [[128256, 8192], 0.06],
  ] as const) {
    it(`takes ${most} times a ${shape.join(" x ")} matrix in float64 when its rows can be read again`, () => {
      for (const dtype of ["F64", "F32", "BF16"] as const) {
        for (const plan of PLANS) {
          expect(timesFloat64(shape, { dtype, isHeld: false, plan }), plan).toBeLessThanOrEqual(most);
        }
      }
    });
  }

  it("takes at most 2.5 times a matrix in float64 where its bytes are held as well", () => {
    for (const shape of [
      [1024, 4096],
      [2048, 2048],
      [4096, 4096],
      [4096, 14336],
      [14336, 4096],
      [131072, 4096],
    ] as const) {
      for (const dtype of ["F32", "BF16"] as const) {
        for (const plan of PLANS) {
          const times = timesFloat64(shape, { dtype, isHeld: true, plan });
          expect(times, `${shape.join(" x ")} ${dtype} ${plan}`).toBeLessThanOrEqual(2.5);
        }
      }
    }
  });

  it("takes no more for orders that the kernels reduce directly", () => {
    for (const [shape, plan] of [
      [[1536, 576], "gram"],
      [[576, 1536], "gram"],
      [[1280, 1000], "gram"],
      [[1920, 1536], "gram"],
    ] as const) {
      expect(floatPlan({ shape, dtype: "BF16", rereadable: true })).toBe(plan);
      for (const each of [plan, "none"] as const) {
        const times = timesFloat64(shape, { dtype: "BF16", isHeld: true, plan: each });
        expect(times, `${shape.join(" x ")} ${each}`).toBeLessThanOrEqual(2.5);
      }
    }
  });
});
