import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { findModules } from "../../src/modules/find-modules.ts";
import type { NamedTensor } from "../../src/modules/kind.ts";

const FIXTURES = new URL("../fixtures/", import.meta.url);
const EMBEDDED = new URL("../../examples/wordnet-llama-2m/", import.meta.url);
const MODELS = readdirSync(new URL("models/", FIXTURES));

function readJson(url: URL) {
  return JSON.parse(readFileSync(url, "utf8"));
}

/** The tensor table of a safetensors file that is known to be well formed. */
function readTable(url: URL): NamedTensor[] {
  const bytes = readFileSync(url);
  const length = Number(bytes.readBigUInt64LE(0));
  const header: Record<string, NamedTensor> = JSON.parse(bytes.toString("utf8", 8, 8 + length));
  const rows = Object.entries(header).filter(([name]) => name !== "__metadata__");
  return rows.map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
}

function modulesIn(folder: URL) {
  const files = readdirSync(folder).filter((file) => file.endsWith(".safetensors"));
  const tensors = files.flatMap((file) => readTable(new URL(file, folder)));
  return findModules(new Map(tensors.map((t) => [t.name, t])), readJson(new URL("config.json", folder)));
}

function matrixNames(folder: URL): string[] {
  return modulesIn(folder)
    .filter(({ kind }) => kind === "matrix")
    .map(({ name }) => name);
}

describe("findModules() on checkpoints", () => {
  it.each(MODELS)("finds in %s the matrices that the reference scores", (model) => {
    const folder = new URL(`models/${model}/`, FIXTURES);
    const expected = Object.keys(readJson(new URL("expected.json", folder)));
    expect(matrixNames(folder).sort()).toEqual(expected.sort());
  });

  it("gives the embedded model the types of the original tool, less its tied head", () => {
    const original: Record<string, { type: string }> = readJson(
      new URL("original/snr_results_wordnet-llama-2m.json", FIXTURES),
    );
    const found = modulesIn(EMBEDDED).map(({ name, type }) => [name, type]);
    const expected = Object.entries(original).map(([name, { type }]) => [name, type]);
    expect(found.sort()).toEqual(expected.filter(([name]) => name !== "lm_head").sort());
  });

  it("lists the modules of each type in the original tool's order", () => {
    const original: Record<string, { type: string }> = readJson(
      new URL("original/snr_results_wordnet-llama-2m.json", FIXTURES),
    );
    const modules = modulesIn(EMBEDDED);
    for (const type of new Set(modules.map((module) => module.type))) {
      const names = modules.filter((module) => module.type === type).map(({ name }) => name);
      expect(names).toEqual(Object.keys(original).filter((name) => original[name]?.type === type));
    }
  });
});
