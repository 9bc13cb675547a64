// What a run will be: its options checked, with their defaults, and what follows from them.
import { createHash } from "node:crypto";
import { UsageError } from "../errors.ts";
import { stepsPerEpoch } from "./accumulation.ts";
import type { BackendChoice } from "./artifact-graph.ts";
import type { BatchSource } from "./batch-source.ts";
import type { RunSettings } from "./checkpoint.ts";
import { type AdamWConstants, baseModelId, type Manifest } from "./manifest.ts";
import { checkSchedule, createSchedule, type Schedule } from "./schedule.ts";

/** Options of `trainBatches`. */
export interface TrainBatchesOptions extends BackendChoice {
  readonly batches: BatchSource;
  /** Folder of the run: checkpoints, metrics.jsonl, TensorBoard's files. */
  readonly out: string;
  /** Default 1. Not together with `steps`. */
  readonly epochs?: number;
  /** Updates to make, over as many epochs as it takes. */
  readonly steps?: number;
  /** Default 2e-5. */
  readonly learningRate?: number;
  /** Name or expression, see `createSchedule`; default `cosine`. */
  readonly schedule?: string;
  /** Updates over which the learning rate rises; default 3 % of all. */
  readonly warmup?: number;
  /** Batches per update; default 1. */
  readonly accumulation?: number;
  /** Bound on the norm of all gradients; null for none. Default 1. */
  readonly maxGradientNorm?: number | null;
  /** Where they are to differ from the manifest's. */
  readonly adamw?: Partial<AdamWConstants>;
  /** Held-out data, evaluated each so many updates and after the last one. */
  readonly evaluation?: { readonly batches: BatchSource; readonly everySteps: number };
  /** Updates between checkpoints; one is always written at the end. Default 100. */
  readonly checkpointSteps?: number;
  /** Goes on from the newest checkpoint in `out`, or begins where there is none. */
  readonly resume?: boolean;
  /** Stops after the batch at work, with a checkpoint. */
  readonly signal?: AbortSignal;
}

/** The options with their defaults, and what follows from them. */
export interface Plan {
  readonly steps: number;
  readonly accumulation: number;
  readonly learningRate: number;
  readonly maxGradientNorm: number | null;
  readonly schedule: Schedule;
  readonly constants: AdamWConstants;
  readonly settings: RunSettings;
}

/** The options of a run that can be looked at before there is any data. */
export interface RunOptions
  extends Pick<
    TrainBatchesOptions,
    | "epochs"
    | "steps"
    | "learningRate"
    | "schedule"
    | "warmup"
    | "accumulation"
    | "maxGradientNorm"
    | "checkpointSteps"
  > {
  readonly evaluation?: { readonly everySteps: number };
}

/**
 * Checks what can be checked before there is any data.
 *
 * @throws UsageError naming the option that cannot be.
 */
export async function checkRun(options: RunOptions): Promise<void> {
  const { epochs, steps, learningRate = 2e-5, maxGradientNorm = 1, warmup = 0 } = options;
  if (epochs !== undefined && steps !== undefined)
    throw new UsageError("Cannot train for both epochs and steps: give one of them");
  checkCount("accumulation", options.accumulation ?? 1);
  checkCount("epochs", epochs ?? 1);
  checkCount("steps", steps ?? 1);
  checkCount("checkpointSteps", options.checkpointSteps ?? 1);
  checkCount("evaluation.everySteps", options.evaluation?.everySteps ?? 1);
  checkPositive("learningRate", learningRate);
  if (maxGradientNorm !== null) checkPositive("maxGradientNorm", maxGradientNorm);
  if (!Number.isSafeInteger(warmup) || warmup < 0)
    throw new UsageError(`Cannot train with warmup ${warmup}: expected a whole number from 0`);
  await checkSchedule(options.schedule ?? DEFAULT_SCHEDULE);
}

const DEFAULT_SCHEDULE = "cosine";

/**
 * Plans a run.
 *
 * @throws UsageError for options that cannot be, alone or with this data.
 */
export async function planOf(options: TrainBatchesOptions, manifest: Manifest): Promise<Plan> {
  await checkRun(options);
  const { batches, accumulation = 1, learningRate = 2e-5, schedule = DEFAULT_SCHEDULE } = options;
  const { maxGradientNorm = 1 } = options;
  if (batches.sequences < 1) throw new UsageError("Cannot train: the data holds no sequence");
  const steps = options.steps ?? stepsPerEpoch(batches, accumulation) * (options.epochs ?? 1);
  const warmup = options.warmup ?? Math.round(0.03 * steps);
  return {
    steps,
    accumulation,
    learningRate,
    maxGradientNorm,
    constants: constantsOf(options, manifest),
    schedule: await createSchedule(schedule, { steps, warmup }),
    settings: {
      ...settingsOf(options, manifest),
      ...batches.settings,
      sequences: batches.sequences,
      batchSize: batches.batchSize,
      steps,
      warmup,
    },
  };
}

/** What decides how a run goes on and is known before there is any data. */
export function settingsOf(
  options: Omit<TrainBatchesOptions, "batches" | "out" | "evaluation">,
  manifest: Manifest,
): RunSettings {
  const { steps, warmup, accumulation = 1, learningRate = 2e-5, schedule = DEFAULT_SCHEDULE } = options;
  const { parameters, chatTemplate, trainEmbeddings, maxSequence, computeDtype } = manifest;
  return {
    model: baseModelId(manifest),
    chatTemplate,
    trainEmbeddings,
    maxSequence,
    computeDtype,
    parameters: digestOf(parameters.map(({ name, shape }) => [name, shape])),
    accumulation,
    learningRate,
    schedule,
    maxGradientNorm: options.maxGradientNorm === undefined ? 1 : options.maxGradientNorm,
    ...constantsOf(options, manifest),
    ...(steps !== undefined && { steps }),
    ...(warmup !== undefined && { warmup }),
  };
}

function constantsOf({ adamw }: Pick<TrainBatchesOptions, "adamw">, { optimizer }: Manifest) {
  const { beta1, beta2, epsilon, weightDecay } = { ...optimizer, ...adamw };
  return { beta1, beta2, epsilon, weightDecay };
}

function digestOf(value: unknown): string {
  return createHash("sha256").update(JSON.stringify(value)).digest("hex");
}

function checkCount(name: string, count: number): void {
  if (Number.isSafeInteger(count) && count >= 1) return;
  throw new UsageError(`Cannot train with ${name} ${count}: expected a whole number from 1`);
}

function checkPositive(name: string, value: number): void {
  if (value > 0 && value < Number.POSITIVE_INFINITY) return;
  throw new UsageError(`Cannot train with ${name} ${value}: expected a number above 0`);
}
