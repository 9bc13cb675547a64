// Exports a model for training: graphs in which only the selected parameters learn, and what goes with them. The folder
// is written aside and renamed, so that one of that name is whole.
import { randomBytes } from "node:crypto";
import { mkdir, readdir, rename, rm, rmdir, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { EMBEDDING } from "../architectures/decoder.ts";
import { UsageError } from "../errors.ts";
import { checkWritable } from "../files.ts";
import { interruptible } from "../hub/interruptible.ts";
import type { Model } from "../hub/model.ts";
import { TOOL } from "../tool.ts";
import { type ExportOptions, type ExportPlan, planExport, type SelectedParameters } from "./export-plan.ts";
import { MANIFEST_VERSION, type Manifest } from "./manifest.ts";
import { writeOrtTrainingForm } from "./ort-training/form.ts";
import { writeStandardForm } from "./standard-form.ts";

/** Exported artifacts. */
export interface Artifacts {
  readonly folder: string;
  readonly manifest: Manifest;
}

/**
 * Writes the artifacts of a model: three graphs, the trainable parameters as float32 with moments of 0 (which have no
 * file), the tokenizer with its template, and a manifest.
 *
 * @param selection what `select` returned, or names read from a selection file.
 * @throws UsageError when the model's family, a field of its config or a dtype is not supported, a name is no parameter,
 * the weights are not on this machine or too many for the form, or `out` is not free; the signal's reason when aborted. Then nothing is left behind.
 *
 * @example
 * const artifacts = await exportArtifacts(model, selection, { out: "artifacts" });
 * await exportArtifacts(model, selection, { out: "for-web", form: "ort-training" });
 */
export async function exportArtifacts(
  model: Model,
  selection: SelectedParameters,
  options: ExportOptions,
): Promise<Artifacts> {
  const out = resolve(options.out);
  await checkFree(out);
  const plan = await planExport(interruptible(model, options.signal), selection, options);
  const aside = join(dirname(out), `.${basename(out)}.${randomBytes(6).toString("hex")}`);
  await mkdir(aside, { recursive: true });
  try {
    const manifest = await writeArtifacts(aside, plan);
    options.signal?.throwIfAborted();
    if (await exists(out)) await rmdir(out);
    await rename(aside, out);
    return { folder: out, manifest };
  } catch (error) {
    await rm(aside, { recursive: true, force: true });
    // Two exports at the same time: the other one was faster.
    if (isTaken(error)) await checkFree(out);
    throw error;
  }
}

/** Whether an empty folder's name could not be taken because the folder is no longer empty. */
function isTaken(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOTEMPTY" || error.code === "EEXIST");
}

/**
 * Checks what of an export can be checked before anything is selected: for a look before a long scan.
 *
 * @returns the longest sequence that the artifacts will take.
 * @throws UsageError as {@link exportArtifacts}, but for the selection.
 *
 * @example
 * const { maxSequence } = await checkExport(model, { out: "artifacts", chatTemplate: "chatml" });
 */
export async function checkExport(
  model: Model,
  options: ExportOptions,
): Promise<{ readonly maxSequence: number }> {
  await checkFree(resolve(options.out));
  await checkWritable(options.out);
  // A parameter that every family has stands for what will be selected.
  const { maxSequence } = await planExport(model, { parameterNames: [EMBEDDING] }, options);
  return { maxSequence };
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
  const write = plan.form === "standard" ? writeStandardForm : writeOrtTrainingForm;
  const manifest: Manifest = { ...manifestHead(plan), ...(await write(folder, plan)) };
  await plan.tokenizer.write(folder);
  await writeFile(join(folder, "manifest.json"), `${JSON.stringify(manifest, null, 2)}\n`);
  return manifest;
}

/** A folder by its whole path: the artifacts may be used from another working directory. */
function baseId({ id, revision, folder }: Model): string {
  return revision === null && folder !== null ? resolve(folder) : id;
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
      id: baseId(model),
      revision: model.revision,
      files: model.files.map(({ name, sizeBytes, sha256 }) => ({
        name,
        sizeBytes,
        ...(sha256 === null ? {} : { sha256 }),
      })),
    },
    computeDtype: options.computeDtype ?? "float32",
    recompute: options.recompute ?? "none",
    selection: {
      source: selection.source ?? "names given",
      parameterNames: [...divided.tensors.values()]
        .filter((tensor) => divided.trained.has(tensor))
        .map(({ name }) => name),
    },
    chatTemplate: options.chatTemplate ?? "chatml",
    trainEmbeddings: options.trainEmbeddings ?? "new-rows",
    addedTokens: tokenizer.addedTokens,
    vocabularySize: config.vocabularySize + (newRows[0]?.count ?? 0),
    maxSequence,
  } as const;
}
