import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { namingWarnings } from "../../src/select/dialects/parameters.ts";
import { parameterNaming } from "../../src/select/parameter-names.ts";

/** Made by transformers: names of parameters in memory, and in the checkpoint it saves where these differ. */
interface Names {
  readonly memory: readonly (readonly [name: string, ...unknown[]])[];
  readonly stored: readonly (readonly [name: string, ...unknown[]])[] | null;
}
const FOLDER = new URL("../fixtures/modules/", import.meta.url);
const MODELS = readdirSync(FOLDER).map((file) => file.replace(".json", ""));

function read(model: string): { memory: string[]; stored: string[] } {
  const { memory, stored }: Names = JSON.parse(readFileSync(new URL(`${model}.json`, FOLDER), "utf8"));
  return { memory: memory.map(([name]) => name), stored: (stored ?? memory).map(([name]) => name) };
}

/** Whether the dialects warn that the name depends on the version of transformers. */
const isWarnedOf = (name: string) => namingWarnings([{ name }]).length > 0;

describe("parameterNaming()", () => {
  it.each(MODELS)("gives %s the names that it has in transformers, or the dialects warn of them", (model) => {
    const { memory, stored } = read(model);
    const named = stored.map(parameterNaming(stored));
    expect(named.filter((name) => !memory.includes(name) && !isWarnedOf(name))).toEqual([]);
    expect(named.filter((name) => memory.includes(name) && isWarnedOf(name))).toEqual([]);
    expect(named.some((name) => memory.includes(name))).toBe(true);
  });

  it.each([
    ["gpt2", "transformer."],
    ["bloom", "transformer."],
    ["llama", "model."],
    ["qwen3", "model."],
    ["opt", "model."],
    ["gpt-neox", "gpt_neox."],
  ])("gives %s, saved without its head, the prefix %s", (model, prefix) => {
    const { memory } = read(model);
    const body = memory.filter((name) => name.startsWith(prefix));
    const bare = body.map((name) => name.slice(prefix.length));
    expect(bare.map(parameterNaming(bare))).toEqual(body);
  });

  it.each([
    ["gpt2", "transformer.h.1."],
    ["bloom", "transformer.h.1."],
    ["llama", "model.layers.1.self_attn."],
    ["gpt-neox", "gpt_neox.layers.1.attention.query_key_value."],
  ])("tells the prefix of %s from %s alone, as after a scan of a part", (model, begin) => {
    const body = read(model).memory.filter((name) => name.startsWith(begin));
    const prefix = begin.slice(0, begin.indexOf(".") + 1);
    const bare = body.map((name) => name.slice(prefix.length));
    expect(bare.length).toBeGreaterThan(0);
    expect(bare.map(parameterNaming(bare))).toEqual(body);
  });
});
