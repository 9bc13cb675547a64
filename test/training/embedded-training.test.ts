// The embedded model, exported and trained, against torch on the same sequences (scripts/fixtures/embedded-training.py).
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { openModel } from "../../src/hub/open-model.ts";
import { exportArtifacts } from "../../src/training/artifacts.ts";
import { openEvaluationModel } from "../../src/training/evaluation-model.ts";
import { saveModel } from "../../src/training/save-model.ts";
import { train } from "../../src/training/trainer.ts";
import { temporaryFolder } from "../tiny-model.ts";
import { torchBatches } from "./tiny-artifacts.ts";

const MODEL = fileURLToPath(new URL("../../examples/wordnet-llama-2m", import.meta.url));
const fixture = new URL("../fixtures/embedded-training.json", import.meta.url);
const torch = JSON.parse(await readFile(fixture, "utf8"));

async function exported(percent: string): Promise<string> {
  const out = join(await temporaryFolder(), "artifacts");
  const model = await openModel(MODEL);
  const { weightDecay } = torch;
  const selection = { parameterNames: torch.runs[percent].names };
  await exportArtifacts(model, selection, { out, chatTemplate: "none", adamw: { weightDecay } });
  await model.close();
  return out;
}

const optionsOf = (out: string) => ({
  batches: torchBatches(torch),
  out,
  backend: "onnxruntime-cpu",
  threads: 2,
  steps: torch.steps,
  accumulation: torch.accumulation,
  learningRate: torch.learningRate,
  maxGradientNorm: torch.clip,
  schedule: "constant",
  warmup: 0,
});

describe("training the embedded model", () => {
  it.each(["25", "50", "100"])(
    "follows torch's loss curve over 50 steps with %s percent of the modules, each step within 1e-3",
    async (percent) => {
      const expected = torch.runs[percent];
      const artifacts = await exported(percent);
      const out = join(artifacts, "../run");
      let steps = 0;
      for await (const { step, loss, gradientNorm } of train(artifacts, optionsOf(out))) {
        steps++;
        expect(Math.abs(loss / expected.losses[step - 1] - 1)).toBeLessThan(1e-3);
        expect(Math.abs(gradientNorm / expected.gradientNorms[step - 1] - 1)).toBeLessThan(1e-3);
      }
      expect(steps).toBe(50);
    },
  );

  it("gives a model that, exported anew, has the loss it was saved with, and the base's frozen bytes", async () => {
    const artifacts = await exported("25");
    const run = join(artifacts, "../run");
    const options = { ...optionsOf(run), steps: 10, checkpointSteps: 10 };
    for await (const { step } of train(artifacts, options)) expect(step).toBeLessThanOrEqual(10);
    const saved = join(artifacts, "../saved");
    const counts = await saveModel(artifacts, run, { out: saved, dtype: "float32" });
    expect(counts.changedValues / counts.trainedValues).toBeGreaterThan(0.99);
    const model = await openModel(saved);
    const again = join(artifacts, "../again");
    const { names } = torch.runs["25"];
    await exportArtifacts(model, { parameterNames: names }, { out: again, chatTemplate: "none" });
    await model.close();
    const losses: number[] = [];
    for (const [folder, checkpoint] of [
      [artifacts, run],
      [again, join(again, "checkpoint")],
    ] as const) {
      const evaluation = await openEvaluationModel(folder, { checkpoint, backend: "onnxruntime-cpu" });
      losses.push((await evaluation.evaluate(torchBatches(torch))).loss);
      await evaluation.close();
    }
    expect(losses[1]).toBe(losses[0]);
  });
});
