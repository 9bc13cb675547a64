// Brings the files of one commit that are needed into the Hub cache: the weights, and the small files beside them.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { MAX_INDEX_BYTES, parseIndex, shardNames } from "../safetensors/index-file.ts";
import { blobPath, hasFile, linkBlob, snapshotFolder, writeRef } from "./cache.ts";
import type { HubClient } from "./client.ts";
import { downloadBlob } from "./download.ts";
import type { Listing, RemoteFile } from "./listing.ts";
import { findWeights, INDEX_FILE, isCompanion, SINGLE_FILE } from "./weights.ts";

/** Files downloaded at the same time. */
const FILES_AT_ONCE = 4;

/** The longest file beside the weights that is downloaded; the largest tokenizers take half of it. */
const MAX_COMPANION_BYTES = 64 * 2 ** 20;

/** How far a download is. */
export interface DownloadProgress {
  /** The file that just moved on. */
  readonly file: string;
  readonly fileBytes: number;
  readonly fileSizeBytes: number;
  /** Over all files that have to be downloaded. Falls when a file begins anew. */
  readonly bytes: number;
  readonly totalBytes: number;
}

/** Options of {@link downloadSnapshot}. */
export interface SnapshotOptions {
  /** The repository's folder in the cache. */
  readonly folder: string;
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined;
}

/**
 * Downloads what is missing. The ref is written last, so that it never names a snapshot that was not whole.
 *
 * @throws HubError when the Hub refuses or sends wrong bytes; Error when the model has no weights that can be read.
 */
export async function downloadSnapshot(
  client: HubClient,
  listing: Listing,
  options: SnapshotOptions,
): Promise<void> {
  const sharded = findWeights([...listing.files.keys()], client.repo.id) === "sharded";
  const companions = [...listing.files.values()].filter(({ name }) => isCompanion(name));
  if (sharded) companions.push(fileOf(client, listing, INDEX_FILE));
  for (const file of companions) checkSmall(file);
  await downloadFiles(client, listing, companions, options);
  const weights = sharded ? await shardsOf(client, listing, options.folder) : [SINGLE_FILE];
  const files = weights.map((name) => fileOf(client, listing, name));
  await downloadFiles(client, listing, files, options);
  await writeRef(options.folder, client.repo.revision, listing.commit);
}

function fileOf(client: HubClient, listing: Listing, name: string): RemoteFile {
  const file = listing.files.get(name);
  if (file !== undefined) return file;
  throw new Error(
    `Cannot open ${client.repo.id}: its index names ${name}, which it does not hold; the upload is not complete`,
  );
}

function checkSmall(file: RemoteFile): void {
  const maxBytes = file.name === INDEX_FILE ? MAX_INDEX_BYTES : MAX_COMPANION_BYTES;
  if (file.sizeBytes <= maxBytes) return;
  throw new RangeError(
    `Cannot download ${file.name}: it has ${file.sizeBytes} bytes, expected at most ${maxBytes}`,
  );
}

async function shardsOf(client: HubClient, listing: Listing, folder: string): Promise<string[]> {
  const index = await readFile(join(snapshotFolder(folder, listing.commit), INDEX_FILE));
  return shardNames(parseIndex(index, `${INDEX_FILE} of ${client.repo.id}`));
}

/** Downloads those of the files that are missing in the cache. */
export async function downloadFiles(
  client: HubClient,
  listing: Listing,
  files: readonly RemoteFile[],
  options: SnapshotOptions,
): Promise<void> {
  const snapshot = snapshotFolder(options.folder, listing.commit);
  const missing: RemoteFile[] = [];
  for (const file of files) {
    if (!(await hasFile(join(snapshot, file.name), file.sizeBytes))) missing.push(file);
  }
  const report = progressOf(missing, options.onProgress);
  const failed = new AbortController();
  const queue = missing.values();
  const worker = async () => {
    for (const file of queue) {
      failed.signal.throwIfAborted();
      await downloadOne(client, file, {
        blob: blobPath(options.folder, file.etag),
        pointer: join(snapshot, file.name),
        signal: failed.signal,
        onBytes: (bytes) => report(file, bytes),
      });
    }
  };
  await allOrNone(Array.from({ length: FILES_AT_ONCE }, worker), failed);
}

/** Waits for all; the first failure stops the others, and is what is thrown. */
async function allOrNone(work: readonly Promise<void>[], failed: AbortController): Promise<void> {
  for (const promise of work) promise.catch((error: unknown) => failed.abort(error));
  await Promise.allSettled(work);
  failed.signal.throwIfAborted();
}

interface DownloadOneOptions {
  readonly blob: string;
  readonly pointer: string;
  readonly signal: AbortSignal;
  readonly onBytes: (bytes: number) => void;
}

async function downloadOne(client: HubClient, file: RemoteFile, options: DownloadOneOptions): Promise<void> {
  const { blob, pointer, ...download } = options;
  const isNew = !(await hasFile(blob, file.sizeBytes));
  if (isNew) await downloadBlob(client, file, blob, download);
  await linkBlob(blob, pointer, { isNew });
}

function progressOf(
  files: readonly RemoteFile[],
  onProgress: ((progress: DownloadProgress) => void) | undefined,
): (file: RemoteFile, fileBytes: number) => void {
  const totalBytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const done = new Map<string, number>();
  let bytes = 0;
  return (file, fileBytes) => {
    bytes += fileBytes - (done.get(file.name) ?? 0);
    done.set(file.name, fileBytes);
    onProgress?.({ file: file.name, fileBytes, fileSizeBytes: file.sizeBytes, bytes, totalBytes });
  };
}
