// The reduction of small Gram matrices to tridiagonal form without a band, in doubles and in floats.
import { describe, expect, it } from "vitest";
import { instantiateKernels } from "../../backends/wasm/kernels.ts";
import { compileKernels } from "../../backends/wasm/kernels-module.ts";
import {
  type Direct,
  directBytes,
  isDirect,
  isDirectInFloats,
  placeDirect,
  reduceDirectly,
  reduceMeasured,
  startProbe,
} from "../../backends/wasm/singular-values/direct.ts";
import { tridiagonalEigenvalues } from "../../backends/wasm/singular-values/solver.ts";
import { drawMatrix, type Matrix, matrixOfSpectrum } from "./matrices.ts";

const START = 2 ** 20;

/** A^T A where it is reduced, the rest of the memory NaN, and its product with the signs where the probe begins. */
function gramOf({
  shape: [m, n],
  elements,
}: Matrix): Direct & { readonly probe: { signs: number; image: number } } {
  const order = Math.ceil(n / 32) * 32;
  const memory = new WebAssembly.Memory({ initial: 256, maximum: 256 });
  const kernels = instantiateKernels(compileKernels().module, memory);
  new Float64Array(memory.buffer, START).fill(NaN);
  let end = START + directBytes(kernels, order);
  const take = () => {
    end += 8 * order;
    return end - 8 * order;
  };
  const layout = {
    n,
    m,
    order,
    ...placeDirect(START, order),
    diagonal: take(),
    beside: take(),
    turnedSigns: take(),
    turnedImage: take(),
  };
  const probe = { signs: take(), image: take() };
  kernels.probeSigns(n, probe.signs);
  const signs = new Float64Array(memory.buffer, probe.signs, n);
  const image = new Float64Array(memory.buffer, probe.image, n);
  for (let j = 0; j < order; j++) {
    for (let i = 4 * Math.floor(j / 4); i < order; i++) {
      let sum = 0;
      for (let k = 0; i < n && j < n && k < m; k++)
        sum += (elements[k * n + i] ?? 0) * (elements[k * n + j] ?? 0);
      new Float64Array(memory.buffer, layout.lower + 8 * (j * layout.lowerLd + i), 1)[0] = sum;
    }
  }
  for (let k = 0; k < m; k++) {
    const row = elements.subarray(k * n, (k + 1) * n);
    const product = row.reduce((sum, x, i) => sum + x * (signs[i] ?? 0), 0);
    for (const [i, x] of row.entries()) image[i] = (k === 0 ? 0 : (image[i] ?? 0)) + x * product;
  }
  return { kernels, memory: memory.buffer, layout, checkInterrupted: () => {}, probe };
}

/** Descending. */
function eigenvalues({ kernels, memory, layout }: Direct): Float64Array {
  return tridiagonalEigenvalues(kernels, memory, layout).slice().sort().reverse();
}

function measured(matrix: Matrix, floats: boolean) {
  const work = gramOf(matrix);
  startProbe(work, { ...work.probe, factor: 1 });
  const error = reduceMeasured(work, { floats, exponent: 0 });
  return { error, values: eigenvalues(work) };
}

/** Noise of which one direction is `height` times longer. */
function spiked([m, n]: readonly [number, number], height: number): Matrix {
  const noise = drawMatrix([m, n], "F32", 51);
  const [u, v] = [drawMatrix([m, 1], "F32", 52).elements, drawMatrix([1, n], "F32", 53).elements];
  const elements = noise.elements.map(
    (x, at) => x + height * (u[Math.floor(at / n)] ?? 0) * (v[at % n] ?? 0),
  );
  return { shape: [m, n], elements };
}

describe("reduceDirectly()", () => {
  for (const n of [1, 2, 3, 4, 5, 15, 16, 17, 31, 33, 48, 100, 131, 200]) {
    it(`keeps the eigenvalues of a matrix of order ${n}`, () => {
      const spectrum = Array.from({ length: n }, (_, i) => (n - i) / n);
      const work = gramOf(matrixOfSpectrum([n + 9, n], spectrum, 50));
      reduceDirectly(work);
      for (const [i, value] of eigenvalues(work).entries()) {
        expect(Math.abs(value - (spectrum[i] ?? NaN) ** 2)).toBeLessThan(1e-14);
      }
    });
  }

  it("keeps those of a matrix that is diagonal, has a zero column or is zero", () => {
    for (const diagonal of [
      [3, 1, 2, 5, 4],
      [3, 0, 2, 5, 4],
      [0, 0, 0, 0, 0],
    ]) {
      const elements = new Float64Array(25);
      for (const [i, x] of diagonal.entries()) elements[6 * i] = x;
      const work = gramOf({ shape: [5, 5], elements });
      reduceDirectly(work);
      expect([...eigenvalues(work)]).toEqual(diagonal.map((x) => x * x).sort((a, b) => b - a));
    }
  });
});

describe("reduceMeasured()", () => {
  const shape = [180, 130] as const;

  it("measures in doubles what rounding leaves, in floats the error of the eigenvalues", () => {
    const matrix = spiked(shape, 0);
    const truth = measured(matrix, false);
    const largest = truth.values[0] ?? NaN;
    expect(truth.error.spread).toBeLessThan(1e-15 * largest);
    expect(truth.error.bias).toBeLessThan(1e-15 * largest);
    const { values, error } = measured(matrix, true);
    // Hoffman and Wielandt: the differences' length is at most E's, which is n spreads.
    const length = Math.hypot(...values.map((value, i) => value - (truth.values[i] ?? NaN)));
    expect(length).toBeGreaterThan(1e-9 * largest);
    expect(length).toBeLessThan(130 * error.spread);
    expect(Math.abs(values.reduce((sum, x, i) => sum + x - (truth.values[i] ?? NaN), 0)) / 130).toBeCloseTo(
      error.bias,
      12,
    );
  });

  it("splits large values off, so that the error is a share of the others", () => {
    const noise = measured(spiked(shape, 0), true).error.spread;
    for (const height of [10, 1000]) {
      const { error, values } = measured(spiked(shape, height), true);
      expect(values[0]).toBeGreaterThan(height ** 2 * 1000);
      expect(error.spread).toBeLessThan(2 * noise);
    }
  });

  it("is asked by shape: small ones in doubles, oblong ones in floats first", () => {
    expect([isDirect(736), isDirect(768)]).toEqual([true, false]);
    expect([isDirectInFloats([648, 576]), isDirectInFloats([576, 640])]).toEqual([true, false]);
    expect([isDirectInFloats([1536, 4096]), isDirectInFloats([4096, 1537])]).toEqual([true, false]);
  });
});
