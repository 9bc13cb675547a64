// A graph of the artifacts, open on a backend, together with the trainable parameters that travel through it.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type BackendRequirement, checkRuns, openBackend } from "../../backends/index.ts";
import type { Backend, GraphSession, GraphTensor } from "../backend.ts";
import type { TokenBatch } from "../chat/batch.ts";
import { BackendUnavailableError, UsageError } from "../errors.ts";
import { float8Weight } from "../onnx/float8-weight.ts";
import { checkIds } from "./batch-ids.ts";
import type { Manifest } from "./manifest.ts";
import { readStandardManifest } from "./read-manifest.ts";
import type { NamedArrays } from "./tensor-file.ts";

/** Artifacts and the parameters to run them with. Each run replaces the arrays by others of the same memory. */
export interface Trainable {
  readonly folder: string;
  readonly manifest: Manifest;
  readonly parameters: NamedArrays;
}

/** Which backend is to run the graphs. */
export interface BackendChoice {
  /** Name of a backend, `auto` (default) for the best that is available here, or an open one, which stays open. */
  readonly backend?: string | Backend;
  /** Threads for the backend, and for updates where it trains; default: the processors this process may use. */
  readonly threads?: number;
  /** What the caller may want to know and did not ask for: which backend `auto` took, and why. */
  readonly onNote?: (note: string) => void;
}

/** What a person should know of a graph that was opened: how much memory weights take that a backend had to convert. */
export function notesOn({ name }: Backend, { foldedWeights = [] }: ArtifactGraph): readonly string[] {
  const megabytes = (bytes: number) => `${Number((bytes / 1e6).toPrecision(3))} MB`;
  return foldedWeights.map(
    ({ dtype, sizeBytes, castDtype, castBytes }) =>
      `${name} folds ${megabytes(sizeBytes)} of ${dtype} weights to ${megabytes(castBytes)} of ${castDtype}`,
  );
}

/** Artifacts that can be run here. */
export interface RunnableArtifacts {
  readonly folder: string;
  readonly manifest: Manifest;
  /** What a backend must do to run the graphs. */
  readonly requirement: BackendRequirement;
}

/**
 * Reads what is to be known before the graphs of a folder are run: all of the training graph, for its weights' types.
 *
 * @throws UsageError when they are of a form that is not run here; as `readManifest`.
 */
export async function readRunnable(artifacts: string | RunnableArtifacts): Promise<RunnableArtifacts> {
  if (typeof artifacts !== "string") return artifacts;
  const manifest = await readStandardManifest(artifacts);
  const { computeDtype, training } = manifest;
  // Both graphs hold the same frozen weights.
  const weight = float8Weight(await readFile(join(artifacts, training.file)));
  const requirement = { capability: "session", computeDtype, float8Weights: weight !== null } as const;
  return { folder: artifacts, manifest, requirement };
}

/**
 * A backend to run the graphs of artifacts, and how to give it back: one that came open is the caller's to close.
 *
 * @throws UsageError when it does not run such graphs; BackendUnavailableError when it cannot run here.
 */
export async function takeBackend(
  choice: BackendChoice,
  requirement: BackendRequirement,
): Promise<{ readonly backend: Backend; readonly release: () => Promise<void> }> {
  const { backend: name = "auto", threads } = choice;
  if (typeof name !== "string") {
    checkRuns(name, requirement);
    return { backend: name, release: async () => {} };
  }
  const { backend, notes } = await openBackend(name, {
    ...requirement,
    capability: "session",
    precision: "fast",
    ...(threads !== undefined && { threads }),
  });
  for (const note of notes) choice.onNote?.(note);
  return { backend, release: () => backend.close() };
}

/** What a run is to compute. */
export interface GraphCall {
  readonly batch: TokenBatch;
  /** Divisor of the summed loss. */
  readonly items: number;
  readonly outputs: readonly string[];
}

/** Outputs of a run by name. */
export type GraphOutputs = ReadonlyMap<string, GraphTensor>;

/** An open graph. */
export interface ArtifactGraph extends Pick<GraphSession, "foldedWeights"> {
  /** @throws UsageError when the batch is too long, or holds what is no token of the model. */
  run(call: GraphCall): Promise<GraphOutputs>;
  close(): Promise<void>;
}

/**
 * Opens the training or the evaluation graph of artifacts.
 *
 * @throws BackendUnavailableError when the backend runs no graphs; Error when it refuses this one.
 */
export async function openArtifactGraph(
  backend: Backend,
  trainable: Trainable,
  which: "training" | "evaluation",
): Promise<ArtifactGraph> {
  const { folder, manifest, parameters } = trainable;
  if (backend.session === undefined)
    throw new BackendUnavailableError(
      `Cannot train on the backend ${backend.name}: it runs no graphs; choose onnxruntime-cpu`,
    );
  const session = await backend.session({
    path: join(folder, manifest[which].file),
    weightsFolder: manifest.weightsFolder,
  });
  async function run({ batch, items, outputs }: GraphCall): Promise<GraphOutputs> {
    if (batch.sequence > manifest.maxSequence) {
      throw new UsageError(
        `Cannot run sequences of ${batch.sequence} tokens: the artifacts take at most ${manifest.maxSequence}; pack shorter ones, or export for longer ones`,
      );
    }
    checkIds(batch, manifest);
    const feeds = batchFeeds(session, batch, items);
    for (const { name, shape } of manifest.parameters) {
      const values = parameters.get(name);
      if (values === undefined) throw new Error(`Cannot run ${which}: the parameter "${name}" is missing`);
      feeds.set(name, { dtype: "float32", shape, values });
    }
    const done = await session.run(feeds, outputs);
    for (const name of parameters.keys()) parameters.set(name, floatsOf(done.feeds, name));
    return done.outputs;
  }

  // The parameters travel with each run: the next one waits for them.
  let last: Promise<unknown> = Promise.resolve();
  return {
    foldedWeights: session.foldedWeights ?? [],
    run(call) {
      const result = last.then(() => run(call));
      last = result.catch(() => {});
      return result;
    },
    close: () => session.close(),
  };
}

function batchFeeds(session: GraphSession, batch: TokenBatch, items: number): Map<string, GraphTensor> {
  const shape = [batch.batch, batch.sequence];
  const integers = (name: string, values: Int32Array): GraphTensor =>
    session.inputs.get(name) === "int32"
      ? { dtype: "int32", shape, values: values.slice() }
      : { dtype: "int64", shape, values: BigInt64Array.from(values, BigInt) };
  return new Map<string, GraphTensor>([
    ["input_ids", integers("input_ids", batch.inputIds)],
    ["labels", integers("labels", batch.labels)],
    ["position_ids", integers("position_ids", batch.positionIds)],
    ["num_items", { dtype: "float32", shape: [], values: Float32Array.of(items) }],
  ]);
}

/** The float32 tensor of that name. */
export function floatsOf(tensors: GraphOutputs, name: string): Float32Array<ArrayBuffer> {
  const tensor = tensors.get(name);
  if (tensor?.dtype === "float32") return tensor.values;
  throw new TypeError(`Cannot read "${name}" of a graph: expected float32, got ${tensor?.dtype}`);
}

/** The scalar of that name. */
export function scalarOf(tensors: GraphOutputs, name: string): number {
  const [value, ...more] = floatsOf(tensors, name);
  if (value !== undefined && more.length === 0) return value;
  throw new TypeError(`Cannot read "${name}" of a graph: expected one value, got ${more.length + 1}`);
}
