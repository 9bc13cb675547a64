import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { marchenkoPasturMedian, noiseEdge, shrunkSquare } from "../../src/snr/marchenko-pastur.ts";

const integrated: { beta: number; median: number }[] = JSON.parse(
  readFileSync(new URL("../fixtures/marchenko-pastur.json", import.meta.url), "utf8"),
);

describe("marchenkoPasturMedian()", () => {
  it.each(integrated)(
    "equals scipy's integral of the density at beta = $beta within 1e-9",
    ({ beta, median }) => {
      expect(Math.abs(marchenkoPasturMedian(beta) - median)).toBeLessThan(1e-9);
    },
  );

  it("tends to 1 without a jump as the matrix gets taller", () => {
    for (let exponent = 4; exponent <= 9; exponent += 0.5) {
      const beta = 10 ** -exponent;
      expect(Math.abs(marchenkoPasturMedian(beta) - 1)).toBeLessThan(2 * beta + 1e-7);
    }
  });

  it.each([0, -1, 1.5, Number.NaN])("rejects beta = %s", (beta) => {
    expect(() => marchenkoPasturMedian(beta)).toThrow(RangeError);
  });
});

describe("noiseEdge()", () => {
  it("does not care which side is the longer one, and lies a little above sqrt(m) + sqrt(n)", () => {
    expect(noiseEdge(576, 1536)).toBe(noiseEdge(1536, 576));
    const bare = Math.sqrt(576) + Math.sqrt(1536);
    expect(noiseEdge(576, 1536)).toBeGreaterThan(bare);
    expect(noiseEdge(576, 1536)).toBeLessThan(1.02 * bare);
  });
});

describe("shrunkSquare()", () => {
  it("inverts the noise's inflation y^2 = (x^2 + 1)(x^2 + beta) / x^2 of a planted x, in its energy", () => {
    // Gavish & Donoho 2017: eta(y) = x c(x) c~(x), the cosines being the angles to the planted vectors.
    const beta = 0.375;
    for (const x of [1.2, 2, 5, 20]) {
      const y = Math.sqrt(((x * x + 1) * (x * x + beta)) / (x * x));
      const left = (x ** 4 - beta) / (x ** 4 + beta * x ** 2);
      const right = (x ** 4 - beta) / (x ** 4 + x ** 2);
      expect(shrunkSquare(y, beta)).toBeCloseTo(x * x * left * right, 10);
    }
  });

  it("leaves nothing at or below the edge", () => {
    expect(shrunkSquare(1 + Math.sqrt(0.5), 0.5)).toBe(0);
    expect(shrunkSquare(0, 0.5)).toBe(0);
  });
});
