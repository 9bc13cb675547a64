// Trained parameters, open for evaluation and for generating text.
import { join } from "node:path";
import {
  type ArtifactGraph,
  type BackendChoice,
  notesOn,
  openArtifactGraph,
  type RunnableArtifacts,
  readRunnable,
  takeBackend,
} from "./artifact-graph.ts";
import { type ArtifactsFolder, folderOf } from "./artifacts-folder.ts";
import type { BatchSource } from "./batch-source.ts";
import { checkpointFolder, readCheckpoint } from "./checkpoint.ts";
import { type EvaluateGraphOptions, type Evaluation, evaluateGraph } from "./evaluate.ts";
import { type GenerateOptions, generateTokens } from "./generate.ts";

/** Options of {@link openEvaluationModel}. */
export interface EvaluationModelOptions extends BackendChoice {
  /** A checkpoint, or a run's folder for its newest; default: the artifacts' own, before training. */
  readonly checkpoint?: string;
}

/** An open model. Close it when done: it owns a thread. */
export interface EvaluationModel extends AsyncDisposable {
  /** Loss, perplexity and token accuracy on one epoch of a source. */
  evaluate(batches: BatchSource, options?: EvaluateGraphOptions): Promise<Evaluation>;
  /** Token ids that go on from a prompt, as they come. */
  generate(promptIds: readonly number[], options?: GenerateOptions): AsyncGenerator<number, void>;
  close(): Promise<void>;
}

/**
 * Opens the evaluation graph of artifacts with a checkpoint's parameters.
 *
 * @throws UsageError when there is no such checkpoint; BackendUnavailableError when the backend cannot run here.
 *
 * @example
 * const model = await openEvaluationModel("artifacts", { checkpoint: "run" });
 * const { loss, perplexity } = await model.evaluate(batches);
 * await model.close();
 */
export async function openEvaluationModel(
  artifacts: ArtifactsFolder,
  options: EvaluationModelOptions = {},
): Promise<EvaluationModel> {
  return openRunnable(await readRunnable(folderOf(artifacts)), options);
}

async function openRunnable(
  { folder, manifest, requirement }: RunnableArtifacts,
  options: EvaluationModelOptions,
): Promise<EvaluationModel> {
  const checkpoint = await checkpointFolder(options.checkpoint ?? join(folder, manifest.checkpoint));
  const { parameters } = await readCheckpoint(checkpoint, manifest.parameters);
  const { backend, release } = await takeBackend(options, requirement);
  let graph: ArtifactGraph;
  try {
    graph = await openArtifactGraph(backend, { folder, manifest, parameters }, "evaluation");
  } catch (error) {
    await release();
    throw error;
  }
  for (const note of notesOn(backend, graph)) options.onNote?.(note);
  const close = async () => {
    await graph.close();
    await release();
  };
  return {
    evaluate: (batches, evaluateOptions) => evaluateGraph(graph, batches, evaluateOptions),
    generate: (promptIds, generateOptions) => generateTokens(graph, { manifest, promptIds }, generateOptions),
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Options of {@link evaluate}. */
export interface EvaluateOptions extends EvaluationModelOptions, EvaluateGraphOptions {
  readonly batches: BatchSource;
}

/**
 * Loss, perplexity and token accuracy of artifacts (a folder, or what has been read of it), or of a checkpoint trained
 * from them.
 *
 * @throws RangeError when the data holds no target token.
 */
export async function evaluate(
  artifacts: string | RunnableArtifacts,
  options: EvaluateOptions,
): Promise<Evaluation> {
  const model = await openRunnable(await readRunnable(artifacts), options);
  try {
    return await model.evaluate(options.batches, options);
  } finally {
    await model.close();
  }
}
