import { describe, expect, it } from "vitest";
import { UsageError } from "../../src/errors.ts";
import { type SelectOptions, select, unrankedModules } from "../../src/select/select.ts";
import type { ScanResults } from "../../src/snr/results.ts";
import { parseResults } from "../../src/snr/results-file.ts";
import { moduleResult, scanResults, scored } from "./results.ts";

// Up and down projections of four layers (16 parameters each), an embedding tied to the head (64), a norm (4).
const UP = [4, 1, 3, 2];
const DOWN = [10, 40, 40, 20];
const RESULTS = scanResults(
  [
    scored("model.embed_tokens", 30, { shape: [16, 4], part: "embedding", tiedTo: "lm_head.weight" }),
    ...UP.flatMap((score, layer) => [
      scored(`model.layers.${layer}.mlp.down_proj`, DOWN[layer] ?? null),
      scored(`model.layers.${layer}.mlp.up_proj`, score),
    ]),
    moduleResult("model.norm", { shape: [4], skipped: "a norm", sigmaMax: 1 }),
  ],
  64 + 8 * 16 + 4,
);

function names(options: SelectOptions, results: ScanResults = RESULTS): string[] {
  return select(results, options).modules.map(({ name }) =>
    name.replace("model.layers.", "").replace("mlp.", "").replace("_proj", ""),
  );
}

describe("select()", () => {
  it("takes 25 % of each type by default, never norms or embeddings, of equal scores the earlier", () => {
    expect(names({})).toEqual(["0.up", "1.down"]);
    expect(names({ topPercent: 50 })).toEqual(["0.up", "1.down", "2.down", "2.up"]);
    expect(names({ topPercent: 100 })).toHaveLength(8);
  });

  it("takes at least one of each type, or counts as the original", () => {
    expect(names({ topPercent: 0.01 })).toEqual(["0.up", "1.down"]);
    expect(() => names({ topPercent: 24, count: "floor" })).toThrow(
      /Nothing is selected: of 9 weight matrices 8/,
    );
  });

  it("states the parameters that train and their share of the model", () => {
    const { parameters, parameterNames } = select(RESULTS, {});
    expect(parameters).toEqual({ trainable: 32, total: 196, share: 32 / 196 });
    expect(parameterNames).toEqual([
      "model.layers.0.mlp.up_proj.weight",
      "model.layers.1.mlp.down_proj.weight",
    ]);
  });

  it("ranks all types together, embeddings among them, when global", () => {
    expect(names({ strategy: "global", topPercent: 34 })).toEqual(["model.embed_tokens", "1.down", "2.down"]);
    expect(names({ strategy: "global", topPercent: 34, embeddings: "never" })).toEqual(["1.down", "2.down"]);
  });

  it("keeps within a share of the parameters", () => {
    const share = { strategy: "parameter-share" } as const;
    expect(names({ ...share, topPercent: 25 })).toEqual(["1.down", "2.down"]);
    expect(names({ ...share, topPercent: 49 })).toEqual(["model.embed_tokens", "1.down", "2.down"]);
    expect(names({ ...share, topPercent: 50, embeddings: "always" })).toEqual([
      "model.embed_tokens",
      "1.down",
      "2.down",
    ]);
  });

  it("adds embeddings and head under `always`, without a score; a tied pair is one module and counts once", () => {
    const { modules, parameters, parameterNames } = select(RESULTS, { embeddings: "always" });
    expect(modules[0]).toMatchObject({ name: "model.embed_tokens", snr: null, parameters: 64 });
    expect(parameters.trainable).toBe(64 + 32);
    expect(parameterNames[0]).toBe("model.embed_tokens.weight");
    const both = scanResults([
      ...RESULTS.modules,
      scored("lm_head", 30, { shape: [16, 4], part: "head", tiedTo: "model.embed_tokens.weight" }),
    ]);
    expect(select(both, { embeddings: "always" }).parameters.trainable).toBe(64 + 32);
    const [embedding, ...others] = RESULTS.modules;
    const head = scored("lm_head", 30, { shape: [16, 4], part: "head" });
    const saidOnce = scanResults([...(embedding ? [embedding] : []), head, ...others]);
    expect(names({ embeddings: "always" }, saidOnce)).toEqual(["model.embed_tokens", "0.up", "1.down"]);
  });

  it("leaves out an embedding that the scan had to skip, even under `always`", () => {
    const packed = scanResults([
      moduleResult("model.embed_tokens", { part: "embedding", skipped: "F4 does not hold real numbers" }),
      scored("model.layers.0.q_proj", 1),
    ]);
    expect(names({ embeddings: "always" }, packed)).toEqual(["0.q"]);
  });

  it("trains an untied head too under `always`", () => {
    const untied = scanResults([
      scored("model.embed_tokens", 1, { part: "embedding" }),
      scored("model.layers.0.q_proj", 1),
      scored("lm_head", 1, { part: "head" }),
    ]);
    expect(names({ embeddings: "always" }, untied)).toEqual(["model.embed_tokens", "0.q", "lm_head"]);
  });

  it("trains a bias with its module, and counts it", () => {
    const biased = scanResults([
      scored("model.layers.0.q_proj", 1, { bias: "model.layers.0.q_proj.bias", biasParameters: 4 }),
    ]);
    const selection = select(biased);
    expect(selection.parameterNames).toEqual(["model.layers.0.q_proj.weight", "model.layers.0.q_proj.bias"]);
    expect(selection.parameters.trainable).toBe(20);
  });

  it("names a fused tensor once however many of its experts are chosen", () => {
    const experts = [1, 2, 3, 4].map((score, expert) =>
      scored(`model.layers.0.mlp.experts.down_proj[${expert}]`, score, {
        tensor: "model.layers.0.mlp.experts.down_proj",
        type: "mlp.experts.down_proj",
        expert,
      }),
    );
    const selection = select(scanResults(experts), { topPercent: 50 });
    expect(selection.modules.map(({ expert }) => expert)).toEqual([2, 3]);
    expect(selection.parameterNames).toEqual(["model.layers.0.mlp.experts.down_proj"]);
    expect(selection.parameters.trainable).toBe(32);
  });

  it("does not advise an estimator that has no scores either", () => {
    const unscored = { spectrum: "nothing is noise", calibrated: "nothing is signal" };
    const results = scanResults([scored("model.layers.0.q_proj", null, { unscored })]);
    expect(() => select(results)).toThrow(/none of the 1 modules .* has a score.*q_proj.*nothing is noise/);
    expect(() => select(scanResults([]))).toThrow(/none of the 0 modules .* has a score$/);
  });

  it("never takes what has no score, and unrankedModules() says why", () => {
    const results = scanResults([
      scored("model.layers.0.q_proj", null, { unscored: { spectrum: "every entry is zero" } }),
      scored("model.layers.1.q_proj", 0.5),
      moduleResult("model.layers.2.q_proj", { skipped: "dtype F4 is packed" }),
      moduleResult("model.norm", { shape: [4], skipped: "a norm" }),
    ]);
    expect(names({ topPercent: 100 }, results)).toEqual(["1.q"]);
    expect(unrankedModules(results, "spectrum")).toEqual([
      { name: "model.layers.0.q_proj", reason: "every entry is zero" },
      { name: "model.layers.2.q_proj", reason: "dtype F4 is packed" },
    ]);
  });

  it("matches patterns on name, tensor and type", () => {
    expect(names({ include: ["mlp.up_proj"], topPercent: 100 })).toHaveLength(4);
    expect(names({ include: ["*.layers.1.*", "*.0.*.weight"], topPercent: 100 })).toEqual([
      "0.down",
      "0.up",
      "1.down",
      "1.up",
    ]);
    expect(names({ exclude: ["*.down_proj", "model.layers.0*"] })).toEqual(["2.up"]);
    expect(names({ embeddings: "always", include: ["*.up_proj"] })).toEqual(["model.embed_tokens", "0.up"]);
    expect(names({ embeddings: "always", exclude: ["*embed*"] })).toEqual(["0.up", "1.down"]);
  });

  it.each([
    [
      { include: ["model.layer.*"] },
      /Cannot filter by "model.layer.\*": it matches .* of none of the \d+ modules; a module is named \S+, of type \S+/,
    ],
    [{ exclude: ["*.gate_proj"] }, /"\*.gate_proj": it matches/],
    [{ topPercent: 101 }, /expected a number from 0 to 100/],
    [{ topPercent: Number.NaN }, /expected a number from 0 to 100/],
    [{ topPercent: 0 }, /Nothing is selected/],
    [{ include: ["model.embed_tokens"] }, /Nothing is selected: of 9 weight matrices 0 are left/],
    [{ estimator: "calibrated" }, /no calibrated scores.*use the estimator spectrum/],
  ] as const)("refuses %o", (options, message) => {
    expect(() => select(RESULTS, options)).toThrow(UsageError);
    expect(() => select(RESULTS, options)).toThrow(message);
  });

  it("ranks imported results, Infinity first and norms not at all, but knows no share of parameters", () => {
    const imported = parseResults(
      `{"model.layers.0.input_layernorm": {"snr": Infinity, "type": "input_layernorm"},
        "model.layers.0.q_proj": {"snr": 5.5, "type": "q_proj"}, "model.layers.1.q_proj": {"snr": Infinity, "type": "q_proj"}}`,
      "snr_results_x.json",
    );
    const selection = select(imported, { topPercent: 50 });
    expect(selection.modules.map(({ name }) => name)).toEqual(["model.layers.1.q_proj"]);
    expect(selection.parameters).toEqual({ trainable: null, total: null, share: null });
    expect(() => select(imported, { strategy: "parameter-share" })).toThrow(/do not know the shapes/);
    expect(() => select(imported, { estimator: "calibrated" })).toThrow(
      /the original tool has no such score/,
    );
  });
});
