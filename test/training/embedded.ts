// The embedded model, exported with the selections of scripts/fixtures/embedded-training.py, and torch's runs of it.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openModel } from "../../src/hub/open-model.ts";
import { exportArtifacts } from "../../src/training/artifacts.ts";
import type { ExportOptions } from "../../src/training/export-plan.ts";
import { temporaryFolder } from "../tiny-model.ts";
import { torchBatches } from "./tiny-artifacts.ts";

const MODEL = fileURLToPath(new URL("../../examples/wordnet-llama-2m", import.meta.url));
const fixture = new URL("../fixtures/embedded-training.json", import.meta.url);

/** torch's runs: settings, sequences, and by percentage the names that trained, losses and norms. */
export const embeddedTorch = JSON.parse(await readFile(fixture, "utf8"));

/** Artifacts in a folder of their own, in which that percentage of the modules trains. */
export async function exported(
  percent: string,
  options: Pick<ExportOptions, "computeDtype" | "chatTemplate"> = {},
): Promise<string> {
  const out = join(await temporaryFolder(), "artifacts");
  const model = await openModel(MODEL);
  const { weightDecay } = embeddedTorch;
  await exportArtifacts(
    model,
    { parameterNames: embeddedTorch.runs[percent].names },
    { out, chatTemplate: "none", adamw: { weightDecay }, ...options },
  );
  await model.close();
  return out;
}

/** Options of a run as torch made it. */
export const optionsOf = (out: string) => ({
  batches: torchBatches(embeddedTorch),
  out,
  backend: "onnxruntime-cpu",
  threads: 2,
  steps: embeddedTorch.steps,
  accumulation: embeddedTorch.accumulation,
  learningRate: embeddedTorch.learningRate,
  maxGradientNorm: embeddedTorch.clip,
  schedule: "constant",
  warmup: 0,
});
