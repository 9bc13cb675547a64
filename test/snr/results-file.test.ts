import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { UsageError } from "../../src/errors.ts";
import type { ModuleResult, ScanResults } from "../../src/snr/results.ts";
import { formatResults, parseResults, readResults, writeResults } from "../../src/snr/results-file.ts";
import { moduleResult, scanResults } from "../select/results.ts";

const FULL: ModuleResult = {
  ...moduleResult("model.layers.0.mlp.up_proj", { shape: [8, 4], bias: "b", biasParameters: 8, expert: 3 }),
  tiedTo: "other.weight",
  sigmaMax: 3.5,
  sigmaMin: 0,
  quantiles: { q25: 0.1, q50: 0.2, q75: 0.3 },
  threshold: 1e-300,
  signalValues: 3,
  noiseSigma: null,
  edge: null,
  spikes: null,
  stableRank: 1.25,
  effectiveRank: 2.5,
  snr: { spectrum: 0.1 + 0.2, calibrated: null },
  unscored: { calibrated: "the bulk is zero" },
};
const RESULTS: ScanResults = scanResults([
  FULL,
  moduleResult("model.norm", { shape: [8], skipped: "a norm" }),
]);

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "results-file-"));
});
afterEach(() => rm(folder, { recursive: true }));

describe("results.json", () => {
  it("comes back equal, every field and bit", async () => {
    const path = join(folder, "results.json");
    await writeResults(path, RESULTS);
    expect(await readResults(path)).toEqual(RESULTS);
  });

  it("is strict JSON whose bytes depend on the values, not on the order in which keys were set", () => {
    const reversed = Object.fromEntries(Object.entries(FULL).reverse());
    const text = formatResults({
      ...RESULTS,
      modules: [{ ...FULL, ...reversed }, ...RESULTS.modules.slice(1)],
    });
    expect(text).toBe(formatResults(RESULTS));
    expect(text.endsWith("\n}\n")).toBe(true);
    expect(JSON.parse(text)).toEqual(RESULTS);
  });

  it.each([
    ["snr.spectrum", { snr: { spectrum: Number.POSITIVE_INFINITY, calibrated: null } }],
    ["q50", { quantiles: { q25: 0, q50: Number.NaN, q75: 0 } }],
    ["sigmaMax", { sigmaMax: Number.NaN }],
  ])("is not written when %s is not finite; the error names the module", async (field, fields) => {
    const path = join(folder, "results.json");
    const writing = writeResults(path, scanResults([{ ...FULL, ...fields }]));
    await expect(writing).rejects.toThrow(`${field} of module ${FULL.name}`);
    await expect(readFile(path)).rejects.toThrow(/ENOENT/);
  });

  it.each([
    ["another schema version", { schemaVersion: 2 }, /schema version 2 is not known here: expected 1/],
    ["no modules", { modules: undefined }, /modules: expected a list, got nothing/],
    ["a module without tensor", { modules: [{ name: "m" }] }, /module "m", tensor: expected a string/],
    [
      "a part of another name",
      { modules: [{ ...FULL, part: "leg" }] },
      /expected "body" or "embedding" or "head"/,
    ],
    ["a negative size", { modules: [{ ...FULL, shape: [-1, 4] }] }, /shape\[0\]: expected a whole number/],
    [
      "a score that is text",
      { modules: [{ ...FULL, snr: { spectrum: "1" } }] },
      /snr.spectrum: expected a finite number/,
    ],
    ["a module twice", { modules: [FULL, FULL] }, /is there twice/],
  ])("is refused with %s", (_, change, message) => {
    const text = JSON.stringify({ ...RESULTS, ...change });
    expect(() => parseResults(text, "r.json")).toThrow(UsageError);
    expect(() => parseResults(text, "r.json")).toThrow(message);
  });

  it("is refused with a bare Infinity where the original's JSON may have one", () => {
    const text = formatResults(RESULTS).replace('"sigmaMax": 3.5', '"sigmaMax": Infinity');
    expect(() => parseResults(text, "r.json")).toThrow(/sigmaMax: expected a finite number, got Infinity/);
  });

  it("is refused above 256 MiB before it is read", async () => {
    const path = join(folder, "huge.json");
    const file = await open(path, "w");
    await file.truncate(257 * 2 ** 20);
    await file.close();
    await expect(readResults(path)).rejects.toThrow(/269484032 bytes/);
  });
});

describe("the original's JSON", () => {
  it("becomes results: Infinity kept, NaN null with a reason, norms never to be ranked", () => {
    const text = `{"lm_head": {"snr": NaN, "type": "lm_head"}, "model.embed_tokens": {"snr": 2, "type": "model.embed_tokens"},
      "model.layers.7.self_attn.q_proj": {"snr": Infinity, "type": "self_attn.q_proj"},
      "model.layers.7.input_layernorm": {"snr": 1.0, "type": "input_layernorm"}}`;
    const [head, embedding, query, norm] = parseResults(text, "dir/snr_results_org-name.json").modules;
    expect(head).toMatchObject({
      part: "head",
      snr: { spectrum: null },
      unscored: { spectrum: expect.stringMatching(/NaN/) },
    });
    expect(embedding).toMatchObject({ part: "embedding", layer: null, shape: null, dtype: null });
    expect(query).toMatchObject({
      tensor: "model.layers.7.self_attn.q_proj.weight",
      layer: 7,
      snr: { spectrum: Number.POSITIVE_INFINITY, calibrated: null },
    });
    expect(query?.skipped).toBeUndefined();
    expect(norm?.skipped).toMatch(/norm/);
  });

  it.each(["{}", "[]", "3", '{"a": 1}', '{"a": {"snr": "1", "type": "t"}}', '{"t": {"a": "1"}}'])(
    "is told from other JSON: %s is refused",
    (text) => {
      expect(() => parseResults(text, "x.json")).toThrow(/Cannot read the results in x.json: /);
    },
  );
});
