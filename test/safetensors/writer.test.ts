import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { headerEnd, parseHeader } from "../../src/safetensors/header.ts";
import { writeSafetensors } from "../../src/safetensors/writer.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "writer-"));
});
afterEach(() => rm(folder, { recursive: true }));

describe("writeSafetensors()", () => {
  it("writes what parseHeader() reads, in the reference's order, with the tensors 8-byte aligned", async () => {
    const path = join(folder, "model.safetensors");
    await writeSafetensors(path, [
      {
        name: "b",
        dtype: "BF16",
        shape: [2, 2],
        blocks: [Uint8Array.of(1, 2, 3), Uint8Array.of(4, 5, 6, 7, 8)],
      },
      { name: "__proto__", dtype: "U8", shape: [3], blocks: [Uint8Array.of(9, 10, 11)] },
      { name: "a", dtype: "F32", shape: [], blocks: [Uint8Array.of(12, 13, 14, 15)] },
      { name: "empty", dtype: "F32", shape: [0, 4], blocks: [] },
    ]);
    const file = await readFile(path);
    const source = { file: path, sizeBytes: file.length };
    const end = headerEnd(file, source);
    expect(end % 8).toBe(0);
    const { metadata, tensors } = parseHeader(file.subarray(8, end), source);
    expect([...metadata]).toEqual([["format", "pt"]]);
    expect([...tensors.keys()]).toEqual(["a", "empty", "b", "__proto__"]);
    const bytesOf = (name: string) => {
      const tensor = tensors.get(name);
      return tensor && [...file.subarray(tensor.begin, tensor.end)];
    };
    expect(bytesOf("b")).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(bytesOf("__proto__")).toEqual([9, 10, 11]);
    expect(bytesOf("a")).toEqual([12, 13, 14, 15]);
    expect(bytesOf("empty")).toEqual([]);
  });

  it("leaves no file, whole or partial, when a tensor has too few bytes", async () => {
    const tensor = { name: "a", dtype: "F32", shape: [2], blocks: [new Uint8Array(7)] } as const;
    await expect(writeSafetensors(join(folder, "m.safetensors"), [tensor])).rejects.toThrow(
      'Cannot write tensor "a": expected 8 bytes, got 7',
    );
    expect(await readdir(folder)).toEqual([]);
  });

  it("refuses a name twice", async () => {
    const tensor = { name: "a", dtype: "U8", shape: [1], blocks: [new Uint8Array(1)] } as const;
    await expect(writeSafetensors(join(folder, "m.safetensors"), [tensor, tensor])).rejects.toThrow(/taken/);
  });
});
