import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { decode } from "../../src/tensor/decode.ts";
import type { FloatDType } from "../../src/tensor/dtype.ts";

const fixture = (name: string) => readFile(new URL(`../fixtures/tensor/${name}`, import.meta.url));

function everyCode(dtype: FloatDType): Uint8Array {
  if (dtype.startsWith("F8")) return Uint8Array.from({ length: 256 }, (_, code) => code);
  return new Uint8Array(Uint16Array.from({ length: 65536 }, (_, code) => code).buffer);
}

/** The values as F32 bytes with one pattern for NaN, as the fixture's script writes them. */
function canonicalBytes(values: Float32Array | Float64Array): Uint8Array {
  const view = new DataView(new ArrayBuffer(values.length * 4));
  values.forEach((value, i) => {
    if (Number.isNaN(value)) view.setUint32(4 * i, 0x7fc00000, true);
    else view.setFloat32(4 * i, value, true);
  });
  return new Uint8Array(view.buffer);
}

describe("decode()", () => {
  it.each([
    ["F16", 65536],
    ["BF16", 65536],
    ["F8_E4M3", 256],
    ["F8_E5M2", 256],
  ] as const)(
    "decodes every code of %s as torch does, into both widths, at any alignment",
    async (dtype, codes) => {
      const expected = JSON.parse((await fixture("codes-sha256.json")).toString())[dtype];
      const bytes = everyCode(dtype);
      const shifted = new Uint8Array(bytes.length + 1).subarray(1);
      shifted.set(bytes);
      for (const source of [bytes, shifted]) {
        for (const out of [new Float32Array(codes), new Float64Array(codes)]) {
          const decoded = canonicalBytes(decode(source, dtype, out));
          expect(createHash("sha256").update(decoded).digest("hex")).toBe(expected);
        }
      }
    },
  );

  it.each(["F8_E4M3", "F8_E5M2"] as const)(
    "gives torch's value for each of the 256 codes of %s",
    async (dtype) => {
      const expected = await fixture(`${dtype}.f32`);
      const decoded = decode(everyCode(dtype), dtype, new Float32Array(256));
      for (let code = 0; code < 256; code++) {
        expect([code, decoded[code]]).toEqual([code, expected.readFloatLE(4 * code)]);
      }
    },
  );

  it("gives F32 and F64 back as they are, unaligned bytes too", () => {
    const values = [1.5, -0, 2 ** -149, Number.NEGATIVE_INFINITY, 0.1];
    const shifted = (bytes: ArrayBufferLike) => {
      const copy = new Uint8Array(bytes.byteLength + 3).subarray(3);
      copy.set(new Uint8Array(bytes));
      return copy;
    };
    const f64 = Float64Array.from(values);
    const f32 = Float32Array.from(values);
    expect(decode(shifted(f64.buffer), "F64", new Float64Array(5))).toEqual(f64);
    expect(decode(shifted(f64.buffer), "F64", new Float32Array(5))).toEqual(f32);
    expect(decode(shifted(f32.buffer), "F32", new Float64Array(5))).toEqual(Float64Array.from(f32));
  });

  it("refuses bytes that are not as many as the elements need", () => {
    expect(() => decode(new Uint8Array(7), "F16", new Float32Array(4))).toThrow("expected 8 bytes, got 7");
  });
});
