import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { original, originalScores } from "../../src/select/dialects/original.ts";
import { formatFlat, formatSorted } from "../../src/snr/original-results.ts";
import { parseResults, readResults } from "../../src/snr/results-file.ts";
import { moduleResult, scanResults, scored } from "./results.ts";

const FIXTURES = new URL("../fixtures/", import.meta.url);

function fixture(name: string): string {
  return readFileSync(new URL(name, FIXTURES), "utf8");
}

function emitted(json: string, topPercent: number): Map<string, string> {
  const results = parseResults(fixture(json), json);
  const selection = original.select(results, { topPercent });
  return new Map(original.emit(selection, results).files.map((file) => [file.path, file.content]));
}

describe("format original, from the original's own scores", () => {
  it.each([
    "snr_results_akjindal53244-Llama-3.1-Storm-8B",
    "snr_results_meta-llama-Meta-Llama-3.1-8B-Instruct",
  ])("reproduces the published YAML of %s", (base) => {
    const yaml = `${base}_unfrozenparameters_50percent.yaml`;
    expect(emitted(`published/${base}.json`, 50).get(yaml)).toBe(fixture(`published/${yaml}`));
  });

  it.each([25, 50])("reproduces all three files of the embedded model at %i %%", (percent) => {
    const base = "snr_results_wordnet-llama-2m";
    const yaml = `${base}_unfrozenparameters_${percent}percent.yaml`;
    expect(emitted(`original/${base}.json`, percent)).toEqual(
      new Map([
        [`model_snr_results/${base}.json`, fixture(`original/${base}.json`)],
        [`${base}_sorted.json`, fixture(`original/${base}_sorted.json`)],
        [yaml, fixture(`original/${yaml}`)],
      ]),
    );
  });

  it.each([
    ["HuggingFaceTB-SmolLM-135M", 273],
    ["Qwen-Qwen2-7B", 196],
    ["meta-llama-Meta-Llama-3-8B", 224],
  ])("reads and rewrites the published flat results of %s byte for byte", async (slug, modules) => {
    const path = new URL(`published/snr_results_${slug}.json`, FIXTURES);
    const results = await readResults(path.pathname);
    expect(results.model).toMatchObject({ id: slug, parameters: null });
    expect(results.modules).toHaveLength(modules);
    expect(formatFlat(originalScores(results))).toBe(readFileSync(path, "utf8"));
  });

  it("rewrites the published sorted results byte for byte: ties keep their order", () => {
    const json = "published/snr_results_akjindal53244-Llama-3.1-Storm-8B.json";
    expect(formatSorted(originalScores(parseResults(fixture(json), json)))).toBe(fixture(json));
  });
});

describe("format original, as a selection", () => {
  const file = "original/snr_results_wordnet-llama-2m.json";

  it.each([1, 25, 50])("holds at %i %% the modules that its list names, and their parameters", (percent) => {
    const results = parseResults(fixture(file), file);
    const list = emitted(file, percent).get(
      `snr_results_wordnet-llama-2m_unfrozenparameters_${percent}percent.yaml`,
    );
    const listed = [...(list ?? "").matchAll(/^- \^?(.+?)(?:\.weight\$)?$/gm)].map(([, name]) => name);
    const { modules } = original.select(results, { topPercent: percent });
    expect(modules.map(({ name }) => name).sort()).toEqual(listed.sort());
  });

  it("counts norms, an embedding tied to the head once, and no single experts", () => {
    const results = scanResults(
      [
        scored("model.embed_tokens", 1, { shape: [16, 4], part: "embedding", tiedTo: "lm_head.weight" }),
        moduleResult("model.layers.0.norm", { shape: [4], sigmaMax: 1, skipped: "a norm" }),
        scored("model.layers.0.mlp.experts.down_proj[0]", 9, {
          tensor: "model.layers.0.mlp.experts.down_proj",
          expert: 0,
        }),
      ],
      100,
    );
    const { parameters, parameterNames } = original.select(results, { topPercent: 100 });
    expect(parameterNames).toEqual(["model.embed_tokens.weight", "model.layers.0.norm.weight"]);
    expect(parameters).toEqual({ trainable: 68, total: 100, share: 0.68 });
  });

  it("writes the two lines that it always has where the percentage picks nothing else", () => {
    const results = scanResults([scored("model.layers.0.q_proj", 1)]);
    const selection = original.select(results, { topPercent: 0 });
    expect(selection.parameterNames).toEqual([]);
    expect(original.emit(selection, results).files.at(-1)?.content).toBe(
      "unfrozen_parameters:\n- ^lm_head.weight$\n- ^model.embed_tokens.weight$\n# q_proj layers\n",
    );
  });
});

describe("format original, from a scan", () => {
  it("lists modules, types and their order as the original does for the same model", () => {
    const json = "original/snr_results_wordnet-llama-2m.json";
    const theirs = originalScores(parseResults(fixture(json), json));
    // The checkpoint's order, which is that of the strings, and its one tensor for embedding and head.
    const scan = scanResults(
      [...theirs]
        .filter(([name]) => name !== "lm_head")
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([name, { snr }]) =>
          /norm/.test(name)
            ? moduleResult(name, { shape: [128], skipped: "a norm" })
            : moduleResult(name, {
                snr: { spectrum: snr * (1 + 1e-9), calibrated: null },
                ...(name === "model.embed_tokens"
                  ? { part: "embedding", tiedTo: "lm_head.weight" }
                  : { type: "any role" }),
              }),
        ),
    );
    expect([...originalScores(scan)]).toEqual([...theirs]);
  });

  it("orders layers by number where the checkpoint orders them as strings", () => {
    const names = ["0", "1", "10", "11", "2"].map((layer) => `model.layers.${layer}.mlp.up_proj`);
    const scores = originalScores(scanResults(names.map((name) => moduleResult(name))));
    expect([...scores.keys()].map((name) => name.split(".")[2])).toEqual(["0", "1", "2", "10", "11"]);
  });

  it("claims a module for the first type whose name is a part of its own, and labels it by the last", () => {
    const scan = scanResults(
      ["layers.0.linear", "layers.0.linear_v", "layers.1.linear", "layers.1.linear_v"].map((name) =>
        moduleResult(name),
      ),
    );
    expect([...originalScores(scan)].map(([name, { type }]) => [name, type])).toEqual([
      ["layers.0.linear", "linear"],
      ["layers.0.linear_v", "linear_v"],
      ["layers.1.linear", "linear"],
      ["layers.1.linear_v", "linear_v"],
    ]);
  });

  it("scores a zero norm Infinity, other norms 1, and skips experts of fused tensors and what is no weight", () => {
    const scan = scanResults([
      moduleResult("model.norm", { shape: [8], sigmaMax: 0, skipped: "a norm" }),
      moduleResult("model.layers.0.ln", { shape: [8], sigmaMax: 2, skipped: "a norm" }),
      moduleResult("model.layers.0.mlp.experts.gate_up_proj[0]", {
        tensor: "model.layers.0.mlp.experts.gate_up_proj",
        expert: 0,
      }),
      moduleResult("model.layers.0.q.bias", { tensor: "model.layers.0.q.bias", shape: [8] }),
    ]);
    expect([...originalScores(scan)].map(([name, { snr }]) => [name, snr])).toEqual([
      ["model.layers.0.ln", 1],
      ["model.norm", Number.POSITIVE_INFINITY],
    ]);
  });

  it("names GPT-2's modules as transformers does, whose checkpoint lacks the prefix", () => {
    const scan = scanResults([
      moduleResult("wte", { part: "embedding", tiedTo: "lm_head.weight" }),
      moduleResult("h.0.attn.c_attn"),
    ]);
    expect([...originalScores(scan).keys()]).toEqual([
      "transformer.h.0.attn.c_attn",
      "lm_head",
      "transformer.wte",
    ]);
  });

  it.each([
    { strategy: "global" },
    { estimator: "calibrated" },
    { count: "at-least-one" },
    { embeddings: "never" },
    { include: ["*"] },
  ] as const)("refuses %o, which the original cannot express", (options) => {
    expect(() => original.select(scanResults([scored("model.layers.0.q_proj", 1)]), options)).toThrow(
      /cannot express/,
    );
  });
});
