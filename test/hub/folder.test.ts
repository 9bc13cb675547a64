import { appendFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Model } from "../../src/hub/model.ts";
import { openModel } from "../../src/hub/open-model.ts";
import { writeSafetensors } from "../../src/safetensors/writer.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "folder-"));
});
afterEach(() => rm(folder, { recursive: true }));

const bytes = (length: number, first = 0) => Uint8Array.from({ length }, (_, i) => (first + i) % 251);
const write = (name: string, content: string | Uint8Array) => writeFile(join(folder, name), content);

async function writeSharded(): Promise<void> {
  await writeSafetensors(join(folder, "model-00001-of-00002.safetensors"), [
    { name: "w1", dtype: "F32", shape: [4, 8], blocks: [bytes(128)] },
    { name: "unlisted", dtype: "U8", shape: [1], blocks: [bytes(1)] },
  ]);
  await writeSafetensors(join(folder, "model-00002-of-00002.safetensors"), [
    { name: "w2", dtype: "BF16", shape: [3, 5], blocks: [bytes(30, 7)] },
  ]);
  const weight_map = { w2: "model-00002-of-00002.safetensors", w1: "model-00001-of-00002.safetensors" };
  await write("model.safetensors.index.json", JSON.stringify({ metadata: { total_size: 158 }, weight_map }));
}

async function readTensor(model: Model, name: string, blockBytes: number): Promise<number[][]> {
  const tensor = model.tensors.get(name);
  if (!tensor) throw new Error(`no ${name}`);
  const blocks = model.readFile(tensor.file, { begin: tensor.begin, end: tensor.end, blockBytes });
  const read: number[][] = [];
  for await (const block of blocks) read.push([...block]);
  return read;
}

describe("openModel() on a folder", () => {
  it("reads config, tensors and blocks of one file", async () => {
    await write(
      "config.json",
      '{"model_type": "mamba2", "time_step_limit": [0.0, Infinity], "x": "a NaN \\" stays"}',
    );
    await writeSafetensors(join(folder, "model.safetensors"), [
      { name: "w", dtype: "F16", shape: [5, 2], blocks: [bytes(20)] },
    ]);
    const model = await openModel(folder);
    expect(model.config).toEqual({
      model_type: "mamba2",
      time_step_limit: [0, Number.POSITIVE_INFINITY],
      x: 'a NaN " stays',
    });
    expect([model.id, model.revision, model.folder]).toEqual([folder, null, folder]);
    expect(await readTensor(model, "w", 8)).toEqual([[...bytes(8)], [...bytes(8, 8)], [...bytes(4, 16)]]);
    await model.close();
  });

  it("fills one buffer again and again for blocks that are used up, else one for each", async () => {
    await writeSafetensors(join(folder, "model.safetensors"), [
      { name: "w", dtype: "F16", shape: [5, 2], blocks: [bytes(20)] },
    ]);
    await using model = await openModel(folder);
    const tensor = model.tensors.get("w");
    if (!tensor) throw new Error("no w");
    for (const transient of [true, false]) {
      const range = { begin: tensor.begin, end: tensor.end, blockBytes: 8, transient };
      const read: number[][] = [];
      const buffers = new Set<ArrayBufferLike>();
      for await (const block of model.readFile(tensor.file, range)) {
        read.push([...block]);
        buffers.add(block.buffer);
      }
      expect(read).toEqual([[...bytes(8)], [...bytes(8, 8)], [...bytes(4, 16)]]);
      expect(buffers.size).toBe(transient ? 1 : 3);
    }
  });

  it("merges the shards that an index names, and leaves out tensors that it does not name", async () => {
    await writeSharded();
    await using model = await openModel(folder);
    expect([...model.tensors.keys()]).toEqual(["w1", "w2"]);
    expect(model.files.map((file) => file.name)).toEqual([
      "model-00001-of-00002.safetensors",
      "model-00002-of-00002.safetensors",
    ]);
    expect(await readTensor(model, "w2", 100)).toEqual([[...bytes(30, 7)]]);
    expect(model.config).toEqual({});
  });

  it("names a missing shard", async () => {
    await writeSharded();
    await rm(join(folder, "model-00002-of-00002.safetensors"));
    await expect(openModel(folder)).rejects.toThrow(
      `Cannot open ${folder}: model-00002-of-00002.safetensors is missing`,
    );
  });

  it("names a tensor that is not in its shard", async () => {
    await writeSharded();
    const weight_map = { w2: "model-00001-of-00002.safetensors" };
    await write("model.safetensors.index.json", JSON.stringify({ weight_map }));
    await expect(openModel(folder)).rejects.toThrow('Cannot find tensor "w2"');
  });

  it("refuses ranges that leave the file, and files that are no weights", async () => {
    await writeSharded();
    await using model = await openModel(folder);
    const [file] = model.files;
    if (!file) throw new Error("no file");
    expect(() => model.readFile(file.name, { begin: 0, end: file.sizeBytes + 1 })).toThrow(RangeError);
    expect(() => model.readFile(file.name, { begin: 5, end: 4 })).toThrow(RangeError);
    expect(() => model.readFile("../config.json", { begin: 0, end: 1 })).toThrow(RangeError);
  });

  it("refuses a file whose size changed since it was opened", async () => {
    await writeSharded();
    await using model = await openModel(folder);
    await appendFile(join(folder, "model-00001-of-00002.safetensors"), "x");
    await expect(readTensor(model, "w1", 100)).rejects.toThrow(/had \d+ bytes when it was opened/);
    expect(await readTensor(model, "w2", 100)).toHaveLength(1);
  });

  it.each([
    ["pytorch_model.bin", /only safetensors files are read.*convert it once/],
    ["model-q4.gguf", /open the model that it was made from/],
    ["adapter_model.safetensors", /is an adapter/],
    ["model-00001-of-00002.safetensors", /expected model.safetensors or model.safetensors.index.json/],
    ["README.md", /holds no weights/],
  ])("says what to do with a folder that holds only %s", async (name, message) => {
    await write(name, "x");
    await expect(openModel(folder)).rejects.toThrow(message);
  });

  it.each([
    ["{", "Expected property name"],
    ["[]", "expected an object"],
    ['"\xff', "never ends"],
    [Uint8Array.of(0x7b, 0xff), "not UTF-8"],
  ])("says what is wrong with the config %j", async (config, message) => {
    await writeSharded();
    await write("config.json", config);
    const error = await openModel(folder).catch(String);
    expect(error).toContain(`Cannot read config.json of ${folder}`);
    expect(error).toContain(message);
  });

  it("refuses a folder that does not exist, and a file", async () => {
    await expect(openModel(join(folder, "none"))).rejects.toThrow("there is no such folder");
    await write("f", "x");
    await expect(openModel(join(folder, "f"))).rejects.toThrow("it is a file");
  });
});
