import { describe, expect, it } from "vitest";
import { checkIndex, isInnerPath, parseIndex, shardNames } from "../../src/safetensors/index-file.ts";

const parse = (json: string) => parseIndex(new TextEncoder().encode(json), "index");

describe("parseIndex()", () => {
  it("reads the weight map and passes over the rest", () => {
    const map = parse(
      '{"metadata":{"total_size":1e3,"x":[null,{"y":true}]},"weight_map":{"b":"s/2.safetensors","__proto__":"1.safetensors"}}',
    );
    expect([...map]).toEqual([["b", "s/2.safetensors"], ["__proto__", "1.safetensors"]]); // biome-ignore format: pairs
    expect(shardNames(map)).toEqual(["1.safetensors", "s/2.safetensors"]);
  });

  it.each([
    "../x.safetensors",
    "a/../../x.safetensors",
    "/etc/x.safetensors",
    "..\\\\x.safetensors",
    "C:x.safetensors",
    "",
    ".",
    "a//b.safetensors",
    "a\\u0000.safetensors",
    "./a.safetensors",
    "pytorch_model.bin",
    "config.json",
  ])('refuses a tensor in "%s"', (name) => {
    expect(() => parse(`{"weight_map":{"w":"${name}"}}`)).toThrow(
      /Cannot read index: tensor "w" is said to be in/,
    );
  });

  it.each([
    ["{}", "missing or empty"],
    ['{"weight_map":{}}', "missing or empty"],
    ['{"weight_map":[]}', 'expected "{"'],
    ['{"weight_map":{"a":1}}', "expected a string"],
    ['{"weight_map":{"a":"1.safetensors","a":"2.safetensors"}}', "appears twice"],
    ['{"weight_map":{"a":"1.safetensors"}', 'expected "}"'],
  ])("refuses %s", (json, message) => {
    expect(() => parse(json)).toThrow(message);
  });
});

describe("checkIndex()", () => {
  it("names a tensor whose shard does not hold it, also when another one does", () => {
    const tensor = { name: "a", dtype: "U8", shape: [0], begin: 0, end: 0 } as const;
    const shards = new Map([
      ["1", new Map([["a", tensor]])],
      ["2", new Map()],
    ]);
    expect(() => checkIndex(new Map([["a", "1"]]), shards)).not.toThrow();
    expect(() => checkIndex(new Map([["a", "2"]]), shards)).toThrow('Cannot find tensor "a"');
  });
});

describe("isInnerPath()", () => {
  it("allows subfolders and dots inside names", () => {
    expect(["a", "a/b.c", "..a", "a..b/…"].every(isInnerPath)).toBe(true);
  });
});
