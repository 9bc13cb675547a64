import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { dialectNamed } from "../../src/select/dialects/index.ts";
import { checkNames, checkPatterns } from "../../src/select/names.ts";
import { type SelectOptions, select } from "../../src/select/select.ts";
import { parseSelection, resolveParameters } from "../../src/select/selection-file.ts";
import type { ScanResults } from "../../src/snr/results.ts";
import { moduleResult, scanResults, scored } from "./results.ts";

const LLAMA = scanResults(
  [
    scored("model.embed_tokens", 1, { part: "embedding", tiedTo: "lm_head.weight" }),
    ...Array.from({ length: 12 }, (_, layer) => [
      scored(`model.layers.${layer}.self_attn.q_proj`, layer, {
        bias: `model.layers.${layer}.self_attn.q_proj.bias`,
        biasParameters: 4,
      }),
      scored(`model.layers.${layer}.mlp.up_proj`, -layer),
    ]).flat(),
    moduleResult("model.norm", { shape: [4], skipped: "a norm" }),
  ],
  480,
);

const EXPERTS = scanResults(
  [1, 4, 3, 2, 5].map((score, expert) =>
    scored(`model.layers.0.mlp.experts.down_proj[${expert}]`, score, {
      tensor: "model.layers.0.mlp.experts.down_proj",
      type: "mlp.experts.down_proj",
      expert,
    }),
  ),
);

function emit(format: string, options: SelectOptions, results: ScanResults = LLAMA): string {
  return dialectNamed(format).emit(select(results, options), results).files[0]?.content ?? "";
}

describe("format axolotl", () => {
  it("is a list of anchored names by type, which says where it comes from", () => {
    expect(emit("axolotl", { topPercent: 10 })).toBe(
      [
        "# What to train of org/tiny_model, revision abc123, selected by spectrum-tune:",
        "# top 10 %, per-type, by the spectrum score; 7.50 % of the parameters (36 of 480).",
        "unfrozen_parameters:",
        "# mlp.up_proj",
        "- ^model.layers.0.mlp.up_proj.weight$",
        "# self_attn.q_proj",
        "- ^model.layers.11.self_attn.q_proj.weight$",
        "- ^model.layers.11.self_attn.q_proj.bias$",
        "",
      ].join("\n"),
    );
  });

  it("comes back as the names it was made of", () => {
    const selection = select(LLAMA, { topPercent: 50, embeddings: "always" });
    const read = parseSelection(emit("axolotl", { topPercent: 50, embeddings: "always" }), "f.yaml");
    expect(read.map(({ name }) => name).sort()).toEqual([...selection.parameterNames].sort());
    expect(read.every(({ rows }) => rows === null)).toBe(true);
  });

  it("limits a fused tensor to the experts chosen, as ranges of its first axis", () => {
    const text = emit("axolotl", { topPercent: 60 }, EXPERTS);
    expect(parse(text).unfrozen_parameters).toEqual([
      "^model.layers.0.mlp.experts.down_proj$[1:3]",
      "^model.layers.0.mlp.experts.down_proj$[4:5]",
    ]);
    expect(parseSelection(text, "f.yaml").map(({ rows }) => rows)).toEqual([
      [1, 3],
      [4, 5],
    ]);
    const biased = EXPERTS.modules.map((module) => ({ ...module, bias: "experts.bias", biasParameters: 20 }));
    const withBias = parse(emit("axolotl", { topPercent: 20 }, { ...EXPERTS, modules: biased }));
    expect(withBias.unfrozen_parameters).toEqual([
      "^model.layers.0.mlp.experts.down_proj$[4:5]",
      "^experts.bias$[4:5]",
    ]);
    const whole = parse(emit("axolotl", { topPercent: 100 }, EXPERTS));
    expect(whole.unfrozen_parameters).toEqual(["^model.layers.0.mlp.experts.down_proj$"]);
  });

  it("keeps a hostile model id or type inside its comment", () => {
    const base = scanResults([scored("a.0.b", 1, { type: "x\n- ^evil$\u0085\u2028" })]);
    const results = { ...base, model: { ...base.model, id: "org/x\nunfrozen_parameters:\n- ^all" } };
    expect(parse(emit("axolotl", {}, results))).toEqual({ unfrozen_parameters: ["^a.0.b.weight$"] });
  });

  it.each(["a.0.(b)", "a.0.b c", "a.0.b*", "a.0.b$", "a.0.é"])("refuses the name %j", (name) => {
    expect(() => emit("axolotl", {}, scanResults([scored(name, 1)]))).toThrow(/holds more than a name/);
  });
});

describe("format trl", () => {
  it("holds lines that its reader's split and re.match turn into exactly the parameters", () => {
    const selection = select(LLAMA, { topPercent: 50 });
    const patterns = emit("trl", { topPercent: 50 })
      .split("\n")
      .filter((line) => line.startsWith("- "))
      .map((line) => new RegExp(`^(?:${line.split("- ")[1]})`));
    const all = LLAMA.modules.flatMap(({ tensor, bias }) => [tensor, bias ?? tensor]);
    const matched = all.filter((name) => patterns.some((pattern) => pattern.test(name)));
    expect(new Set(matched)).toEqual(new Set(selection.parameterNames));
  });
});

describe("format names", () => {
  it("is one name a line, biases included", () => {
    expect(emit("names", { topPercent: 1 })).toBe(
      "model.layers.0.mlp.up_proj.weight\nmodel.layers.11.self_attn.q_proj.weight\nmodel.layers.11.self_attn.q_proj.bias\n",
    );
  });
});

describe("dialects", () => {
  it.each(["trl", "names"])(
    "%s refuses single experts of a fused tensor, and takes all of them",
    (format) => {
      expect(() => emit(format, { topPercent: 60 }, EXPERTS)).toThrow(/cannot select single experts/);
      expect(emit(format, { topPercent: 100 }, EXPERTS)).toContain("down_proj");
    },
  );

  it("give parameters the names of transformers, which resolveParameters() takes back to the checkpoint's", () => {
    const gpt2 = scanResults([
      scored("wte", 1, { part: "embedding", tiedTo: "lm_head.weight" }),
      scored("h.0.attn.c_attn", 1, { bias: "h.0.attn.c_attn.bias", biasParameters: 4 }),
    ]);
    expect(emit("names", {}, gpt2)).toBe(
      "transformer.h.0.attn.c_attn.weight\ntransformer.h.0.attn.c_attn.bias\n",
    );
    const read = parseSelection(emit("axolotl", {}, gpt2), "f.yaml");
    const tensors = ["wte.weight", "h.0.attn.c_attn.weight", "h.0.attn.c_attn.bias"];
    expect(resolveParameters(read, tensors).map(({ name }) => name)).toEqual(tensors.slice(1));
  });

  it("warn that names of single experts depend on the version of transformers", () => {
    const results = scanResults([scored("model.layers.0.mlp.experts.3.up_proj", 1)]);
    const { warnings } = dialectNamed("axolotl").emit(select(results), results);
    expect(warnings).toEqual([
      expect.stringMatching(/^1 names of experts.*transformers 5.*experts\.3\.up_proj\.weight$/),
    ]);
    expect(dialectNamed("axolotl").emit(select(LLAMA), LLAMA).warnings).toEqual([]);
  });

  it("warn that transformers 5 calls the head of GPT-NeoX otherwise", () => {
    const results = scanResults([
      scored("gpt_neox.layers.0.mlp.dense_h_to_4h", 1),
      scored("embed_out", 1, { part: "head" }),
    ]);
    for (const format of ["axolotl", "trl", "names"]) {
      const { warnings } = dialectNamed(format).emit(select(results, { embeddings: "always" }), results);
      expect(warnings).toEqual([expect.stringMatching(/^embed_out\.weight .* GPT-NeoX lm_head\.weight/)]);
      expect(dialectNamed(format).emit(select(results), results).warnings).toEqual([]);
    }
  });

  it("are listed when another is asked for", () => {
    expect(() => dialectNamed("peft")).toThrow(
      'There is no format "peft": expected one of axolotl, trl, names, original',
    );
  });
});

describe("checkPatterns()", () => {
  const names = ["model.layers.1.w", "model.layers.11.w", "model.layers.1.w2", "modelxlayers.1.w"];

  it.each([
    [
      "model.layers.1",
      "model.layers.1.w",
      "literal",
      /wider than meant: beside model.layers.1.w it matches 2 more/,
    ],
    ["^model.layers.1.w", "model.layers.1.w", "literal", /such as model.layers.1.w2/],
    ["^model.layers.1.w$", "model.layers.1.w", "any-character", /such as modelxlayers.1.w/],
    ["^model.layers.2.w$", "model.layers.2.w", "literal", /does not match the parameter/],
    ["^(a+)+$", "model.layers.1.w", "literal", /holds more than a name/],
  ] as const)("refuses %s for %s with dots %s", (pattern, parameter, dots, message) => {
    expect(() => checkPatterns([{ pattern, parameter }], names, dots)).toThrow(message);
  });

  it.each([
    ["^model.layers.1.w$", "literal"],
    ["^model\\.layers\\.1\\.w$", "any-character"],
  ] as const)("accepts %s with dots %s", (pattern, dots) => {
    checkPatterns([{ pattern, parameter: "model.layers.1.w" }], names, dots);
  });

  it("tells layer 1 from layer 11, which a beginning of a name does not", () => {
    const layers = ["model.layers.1.w", "model.layers.11.w"];
    const check = (pattern: string) =>
      checkPatterns([{ pattern, parameter: "model.layers.1.w" }], layers, "literal");
    expect(() => check("model.layers.1")).toThrow(/such as model.layers.11.w/);
    check("model.layers.1.");
  });
});

describe("checkNames()", () => {
  const selection = select(LLAMA, { topPercent: 10 });

  it("passes names of the model silently, names of the results with a warning", () => {
    const tensors = LLAMA.modules.flatMap(({ tensor, bias }) => (bias ? [tensor, bias] : [tensor]));
    expect(checkNames(selection, { results: LLAMA, tensors })).toEqual([]);
    expect(checkNames(selection, { results: LLAMA, tensors: null })).toEqual([
      expect.stringMatching(/results only, not against the model/),
    ]);
  });

  it("refuses a name that matches nothing, a beginning of a name among them", () => {
    const tensors = selection.parameterNames.map((name) => name.replace(".bias", ".bias.extra"));
    expect(() => checkNames(selection, { results: LLAMA, tensors })).toThrow(
      /1 of 3 parameters selected from the results of .* match nothing in the model they are checked against.*layers\.11\.self_attn\.q_proj\.bias/,
    );
  });

  it("compares the names that are written, which transformers gives, not those of the checkpoint", () => {
    const part = scanResults([scored("layers.0.mlp.up_proj", 1)]);
    const tensors = ["embed_tokens.weight", "layers.0.mlp.up_proj.weight"];
    // Of the model, without its head, transformers makes model.layers.0: the part scanned does not show that.
    expect(() => checkNames(select(part), { results: part, tensors })).toThrow(
      /match nothing in the model.*"layers.0.mlp.up_proj.weight".*part/,
    );
    const whole = scanResults([scored("embed_tokens", 1, { part: "embedding" }), ...part.modules]);
    expect(checkNames(select(whole), { results: whole, tensors })).toEqual([]);
    // The original tool's results have the names of transformers; the checkpoint of GPT-2 has not.
    const imported = scanResults([scored("transformer.h.0.mlp.c_fc", 1)]);
    const gpt2 = ["wte.weight", "h.0.mlp.c_fc.weight"];
    expect(checkNames(select(imported), { results: imported, tensors: gpt2 })).toEqual([]);
  });
});
