import { describe, expect, it } from "vitest";
import { decode } from "../../src/tensor/decode.ts";
import { encode } from "../../src/tensor/encode.ts";

const codesOf = (bytes: Uint8Array) => new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
const valuesOf = (codes: Uint16Array, dtype: "F16" | "BF16") =>
  decode(new Uint8Array(codes.buffer), dtype, new Float32Array(codes.length));

describe("encode()", () => {
  it.each(["F16", "BF16"] as const)("gives every %s code back", (dtype) => {
    const codes = Uint16Array.from({ length: 65536 }, (_, code) => code);
    const values = valuesOf(codes, dtype);
    const back = codesOf(encode(values, dtype));
    const wrong = codes.filter((code, i) => back[i] !== code && !Number.isNaN(values[i]));
    expect(wrong).toEqual(new Uint16Array());
    expect(valuesOf(back, dtype)).toEqual(values); // NaN stays NaN
  });

  it.each([
    ["F16", 0x7bff],
    ["BF16", 0x7f7f],
  ] as const)("rounds to the nearest %s, ties to even, for every pair of neighbours", (dtype, largest) => {
    const codes = Uint16Array.from({ length: largest }, (_, code) => code);
    const low = Float64Array.from(valuesOf(codes, dtype));
    const high = Float64Array.from(
      valuesOf(
        codes.map((code) => code + 1),
        dtype,
      ),
    );
    const middle = Float32Array.from(low, (value, i) => value / 2 + (high[i] ?? 0) / 2);
    const steps = new Uint32Array(middle.buffer);
    const even = codes.map((code) => code + (code & 1));
    expect(codesOf(encode(middle, dtype))).toEqual(even);
    const above = new Float32Array(steps.map((bits) => bits + 1).buffer);
    expect(codesOf(encode(above, dtype))).toEqual(codes.map((code) => code + 1));
    const below = new Float32Array(steps.map((bits) => bits - 1).buffer);
    expect(codesOf(encode(below, dtype))).toEqual(codes);
    expect(
      codesOf(
        encode(
          middle.map((value) => -value),
          dtype,
        ),
      ),
    ).toEqual(even.map((code) => code | 0x8000));
  });

  it("refuses what F16 cannot hold, and keeps Infinity", () => {
    expect(() => encode(Float32Array.of(65520), "F16")).toThrow("Cannot store 65520 as F16");
    expect(codesOf(encode(Float32Array.of(65519, Number.NEGATIVE_INFINITY), "F16"))).toEqual(
      Uint16Array.of(0x7bff, 0xfc00),
    );
  });

  it("keeps F32 and F64 exact", () => {
    const values = Float32Array.of(0.1, -0, 3e38, 1e-45);
    for (const dtype of ["F32", "F64"] as const)
      expect(decode(encode(values, dtype), dtype, new Float32Array(4))).toEqual(values);
  });
});
