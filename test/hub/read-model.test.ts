import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readModel } from "../../src/hub/read-model.ts";
import type { ModelSource } from "../../src/hub/source.ts";
import { MAX_HEADER_BYTES } from "../../src/safetensors/header.ts";

/** A file of any size whose first 8 bytes claim a header of any length; it notes how much is asked of it at once. */
function claiming(headerBytes: bigint, sizeBytes: number): { source: ModelSource; largest: () => number } {
  let largest = 0;
  const source: ModelSource = {
    id: "hostile",
    revision: null,
    folder: null,
    list: async () => ["model.safetensors"],
    stat: async (name) =>
      name === "model.safetensors" ? { name, sizeBytes, sha256: null, etag: null } : null,
    async *read(_file, { begin, end }) {
      largest = Math.max(largest, end - begin);
      if (begin > 0) throw new RangeError("asked for the header");
      const first = new Uint8Array(Math.max(end, 8));
      new DataView(first.buffer).setBigUint64(0, headerBytes, true);
      yield first.subarray(0, end);
    },
    close: async () => {},
  };
  return { source, largest: () => largest };
}

describe("readModel() on a file whose prefix claims any length of header", () => {
  it("never asks for more than the bound, nor for more than the file, nor for more than was claimed", async () => {
    const claims = fc.oneof(
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      fc.bigInt({ min: 0n, max: 2n * BigInt(MAX_HEADER_BYTES) }),
    );
    let refused = 0;
    const check = async (claim: bigint, sizeBytes: number) => {
      const { source, largest } = claiming(claim, sizeBytes);
      const error = await readModel(source).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(Error);
      const bound = Math.max(65_536, Math.min(MAX_HEADER_BYTES, sizeBytes, Number(claim)));
      expect(largest()).toBeLessThanOrEqual(bound);
      if (claim > MAX_HEADER_BYTES) {
        expect(String(error)).toMatch(/header claims|at least 8 bytes/);
        refused++;
      }
    };
    const sizes = fc.oneof(
      fc.nat({ max: 100 }),
      fc.maxSafeInteger().map((size) => Math.abs(size) % 20e9),
    );
    await fc.assert(fc.asyncProperty(claims, sizes, check), { numRuns: 1000, seed: 3 });
    expect(refused).toBeGreaterThan(300);
  });
});
