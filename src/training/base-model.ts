// The model that artifacts were made from: needed again to save what trained.
import { UsageError } from "../errors.ts";
import type { Model } from "../hub/model.ts";
import { type OpenModelOptions, openModel } from "../hub/open-model.ts";
import { type ArtifactsFolder, folderOf } from "./artifacts-folder.ts";
import { baseModelId, type Manifest } from "./manifest.ts";
import { readStandardManifest } from "./read-manifest.ts";

/**
 * Opens the base model of artifacts: for a look before a long run, or for `saveModel` to take. Close it when done.
 *
 * @throws as `openModel`; Error when what is there now is not the model of the artifacts, by the sizes of its files.
 *
 * @example
 * const model = await openBaseModel("artifacts", { offline: true });
 * await saveModel("artifacts", { out: "my-model", model });
 * await model.close();
 */
export async function openBaseModel(
  artifacts: ArtifactsFolder,
  options: Omit<OpenModelOptions, "revision" | "stream"> = {},
): Promise<Model> {
  const folder = folderOf(artifacts);
  const manifest = await readStandardManifest(folder);
  const model = await openModel(baseModelId(manifest), options).catch((cause: unknown) => {
    // The folder is gone: a path that the caller may never have named.
    if (!(cause instanceof UsageError)) throw cause;
    throw new UsageError(`Cannot open the base model of ${folder}: ${cause.message}`, { cause });
  });
  try {
    checkBase(model, manifest);
    return model;
  } catch (error) {
    await model.close();
    throw error;
  }
}

/** @throws Error when the model has not the files that the artifacts were made from, by their sizes. */
export function checkBase(model: Model, manifest: Manifest): void {
  const sizes = new Map(model.files.map(({ name, sizeBytes }) => [name, sizeBytes]));
  for (const { name, sizeBytes } of manifest.model.files) {
    if (sizes.get(name) === sizeBytes) continue;
    throw new Error(
      `Cannot use ${model.id} as the base model: its file ${name} has ${sizes.get(name) ?? "no"} bytes, the artifacts were made from one of ${sizeBytes}; name the model they were made from, or export it again`,
    );
  }
}
