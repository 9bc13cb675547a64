// The whole way on the embedded model: scan, results.json, selection, files; beside what the original tool wrote for it.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openModel } from "../../src/hub/open-model.ts";
import { dialectNamed } from "../../src/select/dialects/index.ts";
import { select } from "../../src/select/select.ts";
import { readSelection, resolveParameters, writeSelection } from "../../src/select/selection-file.ts";
import type { ScanResults } from "../../src/snr/results.ts";
import { readResults, writeResults } from "../../src/snr/results-file.ts";
import { scan } from "../../src/snr/scan.ts";

const NAME = "wordnet-llama-2m";
const EXAMPLE = fileURLToPath(new URL(`../../examples/${NAME}`, import.meta.url));
const ORIGINAL = fileURLToPath(new URL("../fixtures/original/", import.meta.url));

let folder: string;
let results: ScanResults;
let tensors: readonly string[];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "fresh-scan-"));
  const model = await openModel(EXAMPLE);
  try {
    tensors = [...model.tensors.keys()];
    // The original named its files after the model as it was asked for, without a folder.
    const scanned = await scan(model, { cache: false });
    await writeResults(join(folder, "results.json"), { ...scanned, model: { ...scanned.model, id: NAME } });
  } finally {
    await model.close();
  }
  results = await readResults(join(folder, "results.json"));
});
afterAll(() => rm(folder, { recursive: true }));

describe("a fresh scan of the embedded model", () => {
  it.each([25, 50])("gives the YAML of the original tool at %i %%, byte for byte", async (topPercent) => {
    const dialect = dialectNamed("original");
    const selection = dialect.select(results, { topPercent });
    const { paths } = await writeSelection(folder, selection, { results, dialect });
    const yaml = `snr_results_${NAME}_unfrozenparameters_${topPercent}percent.yaml`;
    expect(paths).toContain(join(folder, yaml));
    expect(await readFile(join(folder, yaml), "utf8")).toBe(await readFile(join(ORIGINAL, yaml), "utf8"));
  });

  it("gives the original's JSON the same keys in the same order, scores within 1e-5", async () => {
    const json = `snr_results_${NAME}.json`;
    type Scores = Record<string, { snr: number; type: string }>;
    const ours: Scores = JSON.parse(await readFile(join(folder, "model_snr_results", json), "utf8"));
    const theirs: Scores = JSON.parse(await readFile(join(ORIGINAL, json), "utf8"));
    expect(Object.keys(ours)).toEqual(Object.keys(theirs));
    for (const [name, { snr, type }] of Object.entries(theirs)) {
      expect(ours[name]?.type).toBe(type);
      expect(Math.abs((ours[name]?.snr ?? 0) / snr - 1), name).toBeLessThan(1e-5);
    }
    const sorted = `snr_results_${NAME}_sorted.json`;
    const keys = (text: string) => text.replace(/: [0-9].*/g, "");
    expect(keys(await readFile(join(folder, sorted), "utf8"))).toBe(
      keys(await readFile(join(ORIGINAL, sorted), "utf8")),
    );
  });

  it("gives a selection file whose every name is a tensor of the model", async () => {
    const selection = select(results);
    const path = join(folder, "selection.yaml");
    await writeSelection(path, selection, { results });
    const resolved = resolveParameters(await readSelection(path), tensors).map(({ name }) => name);
    expect(resolved.sort()).toEqual([...selection.parameterNames].sort());
    expect(selection.modules).toHaveLength(14);
    expect(selection.parameters).toEqual({ trainable: 368640, total: 2001024, share: 368640 / 2001024 });
  });
});
