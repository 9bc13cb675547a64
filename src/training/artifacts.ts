// Exports a model for training: graphs in which only the selected parameters learn, and what goes with them. The folder
// is written aside and renamed, so that one of that name is whole.
import { randomBytes } from "node:crypto";
import { mkdir, readdir, rename, rm, rmdir, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { UsageError } from "../errors.ts";
import type { Model, ModelTensor } from "../hub/model.ts";
import type { Graph } from "../onnx/graph.ts";
import { modelFile } from "../onnx/model-file.ts";
import { OPSET } from "../onnx/operators/table.ts";
import { writeSafetensors } from "../safetensors/writer.ts";
import { TOOL } from "../tool.ts";
import { CHECKPOINT_FILES, INITIAL_STATE } from "./checkpoint.ts";
import {
  type ExportOptions,
  type ExportPlan,
  parametersOf,
  planExport,
  type SelectedParameters,
  withNewRows,
} from "./export-plan.ts";
import { copyWeights, referenceWeights } from "./frozen-weights.ts";
import { evaluationGraph, type GraphSource, newRowsOf, trainingGraph } from "./graphs.ts";
import { bytesOf, float32Blocks, meanRows } from "./initial-values.ts";
import {
  type AdamWConstants,
  type GraphFile,
  type GraphValue,
  MANIFEST_VERSION,
  type Manifest,
} from "./manifest.ts";
import { graphWeights } from "./model-weights.ts";
import { optimizerGraph } from "./optimizer-graph.ts";

/** Exported artifacts. */
export interface Artifacts {
  readonly folder: string;
  readonly manifest: Manifest;
}

/** torch.optim.AdamW's. */
const ADAMW: AdamWConstants = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01 };

const FILES = {
  training: "training_model.onnx",
  evaluation: "eval_model.onnx",
  optimizer: "optimizer_model.onnx",
  checkpoint: "checkpoint",
} as const;

/**
 * Writes the artifacts of a model: three graphs, the trainable parameters as float32 with moments of 0 (which have no
 * file), the tokenizer with its template, and a manifest.
 *
 * @param selection what `select` returned, or names read from a selection file.
 * @throws UsageError when the model's family, a field of its config or a dtype is not supported, a name is no parameter,
 * the weights are not on this machine, or `out` is not free. Then nothing is left behind.
 */
export async function exportArtifacts(
  model: Model,
  selection: SelectedParameters,
  options: ExportOptions,
): Promise<Artifacts> {
  const out = resolve(options.out);
  await checkFree(out);
  const plan = await planExport(model, selection, options);
  const aside = join(dirname(out), `.${basename(out)}.${randomBytes(6).toString("hex")}`);
  await mkdir(aside, { recursive: true });
  try {
    const manifest = await writeArtifacts(aside, plan);
    if (await exists(out)) await rmdir(out);
    await rename(aside, out);
    return { folder: out, manifest };
  } catch (error) {
    await rm(aside, { recursive: true, force: true });
    throw error;
  }
}

async function checkFree(out: string): Promise<void> {
  if (!(await exists(out)) || (await readdir(out)).length === 0) return;
  throw new UsageError(
    `Cannot export to ${out}: it is there and not empty; remove it, or name another folder`,
  );
}

async function exists(folder: string): Promise<boolean> {
  try {
    await readdir(folder);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return false;
    if (error instanceof Error && "code" in error && error.code === "ENOTDIR")
      throw new UsageError(`Cannot export to ${folder}: it is a file; name a folder`);
    throw error;
  }
}

async function writeArtifacts(folder: string, plan: ExportPlan): Promise<Manifest> {
  const { model, options, divided } = plan;
  const isCopy = options.weights === "copy";
  const frozen = [...divided.tensors.values()].filter((tensor) => !divided.trained.has(tensor));
  const referenced = isCopy ? null : await referenceWeights(model, plan.modelFolder);
  const locate = referenced?.locate ?? (await copyWeights(model, frozen, folder));
  const parameters = parametersOf(plan);
  const source: GraphSource = {
    config: plan.config,
    weights: withNewRows(plan, graphWeights(divided, locate)),
    maxSequence: plan.maxSequence,
    queryChunks: options.queryChunks ?? 4,
    headChunks: options.headChunks ?? 4,
    recompute: options.recompute ?? "none",
    type: options.computeDtype ?? "float32",
  };
  const adamw = { ...ADAMW, ...options.adamw };
  const manifest: Manifest = {
    ...manifestHead(plan),
    weights: isCopy ? "copy" : "reference",
    weightsFolder: referenced?.folder ?? null,
    parameters,
    training: await writeGraph(folder, FILES.training, trainingGraph(source)),
    evaluation: await writeGraph(folder, FILES.evaluation, evaluationGraph(source)),
    optimizer: {
      ...(await writeGraph(folder, FILES.optimizer, optimizerGraph(parameters, adamw))),
      ...adamw,
    },
    checkpoint: FILES.checkpoint,
  };
  await writeCheckpoint(join(folder, FILES.checkpoint), plan);
  await plan.tokenizer.write(folder);
  await writeFile(join(folder, "manifest.json"), `${JSON.stringify(manifest, null, 2)}\n`);
  return manifest;
}

function manifestHead({
  model,
  selection,
  options,
  config,
  divided,
  tokenizer,
  newRows,
  maxSequence,
}: ExportPlan) {
  return {
    schemaVersion: MANIFEST_VERSION,
    tool: TOOL,
    model: {
      id: model.id,
      revision: model.revision,
      files: model.files.map(({ name, sizeBytes, sha256 }) => ({
        name,
        sizeBytes,
        ...(sha256 === null ? {} : { sha256 }),
      })),
    },
    form: "standard",
    opset: OPSET,
    computeDtype: options.computeDtype ?? "float32",
    recompute: options.recompute ?? "none",
    selection: {
      source: selection.source ?? "names given",
      parameterNames: [...divided.tensors.values()]
        .filter((tensor) => divided.trained.has(tensor))
        .map(({ name }) => name),
    },
    chatTemplate: options.chatTemplate ?? "chatml",
    addedTokens: tokenizer.addedTokens,
    vocabularySize: config.vocabularySize + (newRows[0]?.count ?? 0),
    maxSequence,
  } as const;
}

async function writeGraph(folder: string, file: string, g: Graph): Promise<GraphFile> {
  await writeFile(join(folder, file), modelFile(g, { name: file.replace(".onnx", ""), producer: TOOL }));
  return {
    file,
    inputs: g.inputs.map((value) => graphValue(value.name, value)),
    outputs: [...g.outputs].map(([name, value]) => graphValue(name, value)),
  };
}

function graphValue(name: string, { type, shape }: Graph["inputs"][number]): GraphValue {
  if (type !== "float32" && type !== "int64" && type !== "int32")
    throw new TypeError(
      `Cannot give ${name} the type ${type}: artifacts take and give float32, int64 and int32`,
    );
  return { name, dtype: type, shape };
}

/** The values that training begins with. The moments are 0 and have no file. */
async function writeCheckpoint(folder: string, { model, divided, newRows }: ExportPlan): Promise<void> {
  await mkdir(folder);
  const whole = [...divided.trained].map((tensor) => ({
    name: tensor.name,
    dtype: "F32" as const,
    shape: tensor.shape,
    blocks: float32Bytes(model, tensor),
  }));
  const rows = await Promise.all(
    newRows.map(async ({ tensor, count }) => ({
      name: newRowsOf(tensor.name),
      dtype: "F32" as const,
      shape: [count, ...tensor.shape.slice(1)],
      blocks: [bytesOf(await meanRows(model, tensor, count))],
    })),
  );
  await writeSafetensors(join(folder, CHECKPOINT_FILES.parameters), [...whole, ...rows]);
  await writeFile(join(folder, CHECKPOINT_FILES.state), `${JSON.stringify(INITIAL_STATE, null, 2)}\n`);
}

async function* float32Bytes(model: Model, tensor: ModelTensor): AsyncGenerator<Uint8Array> {
  for await (const block of float32Blocks(model, tensor)) yield bytesOf(block);
}
