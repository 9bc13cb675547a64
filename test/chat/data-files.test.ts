// Against the choices of Python's `datasets` (scripts/fixtures/data-files.py).
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { chooseDataFiles, type DataFilesChoice } from "../../src/chat/choose-data-files.ts";
import { matchesPath } from "../../src/chat/path-glob.ts";

interface Case {
  readonly files: readonly string[];
  readonly readme: string;
  readonly default: string | null;
  readonly configs: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;
}

const cases: Readonly<Record<string, Case>> = JSON.parse(
  readFileSync("test/fixtures/chat/data-files.json", "utf8"),
);

const choose = (files: readonly string[], choice: Partial<DataFilesChoice> = {}) =>
  chooseDataFiles(files, { id: "org/name", readme: null, config: null, split: "train", ...choice });

describe("chooseDataFiles()", () => {
  it.each(Object.entries(cases))("chooses as Python's datasets does: %s", (_, expected) => {
    const { files, readme } = expected;
    for (const [config, splits] of Object.entries(expected.configs)) {
      for (const [split, names] of Object.entries(splits)) {
        expect(choose(files, { readme, config, split })).toEqual(names);
        if (config === expected.default) expect(choose(files, { readme, split })).toEqual(names);
      }
    }
  });

  const readme = (head: string) => `---\n${head}\n---\n# A card\n`;
  const twoConfigs = readme(
    "configs:\n- config_name: en\n  data_files: en/*.jsonl\n- config_name: de\n  data_files: de/*.jsonl",
  );

  it.each<[string, readonly string[], Partial<DataFilesChoice>, string]>([
    [
      "no default config",
      ["en/a.jsonl"],
      { readme: twoConfigs },
      "the configs en, de, and none is its default; name one, as in org/name:en/train",
    ],
    ["a config that is not there", ["en/a.jsonl"], { readme: twoConfigs, config: "fr" }, "it has en, de"],
    ["a config where there are none", ["a.jsonl"], { config: "fr" }, "it declares none"],
    [
      "a config given as a split",
      ["a.jsonl"],
      { readme: readme("configs:\n- config_name: en"), split: "en" },
      "that is a config; name a split of it, as in org/name:en/train",
    ],
    ["a split that is not there", ["test.jsonl"], {}, "it has test; name one, as in org/name:test"],
    [
      "a split of a config that is not there",
      ["en/a.jsonl"],
      { readme: twoConfigs, config: "en", split: "test" },
      "it has train; name one, as in org/name:en/train",
    ],
    ["no data", ["README.md", ".gitattributes"], {}, "it holds no data files"],
    [
      "files in no format that is read",
      ["a.txt", "b.arrow"],
      {},
      "a.txt, b.arrow cannot be read, expected files that end in .parquet",
    ],
    [
      "a pattern that nothing matches",
      ["fr/a.jsonl"],
      { readme: twoConfigs, config: "en" },
      "no file matches what its README.md says",
    ],
    [
      "options of a reader",
      ["a.csv"],
      { readme: readme("configs:\n- config_name: x\n  sep: ;") },
      "the config x sets sep, which this version does not support",
    ],
    [
      "an alias",
      ["a.csv"],
      { readme: readme("a: &a [1]\nb: *a\nconfigs: []") },
      "Cannot use the README.md of org/name",
    ],
    ["no YAML", ["a.csv"], { readme: readme("a: [") }, "Cannot use the README.md of org/name"],
    ["configs that are no list", ["a.csv"], { readme: readme("configs: x") }, "configs is no list"],
    [
      "an entry without a path",
      ["a.csv"],
      { readme: readme("configs:\n- config_name: x\n  data_files:\n  - split: train") },
      "expected patterns in data_files, got undefined",
    ],
  ])("refuses %s in one sentence that says what there is", (_, files, choice, sentence) => {
    expect(() => choose(files, choice)).toThrow(sentence);
  });

  it("reads a card without configs, or without a head, as none", () => {
    for (const card of [readme("license: mit"), "# A card\n---\nconfigs: x\n---\n", ""])
      expect(choose(["a.jsonl"], { readme: card })).toEqual(["a.jsonl"]);
  });
});

describe("matchesPath()", () => {
  it("ends at once for a pattern that would take a backtracking matcher years", () => {
    const long = `${"a".repeat(500)}b`;
    expect(matchesPath(`${"*a".repeat(200)}*c`, long)).toBe(false);
    expect(matchesPath(`${"**/".repeat(100)}c`, "a/".repeat(100) + long)).toBe(false);
  });

  it.each([
    ["[]]", "]", true],
    ["[!a-c]x", "dx", true],
    ["[!a-c]x", "bx", false],
    ["[", "[", true],
    ["a.c", "abc", false],
    ["**", "a/b", true],
    ["a/**", "a", false],
    ["a/**/b", "a/b", true],
    ["a**b", "a/b", false],
  ])("%s and %s: %s", (pattern, path, matches) => {
    expect(matchesPath(pattern, path)).toBe(matches);
  });
});
