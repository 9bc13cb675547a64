// Where the graphs find the weights that do not train: in the model's own files, or in a copy beside the graphs.
import { open, realpath } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { UsageError } from "../errors.ts";
import type { Model, ModelTensor } from "../hub/model.ts";
import type { ExternalBytes } from "../onnx/graph.ts";
import { headerEnd, PREFIX_BYTES, parseHeader } from "../safetensors/header.ts";
import { writeSafetensors } from "../safetensors/writer.ts";

/** Name of the copy in an artifacts folder. */
export const COPY_FILE = "frozen.safetensors";

/** The place of a tensor's bytes. */
export type Locate = (tensor: ModelTensor) => ExternalBytes;

/** Frozen weights that stay where they are. */
export interface ReferencedWeights {
  /** Real folder that locations are relative to. */
  readonly folder: string;
  readonly locate: Locate;
}

/**
 * The weights in the model's own files. Links are followed: the Hub's cache keeps files under their hashes in a folder
 * beside the snapshot.
 *
 * @throws UsageError when the files are in several folders.
 */
export async function referenceWeights(model: Model, modelFolder: string): Promise<ReferencedWeights> {
  const paths = await Promise.all(
    model.files.map(async ({ name }) => [name, await realpath(join(modelFolder, name))] as const),
  );
  const folders = new Set(paths.map(([, path]) => dirname(path)));
  const [folder] = folders;
  if (folder === undefined || folders.size !== 1) {
    throw new UsageError(
      `Cannot refer to the weights of ${model.id}: they are in ${folders.size} folders, ${[...folders].join(", ")}; put them into one, or export with weights "copy"`,
    );
  }
  const places = new Map(paths.map(([name, path]) => [name, basename(path)]));
  return {
    folder,
    locate: ({ file, begin, end }) => ({
      location: places.get(file) ?? file,
      offset: begin,
      length: end - begin,
    }),
  };
}

/** Copies tensors, as they are, into one file in `folder`. */
export async function copyWeights(
  model: Model,
  tensors: readonly ModelTensor[],
  folder: string,
): Promise<Locate> {
  const path = join(folder, COPY_FILE);
  await writeSafetensors(
    path,
    tensors.map(({ name, dtype, shape, file, begin, end }) => ({
      name,
      dtype,
      shape,
      blocks: model.readFile(file, { begin, end }),
    })),
  );
  const places = await placesIn(path);
  return ({ name }) => {
    const place = places.get(name);
    if (place === undefined) throw new Error(`Cannot find "${name}" in ${path}: it was not copied`);
    return { location: COPY_FILE, offset: place.begin, length: place.end - place.begin };
  };
}

async function placesIn(path: string): Promise<ReadonlyMap<string, { begin: number; end: number }>> {
  const file = await open(path);
  try {
    const source = { file: path, sizeBytes: (await file.stat()).size };
    const prefix = new Uint8Array(PREFIX_BYTES);
    await file.read(prefix, 0, PREFIX_BYTES, 0);
    const json = new Uint8Array(headerEnd(prefix, source) - PREFIX_BYTES);
    await file.read(json, 0, json.length, PREFIX_BYTES);
    return parseHeader(json, source).tensors;
  } finally {
    await file.close();
  }
}
