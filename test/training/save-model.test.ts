import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { UsageError } from "../../src/errors.ts";
import type { Model } from "../../src/hub/model.ts";
import { openModel } from "../../src/hub/open-model.ts";
import { decode } from "../../src/tensor/decode.ts";
import { encode } from "../../src/tensor/encode.ts";
import type { Manifest } from "../../src/training/manifest.ts";
import { readManifest } from "../../src/training/read-manifest.ts";
import { saveModel } from "../../src/training/save-model.ts";
import { readTensors } from "../../src/training/tensor-file.ts";
import { trainBatches } from "../../src/training/trainer.ts";
import { temporaryFolder } from "../tiny-model.ts";
import { bytesOf } from "./fixture-model.ts";
import { TINY_MODEL, tinyArtifacts, torchBatches, torchRun } from "./tiny-artifacts.ts";

const shapesOf = (model: Model) =>
  [...model.tensors.values()].map(({ name, shape, dtype, file }) => ({ name, shape, dtype, file }));

describe("saveModel()", () => {
  let artifacts: string;
  let run: string;
  let manifest: Manifest;
  let base: Model;
  beforeAll(async () => {
    artifacts = await tinyArtifacts();
    manifest = await readManifest(artifacts);
    run = join(artifacts, "run");
    base = await openModel(TINY_MODEL);
    const torch = await torchRun();
    const options = { steps: 5, learningRate: 1e-3, backend: "onnxruntime-cpu", threads: 1 };
    const steps = trainBatches(artifacts, { ...options, batches: torchBatches(torch), out: run });
    for await (const { step } of steps) expect(step).toBeGreaterThan(0);
  });

  const saveTo = async (checkpoint: string, dtype: "base" | "float32") => {
    const out = join(await temporaryFolder(), "model");
    const saved = await saveModel(artifacts, { checkpoint, out, dtype, model: base });
    return { saved, model: await openModel(out) };
  };

  it("stops by the signal, and leaves no part of a file", async () => {
    const out = join(await temporaryFolder(), "model");
    const signal = AbortSignal.abort(new Error("stopped"));
    await expect(saveModel(artifacts, { checkpoint: run, out, model: base, signal })).rejects.toThrow(
      "stopped",
    );
    expect(await readdir(out)).toEqual([]);
  });

  it("keeps the base's files, dtypes and order of tensors, and frozen tensors byte for byte", async () => {
    const { model } = await saveTo(run, "base");
    expect(model.files.map(({ name }) => name)).toEqual(base.files.map(({ name }) => name));
    const extended = ["model.embed_tokens.weight", "lm_head.weight"];
    expect(shapesOf(model)).toEqual(
      shapesOf(base).map((tensor) =>
        extended.includes(tensor.name) ? { ...tensor, shape: [32, 16] } : tensor,
      ),
    );
    expect(await bytesOf(model, "model.norm.weight")).toEqual(await bytesOf(base, "model.norm.weight"));
    const embedding = await bytesOf(base, "model.embed_tokens.weight");
    const longer = await bytesOf(model, "model.embed_tokens.weight");
    expect(longer.subarray(0, embedding.length)).toEqual(embedding);
    await model.close();
  });

  it("stores trained tensors and new rows rounded to the base's dtype, and counts what changed", async () => {
    const { model, saved } = await saveTo(run, "base");
    const trained = await readTensors(
      join(run, "checkpoint-5", "parameters.safetensors"),
      manifest.parameters,
    );
    let changed = 0;
    let values = 0;
    for (const { name, tensor, firstRow } of manifest.parameters) {
      const codes = encode(trained.get(name) ?? new Float32Array(), "BF16");
      const stored = await bytesOf(model, tensor);
      const begin = (firstRow ?? 0) * 16 * 2;
      expect(stored.subarray(begin, begin + codes.length)).toEqual(Buffer.from(codes));
      if (firstRow !== null) continue;
      const before = new Uint16Array(new Uint8Array(await bytesOf(base, tensor)).buffer);
      changed += new Uint16Array(codes.buffer).filter((code, i) => code !== before[i]).length;
      values += before.length;
    }
    expect(saved).toMatchObject({ trainedValues: values, changedValues: changed });
    // Rounding hides a part of so small a learning rate's updates.
    expect(changed / values).toBeGreaterThan(0.05);
    expect(changed / values).toBeLessThan(0.9);
    await model.close();
  });

  it("gives the base's own bytes back before training", async () => {
    const { model, saved } = await saveTo(join(artifacts, "checkpoint"), "base");
    expect(saved.changedValues).toBe(0);
    for (const name of base.tensors.keys()) {
      const expected = await bytesOf(base, name);
      expect((await bytesOf(model, name)).subarray(0, expected.length)).toEqual(expected);
    }
    await model.close();
  });

  it("keeps trained tensors as they are in float32, and says so in the config", async () => {
    const { model, saved } = await saveTo(run, "float32");
    expect(model.tensors.get("model.layers.0.proj.weight")?.dtype).toBe("F32");
    expect(model.tensors.get("model.norm.weight")?.dtype).toBe("BF16");
    const trained = await readTensors(
      join(run, "checkpoint-5", "parameters.safetensors"),
      manifest.parameters,
    );
    const head = decode(await bytesOf(model, "lm_head.weight"), "F32", new Float32Array(32 * 16));
    expect(head.subarray(0, 480)).toEqual(trained.get("lm_head.weight"));
    expect(head.subarray(480)).toEqual(trained.get("lm_head.weight.new_rows"));
    expect(saved.changedValues / saved.trainedValues).toBeGreaterThan(0.99);
    expect(model.config).toMatchObject({ dtype: "float32", vocab_size: 32 });
    await model.close();
  });

  it("updates the vocabulary, and takes the artifacts' tokenizer and the base's generation config", async () => {
    await writeFile(join(artifacts, "tokenizer.json"), '{"own": true}');
    const out = join(await temporaryFolder(), "model");
    await saveModel({ folder: artifacts }, { out, model: base });
    const read = async (name: string) => JSON.parse(await readFile(join(out, name), "utf8"));
    expect(await read("config.json")).toEqual({ ...base.config, vocab_size: 32 });
    expect(await read("tokenizer.json")).toEqual({ own: true });
    expect(await read("generation_config.json")).toEqual({ eos_token_id: 0 });
    expect((await read("model.safetensors.index.json")).metadata.total_size).toBe(
      2 * (2 * 32 * 16 + 16 * 16 + 2 * 16),
    );
  });

  it("leaves the numbers of config.json as they were written: transformers tells 8.0 from 8", async () => {
    const config = await readFile(join(TINY_MODEL, "config.json"), "utf8");
    const written = config.replace("{", '{"rope_scaling": {"factor": 8.0}, "eps": 1e-05, ');
    const folder = await tinyArtifacts();
    await writeFile(join(folder, "config.json"), written);
    const out = join(await temporaryFolder(), "model");
    await saveModel(folder, { out, checkpoint: run, dtype: "float32", model: base });
    const saved = await readFile(join(out, "config.json"), "utf8");
    expect(saved).toContain('{"rope_scaling": {"factor": 8.0}, "eps": 1e-05, ');
    expect(JSON.parse(saved)).toEqual({ ...JSON.parse(written), vocab_size: 32, dtype: "float32" });
  });

  it("takes the newest checkpoint of the run inside the artifacts, and says where it looked for one", async () => {
    const out = join(await temporaryFolder(), "model");
    const saved = await saveModel({ folder: artifacts }, { out, model: base });
    const named = await saveTo(join(run, "checkpoint-5"), "base");
    expect(saved).toEqual({ ...named.saved, folder: out });
    const untrained = await tinyArtifacts();
    const nowhere = saveModel(untrained, { out, model: base });
    await expect(nowhere).rejects.toThrow(UsageError);
    await expect(nowhere).rejects.toThrow(
      `Cannot use the checkpoint ${join(untrained, "run")}: expected a folder that holds trainer_state.json or checkpoint-<step>`,
    );
    await named.model.close();
  });

  it("refuses the base model's own folder, and another base", async () => {
    await expect(saveModel(artifacts, { checkpoint: run, out: TINY_MODEL, model: base })).rejects.toThrow(
      "it is the base model's folder",
    );
    const other = await openModel(join(TINY_MODEL, "../../models/llama"));
    const out = join(await temporaryFolder(), "model");
    await expect(saveModel(artifacts, { checkpoint: run, out, model: other })).rejects.toThrow(
      /its file model-00001-of-00002\.safetensors has no bytes/,
    );
    await other.close();
  });
});
