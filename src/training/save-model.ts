// Writes a trained checkpoint as a model that any loader opens: the base's files with the trained tensors in their places.
import { mkdir, readFile, realpath } from "node:fs/promises";
import { join } from "node:path";
import { loadTokenizer } from "../chat/load-tokenizer.ts";
import { UsageError } from "../errors.ts";
import { copyIfThere, isFile, replaceFile } from "../files.ts";
import { interruptible } from "../hub/interruptible.ts";
import type { Model, ModelTensor } from "../hub/model.ts";
import { tensorBytes } from "../safetensors/header.ts";
import { type TensorToWrite, writeSafetensors } from "../safetensors/writer.ts";
import { decode } from "../tensor/decode.ts";
import { type DType, floatDTypeBytes, isFloat8, isFloatDType, type MatrixDType } from "../tensor/dtype.ts";
import { encode } from "../tensor/encode.ts";
import { type ArtifactsFolder, folderOf, RUN_FOLDER } from "./artifacts-folder.ts";
import { checkBase, openBaseModel } from "./base-model.ts";
import { checkpointFolder, readCheckpoint } from "./checkpoint.ts";
import { decodedTensors, quantisationWithout, scaleNames } from "./float8-base.ts";
import { wholeFloat32 } from "./initial-values.ts";
import { withMember } from "./json-text.ts";
import type { Manifest } from "./manifest.ts";
import { readStandardManifest } from "./read-manifest.ts";
import type { NamedArrays } from "./tensor-file.ts";

/** Options of {@link saveModel}. */
export interface SaveModelOptions {
  /** Folder to write to. */
  readonly out: string;
  /** A checkpoint, or a run's folder for its newest; default: where `train` leaves them, `run` inside the artifacts. */
  readonly checkpoint?: string;
  /**
   * `base` (default) rounds trained tensors to the base model's dtype, `float32` keeps them as they are. Of a base in
   * 8-bit floats, `base` saves them in bfloat16, and `float32` the whole model decoded.
   */
  readonly dtype?: "base" | "float32";
  /** The base model, where it is open already; it stays open. */
  readonly model?: Model;
  /** Stops the writing; files that are whole stay. */
  readonly signal?: AbortSignal;
}

/** What {@link saveModel} wrote. */
export interface SavedModel {
  readonly folder: string;
  /** Values of the tensors that trained, without rows that the base does not have. */
  readonly trainedValues: number;
  /** How many of them are stored with another value than the base's. */
  readonly changedValues: number;
}

/**
 * Saves a checkpoint as a model in the base model's files: frozen tensors byte for byte, trained ones rounded to the
 * nearest, new rows at the end of their tensors, config, tokenizer and generation config beside them.
 *
 * @throws UsageError when there is no such checkpoint, or `out` is the base model's folder; Error when the base is not the model of the artifacts;
 * the signal's reason when aborted.
 *
 * @example
 * for await (const step of train(artifacts, { data: "chat.jsonl" })) console.log(step.loss);
 * await saveModel(artifacts, { out: "my-model" });
 */
export async function saveModel(
  artifactsFolder: ArtifactsFolder,
  options: SaveModelOptions,
): Promise<SavedModel> {
  const artifacts = folderOf(artifactsFolder);
  const { out, checkpoint = join(artifacts, RUN_FOLDER), dtype = "base", model: opened, signal } = options;
  const manifest = await readStandardManifest(artifacts);
  const { parameters } = await readCheckpoint(await checkpointFolder(checkpoint), manifest.parameters);
  const base = opened ?? (await openBaseModel(artifacts));
  const model = interruptible(base, signal);
  try {
    checkBase(model, manifest);
    await mkdir(out, { recursive: true });
    if (model.folder !== null && (await realpath(out)) === (await realpath(model.folder)))
      throw new UsageError(`Cannot save to ${out}: it is the base model's folder; name another one`);
    const decoded = decodedTensors(model, manifest, dtype);
    const counts = await writeWeights({ model, manifest, parameters, dtype, decoded, out });
    await writeConfig({ artifacts, model, manifest, dtype, decoded, out });
    await copyTokenizer({ artifacts, model, out });
    await writeGenerationConfig({ artifacts, model, manifest, out });
    return { folder: out, ...counts };
  } finally {
    if (opened === undefined) await base.close();
  }
}

interface Weights {
  readonly model: Model;
  readonly manifest: Manifest;
  readonly parameters: NamedArrays;
  readonly dtype: "base" | "float32";
  /** The 8-bit tensors of the base that are saved decoded. */
  readonly decoded: ReadonlySet<ModelTensor>;
  readonly out: string;
}

/** A tensor as it is to be saved: which values replace the base's, and which follow them. */
interface SavedTensor {
  readonly base: ModelTensor;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Null for a frozen tensor. */
  readonly trained: Float32Array | null;
  readonly newRows: { readonly first: number; readonly values: Float32Array } | null;
}

async function writeWeights(weights: Weights) {
  const { model, out } = weights;
  const dropped = scaleNames(model, weights.decoded);
  let trainedValues = 0;
  let changedValues = 0;
  let totalBytes = 0;
  const count = (trained: number, changed: number) => {
    trainedValues += trained;
    changedValues += changed;
  };
  for (const { name: file } of model.files) {
    const tensors: TensorToWrite[] = [];
    for (const base of model.tensors.values()) {
      if (base.file !== file || dropped.has(base.name)) continue;
      const tensor = savedTensor(base, weights);
      totalBytes += tensorBytes(tensor.dtype, tensor.shape) ?? 0;
      tensors.push({
        name: base.name,
        dtype: tensor.dtype,
        shape: tensor.shape,
        blocks: blocksOf(model, tensor, count),
      });
    }
    await writeSafetensors(join(out, file), tensors);
  }
  if (model.files.length > 1) await writeIndex(model, out, { totalBytes, dropped });
  return { trainedValues, changedValues };
}

function savedTensor(base: ModelTensor, { manifest, parameters, dtype, decoded }: Weights): SavedTensor {
  const own = manifest.parameters.filter(({ tensor }) => tensor === base.name);
  // Of the frozen, only a tensor that gains rows, or one in 8 bits, changes its dtype.
  const changes = own.length > 0 || decoded.has(base);
  const baseDType = decoded.has(base) ? "BF16" : base.dtype;
  const savedDType = dtype === "float32" && changes ? "F32" : baseDType;
  if (own.length === 0) return { base, dtype: savedDType, shape: base.shape, trained: null, newRows: null };
  const valuesOf = (rows: boolean) => {
    const found = own.find(({ firstRow }) => (firstRow !== null) === rows);
    const values = found && parameters.get(found.name);
    return found && values ? { first: found.firstRow ?? 0, rows: found.shape[0] ?? 0, values } : null;
  };
  const newRows = valuesOf(true);
  const [rows = 0, ...rest] = base.shape;
  if (newRows !== null && newRows.first !== rows) {
    throw new Error(
      `Cannot save "${base.name}": its new rows begin at ${newRows.first}, but the base model has ${rows}`,
    );
  }
  return {
    base,
    dtype: savedDType,
    shape: newRows === null ? base.shape : [rows + newRows.rows, ...rest],
    trained: valuesOf(false)?.values ?? null,
    newRows,
  };
}

async function* blocksOf(
  model: Model,
  { base, dtype, trained, newRows }: SavedTensor,
  count: (trained: number, changed: number) => void,
): AsyncGenerator<Uint8Array> {
  if (trained === null && dtype === base.dtype) {
    yield* model.readFile(base.file, { begin: base.begin, end: base.end });
  } else {
    const known = matrixDType(base.name, dtype);
    const before = await wholeFloat32(model, base);
    const encoded = encode(trained ?? before, known);
    // Of 8 bits: as if the base had been saved in the new dtype, so that rounding to it is no change.
    const rounded = isFloat8(base.dtype) ? decodedAs(encode(before, known), known) : before;
    if (trained !== null) count(trained.length, countChanged(rounded, decodedAs(encoded, known)));
    yield encoded;
  }
  if (newRows !== null) yield encode(newRows.values, matrixDType(base.name, dtype));
}

function decodedAs(bytes: Uint8Array, dtype: MatrixDType): Float32Array {
  return decode(bytes, dtype, new Float32Array(bytes.length / floatDTypeBytes(dtype)));
}

function matrixDType(name: string, dtype: DType): MatrixDType {
  if (isFloatDType(dtype) && !isFloat8(dtype)) return dtype;
  throw new Error(`Cannot save "${name}" as ${dtype}: a trained tensor is F64, F32, F16 or BF16`);
}

function countChanged(before: Float32Array, after: Float32Array): number {
  let changed = 0;
  for (let i = 0; i < before.length; i++) if (before[i] !== after[i]) changed++;
  return changed;
}

async function writeIndex(
  model: Model,
  out: string,
  { totalBytes, dropped }: { totalBytes: number; dropped: ReadonlySet<string> },
): Promise<void> {
  const names = [...model.tensors.keys()].filter((name) => !dropped.has(name)).sort();
  const weightMap = new Map(names.map((name) => [name, model.tensors.get(name)?.file]));
  const index = { metadata: { total_size: totalBytes }, weight_map: Object.fromEntries(weightMap) };
  await replaceFile(join(out, "model.safetensors.index.json"), `${JSON.stringify(index, null, 2)}\n`);
}

interface Surroundings {
  readonly artifacts: string;
  readonly model: Model;
  readonly manifest: Manifest;
  readonly dtype: "base" | "float32";
  /** The 8-bit tensors of the base that are saved decoded. */
  readonly decoded: ReadonlySet<ModelTensor>;
  readonly out: string;
}

/** The base's config, with the vocabulary of the new rows and the dtype of what is saved; all else as it was written. */
async function writeConfig({ artifacts, model, manifest, dtype, decoded, out }: Surroundings): Promise<void> {
  const { config } = model;
  let text = await configText(artifacts, model);
  if (manifest.parameters.some(({ firstRow }) => firstRow !== null)) {
    const nested = typeof config.text_config === "object" && config.text_config !== null;
    const path = nested && !("vocab_size" in config) ? (["text_config", "vocab_size"] as const) : VOCABULARY;
    text = withMember(text, path, manifest.vocabularySize);
  }
  if (dtype === "float32")
    text = withMember(text, ["torch_dtype" in config ? "torch_dtype" : "dtype"], "float32");
  if (decoded.size > 0) text = withMember(text, ["quantization_config"], quantisationWithout(model, decoded));
  await replaceFile(join(out, "config.json"), text);
}

const VOCABULARY = ["vocab_size"] as const;

async function configText(artifacts: string, model: Model): Promise<string> {
  for (const folder of [artifacts, model.folder]) {
    const path = folder === null ? null : join(folder, "config.json");
    if (path !== null && (await isFile(path))) return readFile(path, "utf8");
  }
  return `${JSON.stringify(model.config, null, 2)}\n`;
}

const TOKENIZER_FILES = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "chat_template.jinja",
  "vocab.json",
  "merges.txt",
  "tokenizer.model",
];

/** The artifacts' tokenizer where they have one, whole, else the base's; never a mixture. */
async function copyTokenizer({
  artifacts,
  model,
  out,
}: Pick<Surroundings, "artifacts" | "model" | "out">): Promise<void> {
  const own = await isFile(join(artifacts, "tokenizer.json"));
  const source = own ? artifacts : model.folder;
  if (source !== null)
    for (const name of TOKENIZER_FILES) await copyIfThere(join(source, name), join(out, name));
}

/** The base's generation config; a model that was taught chatml also ends its text where a turn of chatml does. */
async function writeGenerationConfig({
  artifacts,
  model,
  manifest,
  out,
}: Omit<Surroundings, "dtype" | "decoded">): Promise<void> {
  const source = (await isFile(join(artifacts, "generation_config.json"))) ? artifacts : model.folder;
  const endOfTurn = manifest.chatTemplate === "chatml" ? await endOfTurnId(artifacts) : null;
  if (endOfTurn === null) {
    if (source !== null)
      await copyIfThere(join(source, "generation_config.json"), join(out, "generation_config.json"));
    return;
  }
  const path = join(source ?? artifacts, "generation_config.json");
  const text = (await isFile(path)) ? await readFile(path, "utf8") : specialIds(model.config);
  const ends = [jsonObject(text, path).eos_token_id ?? model.config.eos_token_id]
    .flat()
    .filter((id) => typeof id === "number");
  await replaceFile(
    join(out, "generation_config.json"),
    withMember(text, ["eos_token_id"], [...new Set([...ends, endOfTurn])]),
  );
}

/** What transformers derives from config.json where there is no generation config, but for what ends a text. */
function specialIds(config: Model["config"]): string {
  const names = ["bos_token_id", "pad_token_id"].filter((name) => typeof config[name] === "number");
  return `${JSON.stringify(Object.fromEntries(names.map((name) => [name, config[name]])), null, 2)}\n`;
}

/** The id of the token that ends a turn of chatml in the artifacts' tokenizer. */
async function endOfTurnId(artifacts: string): Promise<number | null> {
  const { library } = await loadTokenizer(artifacts);
  return library.token_to_id("<|im_end|>") ?? null;
}

function jsonObject(text: string, path: string): Readonly<Record<string, unknown>> {
  const document: unknown = JSON.parse(text);
  if (typeof document === "object" && document !== null && !Array.isArray(document)) return { ...document };
  throw new SyntaxError(`Cannot read ${path}: expected an object`);
}
