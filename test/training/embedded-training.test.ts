// The embedded model, exported and trained, against torch on the same sequences (scripts/fixtures/embedded-training.py).
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openModel } from "../../src/hub/open-model.ts";
import { exportArtifacts } from "../../src/training/artifacts.ts";
import { openEvaluationModel } from "../../src/training/evaluation-model.ts";
import { saveModel } from "../../src/training/save-model.ts";
import { trainBatches } from "../../src/training/trainer.ts";
import { exported, optionsOf, embeddedTorch as torch } from "./embedded.ts";
import { torchBatches } from "./tiny-artifacts.ts";

describe("training the embedded model", () => {
  it.each(["25", "50", "100"])(
    "follows torch's loss curve over 50 steps with %s percent of the modules, each step within 1e-3",
    async (percent) => {
      const expected = torch.runs[percent];
      const artifacts = await exported(percent);
      const out = join(artifacts, "../run");
      let steps = 0;
      for await (const { step, loss, gradientNorm } of trainBatches(artifacts, optionsOf(out))) {
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
    for await (const { step } of trainBatches(artifacts, options)) expect(step).toBeLessThanOrEqual(10);
    const saved = join(artifacts, "../saved");
    const counts = await saveModel(artifacts, { checkpoint: run, out: saved, dtype: "float32" });
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
