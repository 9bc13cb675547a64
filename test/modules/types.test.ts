import { describe, expect, it } from "vitest";
import { modulesFrom, modulesOf, typesOf } from "./families.ts";

const ATTENTION = ["q", "k", "v", "o"].map((letter) => `self_attn.${letter}_proj`);
const LLAMA = ["model.embed_tokens", ...ATTENTION, "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"];

describe("module types", () => {
  it("are what follows the layer's index in a text model", () => {
    expect(typesOf(modulesOf("llama"))).toEqual([...LLAMA, "lm_head"]);
    expect(typesOf(modulesOf("gpt2"))).toEqual([
      "transformer.wte",
      "transformer.wpe",
      ...["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"],
    ]);
    expect(typesOf(modulesOf("phi3"))).toContain("self_attn.qkv_proj");
  });

  it("drop the number of an expert, so that experts rank within their role", () => {
    const stored = modulesOf("mixtral", "stored");
    const w1 = stored.filter(({ type }) => type === "block_sparse_moe.experts.w1");
    expect(w1.map(({ name }) => name)).toEqual(
      [0, 1].flatMap((layer) =>
        [0, 1, 2].map((expert) => `model.layers.${layer}.block_sparse_moe.experts.${expert}.w1`),
      ),
    );
    expect(typesOf(modulesOf("qwen3-moe", "stored"))).toContain("mlp.experts.gate_proj");
  });

  it("keep router, shared expert and routed experts apart", () => {
    const types = typesOf(modulesOf("deepseek-v3", "stored"));
    expect(types).toEqual(
      expect.arrayContaining([
        ...["mlp.gate", "mlp.gate_proj", "mlp.experts.gate_proj", "mlp.shared_experts.gate_proj"],
        ...["self_attn.kv_a_proj_with_mqa", "self_attn.q_a_proj"],
      ]),
    );
    expect(types.filter((type) => /\d/.test(type))).toEqual([]);
  });

  it.each(["gemma3", "llava"])("carry the tower's path in %s, in memory and as stored", (family) => {
    for (const form of ["memory", "stored"] as const) {
      const types = typesOf(modulesOf(family, form));
      expect(types).toEqual(
        expect.arrayContaining(["self_attn.q_proj", "vision_tower.encoder.layers.self_attn.q_proj"]),
      );
      const vision = modulesOf(family, form).filter(({ name }) => name.includes("vision_tower"));
      expect(vision.filter(({ type }) => !type.includes("vision_tower"))).toEqual([]);
    }
  });

  it("keep encoder and decoder apart, self-attention and cross-attention too", () => {
    expect(typesOf(modulesOf("t5"))).toEqual(
      expect.arrayContaining([
        ...["encoder.block.layer.SelfAttention.q", "decoder.block.layer.SelfAttention.q"],
        "decoder.block.layer.EncDecAttention.q",
      ]),
    );
    const whisper = modulesOf("whisper");
    const ranked = whisper.filter(({ type }) => type === "encoder.layers.self_attn.q_proj");
    expect(ranked.map(({ layer }) => layer)).toEqual([0, 1]);
  });

  it("stay short where a decoder or an encoder is all there is", () => {
    expect(typesOf(modulesOf("opt"))).toEqual(
      expect.arrayContaining([...ATTENTION.slice(0, 3), "fc1", "fc2"]),
    );
  });

  it("tell numbered parts of a block apart, and not numbered blocks", () => {
    const modules = modulesFrom({
      "model.layers.0.mlp.0.weight": [4, 4],
      "model.layers.0.mlp.2.weight": [4, 4],
      "model.layers.1.mlp.0.weight": [4, 4],
    });
    expect(modules.map(({ type }) => type)).toEqual(["mlp.0", "mlp.2", "mlp.0"]);
  });

  it("do not merge extra prediction layers with the model's own", () => {
    const modules = modulesFrom({ "model.layers.0.q.weight": [4, 4], "mtp.layers.0.q.weight": [4, 4] });
    expect(modules.map(({ type }) => type)).toEqual(["q", "mtp.layers.q"]);
  });
});

describe("module order", () => {
  it("is embedding, blocks by number, final norm, head, whatever the order of the file", () => {
    const names = [
      "lm_head",
      "model.layers.10.mlp.up_proj",
      "model.norm",
      "model.layers.2.mlp.up_proj",
      "model.embed_tokens",
    ];
    const modules = modulesFrom(
      Object.fromEntries(names.map((name) => [`${name}.weight`, name.endsWith("norm") ? [4] : [8, 4]])),
      { tie_word_embeddings: false },
    );
    expect(modules.map(({ name }) => name)).toEqual([4, 3, 1, 2, 0].map((i) => names[i]));
  });

  it("does not depend on the order of the tensors", () => {
    const stored = modulesOf("llava", "stored");
    const shapes = Object.fromEntries(stored.map(({ tensor, shape }) => [tensor, shape]).reverse());
    const config = { tie_word_embeddings: false };
    expect(modulesFrom(shapes, config).map(({ name }) => name)).toEqual(stored.map(({ name }) => name));
  });
});

describe("fused experts", () => {
  it("are one module for each expert, named and shaped as its slice", () => {
    const modules = modulesOf("mixtral").filter(({ type }) => type === "mlp.experts.gate_up_proj");
    expect(modules).toHaveLength(6);
    expect(modules[4]).toMatchObject({
      name: "model.layers.1.mlp.experts.gate_up_proj[1]",
      tensor: "model.layers.1.mlp.experts.gate_up_proj",
      shape: [48, 16],
      matrix: [48, 16],
      expert: 1,
      layer: 1,
    });
  });

  it("are told from convolutions by their place or by the config's number of experts", () => {
    const modules = modulesFrom(
      {
        "model.layers.0.moe.input_linear.weight": [3, 8, 4],
        "model.layers.0.mixer.conv1d.weight": [3, 1, 4],
        "audio.conv2.weight": [8, 4, 3],
      },
      { text_config: { num_local_experts: 3 } },
    );
    const byName = new Map(modules.map((module) => [module.name, module.matrix]));
    expect(byName.get("model.layers.0.moe.input_linear[2]")).toEqual([8, 4]);
    expect(byName.get("model.layers.0.mixer.conv1d")).toEqual([3, 4]);
    expect(byName.get("audio.conv2")).toEqual([8, 12]);
  });

  it("are recognised in GraniteMoE's stored form, which names no list of experts", () => {
    const names = modulesOf("granite-moe", "stored").map(({ name }) => name);
    expect(names).toContain("model.layers.1.block_sparse_moe.output_linear[2]");
  });

  it("are refused in absurd numbers", () => {
    const modules = modulesFrom({ "model.layers.0.mlp.experts.up_proj": [1e9, 1, 1] });
    expect(modules.map(({ kind, matrix }) => [kind, matrix])).toEqual([["other", null]]);
  });

  it("list their biases as vectors", () => {
    const biases = modulesOf("gpt-oss").filter(({ name }) => name.endsWith("gate_up_proj_bias"));
    expect(biases.map(({ kind, expert }) => [kind, expert])).toEqual([
      ["vector", null],
      ["vector", null],
    ]);
  });
});
