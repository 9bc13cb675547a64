// Makes a Model of a source: config, weights files, the table of their tensors.
import { type HeaderTensor, headerEnd, PREFIX_BYTES, parseHeader } from "../safetensors/header.ts";
import {
  checkIndex,
  MAX_INDEX_BYTES,
  parseIndex,
  shardNames,
  type WeightMap,
} from "../safetensors/index-file.ts";
import { MAX_CONFIG_BYTES, parseConfig } from "./config-file.ts";
import type { ByteRange, Model, ModelFile, ModelTensor } from "./model.ts";
import { type ModelSource, readAll, readSmall } from "./source.ts";
import { findWeights, INDEX_FILE, SINGLE_FILE } from "./weights.ts";

/** Headers read at the same time: enough to hide the latency of a remote source. */
const HEADERS_AT_ONCE = 8;

/** Read along with a header's length; most headers fit. */
const FIRST_READ_BYTES = 2 ** 16;

/**
 * Reads config.json and every header of a model. The model owns the source from here on, also when this throws.
 *
 * @throws Error naming the file, and the tensor where there is one, when something is missing or malformed.
 */
export async function readModel(source: ModelSource): Promise<Model> {
  try {
    const config = await readConfig(source);
    const weightMap = await readWeightMap(source);
    const files = await statAll(source, weightMap === null ? [SINGLE_FILE] : shardNames(weightMap));
    const shards = await readHeaders(source, files);
    if (weightMap !== null) checkIndex(weightMap, shards);
    return asModel(source, { config, files, tensors: mergeTensors(shards, weightMap) });
  } catch (error) {
    await source.close();
    throw error;
  }
}

async function readConfig(source: ModelSource): Promise<Readonly<Record<string, unknown>>> {
  const file = await source.stat("config.json");
  return file === null ? {} : parseConfig(await readSmall(source, file, MAX_CONFIG_BYTES), source.id);
}

/** The index of a sharded checkpoint; null when the checkpoint is one file. */
async function readWeightMap(source: ModelSource): Promise<WeightMap | null> {
  if (findWeights(await source.list(), source.id) === "single") return null;
  const [file] = await statAll(source, [INDEX_FILE]);
  if (file === undefined) return null;
  return parseIndex(await readSmall(source, file, MAX_INDEX_BYTES), `${INDEX_FILE} of ${source.id}`);
}

async function statAll(source: ModelSource, names: readonly string[]): Promise<ModelFile[]> {
  const files = await Promise.all(
    names.map(async (name) => {
      const file = await source.stat(name);
      if (file !== null) return file;
      throw new Error(
        `Cannot open ${source.id}: ${name} is missing; the checkpoint is not complete, download it again`,
      );
    }),
  );
  return files;
}

type Shards = Map<string, ReadonlyMap<string, HeaderTensor>>;

async function readHeaders(source: ModelSource, files: readonly ModelFile[]): Promise<Shards> {
  const shards: Shards = new Map();
  for (let first = 0; first < files.length; first += HEADERS_AT_ONCE) {
    const group = files.slice(first, first + HEADERS_AT_ONCE);
    const headers = await Promise.all(group.map((file) => readHeader(source, file)));
    headers.forEach((tensors, index) => {
      const file = group[index];
      if (file) shards.set(file.name, tensors);
    });
  }
  return shards;
}

async function readHeader(source: ModelSource, file: ModelFile): Promise<ReadonlyMap<string, HeaderTensor>> {
  const origin = { file: `${file.name} of ${source.id}`, sizeBytes: file.sizeBytes };
  const first = await readAll(source, file, { begin: 0, end: Math.min(FIRST_READ_BYTES, file.sizeBytes) });
  const end = headerEnd(first, origin);
  const json =
    end <= first.length
      ? first.subarray(PREFIX_BYTES, end)
      : await readAll(source, file, { begin: PREFIX_BYTES, end });
  return parseHeader(json, origin).tensors;
}

/** All tensors; where there is an index, those that it names in the shard that it names, and no others. */
function mergeTensors(shards: Shards, weightMap: WeightMap | null): Map<string, ModelTensor> {
  const tensors = new Map<string, ModelTensor>();
  for (const [file, header] of shards) {
    for (const tensor of header.values()) {
      if (weightMap === null || weightMap.get(tensor.name) === file)
        tensors.set(tensor.name, { ...tensor, file });
    }
  }
  return tensors;
}

function asModel(source: ModelSource, parts: Pick<Model, "config" | "files" | "tensors">): Model {
  const byName = new Map(parts.files.map((file) => [file.name, file]));
  return {
    id: source.id,
    revision: source.revision,
    folder: source.folder,
    ...parts,
    readFile(name: string, range: ByteRange): AsyncIterable<Uint8Array> {
      const file = byName.get(name);
      if (file === undefined)
        throw new RangeError(`Cannot read ${name} of ${source.id}: it is no weights file`);
      checkRange(file, range);
      return source.read(file, range);
    },
    close: () => source.close(),
    [Symbol.asyncDispose]: () => source.close(),
  };
}

function checkRange(file: ModelFile, { begin, end, blockBytes = 1 }: ByteRange): void {
  if (![begin, end, blockBytes].every(Number.isSafeInteger) || blockBytes < 1) {
    throw new RangeError(
      `Cannot read ${file.name}: expected whole numbers, got [${begin}, ${end}) by ${blockBytes}`,
    );
  }
  if (begin < 0 || end < begin || end > file.sizeBytes) {
    throw new RangeError(
      `Cannot read ${file.name}: bytes [${begin}, ${end}) leave the file, which has ${file.sizeBytes}`,
    );
  }
}
