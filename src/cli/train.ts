// spectrum train: from a model, or from artifacts, to a trained model that any stock loader opens.
import { join } from "node:path";
import {
  checkTraining,
  type EvaluateDataOptions,
  evaluate,
  renderEvaluation,
  renderTrainingProgress,
  type StepReport,
  saveModel,
  type TrainOptions,
  train,
  UsageError,
} from "../index.ts";
import type { OptionTable, OptionValues } from "./arguments.ts";
import { defineCommand, EXIT } from "./command.ts";
import { fetchNamedDataset, watchPacking } from "./datasets.ts";
import { checkSelectionOptions, prepareArtifacts, SOURCE_OPTIONS } from "./fine-tuning.ts";
import { openNamedBase } from "./model-options.ts";
import { progressReporter } from "./progress.ts";
import { DATA_OPTIONS, readDataOptions } from "./training-options.ts";

const OPTIONS = {
  ...DATA_OPTIONS,
  out: { kind: "text", value: "DIR", short: "o", help: "Folder of the run (default run)" },
  ...SOURCE_OPTIONS,
  epochs: { kind: "number", value: "N", least: 1, whole: true, help: "Default 1" },
  steps: { kind: "number", value: "N", least: 1, whole: true, help: "Updates, in place of epochs" },
  "learning-rate": { kind: "number", value: "RATE", least: 0, help: "Default 2e-5" },
  schedule: {
    kind: "text",
    value: "NAME",
    help: "constant, linear, cosine (default), wsd, or an expression",
  },
  warmup: { kind: "number", value: "N", least: 0, whole: true, help: "Updates (default 3 % of all)" },
  accumulation: {
    kind: "number",
    value: "N",
    least: 1,
    whole: true,
    help: "Batches of an update (default 1)",
  },
  seed: { kind: "number", value: "N", least: 0, whole: true, help: "Of the order of the data (default 0)" },
  "eval-data": { kind: "text", value: "FILE", help: "Held-out data, named as --data is" },
  "eval-steps": {
    kind: "number",
    value: "N",
    least: 1,
    whole: true,
    help: "Updates between evaluations (default: at the end)",
  },
  "checkpoint-steps": {
    kind: "number",
    value: "N",
    least: 1,
    whole: true,
    help: "Updates between checkpoints (default 100)",
  },
  resume: { kind: "flag", help: "Go on with the run in --out" },
  "save-dtype": {
    kind: "choice",
    choices: ["base", "float32"],
    help: "Of trained tensors: the base's (default; bfloat16 if 8 bits), or float32",
  },
  json: { kind: "flag", help: "Print a summary on stdout as JSON" },
} as const satisfies OptionTable;

/** The command `train`. */
export const trainCommand = defineCommand({
  name: "train",
  summary: "Train the selected modules on chat data and save the model",
  positionals: ["DIR-or-MODEL"],
  options: OPTIONS,
  examples: [
    "spectrum train HuggingFaceTB/SmolLM2-135M --data chat.jsonl --out run",
    "spectrum train artifacts --data chat.jsonl --eval-data held-out.jsonl --epochs 3 --out run",
    "spectrum train artifacts --data chat.jsonl --epochs 3 --out run --resume",
  ],
  async run({ positionals: [id], options }, context) {
    const { terminal, signal, commandLine } = context;
    const { data, out = "run" } = options;
    if (data === undefined) throw new UsageError("There is nothing to train on: give --data FILE");
    if (options.epochs !== undefined && options.steps !== undefined)
      throw new UsageError("--epochs and --steps exclude each other");
    if (options["eval-steps"] !== undefined && options["eval-data"] === undefined)
      throw new UsageError(
        "--eval-steps says when to evaluate, and there is nothing to evaluate on: give --eval-data FILE",
      );
    const resume = options.resume;
    checkSelectionOptions(options);
    // A scan takes long: what would stop the run after it is looked for before.
    const trainOptions = readTrainOptions({ ...options, data });
    const runFolder = join(out, "training");
    const computeDtype = options["compute-dtype"];
    await checkTraining({
      ...trainOptions,
      out: runFolder,
      resume,
      ...(computeDtype !== undefined && { computeDtype }),
    });
    for (const reference of [data, options["eval-data"]])
      if (reference !== undefined) await fetchNamedDataset(reference, options, context);
    const artifacts = await prepareArtifacts(id, { ...options, out }, context).catch((error: unknown) => {
      const kept = options.selection === undefined ? "Scores are kept" : "No training has begun";
      if (signal.aborted) terminal.print(`${kept}. To go on:\n  ${commandLine}`);
      throw error;
    });
    // Saving takes it: better missed now than after the training.
    await using model = await openNamedBase(artifacts, options, context);
    const progress = progressReporter<StepReport>(terminal, renderTrainingProgress);
    let last: StepReport | null = null;
    try {
      const watch = { ...watchPacking(terminal), signal };
      const before = await evaluateHeldOut(artifacts, { ...options, out }, watch);
      if (before) terminal.print(`Before: ${renderEvaluation(before)}`);
      const onNote = (note: string) => terminal.print(note);
      const run = { ...trainOptions, out: runFolder, resume, onNote, ...watch };
      for await (const report of train(artifacts, run)) {
        last = report;
        progress.report(report);
        if (report.evaluation) {
          terminal.print(`Step ${report.step} of ${report.steps}: ${renderEvaluation(report.evaluation)}`);
        }
      }
      terminal.clearStatus();
      const folder = join(out, "model");
      const dtype = options["save-dtype"];
      const saved = await saveModel(artifacts, {
        out: folder,
        model,
        checkpoint: run.out,
        signal,
        ...(dtype !== undefined && { dtype }),
      });
      const share = ((100 * saved.changedValues) / Math.max(1, saved.trainedValues)).toFixed(1);
      const rounding = dtype === "float32" ? "stored as float32" : "rounded to the stored dtype";
      terminal.print(
        `\nSaved the model to ${folder}: ${share} % of the trained values, ${rounding}, differ from the base's.`,
      );
      if (options.json) await terminal.printDocument({ artifacts, model: folder, before, last, saved });
      return EXIT.done;
    } catch (error) {
      if (!signal.aborted) throw error;
      const again = resume ? commandLine : `${commandLine} --resume`;
      terminal.print(
        `Interrupted${last === null ? "" : ` after step ${last.step} of ${last.steps}`}; the run is kept. To go on:\n  ${again}`,
      );
      return EXIT.interrupted;
    }
  },
});

type Options = OptionValues<typeof OPTIONS>;

async function evaluateHeldOut(
  artifacts: string,
  options: Options & { readonly out: string },
  watch: Pick<EvaluateDataOptions, "signal" | "onSkip" | "onProgress">,
) {
  const heldOut = options["eval-data"];
  if (heldOut === undefined || options.resume) return null;
  const folder = join(options.out, "training", "data", "evaluation");
  return evaluate(artifacts, { ...readDataOptions(options), data: heldOut, folder, ...watch });
}

function readTrainOptions(options: Options & { readonly data: string }): TrainOptions {
  const { data, epochs, steps, schedule, warmup, accumulation, seed } = options;
  const learningRate = options["learning-rate"];
  const heldOut = options["eval-data"];
  const checkpointSteps = options["checkpoint-steps"];
  return {
    ...readDataOptions(options),
    data,
    ...(epochs !== undefined && { epochs }),
    ...(steps !== undefined && { steps }),
    ...(learningRate !== undefined && { learningRate }),
    ...(schedule !== undefined && { schedule }),
    ...(warmup !== undefined && { warmup }),
    ...(accumulation !== undefined && { accumulation }),
    ...(seed !== undefined && { seed }),
    ...(checkpointSteps !== undefined && { checkpointSteps }),
    ...(heldOut !== undefined && {
      evaluation: { data: heldOut, everySteps: options["eval-steps"] ?? Number.MAX_SAFE_INTEGER },
    }),
  };
}
