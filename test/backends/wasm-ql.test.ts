// The eigenvalues of tridiagonal matrices whose eigenvalues are known by a formula, by both builds of the kernels.
import { describe, expect, it } from "vitest";
import { instantiateKernels } from "../../backends/wasm/kernels.ts";
import { KERNELS_BASE64, RELAXED_KERNELS_BASE64 } from "../../backends/wasm/kernels.wasm.ts";
import { compileKernels } from "../../backends/wasm/kernels-module.ts";

interface Tridiagonal {
  readonly diagonal: Float64Array;
  readonly below: Float64Array;
}

compileKernels(); // lets old Node compile the relaxed build
const BUILDS = { plain: KERNELS_BASE64, relaxed: RELAXED_KERNELS_BASE64 };
const ORDERS = [1, 2, 3, 4, 5, 8, 31, 100, 333];

function eigenvalues(base64: string, { diagonal, below }: Tridiagonal): Float64Array {
  const memory = new WebAssembly.Memory({ initial: 8, maximum: 8 });
  const kernels = instantiateKernels(new WebAssembly.Module(Buffer.from(base64, "base64")), memory);
  const n = diagonal.length;
  const at = Math.ceil(Number(kernels.__heap_base.value) / 8) * 8;
  const d = new Float64Array(memory.buffer, at, n);
  const e = new Float64Array(memory.buffer, at + 8 * n, n);
  d.set(diagonal);
  e.set(below);
  expect(kernels.ql(n, d.byteOffset, e.byteOffset)).toBeGreaterThanOrEqual(0);
  return d.slice().sort();
}

function numbers(n: number, f: (i: number) => number): Float64Array {
  return Float64Array.from({ length: n }, (_, i) => f(i));
}

/** Name, matrix and eigenvalues of order n. */
const FAMILIES: Record<string, (n: number) => Tridiagonal & { readonly values: Float64Array }> = {
  "of constants": (n) => ({
    diagonal: numbers(n, () => 0.5),
    below: numbers(n - 1, () => -0.25),
    values: numbers(n, (i) => 0.5 + 0.5 * Math.cos(((i + 1) * Math.PI) / (n + 1))),
  }),
  "of constants beside a diagonal of zeros": (n) => ({
    diagonal: numbers(n, () => 0),
    below: numbers(n - 1, () => 0.5),
    values: numbers(n, (i) => Math.cos(((i + 1) * Math.PI) / (n + 1))),
  }),
  // Clement, A class of triple-diagonal matrices for test purposes, SIAM Review 1, 1959.
  "with integers for eigenvalues": (n) => ({
    diagonal: numbers(n, () => 0),
    below: numbers(n - 1, (i) => Math.sqrt((i + 1) * (n - 1 - i)) / n),
    values: numbers(n, (i) => (n - 1 - 2 * i) / n),
  }),
  "that is diagonal": (n) => ({
    diagonal: numbers(n, (i) => ((i * 7) % n) / n),
    below: numbers(n - 1, () => 0),
    values: numbers(n, (i) => ((i * 7) % n) / n),
  }),
  "of blocks of rank 1": (n) => ({
    diagonal: numbers(n, (i) => (i === n - 1 && n % 2 === 1 ? 0 : 0.5)),
    below: numbers(n - 1, (i) => (i % 2 === 0 && i + 1 < n - (n % 2) ? 0.5 : 0)),
    values: numbers(n, (i) => (i % 2 === 1 ? 1 : 0)),
  }),
};

describe("ql()", () => {
  for (const [name, family] of Object.entries(FAMILIES)) {
    for (const [build, base64] of Object.entries(BUILDS)) {
      it(`is within 1e-14 of the eigenvalues of a matrix ${name}, ${build} build`, () => {
        for (const n of ORDERS) {
          const { values, ...matrix } = family(n);
          const expected = values.slice().sort();
          for (const [i, value] of eigenvalues(base64, matrix).entries()) {
            expect(Math.abs(value - (expected[i] ?? NaN)), `order ${n}, value ${i}`).toBeLessThan(1e-14);
          }
        }
      });
    }
  }
});
