// What a repository on the Hub consists of: the commit, and the files with their sizes and hashes.
import { datasetInfo, type ListFileEntry, listFiles, modelInfo } from "@huggingface/hub";
import { HubError } from "../errors.ts";
import { isInnerPath } from "../safetensors/index-file.ts";
import { isCommit } from "./cache.ts";
import type { HubClient } from "./client.ts";
import type { ModelFile } from "./model.ts";
import { type HubRepo, repoPath } from "./repo.ts";

/** More files than any repository that is read here has. */
const MAX_FILES = 100_000;

/** A file on the Hub. */
export interface RemoteFile extends ModelFile {
  /** SHA-256 in hex for a large file, else the git SHA-1 of its content; the name of its blob in the cache. */
  readonly etag: string;
  readonly url: string;
}

/** A repository at a commit. */
export interface Listing {
  readonly commit: string;
  readonly files: ReadonlyMap<string, RemoteFile>;
}

/**
 * Looks up the commit of a client's revision, and the files at that commit.
 *
 * @throws HubError when the Hub refuses, or answers what cannot be.
 */
export async function listRepo(client: HubClient): Promise<Listing> {
  const { repo, settings, fetch } = client;
  const hub = { hubUrl: settings.endpoint, fetch };
  const named = { type: repo.kind, name: repo.id };
  try {
    const commit = isCommit(repo.revision) ? repo.revision : await commitOf(repo, hub);
    if (!isCommit(commit)) throw new SyntaxError(`its commit is ${JSON.stringify(commit)}`);
    const files = new Map<string, RemoteFile>();
    for await (const entry of listFiles({ ...hub, repo: named, revision: commit, recursive: true })) {
      if (files.size >= MAX_FILES) throw new SyntaxError(`it has more than ${MAX_FILES} files`);
      if (entry.type === "file") files.set(entry.path, parseEntry(entry, client, commit));
    }
    return { commit, files };
  } catch (cause) {
    // The library parses what the Hub sends and trusts its types.
    if (!(cause instanceof SyntaxError || cause instanceof TypeError)) throw cause;
    throw new HubError(`Cannot open ${repo.id}: the Hub's answer makes no sense: ${cause.message}`, {
      cause,
      status: 200,
    });
  }
}

async function commitOf(
  { kind, id, revision }: HubRepo,
  hub: { readonly hubUrl: string; readonly fetch: typeof fetch },
): Promise<string> {
  const { sha } =
    kind === "model"
      ? await modelInfo({ ...hub, name: id, revision, additionalFields: ["sha"] })
      : await datasetInfo({ ...hub, name: id, revision, additionalFields: ["sha"] });
  return sha;
}

function parseEntry(entry: ListFileEntry, client: HubClient, commit: string): RemoteFile {
  const { path, size, oid, lfs } = entry;
  const sizeBytes = lfs?.size ?? size;
  const etag = lfs?.oid ?? oid;
  if (typeof path !== "string" || !isInnerPath(path)) {
    throw new SyntaxError(`a file is named ${JSON.stringify(path)?.slice(0, 200)}`);
  }
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0)
    throw new SyntaxError(`${path} has ${sizeBytes} bytes`);
  if (typeof etag !== "string" || !(lfs ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{40}$/).test(etag)) {
    throw new SyntaxError(`${path} has the hash ${JSON.stringify(etag)?.slice(0, 200)}`);
  }
  const place = [repoPath(client.repo), "resolve", commit, path].flatMap((part) => part.split("/"));
  const url = `${client.settings.endpoint}/${place.map(encodeURIComponent).join("/")}`;
  return { name: path, sizeBytes, sha256: lfs ? etag : null, etag, url };
}
