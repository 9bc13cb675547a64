// A dataset repository on the Hub: its files by name, brought into the Hub cache when they are asked for.
import { readdir, readFile, stat } from "node:fs/promises";
import { join, sep } from "node:path";
import { cachedSnapshot, repoFolder, snapshotFolder, writeRef } from "./cache.ts";
import { keepListing, keptListing } from "./cached-listing.ts";
import { hubClient } from "./client.ts";
import { listRepo } from "./listing.ts";
import { nullIfMissing } from "./missing.ts";
import type { HubRepo } from "./repo.ts";
import { DEFAULT_RETRY, type RetryPolicy } from "./retry.ts";
import { type HubSettings, type HubSettingsOptions, hubSettings } from "./settings.ts";
import { type DownloadProgress, downloadFiles } from "./snapshot.ts";

/** How to get at a dataset on the Hub. What is not set comes from the environment that huggingface_hub reads. */
export interface OpenDatasetOptions extends HubSettingsOptions {
  /** Called while files are downloaded. */
  readonly onProgress?: (progress: DownloadProgress) => void;
  readonly signal?: AbortSignal;
  /** How patient to be with the Hub. */
  readonly retry?: Partial<RetryPolicy>;
}

/** The file that says what a repository is. */
const CARD = "README.md";

/** The longest README.md that is read. */
const MAX_CARD_BYTES = 16 * 2 ** 20;

/** A dataset repository at one commit. */
export interface HubDataset {
  readonly id: string;
  /** The names of all files, with forward slashes; of one that Python downloaded those that are in the cache. */
  readonly names: readonly string[];
  /** The paths of files on this machine, in the order of the names; what is missing is downloaded. */
  fetch(names: readonly string[]): Promise<readonly string[]>;
  /** The text of README.md; null when there is none. */
  card(): Promise<string | null>;
}

/**
 * Opens a dataset repository.
 *
 * @throws HubError when the Hub refuses or fails; Error when it is not in the cache and the Hub may not be asked.
 */
export async function openDataset(repo: HubRepo, options: OpenDatasetOptions = {}): Promise<HubDataset> {
  const settings = await hubSettings(options);
  if (settings.offline) return cachedDataset(repo, settings);
  const policy = { ...DEFAULT_RETRY, ...options.retry };
  const client = hubClient({ repo, settings, policy, signal: options.signal });
  const listing = await listRepo(client);
  const folder = repoFolder(settings.cacheFolder, repo);
  const snapshot = snapshotFolder(folder, listing.commit);
  await keepListing(folder, listing.commit, [...listing.files.keys()]);
  const fetch = async (names: readonly string[]) => {
    const asked = new Set(names);
    const files = [...listing.files.values()].filter(({ name }) => asked.has(name));
    await downloadFiles(client, listing, files, { folder, onProgress: options.onProgress });
    await writeRef(folder, repo.revision, listing.commit);
    return names.map((name) => join(snapshot, name));
  };
  return {
    id: repo.id,
    names: [...listing.files.keys()],
    fetch,
    async card() {
      const file = listing.files.get(CARD);
      if (file === undefined) return null;
      checkCard(repo, file.sizeBytes);
      await fetch([CARD]);
      return readFile(join(snapshot, CARD), "utf8");
    },
  };
}

async function cachedDataset(repo: HubRepo, settings: HubSettings): Promise<HubDataset> {
  const { snapshot, commit } = await cachedSnapshot(repo, settings);
  const kept = await keptListing(repoFolder(settings.cacheFolder, repo), commit);
  const names = kept ?? (await filesBelow(snapshot));
  const fetch = async (asked: readonly string[]) => {
    const paths = asked.map((name) => join(snapshot, name));
    for (const [index, path] of paths.entries()) {
      if ((await stat(path).catch(nullIfMissing)) !== null) continue;
      throw new Error(
        `Cannot open ${repo.id} offline: ${asked[index]} is not in the cache ${settings.cacheFolder}; open it once online, without --offline and HF_HUB_OFFLINE`,
      );
    }
    return paths;
  };
  return {
    id: repo.id,
    names,
    fetch,
    async card() {
      if (!names.includes(CARD)) return null;
      const [path = ""] = await fetch([CARD]);
      checkCard(repo, (await stat(path)).size);
      return readFile(path, "utf8");
    },
  };
}

/** Names of the files in a folder and the folders in it. */
async function filesBelow(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) =>
      join(entry.parentPath, entry.name)
        .slice(folder.length + 1)
        .split(sep)
        .join("/"),
    );
}

function checkCard({ id }: HubRepo, sizeBytes: number): void {
  if (sizeBytes <= MAX_CARD_BYTES) return;
  throw new RangeError(
    `Cannot open ${id}: its ${CARD} has ${sizeBytes} bytes, expected at most ${MAX_CARD_BYTES}`,
  );
}
