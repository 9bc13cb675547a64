// The names of all files of a repository at a commit, kept beside its snapshots: of a snapshot that holds some of them
// nobody could tell otherwise, without the Hub, what is missing. Python's huggingface_hub passes over this folder.
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { replaceFile } from "../files.ts";
import { isInnerPath } from "../safetensors/index-file.ts";
import { nullIfMissing } from "./missing.ts";

/** A hundred thousand long names fit. */
const MAX_BYTES = 128 * 2 ** 20;

function pathOf(repo: string, commit: string): string {
  return join(repo, "listings", `${commit}.json`);
}

/** Keeps the names of a commit in a repository's folder of the cache. */
export async function keepListing(repo: string, commit: string, names: readonly string[]): Promise<void> {
  const path = pathOf(repo, commit);
  if ((await stat(path).catch(nullIfMissing)) === null) await replaceFile(path, JSON.stringify(names));
}

/**
 * The names that {@link keepListing} kept; null when it did not.
 *
 * @throws SyntaxError when the file is damaged.
 */
export async function keptListing(repo: string, commit: string): Promise<readonly string[] | null> {
  const path = pathOf(repo, commit);
  const stats = await stat(path).catch(nullIfMissing);
  if (stats === null) return null;
  if (stats.size > MAX_BYTES)
    throw new RangeError(`Cannot read ${path}: it has ${stats.size} bytes, expected at most ${MAX_BYTES}`);
  const names: unknown = JSON.parse(await readFile(path, "utf8"));
  if (Array.isArray(names) && names.every((name) => typeof name === "string" && isInnerPath(name)))
    return names;
  throw new SyntaxError(
    `Cannot read ${path}: expected names of files; remove it, and open the dataset online`,
  );
}
