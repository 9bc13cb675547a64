// What one matrix takes of the memory of a thread that computes singular values with ONNX Runtime.
import { describe, expect, it } from "vitest";
import { uploadOf } from "../../backends/onnxruntime/device/upload.ts";
import {
  type FloatPlan,
  floatPlan,
  stagePlan,
} from "../../backends/onnxruntime/singular-values/float-plan.ts";
import { gramFlatness, setDiagonal } from "../../backends/onnxruntime/singular-values/gram.ts";
import { isHeld, layOutHybrid } from "../../backends/onnxruntime/singular-values/layout.ts";
import { instantiateKernels } from "../../backends/wasm/kernels.ts";
import { compileKernels } from "../../backends/wasm/kernels-module.ts";
import { STAGING_BYTES } from "../../backends/wasm/protocol.ts";
import { layOut, type MatrixHeader } from "../../backends/wasm/singular-values/layout.ts";
import { floatDTypeBytes } from "../../src/tensor/dtype.ts";
import { smallMatrices } from "./matrices.ts";

const memory = new WebAssembly.Memory({ initial: 4, maximum: 4 });
const kernels = instantiateKernels(compileKernels().module, memory);

const PLANS = ["none", "gram", "updates", "all"] as const;

/** F64 has no products of floats. */
function plansOf(dtype: MatrixHeader["dtype"]): readonly FloatPlan[] {
  return dtype === "F64" ? ["none"] : PLANS;
}

/** Most memory of a matrix in flight, a second look by wasm's solver in the same memory included. */
function bytesOf(header: MatrixHeader, plan: FloatPlan): number {
  const { sizeBytes, held } = layOutHybrid(header, kernels, plan);
  const outside = isHeld(header) && held === null ? elementsOf(header) * floatDTypeBytes(header.dtype) : 0;
  return Math.max(sizeBytes, layOut(header, kernels).sizeBytes) + outside + STAGING_BYTES;
}

function elementsOf({ shape }: MatrixHeader): number {
  return shape[0] * shape[1];
}

/** The same over that of the matrix in float64. */
function timesFloat64(header: MatrixHeader, plan: FloatPlan): number {
  return bytesOf(header, plan) / (8 * elementsOf(header));
}

describe("floatPlan() and stagePlan()", () => {
  const planOf = (rows: number, columns: number) =>
    floatPlan({ shape: [rows, columns], dtype: "BF16", rereadable: true });

  it("take for nearly square matrices what their smallest values bear", () => {
    expect([576, 2047, 2048, 4095, 4096].map((n) => planOf(n, n))).toEqual([
      "none",
      "none",
      "updates",
      "updates",
      "all",
    ]);
    expect([planOf(1152, 1024), planOf(1151, 1024), planOf(1729, 1537)]).toEqual(["wasm", "none", "none"]);
    const [square, oblong] = [
      [4096, 5119],
      [4096, 5120],
    ].map(
      ([rows = 0, columns = 0]) => ({ shape: [rows, columns], dtype: "BF16", rereadable: true }) as const,
    );
    for (const [flatness, plan] of [
      [2, "all"],
      [10, "all"],
      [10.1, "updates"],
      [5000, "updates"],
    ] as const) {
      if (square) expect(stagePlan(square, flatness)).toBe(plan);
      if (oblong) expect(stagePlan(oblong, flatness)).toBe("all");
    }
  });
});

describe("gramFlatness()", () => {
  it("is n tr(G^2) / tr(G)^2, by what the probe's signs became", () => {
    const layout = layOutHybrid({ shape: [50, 50], dtype: "BF16", rereadable: true }, kernels, "updates");
    const memory = new ArrayBuffer(layout.sizeBytes);
    // Of a diagonal matrix each sign is multiplied by its element.
    const elements = Float64Array.from({ length: 50 }, (_, i) => 1 + (i % 7));
    new Float64Array(memory, layout.lengths, 50).set(elements);
    new Float64Array(memory, layout.image, 50).set(elements.map((x, i) => (i % 2 === 0 ? x : -x)));
    setDiagonal({ memory, layout });
    const sum = (of: (x: number) => number) => elements.reduce((total, x) => total + of(x), 0);
    expect(gramFlatness({ memory, layout })).toBeCloseTo((50 * sum((x) => x * x)) / sum((x) => x) ** 2, 12);
  });
});

describe("layOutHybrid()", () => {
  for (const [shape, most] of [
    [[1024, 1024], 2.5],
    [[2048, 2048], 1.9],
    [[4096, 4096], 1.24],
    [[14336, 4096], 0.36],
    [[128256, 8192], 0.08],
  ] as const) {
    it(`takes ${most} times a ${shape.join(" x ")} matrix in float64 when its rows can be read again`, () => {
      for (const dtype of ["F64", "F32", "BF16"] as const) {
        const header = { shape, dtype, rereadable: true } as const;
        for (const plan of new Set(["none", floatPlan(header)] as const)) {
          if (plan !== "wasm") expect(timesFloat64(header, plan), plan).toBeLessThanOrEqual(most);
        }
      }
    });
  }

  it("takes at most 2.5 times a matrix in float64 where its bytes are held as well", () => {
    for (const shape of [
      [1024, 4096],
      [1728, 1728],
      [2048, 2048],
      [2048, 2049],
      [4096, 4096],
      [4096, 14336],
      [14336, 4096],
      [131072, 4096],
    ] as const) {
      for (const dtype of ["F64", "F32", "BF16"] as const) {
        for (const plan of PLANS) {
          const times = timesFloat64({ shape, dtype, rereadable: false }, plan);
          expect(times, `${shape.join(" x ")} ${dtype} ${plan}`).toBeLessThanOrEqual(2.5);
        }
      }
    }
  });

  it("takes no more for smaller ones that can be read again, from order 1280 on", () => {
    for (const [shape, dtype, rereadable] of smallMatrices()) {
      if (dtype === "F64" || !rereadable || Math.min(...shape) < 1280) continue;
      for (const plan of plansOf(dtype)) {
        const times = timesFloat64({ shape, dtype, rereadable }, plan);
        expect(times, `${shape.join(" x ")} ${dtype} ${plan}`).toBeLessThanOrEqual(2.5);
      }
    }
  });

  it("takes at most 5 MB more than that where the matrix is smaller", () => {
    for (const [shape, dtype, rereadable] of smallMatrices()) {
      for (const plan of plansOf(dtype)) {
        const more = bytesOf({ shape, dtype, rereadable }, plan) - 2.5 * 8 * shape[0] * shape[1];
        expect(more, `${shape.join(" x ")} ${dtype} ${plan}`).toBeLessThanOrEqual(5e6);
      }
    }
  });

  it("holds bytes where wasm's solver looks for them, or outside where the memory has no room", () => {
    const header = { shape: [900, 1000], dtype: "BF16", rereadable: true } as const;
    expect(layOutHybrid(header, kernels, "none").held).toBe(layOut(header, kernels).raw);
    expect(layOutHybrid({ ...header, shape: [1000, 900] }, kernels, "none").held).toBe(null);
    const large = { shape: [8192, 140_000], dtype: "F32", rereadable: true } as const;
    expect(layOutHybrid(large, kernels, "gram").held).toBe(null);
    for (let columns = 119_500; columns < 125_000; columns += 100) {
      const near = { shape: [8000, columns], dtype: "F32", rereadable: true } as const;
      const places = PLANS.map((plan) => layOutHybrid(near, kernels, plan).held);
      expect(new Set(places).size, `${columns} columns`).toBe(1);
    }
  });

  it("takes at most 2.5 times a matrix in float64 where a device makes its Gram matrix, chunks on their way included", () => {
    for (const shape of [
      [1024, 4096],
      [2048, 2048],
      [4096, 4096],
      [4096, 14336],
      [14336, 4096],
    ] as const) {
      for (const dtype of ["F32", "BF16"] as const) {
        for (const floats of [true, false]) {
          const header = { shape, dtype, rereadable: false };
          const upload = uploadOf(header, floats);
          const layout = layOutHybrid(header, kernels, floats ? "all" : "none", upload);
          const elementBytes = floatDTypeBytes(dtype);
          const ahead = upload.ahead * elementBytes * layout.n * layout.depth;
          const answer = 8 * layout.blocksDoubles; // a sum in doubles, or two in floats, or both halves in floats
          const held = layout.held === null ? elementBytes * shape[0] * shape[1] : 0;
          // What a device keeps is asked for once all chunks have been answered.
          const underway = floats ? Math.max(ahead, answer) : ahead + answer;
          const all = layout.sizeBytes + STAGING_BYTES + underway + held;
          const times = all / (8 * shape[0] * shape[1]);
          expect(times, `${shape.join(" x ")} ${dtype} ${floats}`).toBeLessThanOrEqual(2.5);
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
        const times = timesFloat64({ shape, dtype: "BF16", rereadable: false }, each);
        expect(times, `${shape.join(" x ")} ${each}`).toBeLessThanOrEqual(2.5);
      }
    }
  });
});
