// What an export will be: decided and checked before the first byte is written.
import { decoderConfig } from "../architectures/architectures.ts";
import { type DecoderConfig, EMBEDDING, HEAD } from "../architectures/decoder.ts";
import type { ComputeDType } from "../backend.ts";
import type { TemplateKind } from "../chat/template.ts";
import { UsageError } from "../errors.ts";
import type { Model, ModelTensor } from "../hub/model.ts";
import { type ArtifactTokenizer, artifactTokenizer } from "./artifact-tokenizer.ts";
import { type GraphSource, newRowsOf } from "./graphs.ts";
import type { AdamWConstants, Manifest, TrainableParameter } from "./manifest.ts";
import { type DividedWeights, divideWeights } from "./model-weights.ts";

/** What is to train: a selection, or names alone. */
export interface SelectedParameters {
  /** Names of the checkpoint, or those that transformers gives. */
  readonly parameterNames: readonly string[];
  /** Where the names came from, for the manifest; default: that they were given. */
  readonly source?: string;
}

/** Options of `exportArtifacts`. */
export interface ExportOptions {
  /** Folder to write; it must not exist, or be empty. */
  readonly out: string;
  /** Default `chatml`. `none` needs no tokenizer. */
  readonly chatTemplate?: TemplateKind;
  /** Whether embedding and head train, and of them only the rows of tokens that chatml adds (default). */
  readonly trainEmbeddings?: "new-rows" | "all" | "none";
  /**
   * `standard` (default) runs on any ONNX Runtime; `ort-training` is what its training builds, which ended at 1.19.2,
   * train by themselves: frozen weights are copied, and weight decay is for every parameter that trains.
   */
  readonly form?: Manifest["form"];
  /** Whether frozen weights stay in the model's files (default of the form `standard`) or are copied into the folder. */
  readonly weights?: "reference" | "copy";
  /** Longest sequence; default: what the model was made for, and at most 32,768. */
  readonly maxSequence?: number;
  /** Chunks that a sequence's attention is cut into. Default 4. */
  readonly queryChunks?: number;
  /** Chunks that the logits are cut into. Default 4. */
  readonly headChunks?: number;
  /** Whether each layer is computed again in the backward pass: less memory, more time. Default `none`. */
  readonly recompute?: "none" | "layers";
  /**
   * In what activations and matrix products are computed, where the backend that will run the graphs computes in it.
   * Parameters, gradients, loss, logits and the statistics of norms and softmax are float32 all the same. Default `float32`.
   */
  readonly computeDtype?: ComputeDType;
  /** Constants of the optimizer; default: torch's for AdamW. */
  readonly adamw?: Partial<AdamWConstants>;
  /** Stops the writing; nothing is left behind. */
  readonly signal?: AbortSignal;
}

/** torch.optim.AdamW's. */
const ADAMW: AdamWConstants = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01 };

/** Each position has a row in the tables of angles, which the graphs hold. */
const MAX_SEQUENCE = 32768;

/** Everything that is decided before the first byte is written. */
export interface ExportPlan {
  readonly model: Model;
  readonly modelFolder: string;
  readonly selection: SelectedParameters;
  readonly options: ExportOptions;
  readonly form: Manifest["form"];
  readonly adamw: AdamWConstants;
  readonly config: DecoderConfig;
  readonly divided: DividedWeights;
  readonly tokenizer: ArtifactTokenizer;
  readonly newRows: readonly NewRows[];
  readonly maxSequence: number;
}

/** Rows of tokens that the model has none for, which follow those of a tensor. */
export interface NewRows {
  /** The tensor by the name that transformers gives it. */
  readonly parameter: string;
  readonly tensor: ModelTensor;
  readonly count: number;
}

/**
 * Checks what is asked of an export and decides what it will be.
 *
 * @throws UsageError as exportArtifacts says.
 */
export async function planExport(
  model: Model,
  selection: SelectedParameters,
  options: ExportOptions,
): Promise<ExportPlan> {
  const { chatTemplate = "chatml", trainEmbeddings = "new-rows", form = "standard" } = options;
  if (form === "ort-training" && options.weights === "reference") {
    throw new UsageError(
      `Cannot export ${model.id} in the form ort-training with weights "reference": its checkpoint holds a copy of them; leave that out, or export the form standard`,
    );
  }
  if (form === "ort-training" && (options.computeDtype ?? "float32") !== "float32") {
    throw new UsageError(
      `Cannot export ${model.id} in the form ort-training to compute in ${options.computeDtype}: its kernels compute in float32; leave the compute dtype out, or export the form standard`,
    );
  }
  const config = decoderConfig(model.config);
  const modelFolder = model.folder;
  if (modelFolder === null) {
    throw new UsageError(
      `Cannot export ${model.id}: its weights are streamed, and the artifacts need them on this machine; open the model without streaming`,
    );
  }
  const tables = config.tied ? [EMBEDDING] : [EMBEDDING, HEAD];
  const trained = [...selection.parameterNames, ...(trainEmbeddings === "all" ? tables : [])];
  const divided = divideWeights(model, config, trained);
  const tokenizer = await artifactTokenizer(modelFolder, chatTemplate);
  const end = Math.max(0, ...tokenizer.addedTokens.map(({ id }) => id + 1));
  const count = Math.max(0, end - config.vocabularySize);
  if (count > 0 && trainEmbeddings === "none") {
    throw new UsageError(
      `Cannot export ${model.id}: it has no embedding for ${tokenizer.addedTokens.map(({ content }) => content).join(", ")}, and none is to be trained; train embeddings "new-rows", or use the chat template "model" or "none"`,
    );
  }
  const newRows = tables.flatMap((parameter) => {
    const tensor = divided.tensors.get(parameter);
    return tensor === undefined || count === 0 ? [] : [{ parameter, tensor, count }];
  });
  const maxSequence = sequenceLimit(config, options.maxSequence);
  const adamw = { ...ADAMW, ...options.adamw };
  return {
    model,
    modelFolder,
    selection,
    options,
    form,
    adamw,
    config,
    divided,
    tokenizer,
    newRows,
    maxSequence,
  };
}

function sequenceLimit({ maxPositions }: DecoderConfig, asked: number | undefined): number {
  const limit = asked ?? Math.min(maxPositions, MAX_SEQUENCE);
  if (Number.isSafeInteger(limit) && limit >= 1 && limit <= maxPositions) return limit;
  throw new UsageError(`Cannot export for sequences of ${limit}: expected 1 to ${maxPositions} tokens`);
}

/** The trainable parameters in the order of the graphs' inputs. */
export function parametersOf({ divided, newRows }: ExportPlan): readonly TrainableParameter[] {
  const whole = [...divided.tensors.values()]
    .filter((tensor) => divided.trained.has(tensor))
    .map(({ name, shape }) => ({ name, tensor: name, shape, decay: shape.length > 1, firstRow: null }));
  const rows = newRows.map(({ tensor: { name, shape }, count }) => ({
    name: newRowsOf(name),
    tensor: name,
    shape: [count, ...shape.slice(1)],
    decay: true,
    firstRow: shape[0] ?? 0,
  }));
  return [...whole, ...rows];
}

/** The tensors that the graphs read and that do not train. */
export function frozenTensors({ divided }: ExportPlan): readonly ModelTensor[] {
  return [...divided.tensors.values()].filter((tensor) => !divided.trained.has(tensor));
}

/** The scales of those that are in 8 bits. */
export function frozenScales(plan: ExportPlan): readonly ModelTensor[] {
  const scales = frozenTensors(plan).map((tensor) => plan.divided.scales.get(tensor)?.tensor);
  return scales.filter((scale) => scale !== undefined);
}

/** What the graphs are made from: `weights` are those of the model, to which new rows are added. */
export function graphSource(
  { config, options, newRows, maxSequence }: ExportPlan,
  weights: GraphSource["weights"],
): GraphSource {
  const rows = newRows.map(({ parameter, tensor: { name, shape }, count }) => {
    const weight = { kind: "trained", name: newRowsOf(name), shape: [count, ...shape.slice(1)] } as const;
    return [newRowsOf(parameter), weight] as const;
  });
  return {
    config,
    weights: new Map([...weights, ...rows]),
    maxSequence,
    queryChunks: options.queryChunks ?? 4,
    headChunks: options.headChunks ?? 4,
    recompute: options.recompute ?? "none",
    type: options.computeDtype ?? "float32",
  };
}
