import { describe, expect, it } from "vitest";
import { FAMILIES, modulesFrom, modulesOf, readFamily } from "./families.ts";

const BOTH = { "model.embed_tokens.weight": [8, 4], "lm_head.weight": [8, 4] };
const ALONE = { "model.embed_tokens.weight": [8, 4] };

/** Name of the head that the embedding is tied to; null when it is not. */
function tieOf(
  shapes: Readonly<Record<string, readonly number[]>>,
  config: Readonly<Record<string, unknown>>,
) {
  return modulesFrom(shapes, config).find(({ part }) => part === "embedding")?.tiedTo;
}

describe("tied tensors", () => {
  it.each(FAMILIES.filter((family) => family !== "t5-untied"))(
    "of %s are those that share storage in torch",
    (family) => {
      const { tied } = readFamily(family);
      const weights = tied.filter(([first]) => first?.endsWith(".weight"));
      const expected = weights.map((names) => [names[0], names.at(-1)]);
      const found = modulesOf(family).flatMap(({ tensor, tiedTo }) =>
        tiedTo === null ? [] : [[tensor, tiedTo]],
      );
      expect(found).toEqual(expected);
    },
  );

  it("are scored once where the checkpoint holds both names, and only if the config ties them", () => {
    expect(modulesFrom(BOTH, { tie_word_embeddings: true }).map(({ name }) => name)).toEqual([
      "model.embed_tokens",
    ]);
    expect(
      modulesFrom(BOTH, { tie_word_embeddings: false }).map(({ name, tiedTo }) => [name, tiedTo]),
    ).toEqual([
      ["model.embed_tokens", null],
      ["lm_head", null],
    ]);
  });

  it("name the head where the checkpoint leaves it out", () => {
    expect(tieOf(ALONE, { tie_word_embeddings: true })).toBe("lm_head.weight");
    expect(tieOf(ALONE, { tie_word_embeddings: false })).toBeNull();
    expect(tieOf({ "wte.weight": [8, 4], "wpe.weight": [8, 4] }, { model_type: "gpt2" })).toBe(
      "lm_head.weight",
    );
    expect(tieOf({ "language_model.model.embed_tokens.weight": [8, 4] }, { model_type: "gemma3" })).toBe(
      "language_model.lm_head.weight",
    );
  });

  it("follow transformers' default where the config does not say", () => {
    const llama = { model_type: "llama", architectures: ["LlamaForCausalLM"] };
    const gemma = { model_type: "gemma", architectures: ["GemmaForCausalLM"] };
    expect(tieOf(BOTH, llama)).toBeNull();
    expect(tieOf(BOTH, gemma)).toBe("lm_head.weight");
    expect(tieOf(BOTH, { text_config: { model_type: "gemma2" } })).toBe("lm_head.weight");
    expect(tieOf(BOTH, { text_config: { tie_word_embeddings: true } })).toBe("lm_head.weight");
    expect(
      tieOf(BOTH, { tie_word_embeddings: false, text_config: { tie_word_embeddings: true } }),
    ).toBeNull();
  });

  it("are none in a model without a head", () => {
    expect(tieOf(ALONE, { tie_word_embeddings: true, architectures: ["LlamaModel"] })).toBeNull();
  });

  it("drop T5's copies of the shared table, but keep a head of its own", () => {
    const names = modulesOf("t5-untied").map(({ name }) => name);
    expect(names.filter((name) => /shared|embed_tokens|lm_head/.test(name))).toEqual(["shared", "lm_head"]);
  });

  it("leave a tied head's own bias a module", () => {
    expect(modulesOf("modernbert").find(({ name }) => name === "decoder.bias")).toMatchObject({
      kind: "vector",
    });
  });

  it("never tie a head to a table of another shape", () => {
    expect(tieOf({ ...ALONE, "lm_head.weight": [9, 4] }, { tie_word_embeddings: true })).toBeNull();
    expect(modulesFrom({ ...ALONE, "lm_head.weight": [9, 4] }, { tie_word_embeddings: true })).toHaveLength(
      2,
    );
  });
});
