import { describe, expect, it } from "vitest";
import { findModules } from "../../src/modules/find-modules.ts";
import { modulesFrom, tableOf } from "./families.ts";

describe("module kinds", () => {
  it("lists a norm with its bias as one vector, and a lone bias under its full name", () => {
    const modules = modulesFrom({
      "h.0.ln_1.weight": [4],
      "h.0.ln_1.bias": [4],
      "h.0.gate.score_bias": [4],
      "h.0.up.bias": [4],
    });
    expect(modules.map(({ name, kind, bias }) => [name, kind, bias])).toEqual([
      ["h.0.ln_1", "vector", "h.0.ln_1.bias"],
      ["h.0.gate.score_bias", "vector", null],
      ["h.0.up.bias", "vector", null],
    ]);
  });

  it("flattens convolutions to output channels by the rest", () => {
    const [conv] = modulesFrom({ "visual.patch_embed.proj.weight": [16, 3, 2, 4, 4] });
    expect(conv).toMatchObject({ kind: "matrix", matrix: [16, 96], shape: [16, 3, 2, 4, 4], part: "body" });
  });

  it("takes [in, out] weights of GPT-2 as they are stored", () => {
    const [fc] = modulesFrom({ "h.0.mlp.c_fc.weight": [16, 64] });
    expect(fc).toMatchObject({ kind: "matrix", matrix: [16, 64] });
  });

  it("attaches block-wise scales to the weight they scale", () => {
    const modules = findModules(
      tableOf([
        ["model.layers.0.mlp.up_proj.weight", "F8_E4M3", [256, 128]],
        ["model.layers.0.mlp.up_proj.weight_scale_inv", "F32", [2, 1]],
      ]),
      {},
    );
    expect(modules).toHaveLength(1);
    expect(modules[0]).toMatchObject({
      kind: "matrix",
      scale: "model.layers.0.mlp.up_proj.weight_scale_inv",
    });
  });

  it("says why a tensor cannot be scored", () => {
    const modules = findModules(
      tableOf([
        ["h.0.attn.bias", "F32", [1, 1, 16, 16]],
        ["h.0.attn.masked_bias", "F32", []],
        ["h.0.rotary_emb.inv_freq", "F32", [4]],
        ["h.0.q_proj.qweight", "I32", [4, 32]],
        ["h.0.q_proj.scales", "F16", [1, 32]],
        ["h.0.v_proj.weight", "U8", [64, 1]],
        ["h.0.v_proj.weight.absmax", "F32", [2]],
        ["h.0.experts.down_proj_blocks", "U8", [2, 4, 1, 16]],
        ["h.0.empty.weight", "F32", [0, 4]],
      ]),
      {},
    );
    expect(Object.fromEntries(modules.map(({ name, kind, reason }) => [name, `${kind}: ${reason}`]))).toEqual(
      {
        "h.0.attn.bias": "other: is a buffer that no training changes",
        "h.0.attn.masked_bias": "other: is a buffer that no training changes",
        "h.0.rotary_emb.inv_freq": "other: is a buffer that no training changes",
        "h.0.q_proj.qweight": "other: is part of a quantised weight",
        "h.0.q_proj.scales": "other: is part of a quantised weight",
        "h.0.v_proj": "other: U8 does not hold real numbers",
        "h.0.v_proj.weight.absmax": "other: is part of a quantised weight",
        "h.0.experts.down_proj_blocks": "other: U8 does not hold real numbers",
        "h.0.empty": "other: has no elements",
      },
    );
  });

  it("gives nothing for a model without tensors", () => {
    expect(modulesFrom({})).toEqual([]);
  });
});
