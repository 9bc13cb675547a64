// Trains the artifacts of a folder on torch's sequences with a checkpoint at each step, for a test to kill.
// Arguments: artifacts, run folder, file with torch's run.
import { readFileSync } from "node:fs";
import { trainBatches } from "../../dist/src/training/trainer.js";

const [artifacts = "", out = "", reference = ""] = process.argv.slice(2);
const run = JSON.parse(readFileSync(reference, "utf8"));
const { batchSize } = run;
const sequence = run.inputIds[0].length;
const batches = {
  sequences: run.inputIds.length,
  batchSize,
  /** @param {{ skip: number }} from */
  async *batches({ skip }) {
    for (let first = skip; first < run.inputIds.length; first += batchSize) {
      /** @param {number[][]} table */
      const rows = (table) => Int32Array.from(table.slice(first, first + batchSize).flat());
      const labels = rows(run.labels);
      const positionIds = rows(run.positionIds);
      const targets = labels.filter((label, index) => label !== -100 && positionIds[index] !== 0).length;
      yield { batch: batchSize, sequence, inputIds: rows(run.inputIds), labels, positionIds, targets };
    }
  },
};
const { steps, accumulation, learningRate, warmup, clip: maxGradientNorm } = run;
const settings = { steps, accumulation, learningRate, warmup, maxGradientNorm, schedule: "cosine" };
for await (const { step } of trainBatches(artifacts, {
  ...settings,
  batches,
  out,
  backend: "onnxruntime-cpu",
  threads: 1,
  checkpointSteps: 1,
  resume: true,
}))
  console.log(step);
