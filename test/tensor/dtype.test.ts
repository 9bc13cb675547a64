import { describe, expect, it } from "vitest";
import { dtypeBits, isDType, isFloatDType } from "../../src/tensor/dtype.ts";

describe("dtype", () => {
  it("knows the names of the format and no others, inherited ones included", () => {
    expect(isDType("BF16")).toBe(true);
    expect(isDType("bf16")).toBe(false);
    expect(isDType("toString")).toBe(false);
  });
  it("states sub-byte sizes in bits", () => {
    expect([dtypeBits("F4"), dtypeBits("F6_E2M3"), dtypeBits("I64")]).toEqual([4, 6, 64]);
  });
  it("calls only the formats with a mantissa float", () => {
    expect(isFloatDType("F8_E4M3")).toBe(true);
    expect(isFloatDType("F8_E8M0")).toBe(false);
    expect(isFloatDType("I8")).toBe(false);
  });
});
