// Stage two and three on band matrices whose eigenvalues are known by a formula, by both builds of the kernels.
import { describe, expect, it } from "vitest";
import { instantiateKernels } from "../../backends/wasm/kernels.ts";
import { KERNELS_BASE64, RELAXED_KERNELS_BASE64 } from "../../backends/wasm/kernels.wasm.ts";
import { compileKernels } from "../../backends/wasm/kernels-module.ts";
import { bandEigenvalues } from "../../backends/wasm/singular-values/solver.ts";
import { chaseBulges } from "../../backends/wasm/singular-values/team.ts";

compileKernels(); // lets old Node compile the relaxed build
const BUILDS = { plain: KERNELS_BASE64, relaxed: RELAXED_KERNELS_BASE64 };
const ORDERS = [1, 2, 3, 31, 32, 33, 34, 63, 64, 65, 97, 161];
const PAGES = 32;

/** Coefficients that differ from each other. */
const COEFFICIENTS = Array.from({ length: 33 }, (_, k) => Math.sin(1 + k * k) / 12);

/**
 * The polynomial sum of c_k T_k, T_k Chebyshev's, of the tridiagonal matrix of order n with zeros on its diagonal and 1/2
 * beside it, whose eigenvalues are cos(pi j / (n + 1)): so those of this one are the sums of c_k cos(pi j k / (n + 1)).
 */
function band(n: number): { readonly rows: readonly Float64Array[]; readonly values: Float64Array } {
  const rows = Array.from({ length: n }, () => new Float64Array(n));
  let last = rows.map(() => new Float64Array(n));
  let term = rows.map((_, i) => Float64Array.from({ length: n }, (_, j) => (i === j ? 1 : 0)));
  for (const [k, coefficient] of COEFFICIENTS.entries()) {
    for (const [i, row] of rows.entries()) {
      for (const j of row.keys()) row[j] = (row[j] ?? 0) + coefficient * (term[i]?.[j] ?? 0);
    }
    const [before, now] = [last, term];
    const next = (i: number, j: number) => (now[i - 1]?.[j] ?? 0) + (now[i + 1]?.[j] ?? 0);
    last = now;
    term = rows.map((_, i) =>
      Float64Array.from({ length: n }, (_, j) =>
        k === 0 ? next(i, j) / 2 : next(i, j) - (before[i]?.[j] ?? 0),
      ),
    );
  }
  const value = (j: number) =>
    COEFFICIENTS.reduce((sum, c, k) => sum + c * Math.cos((Math.PI * (j + 1) * k) / (n + 1)), 0);
  return { rows, values: Float64Array.from({ length: n }, (_, j) => value(j)).sort() };
}

function eigenvalues(base64: string, rows: readonly Float64Array[]): Float64Array {
  const memory = new WebAssembly.Memory({ initial: PAGES, maximum: PAGES });
  const kernels = instantiateKernels(new WebAssembly.Module(Buffer.from(base64, "base64")), memory);
  const n = rows.length;
  const at = Math.ceil(Number(kernels.__heap_base.value) / 64) * 64;
  const bandDoubles = kernels.bandDoubles(n);
  const doubles = new Float64Array(memory.buffer, at, bandDoubles);
  for (const [i, row] of rows.entries()) {
    for (let j = Math.max(0, i - kernels.bandWidth()); j <= i; j++) {
      doubles[j * kernels.bandLd() + i - j] = row[j] ?? 0;
    }
  }
  chaseBulges(kernels, { n, band: at }, () => {});
  const diagonal = at + 8 * bandDoubles;
  const beside = diagonal + 8 * n;
  return bandEigenvalues(kernels, memory.buffer, { n, band: at, bandDoubles, diagonal, beside })
    .slice()
    .sort();
}

describe("chaseBulges()", () => {
  for (const [build, base64] of Object.entries(BUILDS)) {
    it(`keeps the eigenvalues of a band matrix within 1e-14, ${build} build`, () => {
      for (const n of ORDERS) {
        const { rows, values } = band(n);
        for (const [i, value] of eigenvalues(base64, rows).entries()) {
          expect(Math.abs(value - (values[i] ?? NaN)), `order ${n}, value ${i}`).toBeLessThan(1e-14);
        }
      }
    });
  }
});
