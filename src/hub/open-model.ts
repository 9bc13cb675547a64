// Opens a model by what a person calls it: a folder, or a name on the Hub.
import { stat } from "node:fs/promises";
import { homedir } from "node:os";
import { UsageError } from "../errors.ts";
import { isInnerPath } from "../safetensors/index-file.ts";
import { linkedIdentity, readRef, repoFolder, snapshotFolder } from "./cache.ts";
import { type HubClient, type HubRepo, hubClient } from "./client.ts";
import { folderSource } from "./folder.ts";
import { listModel } from "./listing.ts";
import { nullIfMissing } from "./missing.ts";
import type { Model } from "./model.ts";
import { readModel } from "./read-model.ts";
import { remoteSource } from "./remote.ts";
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
  const repo = parseRepo(id, options.revision);
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

function parseRepo(id: string, revision: string | undefined): HubRepo {
  const [name = "", ...rest] = id.split("@");
  const stated = rest.length > 0 ? rest.join("@") : undefined;
  if (!/^[\w.-]{1,96}(\/[\w.-]{1,96})?$/.test(name) || !name.split("/").every(isRepoPart)) {
    throw new UsageError(
      `Cannot open ${JSON.stringify(id)}: it is no folder, and a model on the Hub is named org/name or org/name@revision`,
    );
  }
  if (stated !== undefined && revision !== undefined && stated !== revision) {
    throw new UsageError(`Cannot open ${id}: it names one revision, and the options another: ${revision}`);
  }
  const chosen = stated ?? revision ?? "main";
  if (!isInnerPath(chosen)) {
    throw new UsageError(`Cannot open ${name}: ${JSON.stringify(chosen)} is no branch, tag or commit`);
  }
  return { id: name, revision: chosen };
}

/** As the Hub allows names; two dashes stand for the slash in the cache. */
function isRepoPart(part: string): boolean {
  return !/^[.-]|[.-]$|--|\.\./.test(part);
}

async function openCached(repo: HubRepo, settings: HubSettings): Promise<Model> {
  const folder = repoFolder(settings.cacheFolder, repo.id);
  const commit = await readRef(folder, repo.revision);
  const snapshot = commit && snapshotFolder(folder, commit);
  if (!snapshot || (await stat(snapshot).catch(nullIfMissing)) === null) {
    throw new Error(
      `Cannot open ${repo.id} at revision "${repo.revision}" offline: it is not in the cache ${settings.cacheFolder}; open it once with HF_HUB_OFFLINE unset`,
    );
  }
  const identify = (name: string) => linkedIdentity(snapshot, name);
  return readModel(await folderSource(snapshot, { id: repo.id, revision: commit, identify }));
}

async function openRemote(client: HubClient): Promise<Model> {
  return readModel(remoteSource(client, await listModel(client)));
}

async function openDownloaded(
  client: HubClient,
  settings: HubSettings,
  options: OpenModelOptions,
): Promise<Model> {
  const { repo } = client;
  const folder = repoFolder(settings.cacheFolder, repo.id);
  const listing = await listModel(client);
  await downloadSnapshot(client, listing, { folder, onProgress: options.onProgress });
  const identify = async (name: string) => {
    const { sha256 = null, etag = null } = listing.files.get(name) ?? {};
    return { sha256, etag };
  };
  const snapshot = snapshotFolder(folder, listing.commit);
  return readModel(await folderSource(snapshot, { id: repo.id, revision: listing.commit, identify }));
}
