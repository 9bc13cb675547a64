// The training loop: batches through the training graph, gradients added up and clipped, AdamW, evaluation, checkpoints.
import { mkdir } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { Backend } from "../backend.ts";
import { type StepBatches, stepBatches } from "./accumulation.ts";
import {
  type ArtifactGraph,
  floatsOf,
  notesOn,
  openArtifactGraph,
  type RunnableArtifacts,
  readRunnable,
  scalarOf,
  type Trainable,
  takeBackend,
} from "./artifact-graph.ts";
import {
  INITIAL_STATE,
  type RunSettings,
  readCheckpoint,
  saveCheckpoint,
  type TrainerState,
} from "./checkpoint.ts";
import { clipScale } from "./clip.ts";
import { type Evaluation, evaluateGraph } from "./evaluate.ts";
import { type Plan, planOf, type TrainBatchesOptions } from "./plan.ts";
import { checkpointToResume, checkSettings } from "./resume.ts";
import { openRunLog, type RunLog } from "./run-log.ts";
import type { NamedArrays } from "./tensor-file.ts";
import { type Moments, zeroMoments } from "./update/adamw.ts";
import { openUpdater, type Updater } from "./update/updater.ts";

/** What {@link trainBatches} tells after each update. */
export interface StepReport {
  /** From 1. */
  readonly step: number;
  readonly steps: number;
  /** Epochs done, with the fraction of the one at work. */
  readonly epoch: number;
  /** Mean over the target tokens of the update, before it. */
  readonly loss: number;
  /** Norm of all gradients before clipping. */
  readonly gradientNorm: number;
  readonly learningRate: number;
  /** Target tokens of the update. */
  readonly targets: number;
  /** Positions per second, padding included. */
  readonly tokensPerSecond: number;
  /** Resident memory of the process. */
  readonly memoryBytes: number;
  readonly remainingMs: number;
  /** Held-out results, where this was the step for it. */
  readonly evaluation: Evaluation | null;
  /** Path of the checkpoint, where one was written. */
  readonly checkpoint: string | null;
}

/**
 * Trains the parameters of artifacts: a folder, or what has been read of it. Whoever stops the iteration, by `break` or
 * the signal, can go on with `resume`; on the same machine with the same threads, the result is the same to the bit.
 *
 * @example
 * for await (const { step, steps, loss } of trainBatches("artifacts", { batches, out: "run", epochs: 1 }))
 *   console.log(`${step}/${steps} ${loss}`);
 *
 * @throws UsageError for options that cannot be, a folder that holds a run already, or settings that are not those of the
 * run to go on with; Error naming the batch when loss or gradients are not finite; the signal's reason when aborted.
 */
export async function* trainBatches(
  artifacts: string | RunnableArtifacts,
  options: TrainBatchesOptions,
): AsyncGenerator<StepReport, void> {
  const runnable = await readRunnable(artifacts);
  const { folder, manifest, requirement } = runnable;
  const plan = await planOf(options, manifest);
  const { checkpoint, saved } = await startingPoint(runnable, options, plan.settings);
  const { backend, release } = await takeBackend(options, requirement);
  try {
    await using updater = openUpdater({
      values: [...checkpoint.parameters.values()].reduce((sum, { length }) => sum + length, 0),
      threads: options.threads ?? availableParallelism(),
    });
    const trainable = { folder, manifest, parameters: checkpoint.parameters };
    const moments = new Map(checkpoint.moments ?? initialMoments(checkpoint.parameters));
    const run = { options, plan, backend, updater, trainable, moments, state: checkpoint.state, saved };
    yield* runSteps(run);
  } finally {
    await release();
  }
}

/** The newest checkpoint of the run, or the artifacts' own; `saved` is the step that is on disk as the run's. */
async function startingPoint(
  { folder, manifest: { parameters, checkpoint } }: RunnableArtifacts,
  { out, resume = false }: TrainBatchesOptions,
  settings: RunSettings,
) {
  const latest = await checkpointToResume(out, resume);
  if (latest !== null) await checkSettings(latest, settings);
  const found = await readCheckpoint(latest ?? join(folder, checkpoint), parameters);
  if (latest === null)
    return { checkpoint: { ...found, state: { ...INITIAL_STATE, settings } }, saved: null };
  return { checkpoint: found, saved: found.state.step };
}

function initialMoments(parameters: NamedArrays): Map<string, readonly Moments[]> {
  return new Map([...parameters].map(([name, values]) => [name, zeroMoments(values.length)]));
}

/** A run at work. */
interface Run {
  readonly options: TrainBatchesOptions;
  readonly plan: Plan;
  readonly backend: Backend;
  readonly trainable: Trainable;
  readonly updater: Updater;
  /** Each update replaces the arrays by others of the same memory, as it does the parameters'. */
  readonly moments: Map<string, readonly Moments[]>;
  state: TrainerState;
  /** Step of the newest checkpoint of the run. */
  saved: number | null;
}

async function* runSteps(run: Run): AsyncGenerator<StepReport, void> {
  const { options, plan, backend, trainable } = run;
  if (run.state.step >= plan.steps) return;
  await mkdir(options.out, { recursive: true });
  const log = await openRunLog(options.out, run.state.step);
  const graph = await openArtifactGraph(backend, trainable, "training").catch(async (error: unknown) => {
    await log.close();
    throw error;
  });
  let failed = false;
  try {
    for (const note of notesOn(backend, graph)) options.onNote?.(note);
    const firstStep = run.state.step;
    const begin = performance.now();
    const from = { epoch: run.state.epoch, skip: run.state.sequences };
    for await (const batches of stepBatches(options.batches, from, plan.accumulation)) {
      const stepBegin = performance.now();
      const update = await makeUpdate(run, graph, batches);
      const positions = batches.batches.reduce((sum, { batch, sequence }) => sum + batch * sequence, 0);
      const tokensPerSecond = (1000 * positions) / (performance.now() - stepBegin);
      const evaluation = await evaluateIfDue(run);
      const { step } = run.state;
      const isLast = step === plan.steps;
      const due = isLast || step % (options.checkpointSteps ?? 100) === 0;
      const report: StepReport = {
        ...update,
        step,
        steps: plan.steps,
        epoch: run.state.epoch + run.state.sequences / options.batches.sequences,
        targets: batches.targets,
        tokensPerSecond,
        memoryBytes: process.memoryUsage.rss(),
        remainingMs: ((performance.now() - begin) / (step - firstStep)) * (plan.steps - step),
        evaluation,
        checkpoint: due ? await save(run) : null,
      };
      await logStep(log, report);
      yield report;
      if (isLast) return;
      options.signal?.throwIfAborted();
    }
  } catch (error) {
    failed = !(options.signal?.aborted && error === options.signal.reason);
    throw error;
  } finally {
    await graph.close();
    await log.close();
    if (!failed && run.saved !== run.state.step && run.state.step > 0) await save(run);
  }
}

async function save(run: Run): Promise<string> {
  const { options, trainable, moments, state } = run;
  const checkpoint = { parameters: trainable.parameters, moments, state };
  const path = await saveCheckpoint(options.out, checkpoint, trainable.manifest.parameters);
  run.saved = state.step;
  return path;
}

/** One update of all parameters; the run's state moves on with it. */
async function makeUpdate(run: Run, graph: ArtifactGraph, step: StepBatches) {
  const { plan, trainable, moments, state, updater } = run;
  const { parameters, manifest } = trainable;
  const { loss, gradients } = await accumulate(run, graph, step);
  const gradientNorm = Math.sqrt(await updater.sumOfSquares(gradients));
  if (!Number.isFinite(gradientNorm))
    throw notFinite(run, step, `the norm of the gradients is ${gradientNorm}`);
  const learningRate = plan.learningRate * plan.schedule(state.step);
  const settings = {
    ...plan.constants,
    learningRate,
    step: state.step + 1,
    gradScale: clipScale(gradientNorm, plan.maxGradientNorm),
  };
  const decaying = new Set(manifest.parameters.filter(({ decay }) => decay).map(({ name }) => name));
  await updater.adamw({ parameters, moments, gradients, decaying }, settings);
  run.state = {
    ...state,
    step: state.step + 1,
    epoch: step.next.epoch,
    sequences: step.next.skip,
    targets: state.targets + step.targets,
  };
  return { loss, gradientNorm, learningRate };
}

/** Loss and gradients summed over the batches of a step, each divided by the step's target tokens. */
async function accumulate(run: Run, graph: ArtifactGraph, step: StepBatches) {
  const { parameters } = run.trainable.manifest;
  const outputs = ["loss", ...parameters.map(({ name }) => `${name}.grad`)];
  let sums: NamedArrays | null = null;
  let loss = 0;
  for (const [index, batch] of step.batches.entries()) {
    run.options.signal?.throwIfAborted();
    const results = await graph.run({ batch, items: step.targets, outputs });
    const part = scalarOf(results, "loss");
    if (!Number.isFinite(part)) throw notFinite(run, step, `the loss is ${part}`, index);
    loss += part;
    const gradients: NamedArrays = new Map(
      parameters.map(({ name }) => [name, floatsOf(results, `${name}.grad`)]),
    );
    if (sums === null) sums = gradients;
    else await run.updater.add(sums, gradients);
  }
  return { loss, gradients: sums ?? new Map() };
}

/** Names the batch at which a run broke: `index` within the step, or all of them. */
function notFinite(run: Run, { at, batches }: StepBatches, what: string, index?: number): Error {
  const { state, saved, trainable } = run;
  const before = batches.slice(0, index ?? 0).reduce((sum, { batch }) => sum + batch, 0);
  const count = (index === undefined ? batches : batches.slice(index, index + 1)).reduce(
    (sum, { batch }) => sum + batch,
    0,
  );
  const first = at.skip + before + 1;
  const kept = saved === null ? "no checkpoint was written" : `checkpoint-${saved} is from before`;
  const range =
    trainable.manifest.computeDtype === "float16"
      ? ", or export with compute dtype float32 or bfloat16, since float16 ends at 65,504"
      : "";
  return new Error(
    `Cannot go on at step ${state.step + 1}: ${what} for sequences ${first} to ${first + count - 1} of epoch ${at.epoch + 1}; ${kept}; lower the learning rate, or look at those sequences${range}`,
  );
}

/** Held-out results where this is the step for it. The graph is open no longer than that: it may take much memory. */
async function evaluateIfDue({ options, plan, backend, trainable, state }: Run): Promise<Evaluation | null> {
  const { evaluation, signal } = options;
  if (evaluation === undefined) return null;
  if (state.step % evaluation.everySteps !== 0 && state.step !== plan.steps) return null;
  const graph = await openArtifactGraph(backend, trainable, "evaluation");
  try {
    return await evaluateGraph(graph, evaluation.batches, { ...(signal && { signal }) });
  } finally {
    await graph.close();
  }
}

async function logStep(log: RunLog, report: StepReport): Promise<void> {
  const { step, loss, gradientNorm, learningRate, tokensPerSecond, memoryBytes, epoch, evaluation } = report;
  await log.write(step, {
    "train/loss": loss,
    "train/gradient_norm": gradientNorm,
    "train/learning_rate": learningRate,
    "train/epoch": epoch,
    "train/tokens_per_second": tokensPerSecond,
    "train/memory_bytes": memoryBytes,
    ...(evaluation !== null && {
      "eval/loss": evaluation.loss,
      "eval/perplexity": evaluation.perplexity,
      "eval/token_accuracy": evaluation.tokenAccuracy,
    }),
  });
}
