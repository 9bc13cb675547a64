// A saved model against what transformers computes of the same weights (scripts/fixtures/saved-model.py).
import { createHash } from "node:crypto";
import { cp, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { renderPrompt } from "../../src/chat/render.ts";
import { chatTemplate } from "../../src/chat/template.ts";
import { encodeText } from "../../src/chat/tokenizer.ts";
import { openModel } from "../../src/hub/open-model.ts";
import { writeSafetensors } from "../../src/safetensors/writer.ts";
import { floatsOf, openArtifactGraph, takeBackend } from "../../src/training/artifact-graph.ts";
import { exportArtifacts } from "../../src/training/artifacts.ts";
import { readCheckpoint } from "../../src/training/checkpoint.ts";
import { tokenizerOf } from "../../src/training/data.ts";
import { openEvaluationModel } from "../../src/training/evaluation-model.ts";
import { readManifest } from "../../src/training/read-manifest.ts";
import { saveModel } from "../../src/training/save-model.ts";
import { readTensors } from "../../src/training/tensor-file.ts";
import { temporaryFolder } from "../tiny-model.ts";
import { relativeDistance } from "./run-graph.ts";

const MODEL = fileURLToPath(new URL("../../examples/wordnet-llama-2m", import.meta.url));
const FIXTURE = fileURLToPath(new URL("../fixtures/saved-model/", import.meta.url));
const CPU = { backend: "onnxruntime-cpu" } as const;

const expected = JSON.parse(await readFile(join(FIXTURE, "expected.json"), "utf8"));

/** What is added to the element at an index: a multiple of 2^-12, so that the sum is the same everywhere. */
const change = (index: number) => (((index * 7919) % 257) - 128) / 4096;

/** The embedded model with two more tokens and changed weights, saved; and artifacts made of that. */
async function changedModel(): Promise<{ saved: string; artifacts: string }> {
  const root = await temporaryFolder();
  const first = join(root, "first");
  await using model = await openModel(MODEL);
  const selection = { parameterNames: expected.changed };
  const { manifest } = await exportArtifacts(model, selection, { out: first, chatTemplate: "chatml" });
  const checkpoint = join(root, "checkpoint");
  await cp(join(first, manifest.checkpoint), checkpoint, { recursive: true });
  const path = join(checkpoint, "parameters.safetensors");
  const values = await readTensors(path, manifest.parameters);
  const tensors = manifest.parameters.map(({ name, shape, firstRow }) => {
    // New rows are the change alone: the mean that they begin with depends on the order of its sum.
    const after = values.get(name)?.map((value, at) => (firstRow === null ? value : 0) + change(at));
    if (after === undefined) throw new Error(`no ${name}`);
    return { name, shape, dtype: "F32" as const, blocks: [new Uint8Array(after.buffer)] };
  });
  await writeSafetensors(path, tensors);
  const saved = join(root, "saved");
  await saveModel(first, { out: saved, checkpoint, model });
  const artifacts = join(root, "artifacts");
  await using opened = await openModel(saved);
  const norm = { parameterNames: ["model.norm.weight"] };
  await exportArtifacts(opened, norm, { out: artifacts, chatTemplate: "model" });
  return { saved, artifacts };
}

describe("a saved model", () => {
  let saved: string;
  let artifacts: string;
  beforeAll(async () => {
    ({ saved, artifacts } = await changedModel());
  });

  it("holds the bytes that torch rounds the changed tensors to", async () => {
    await using model = await openModel(saved);
    const file = await readFile(join(saved, "model.safetensors"));
    for (const [name, sha256] of Object.entries(expected.sha256)) {
      const { begin = 0, end = 0 } = model.tensors.get(name) ?? {};
      expect(createHash("sha256").update(file.subarray(begin, end)).digest("hex"), name).toBe(sha256);
    }
  });

  it("ends its text where the base did, and where a turn of chatml ends", async () => {
    const config = JSON.parse(await readFile(join(saved, "generation_config.json"), "utf8"));
    expect(config.eos_token_id).toEqual([0, 4097]);
  });

  it("renders and cuts a prompt as transformers does, and has its logits within 1e-4 and its greedy answer", async () => {
    const manifest = await readManifest(artifacts);
    const tokenizer = await tokenizerOf(artifacts, manifest);
    const template = chatTemplate("model", tokenizer?.tokenizerConfig ?? {});
    if (tokenizer === null || template === null) throw new Error("no tokenizer or template");
    const conversation = { kind: "conversation" as const, messages: expected.messages };
    const prompt = renderPrompt(template, conversation, { specialTokens: tokenizer.specialTokens });
    expect(prompt).toBe(expected.prompt);
    const { ids } = encodeText(tokenizer, prompt);
    expect(ids).toEqual(expected.inputIds);
    const logits = await lastLogits(ids);
    const theirs = await readTensors(join(FIXTURE, "logits.safetensors"), [
      { name: "logits", shape: [manifest.vocabularySize] },
    ]);
    expect(relativeDistance(logits, theirs.get("logits") ?? [])).toBeLessThan(1e-4);
    await using model = await openEvaluationModel(artifacts, CPU);
    const written: number[] = [];
    const options = { maxTokens: expected.outputIds.length };
    for await (const id of model.generate(ids, options)) written.push(id);
    expect(written).toEqual(expected.outputIds);
  });

  async function lastLogits(ids: readonly number[]): Promise<Float32Array> {
    const manifest = await readManifest(artifacts);
    const { parameters } = await readCheckpoint(join(artifacts, manifest.checkpoint), manifest.parameters);
    const { backend, release } = await takeBackend(CPU, {});
    const trainable = { folder: artifacts, manifest, parameters };
    const graph = await openArtifactGraph(backend, trainable, "evaluation");
    const inputIds = Int32Array.from(ids);
    const shared = { batch: 1, sequence: ids.length, inputIds, labels: inputIds };
    const batch = { ...shared, positionIds: Int32Array.from(ids.keys()), targets: 1 };
    const outputs = await graph.run({ batch, items: 1, outputs: ["last_logits"] });
    await graph.close();
    await release();
    return floatsOf(outputs, "last_logits");
  }
});
