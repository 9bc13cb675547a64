// Which configs are models that can be computed, and that all others are errors that name the field.
import { describe, expect, test } from "vitest";
import { decoderConfig } from "../../src/architectures/architectures.ts";
import { decoderParameters } from "../../src/architectures/parameters.ts";
import { ropeTables } from "../../src/architectures/rope.ts";

const LLAMA = {
  model_type: "llama",
  vocab_size: 50,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 3,
  num_attention_heads: 4,
};

describe("a field that would change the result is an error that names it", () => {
  test.each([
    ["model_type", { model_type: "gpt2" }],
    ["there is no config.json, or no model_type in it", { model_type: undefined }],
    ["hidden_act", { hidden_act: "gelu" }],
    ["pretraining_tp", { pretraining_tp: 2 }],
    ["quantization_config", { quantization_config: { bits: 4 } }],
    ["num_key_value_heads", { num_key_value_heads: 3 }],
    ["head_dim", { head_dim: 5 }],
    ["hidden_size", { hidden_size: "16" }],
    ["rms_norm_eps", { rms_norm_eps: 0 }],
    ["tie_word_embeddings", { tie_word_embeddings: "yes" }],
    ["rope_type", { rope_scaling: { rope_type: "longrope", factor: 2 } }],
    ["rope_type", { rope_parameters: { rope_type: "longrope", short_factor: [1, 2], long_factor: [1, 2] } }],
    ["factor", { rope_scaling: { type: "linear" } }],
    ["low_freq_factor", { rope_parameters: { rope_type: "llama3", factor: 2 } }],
    ["partial_rotary_factor", { partial_rotary_factor: 0.5 }],
    ["rope_parameters", { rope_parameters: { full_attention: { rope_theta: 1 } } }],
    ["layer_types", { model_type: "qwen3", num_key_value_heads: 4, layer_types: ["full_attention"] }],
    [
      "layer_types",
      { model_type: "qwen2", num_key_value_heads: 4, layer_types: Array(3).fill("chunked_attention") },
    ],
    [
      "use_sliding_window",
      { model_type: "qwen2", num_key_value_heads: 4, layer_types: Array(3).fill("sliding_attention") },
    ],
    ["sliding_window", { model_type: "mistral", num_key_value_heads: 4, sliding_window: 0 }],
  ])("%s: %j", (field, change) => {
    expect(() => decoderConfig({ ...LLAMA, ...change })).toThrow(field);
  });
});

test("fields that change nothing in training are let be", () => {
  const config = {
    ...LLAMA,
    attention_dropout: 0.1,
    use_cache: true,
    initializer_range: 1,
    pretraining_tp: 1,
  };
  expect(decoderConfig(config)).toEqual(decoderConfig(LLAMA));
});

test("defaults are those of transformers", () => {
  expect(decoderConfig(LLAMA)).toMatchObject({ keyHeads: 4, headSize: 4, epsilon: 1e-6, tied: false });
  const mistral = decoderConfig({ ...LLAMA, model_type: "mistral", num_attention_heads: 8 });
  expect(mistral).toMatchObject({ keyHeads: 8, windows: [4096, 4096, 4096] });
  const qwen3 = decoderConfig({ ...LLAMA, model_type: "qwen3", num_key_value_heads: 2 });
  expect(qwen3).toMatchObject({ headSize: 128, headNorms: true, windows: [null, null, null] });
  const qwen2 = { ...LLAMA, model_type: "qwen2", num_key_value_heads: 2, use_sliding_window: true };
  expect(decoderConfig({ ...qwen2, max_window_layers: 1, sliding_window: 9 }).windows).toEqual([null, 9, 9]);
});

test("parameters have the names and shapes of a checkpoint", () => {
  const parameters = decoderParameters(
    decoderConfig({ ...LLAMA, attention_bias: true, num_key_value_heads: 2 }),
  );
  expect(parameters.get("model.layers.2.self_attn.k_proj.weight")).toEqual([8, 16]);
  expect(parameters.get("model.layers.2.self_attn.o_proj.bias")).toEqual([16]);
  expect(parameters.get("lm_head.weight")).toEqual([50, 16]);
  expect(parameters.size).toBe(3 + 3 * 13);
});

test("angles are those of rotations: a position's squares of cosine and sine add up to 1", () => {
  const { rope } = decoderConfig(LLAMA);
  expect(Array.from(rope.frequencies)).toEqual([1, Math.fround(0.01)]);
  const { cosines, sines } = ropeTables(rope, 9);
  cosines.forEach((cosine, at) => {
    expect(cosine ** 2 + (sines[at] ?? 0) ** 2).toBeCloseTo(1, 6);
  });
  expect([cosines[0], sines[0]]).toEqual([1, 0]);
});
