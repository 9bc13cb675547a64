// Scores on disk, one small file each, found by what they were computed from. It is the scan's journal as well:
// a module that is done is in here, whatever happens to the process next.
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { defaultCacheFolder } from "../cache-folder.ts";
import { replaceFile } from "../files.ts";
import type { SpectrumStatistics } from "./results.ts";

/** Everything that a score depends on. */
export interface ScoreKey {
  /** Identity of the bytes: their SHA-256, or the SHA-256 of the file on the Hub and the range inside it. */
  readonly content: string;
  /** Identity of the block-wise scales that decoding needs; null where there are none. */
  readonly scale: string | null;
  readonly dtype: string;
  readonly matrix: readonly [rows: number, columns: number];
  readonly backend: { readonly name: string; readonly version: string; readonly precision: string };
  readonly estimatorVersion: string;
}

/** Scores by {@link ScoreKey}. */
export interface ScoreCache {
  /** The statistics stored under a key; undefined when there are none, or what is there cannot be trusted. */
  get(key: ScoreKey): Promise<SpectrumStatistics | undefined>;
  put(key: ScoreKey, statistics: SpectrumStatistics): Promise<void>;
}

/** A cache in a folder, which is made when the first score is stored. Several processes may share it. */
export function openScoreCache(folder: string): ScoreCache {
  return {
    async get(key) {
      const { path, digest } = locate(folder, key);
      const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT") return undefined;
        throw cannotUse(folder, error);
      });
      return text === undefined ? undefined : parseEntry(text, digest);
    },
    async put(key, statistics) {
      const { path, digest } = locate(folder, key);
      await replaceFile(path, `${JSON.stringify({ key: digest, statistics })}\n`).catch((error: Error) => {
        throw cannotUse(folder, error);
      });
    },
  };
}

/** Where scores are kept when the caller names no folder: `$SPECTRUM_CACHE`, else the user's cache folder. */
export function defaultScoreCacheFolder(
  env: Readonly<Record<string, string | undefined>> = process.env,
): string {
  return join(defaultCacheFolder(env), "scores");
}

function cannotUse(folder: string, cause: Error): Error {
  return new Error(
    `Cannot keep scores in ${folder}: ${cause.message}; name another folder for the cache (SPECTRUM_CACHE in the environment, too), or scan without one`,
    { cause },
  );
}

function locate(folder: string, key: ScoreKey): { path: string; digest: string } {
  const { name, version, precision } = key.backend;
  const fields = [key.content, key.scale, key.dtype, ...key.matrix, name, version, precision];
  const digest = createHash("sha256")
    .update(JSON.stringify([...fields, key.estimatorVersion]))
    .digest("hex");
  return { path: join(folder, digest.slice(0, 2), `${digest.slice(2)}.json`), digest };
}

/** An entry that was cut off by a power failure, or edited, is none: the score is computed again. */
function parseEntry(text: string, digest: string): SpectrumStatistics | undefined {
  let entry: unknown;
  try {
    entry = JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  return isEntry(entry) && entry.key === digest ? entry.statistics : undefined;
}

function isEntry(entry: unknown): entry is { key: string; statistics: SpectrumStatistics } {
  if (typeof entry !== "object" || entry === null) return false;
  if (!("key" in entry) || !("statistics" in entry)) return false;
  const { statistics } = entry;
  return typeof statistics === "object" && statistics !== null && "snr" in statistics;
}
