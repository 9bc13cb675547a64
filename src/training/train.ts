// Training and evaluating artifacts on a dataset: opens the data and runs the loop of trainer.ts over it.

import { join } from "node:path";
import { checkBackend } from "../../backends/index.ts";
import type { ComputeDType } from "../backend.ts";
import { readRunnable } from "./artifact-graph.ts";
import { type ArtifactsFolder, folderOf, RUN_FOLDER } from "./artifacts-folder.ts";
import { checkpointFolder } from "./checkpoint.ts";
import { checkBatchSize, dataSettings, openTrainingData, type TrainingDataOptions } from "./data.ts";
import type { Evaluation } from "./evaluate.ts";
import { type EvaluateOptions, evaluate as evaluateBatches } from "./evaluation-model.ts";
import { checkRun, settingsOf, type TrainBatchesOptions } from "./plan.ts";
import { checkpointToResume, checkSettings } from "./resume.ts";
import { type StepReport, trainBatches } from "./trainer.ts";

/** Options of {@link train}: those of the data, and those of the loop. */
export interface TrainOptions
  extends Omit<TrainingDataOptions, "folder">,
    Omit<TrainBatchesOptions, "batches" | "out" | "evaluation"> {
  /** A file, a folder, or a dataset on the Hub, as {@link fetchDataset} reads its name. */
  readonly data: string;
  /** Folder of the run: packed data, checkpoints, metrics. Default: `run` inside the artifacts. */
  readonly out?: string;
  /** Held-out data, evaluated each so many updates and after the last one. */
  readonly evaluation?: { readonly data: string; readonly everySteps: number };
}

/**
 * Trains the parameters of artifacts on a dataset, and tells of each update.
 *
 * Whoever stops the iteration, by `break` or the signal, can go on with `resume`: on the same machine with the same
 * threads, the result is the same to the bit.
 *
 * @throws UsageError for options that cannot be, a folder that holds a run already, or settings that are not those of
 * the run to go on with; Error naming the record that cannot be used, or the batch whose loss is not finite; the
 * signal's reason when aborted.
 *
 * @example
 * const artifacts = await exportArtifacts(model, selection, { out: "artifacts" });
 * for await (const step of train(artifacts, { data: "chat.jsonl", epochs: 1 })) console.log(step.loss);
 */
export async function* train(
  artifacts: ArtifactsFolder,
  options: TrainOptions,
): AsyncGenerator<StepReport, void> {
  const folder = folderOf(artifacts);
  const { data, out = join(folder, RUN_FOLDER), evaluation, ...rest } = options;
  const runnable = await readRunnable(folder);
  const { manifest, requirement } = runnable;
  await checkTraining({ ...options, out, ...requirement });
  const latest = await checkpointToResume(out, options.resume ?? false);
  if (latest !== null)
    await checkSettings(latest, { ...settingsOf(rest, manifest), ...dataSettings(rest, manifest) });
  const batches = await openTrainingData(folder, data, { ...rest, folder: join(out, "data", "train") });
  const heldOut =
    evaluation && (await openTrainingData(folder, evaluation.data, evaluationData(options, out)));
  yield* trainBatches(runnable, {
    ...rest,
    batches,
    out,
    ...(evaluation && heldOut && { evaluation: { batches: heldOut, everySteps: evaluation.everySteps } }),
  });
}

/** Options of {@link checkTraining}. */
export interface CheckTrainingOptions extends Omit<TrainOptions, "data"> {
  /** In what the artifacts compute, or will; default: whatever it may be. */
  readonly computeDtype?: ComputeDType;
  /** Whether frozen weights of the artifacts are in 8-bit floats. Default false. */
  readonly float8Weights?: boolean;
}

/**
 * Checks what of {@link train}'s options can be checked before there are artifacts or data: for a look before long work.
 *
 * @throws UsageError naming the option that cannot be, or the run that is in `out` already; BackendUnavailableError when
 * the backend cannot run here.
 *
 * @example
 * await checkTraining({ backend: "onnxruntime-cpu", schedule: "0.5 ^ (step / steps)", out: "run" });
 */
export async function checkTraining(options: CheckTrainingOptions): Promise<void> {
  const { backend = "auto", out, resume = false, computeDtype, float8Weights = false } = options;
  await checkRun(options);
  checkBatchSize(options);
  const computes = computeDtype === undefined ? {} : { computeDtype };
  if (typeof backend === "string")
    await checkBackend(backend, { capability: "session", ...computes, float8Weights });
  if (out !== undefined) await checkpointToResume(out, resume);
}

/** Options of {@link evaluate}. */
export interface EvaluateDataOptions
  extends TrainingDataOptions,
    Omit<EvaluateOptions, "batches" | "onProgress"> {
  /** A file, a folder, or a dataset on the Hub, as {@link fetchDataset} reads its name. */
  readonly data: string;
}

/**
 * Loss, perplexity and token accuracy on a dataset, of artifacts or of a checkpoint trained from them.
 *
 * @throws as {@link train} for the data; UsageError when there is no such checkpoint; RangeError when the data holds no
 * target token.
 */
export async function evaluate(
  artifacts: ArtifactsFolder,
  options: EvaluateDataOptions,
): Promise<Evaluation> {
  const folder = folderOf(artifacts);
  const { onProgress: _, ...rest } = options;
  const { backend = "auto", checkpoint } = rest;
  // Before the data is packed, which takes long.
  const runnable = await readRunnable(folder);
  if (typeof backend === "string") await checkBackend(backend, runnable.requirement);
  if (checkpoint !== undefined) await checkpointFolder(checkpoint);
  const batches = await openTrainingData(folder, options.data, { ...options, seed: null });
  return evaluateBatches(runnable, { ...rest, batches });
}

/** Held-out data is packed apart, and keeps its order. */
function evaluationData({ data: _, ...options }: TrainOptions, out: string): TrainingDataOptions {
  return { ...options, folder: join(out, "data", "evaluation"), seed: null };
}
