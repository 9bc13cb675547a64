import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { headerEnd, parseHeader } from "../../src/safetensors/header.ts";
import { type BlockScaleOptions, blockScale, dequantizeRows } from "../../src/tensor/scale.ts";

const floats = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
const ONE = 0x38; // 1.0 in F8_E4M3

function scaleOf(shape: [number, number], scaleShape: number[], more: Partial<BlockScaleOptions> = {}) {
  const count = scaleShape.reduce((product, size) => product * size, 1);
  const scaleBytes = floats(...Array.from({ length: count }, (_, i) => i + 1));
  return blockScale({ shape, scaleShape, scaleBytes, scaleDType: "F32", ...more });
}

function ones([rows, columns]: [number, number], scaleShape: number[]): number[][] {
  const scale = scaleOf([rows, columns], scaleShape);
  const bytes = new Uint8Array(rows * columns).fill(ONE);
  const scaled = dequantizeRows(bytes, "F8_E4M3", { ...scale, firstRow: 0, columns });
  const values = [...new Float32Array(scaled.buffer)];
  return Array.from({ length: rows }, (_, row) => values.slice(row * columns, (row + 1) * columns));
}

describe("dequantizeRows()", () => {
  it("equals torch bit for bit on a 67x70 matrix in blocks of 32, in pieces of any number of rows", async () => {
    const file = await readFile(new URL("../fixtures/tensor/block-scaled.safetensors", import.meta.url));
    const source = { file: "block-scaled", sizeBytes: file.length };
    const { tensors } = parseHeader(file.subarray(8, headerEnd(file, source)), source);
    const bytesOf = (name: string) => {
      const tensor = tensors.get(name);
      if (!tensor) throw new Error(`no ${name}`);
      return file.subarray(tensor.begin, tensor.end);
    };
    expect(tensors.get("w")).toMatchObject({ dtype: "F8_E4M3", shape: [67, 70] });
    const options = { shape: [67, 70], scaleShape: [3, 3], scaleDType: "F32" } as const;
    const scale = blockScale({ ...options, scaleBytes: bytesOf("w_scale_inv"), blockSize: [32, 32] });
    for (const step of [1, 7, 33, 67]) {
      const pieces: Uint8Array[] = [];
      for (let firstRow = 0; firstRow < 67; firstRow += step) {
        const piece = bytesOf("w").subarray(firstRow * 70, (firstRow + step) * 70);
        pieces.push(dequantizeRows(piece, "F8_E4M3", { ...scale, firstRow, columns: 70 }));
      }
      expect(Buffer.concat(pieces).equals(bytesOf("expected"))).toBe(true);
    }
  });

  it("takes one scale for the tensor, one per row, and one per block", () => {
    expect(ones([2, 2], [])).toEqual([[1, 1], [1, 1]]); // biome-ignore format: a matrix
    expect(ones([2, 2], [1])).toEqual([[1, 1], [1, 1]]); // biome-ignore format: a matrix
    expect(ones([2, 2], [2])).toEqual([[1, 1], [2, 2]]); // biome-ignore format: a matrix
    expect(ones([2, 2], [2, 1])).toEqual([[1, 1], [2, 2]]); // biome-ignore format: a matrix
    expect(ones([3, 3], [2, 2])).toEqual([[1, 1, 2], [1, 1, 2], [3, 3, 4]]); // biome-ignore format: a matrix
  });
});

describe("blockScale()", () => {
  it("takes blocks of 128 where they fit, else a power of two, else an even cut", () => {
    expect(scaleOf([576, 1536], [5, 12])).toMatchObject({ blockRows: 128, blockColumns: 128 });
    expect(scaleOf([192, 64], [3, 2])).toMatchObject({ blockRows: 64, blockColumns: 32 });
    expect(scaleOf([9, 9], [3, 9])).toMatchObject({ blockRows: 4, blockColumns: 1 });
    expect(scaleOf([18, 1], [6, 1])).toMatchObject({ blockRows: 3 });
  });

  it("takes the block size that the config states, and only that", () => {
    expect(scaleOf([576, 576], [5, 5], { blockSize: [120, 128] })).toMatchObject({ blockRows: 120 });
    expect(() => scaleOf([576, 576], [5, 5], { blockSize: [64, 64] })).toThrow(RangeError);
  });

  it("refuses scales that do not fit the matrix", () => {
    expect(() => scaleOf([4, 4], [7, 1])).toThrow("a scale of shape [7,1] does not fit it");
    expect(() => scaleOf([4, 4], [1, 1, 1])).toThrow(RangeError);
    expect(() => scaleOf([4, 4], [4, 1], { scaleBytes: floats(1) })).toThrow("expected 16 bytes, got 4");
    expect(() => scaleOf([4, 4], [0, 1])).toThrow(RangeError);
  });
});
