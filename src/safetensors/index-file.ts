// Parses model.safetensors.index.json, which says in which shard each tensor of a checkpoint lies.
import type { HeaderTensor } from "./header.ts";
import { expectEnd, jsonCursor, readObject, readString, skipValue } from "./json.ts";

/** The longest index that is read. */
export const MAX_INDEX_BYTES = 64 * 2 ** 20;

/** Name of the file with each tensor, by the tensor's name. */
export type WeightMap = ReadonlyMap<string, string>;

/**
 * Parses an index.
 *
 * @throws SyntaxError when it is no strict JSON with a weight map, or a file name could leave the model's folder.
 */
export function parseIndex(json: Uint8Array, file: string): WeightMap {
  const weightMap = new Map<string, string>();
  try {
    const cursor = jsonCursor(json);
    readObject(cursor, (key) => {
      if (key !== "weight_map") return skipValue(cursor);
      readObject(cursor, (tensor) => weightMap.set(tensor, readShardName(readString(cursor), tensor)));
    });
    expectEnd(cursor);
    if (weightMap.size === 0) throw new SyntaxError("its weight_map is missing or empty");
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new SyntaxError(`Cannot read ${file}: ${error.message}`, { cause: error });
  }
  return weightMap;
}

/** Names of the shards that an index names, sorted. */
export function shardNames(weightMap: WeightMap): string[] {
  return [...new Set(weightMap.values())].sort();
}

/**
 * Makes sure that each tensor lies in the shard that the index names.
 *
 * @throws Error naming the first tensor that does not.
 */
export function checkIndex(
  weightMap: WeightMap,
  shards: ReadonlyMap<string, ReadonlyMap<string, HeaderTensor>>,
): void {
  for (const [tensor, shard] of weightMap) {
    if (shards.get(shard)?.has(tensor)) continue;
    throw new Error(
      `Cannot find tensor ${JSON.stringify(tensor)}: the index says it is in ${shard}, which does not hold it; download the checkpoint again`,
    );
  }
}

/** Says whether a file name from a stranger stays inside the folder it is joined to, on every platform. */
export function isInnerPath(name: string): boolean {
  if (name.length > 1024 || /[\\:\p{Cc}]/u.test(name)) return false;
  return name.split("/").every((part) => part !== "" && part !== "." && part !== "..");
}

function readShardName(name: string, tensor: string): string {
  if (isInnerPath(name) && name.endsWith(".safetensors")) return name;
  throw new SyntaxError(
    `tensor ${JSON.stringify(tensor)} is said to be in ${JSON.stringify(name.slice(0, 200))}, expected the name of a .safetensors file inside the model's folder`,
  );
}
