// Eigenvalues of tridiagonal matrices by the QL kernel, held against counts of sign changes (Sturm), which need no iteration.
import { describe, expect, it } from "vitest";
import { instantiateKernels } from "../../backends/wasm/kernels.ts";
import { KERNELS_BASE64 } from "../../backends/wasm/kernels.wasm.ts";
import { NEGLIGIBLE, tridiagonalEigenvalues } from "../../backends/wasm/singular-values/solver.ts";
import { drawMatrix } from "./matrices.ts";

const memory = new WebAssembly.Memory({ initial: 8, maximum: 8 });
const kernels = instantiateKernels(new WebAssembly.Module(Buffer.from(KERNELS_BASE64, "base64")), memory);
const AT = 2 ** 18;

/** Ascending. */
function eigenvalues(d: readonly number[], e: readonly number[], negligible: number): Float64Array {
  const n = d.length;
  const layout = { n, diagonal: AT, beside: AT + 8 * n, negligible };
  new Float64Array(memory.buffer, layout.diagonal, n).set(d);
  new Float64Array(memory.buffer, layout.beside, n).set([...e, 0]);
  return tridiagonalEigenvalues(kernels, memory.buffer, layout).slice().sort();
}

/** How many eigenvalues are below x: Barth, Martin and Wilkinson, 1967. */
function countBelow(d: readonly number[], e: readonly number[], x: number): number {
  let count = 0;
  let q = 1;
  for (const [i, element] of d.entries()) {
    const beside = i === 0 ? 0 : (e[i - 1] ?? 0);
    q = element - x - (beside === 0 ? 0 : beside ** 2 / (q === 0 ? Number.EPSILON : q));
    if (q < 0) count++;
  }
  return count;
}

const draw = (n: number, seed: number) => [...drawMatrix([1, n], "F64", seed).elements];
const length = <T>(n: number, element: (i: number) => T) => Array.from({ length: n }, (_, i) => element(i));
/** Wilkinson's matrix of order 21, whose eigenvalues come in pairs that agree to 14 digits, with itself, joined weakly. */
const wilkinson = length(63, (i) => Math.abs((i % 21) - 10) / 16);
const glue = length(62, (i) => (i % 21 === 20 ? 1e-9 : 1 / 16));

const MATRICES: Record<string, { readonly d: readonly number[]; readonly e: readonly number[] }> = {
  "of order 1": { d: [0.3], e: [] },
  "of order 2": { d: [0.3, -0.1], e: [0.2] },
  "of order 3": { d: [0.3, -0.1, 0.3], e: [0.2, 0.2] },
  "of order 4": { d: [0.3, -0.1, 0.3, 0.9], e: [0.2, 0.2, 1e-5] },
  drawn: { d: draw(300, 1), e: draw(299, 2) },
  "with a zero diagonal": { d: length(200, () => 0), e: draw(199, 3) },
  "with a zero diagonal and ones beside it": { d: length(101, () => 0), e: length(100, () => 1) },
  "that is a permutation": { d: length(40, () => 0), e: length(39, (i) => (i % 2 === 0 ? 1 : 0)) },
  "that is diagonal": { d: draw(50, 4), e: length(49, () => 0) },
  constant: { d: length(128, () => 1), e: length(127, () => 0.5) },
  "graded downwards": { d: length(90, (i) => 2 ** (-i / 2)), e: length(89, (i) => 2 ** (-i / 2 - 2)) },
  "graded upwards": { d: length(90, (i) => 2 ** (i / 2 - 45)), e: length(89, (i) => 2 ** (i / 2 - 47)) },
  "of Wilkinson, glued": { d: wilkinson, e: glue },
};

describe("ql", () => {
  for (const [what, { d, e }] of Object.entries(MATRICES)) {
    it(`finds the eigenvalues of a matrix ${what}`, () => {
      for (const [negligible, tolerance] of [
        [NEGLIGIBLE.doubles, 4e-14],
        [NEGLIGIBLE.floats, 2e-9],
      ] as const) {
        const values = eigenvalues(d, e, negligible);
        for (const [i, value] of values.entries()) {
          expect(countBelow(d, e, value - tolerance)).toBeLessThanOrEqual(i);
          expect(countBelow(d, e, value + tolerance)).toBeGreaterThan(i);
        }
      }
    });
  }
});
