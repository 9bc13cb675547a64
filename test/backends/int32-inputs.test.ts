import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { withInt32Inputs } from "../../backends/onnxruntime/session/int32-inputs.ts";
import { openArtifactGraph, scalarOf, takeBackend } from "../../src/training/artifact-graph.ts";
import { readCheckpoint } from "../../src/training/checkpoint.ts";
import { readManifest } from "../../src/training/read-manifest.ts";
import { batchOf, tinyArtifacts, torchRun } from "../training/tiny-artifacts.ts";

describe("withInt32Inputs()", () => {
  it("makes the token inputs int32, and leaves loss and gradients as they are to the bit", async () => {
    const folder = await tinyArtifacts();
    const manifest = await readManifest(folder);
    const { backend, release } = await takeBackend({ backend: "onnxruntime-cpu", threads: 1 }, {});
    const outputs = ["loss", "lm_head.weight.grad", "model.embed_tokens.weight.new_rows.grad"];
    const batch = batchOf(await torchRun(), 0, 4);
    const run = async () => {
      const { parameters } = await readCheckpoint(join(folder, "checkpoint"), manifest.parameters);
      const graph = await openArtifactGraph(backend, { folder, manifest, parameters }, "training");
      const results = await graph.run({ batch, items: batch.targets, outputs });
      await graph.close();
      return results;
    };
    const before = await run();
    const path = join(folder, manifest.training.file);
    await writeFile(path, withInt32Inputs(await readFile(path)));
    const session = await backend.session?.({ path, weightsFolder: manifest.weightsFolder });
    expect([...(session?.inputs ?? [])].slice(0, 4)).toEqual([
      ["input_ids", "int32"],
      ["labels", "int32"],
      ["position_ids", "int32"],
      ["num_items", "float32"],
    ]);
    const after = await run();
    expect(scalarOf(after, "loss")).toBeGreaterThan(1);
    expect(after).toEqual(before);
    await release();
  });

  it("leaves an int64 input alone that something else reads, and a file that is none", async () => {
    const folder = await tinyArtifacts();
    const original = await readFile(join(folder, "optimizer_model.onnx"));
    expect(Buffer.from(withInt32Inputs(original)).equals(original)).toBe(true);
    expect(() => withInt32Inputs(new Uint8Array())).toThrow("it holds no graph");
  });
});
