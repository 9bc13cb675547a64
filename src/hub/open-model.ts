// Opens a model by what a person calls it: a folder, or a name on the Hub.
import { stat } from "node:fs/promises";
import { homedir } from "node:os";
import { UsageError } from "../errors.ts";
import { cachedSnapshot, linkedIdentity, repoFolder, snapshotFolder } from "./cache.ts";
import { type HubClient, hubClient } from "./client.ts";
import { folderSource } from "./folder.ts";
import { listRepo } from "./listing.ts";
import { nullIfMissing } from "./missing.ts";
import type { Model } from "./model.ts";
import { readModel } from "./read-model.ts";
import { remoteSource } from "./remote.ts";
import { type HubRepo, parseRepo } from "./repo.ts";
import { DEFAULT_RETRY, type RetryPolicy } from "./retry.ts";
import { type HubSettings, type HubSettingsOptions, hubSettings } from "./settings.ts";
import { type DownloadProgress, downloadSnapshot } from "./snapshot.ts";

/** Options of {@link openModel}. What is not set comes from the environment that huggingface_hub reads. */
export interface OpenModelOptions extends HubSettingsOptions {
  /** Branch, tag or commit of a Hub model; default `main`. */
  readonly revision?: string;
  /** Read a Hub model in ranges instead of storing its weights; default false. */
  readonly stream?: boolean;
  /** Called while files are downloaded. */
  readonly onProgress?: (progress: DownloadProgress) => void;
  readonly signal?: AbortSignal;
  /** How patient to be with the Hub. */
  readonly retry?: Partial<RetryPolicy>;
}

/**
 * Opens a model: a folder (what exists, or begins with `./`, `../`, `/` or `~`), or `org/name[@revision]` on the Hub,
 * which is first downloaded into the Hub cache unless it is there or streamed.
 *
 * @throws UsageError when the name is neither; HubError when the Hub refuses or fails; Error when what is there is no
 * whole safetensors checkpoint.
 * @example
 * const model = await openModel("HuggingFaceTB/SmolLM2-135M");
 * for (const tensor of model.tensors.values()) console.log(tensor.name, tensor.dtype, tensor.shape);
 * await model.close();
 */
export async function openModel(id: string, options: OpenModelOptions = {}): Promise<Model> {
  const folder = await asFolder(id);
  if (folder !== null) {
    if (options.revision !== undefined) throw new UsageError(`Cannot open ${id}: a folder has no revisions`);
    return readModel(await folderSource(folder, { id }));
  }
  const repo = parseRepo(id, "model", options.revision);
  const settings = await hubSettings(options);
  if (settings.offline) return openCached(repo, settings);
  const policy = { ...DEFAULT_RETRY, ...options.retry };
  const client = hubClient({ repo, settings, policy, signal: options.signal });
  return options.stream ? openRemote(client) : openDownloaded(client, settings, options);
}

/** The folder that a name means; null when it means a model on the Hub. */
async function asFolder(id: string): Promise<string | null> {
  const path = id === "~" || /^~[/\\]/.test(id) ? homedir() + id.slice(1) : id;
  if (path !== id || /^(\.{0,2}[/\\]|\.{1,2}$|[A-Za-z]:[/\\])/.test(id)) return path;
  return (await stat(path).catch(nullIfMissing)) === null ? null : path;
}

async function openCached(repo: HubRepo, settings: HubSettings): Promise<Model> {
  const { snapshot, commit } = await cachedSnapshot(repo, settings);
  const identify = (name: string) => linkedIdentity(snapshot, name);
  return readModel(await folderSource(snapshot, { id: repo.id, revision: commit, identify }));
}

async function openRemote(client: HubClient): Promise<Model> {
  return readModel(remoteSource(client, await listRepo(client)));
}

async function openDownloaded(
  client: HubClient,
  settings: HubSettings,
  options: OpenModelOptions,
): Promise<Model> {
  const { repo } = client;
  const folder = repoFolder(settings.cacheFolder, repo);
  const listing = await listRepo(client);
  await downloadSnapshot(client, listing, { folder, onProgress: options.onProgress });
  const identify = async (name: string) => {
    const { sha256 = null, etag = null } = listing.files.get(name) ?? {};
    return { sha256, etag };
  };
  const snapshot = snapshotFolder(folder, listing.commit);
  return readModel(await folderSource(snapshot, { id: repo.id, revision: listing.commit, identify }));
}
