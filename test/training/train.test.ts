// What train() and evaluate() do around the loop.
import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { afterEach, expect, it, vi } from "vitest";
import { evaluate, train } from "../../src/training/train.ts";
import { temporaryFolder } from "../tiny-model.ts";
import { tinyArtifacts } from "./tiny-artifacts.ts";

afterEach(() => {
  vi.restoreAllMocks();
  syncBuiltinESMExports();
});

/** Counts how often the main thread reads a file of that name. */
function countReads(name: string): () => number {
  const spy = vi.spyOn(fs, "readFile");
  syncBuiltinESMExports();
  return () => spy.mock.calls.filter(([path]) => String(path).endsWith(name)).length;
}

it("train() and evaluate() read the training graph once each to see what a backend must do", async () => {
  const folder = await temporaryFolder();
  const data = join(folder, "tokens.jsonl");
  await fs.writeFile(data, `${JSON.stringify({ input_ids: [1, 2, 3, 4, 5, 6] })}\n`);
  const artifacts = await tinyArtifacts();
  const reads = countReads("training_model.onnx");
  const options = { data, sequence: 8, backend: "onnxruntime-cpu", threads: 1 } as const;
  const losses: number[] = [];
  for await (const { loss } of train(artifacts, { ...options, steps: 2, out: join(folder, "run") }))
    losses.push(loss);
  expect([losses.length, reads()]).toEqual([2, 1]);
  const { targets } = await evaluate(artifacts, { ...options, folder: join(folder, "packed") });
  expect([targets, reads()]).toEqual([5, 2]);
});
