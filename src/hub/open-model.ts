// Opens a model by what a person calls it.
import { folderSource } from "./folder.ts";
import type { Model } from "./model.ts";
import { readModel } from "./read-model.ts";

/**
 * Opens a model.
 *
 * @param id a folder.
 * @throws UsageError when there is no such folder; Error when it holds no safetensors checkpoint.
 */
export async function openModel(id: string): Promise<Model> {
  return readModel(await folderSource(id));
}
