import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { UsageError } from "../../src/errors.ts";
import { dialectNamed } from "../../src/select/dialects/index.ts";
import { select } from "../../src/select/select.ts";
import {
  parseSelection,
  readSelection,
  resolveParameters,
  writeSelection,
} from "../../src/select/selection-file.ts";
import { scanResults, scored } from "./results.ts";

const RESULTS = scanResults([scored("model.layers.0.q_proj", 1), scored("model.layers.1.q_proj", 2)]);
const SELECTION = select(RESULTS);

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "selection-file-"));
});
afterEach(() => rm(folder, { recursive: true }));

describe("writeSelection()", () => {
  it("writes a file that readSelection() reads, at the path or in the folder given", async () => {
    const file = join(folder, "s.yaml");
    expect((await writeSelection(file, SELECTION, { results: RESULTS })).paths).toEqual([file]);
    const inFolder = join(folder, "unfrozen_parameters.yaml");
    expect((await writeSelection(folder, SELECTION, { results: RESULTS })).paths).toEqual([inFolder]);
    for (const path of [file, inFolder])
      expect(await readSelection(path)).toEqual([{ name: "model.layers.1.q_proj.weight", rows: null }]);
  });

  it("lays out the original's files as that tool leaves them, whatever the model's name", async () => {
    const results = { ...RESULTS, model: { ...RESULTS.model, id: "../up\\x_y" } };
    const dialect = dialectNamed("original");
    const { paths } = await writeSelection(join(folder, "out"), SELECTION, { results, dialect });
    expect(paths.map((path) => path.slice(folder.length))).toEqual([
      "/out/model_snr_results/snr_results_..-up-x-y.json",
      "/out/snr_results_..-up-x-y_sorted.json",
      "/out/snr_results_..-up-x-y_unfrozenparameters_25percent.yaml",
    ]);
    for (const path of paths) expect((await stat(path)).size).toBeGreaterThan(0);
  });

  it("writes nothing when the dialect refuses", async () => {
    const results = scanResults([scored("a b", 1)]);
    const path = join(folder, "s.yaml");
    await expect(writeSelection(path, select(results), { results })).rejects.toThrow(UsageError);
    await expect(readFile(path)).rejects.toThrow(/ENOENT/);
  });
});

describe("parseSelection()", () => {
  it("finds the list in the configuration of a whole Axolotl run, quoted or not", () => {
    const text =
      "base_model: x\nunfrozen_parameters:\n  - '^a.0.w$'\n  - ^b-c/d.w$[2:5]\nlearning_rate: 1e-5\n";
    expect(parseSelection(text, "f")).toEqual([
      { name: "a.0.w", rows: null },
      { name: "b-c/d.w", rows: [2, 5] },
    ]);
  });

  it.each([
    [
      "an entry without anchors",
      "unfrozen_parameters:\n- model.layers.1\n",
      /matches every name that begins like it/,
    ],
    ["the format trl", "unfrozen_parameters:\n- ^a\\.0\\.w$\n", /that is the format trl/],
    ["a regular expression", "unfrozen_parameters:\n- ^model.*$\n", /expected entries like/],
    ["a number", "unfrozen_parameters:\n- 1\n", /got 1/],
    ["an empty range", "unfrozen_parameters:\n- ^a$[3:3]\n", /is empty/],
    ["an entry twice", "unfrozen_parameters:\n- ^a$\n- ^a$\n", /is there twice/],
    ["no list", "unfrozen: []\n", /expected a list "unfrozen_parameters".* in the format axolotl/],
    ["the format names", "a.0.w\nb.0.w\n", /in the format axolotl/],
    ["an empty list", "unfrozen_parameters: []\n", /at least one entry/],
    ["an alias", "x: &x [^a$]\nunfrozen_parameters: *x\n", /alias/i],
    ["a tag", "unfrozen_parameters:\n- !!js/function 'x'\n", /tag/i],
    ["broken YAML", "unfrozen_parameters: [^a$\n", /Cannot read the selection in f/],
    ["nesting without end", `unfrozen_parameters: ${"[".repeat(100_000)}`, /Cannot read the selection in f/],
  ])("refuses %s", (_, text, message) => {
    expect(() => parseSelection(text, "f")).toThrow(UsageError);
    expect(() => parseSelection(text, "f")).toThrow(message);
  });

  it("refuses a file above 16 MiB before it is read", async () => {
    const path = join(folder, "huge.yaml");
    await writeFile(path, Buffer.alloc(17 * 2 ** 20, "#"));
    await expect(readSelection(path)).rejects.toThrow(/at most 16777216/);
  });
});

describe("resolveParameters()", () => {
  it("refuses a name that the model does not have", () => {
    expect(() => resolveParameters([{ name: "a.w", rows: null }], ["a.w2", "b.w"])).toThrow(
      /"a.w", which is no parameter of the model/,
    );
  });
});
