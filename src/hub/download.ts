// Downloads one blob: resumed where it broke off, renamed into place only when its size and hash are right.
import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { HubError } from "../errors.ts";
import type { HubAnswer, HubClient } from "./client.ts";
import type { RemoteFile } from "./listing.ts";
import { claimPartial, releasePartial } from "./partial.ts";
import { retrying, TransientError } from "./retry.ts";

/** Options of {@link downloadBlob}. */
export interface DownloadBlobOptions {
  /** Called with the bytes that are there so far; falls when a download begins anew. */
  readonly onBytes?: (bytes: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Downloads a file of a model to `path`. What is there when it fails is kept aside for the next try.
 *
 * @throws HubError when the Hub refuses, or sends other bytes than it promised, twice.
 */
export async function downloadBlob(
  client: HubClient,
  file: RemoteFile,
  path: string,
  options: DownloadBlobOptions = {},
): Promise<void> {
  const aside = await claimPartial(path);
  try {
    const partial = await openPartial(aside, file);
    try {
      await fill(partial, client, options);
      await partial.handle.sync();
    } finally {
      await partial.handle.close();
      if (partial.position === 0) await rm(aside, { force: true });
    }
    await rename(aside, path);
  } finally {
    releasePartial(aside);
  }
}

/** A file that holds the first `position` bytes, which `hash` has seen. */
interface Partial {
  readonly file: RemoteFile;
  readonly handle: FileHandle;
  hash: Hash;
  position: number;
  /** Times that the bytes turned out to be the wrong ones. */
  mismatches: number;
}

async function openPartial(aside: string, file: RemoteFile): Promise<Partial> {
  const handle = await open(aside, "a+");
  try {
    const { size } = await handle.stat();
    const partial: Partial = { file, handle, hash: newHash(file), position: size, mismatches: 0 };
    if (size > file.sizeBytes) await restart(partial);
    else if (size > 0) for await (const chunk of createReadStream(aside)) partial.hash.update(chunk);
    return partial;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function fill(partial: Partial, client: HubClient, options: DownloadBlobOptions): Promise<void> {
  const attempt = async () => {
    const now = new Date();
    await partial.handle.utimes(now, now); // Says that someone is at it, see partial.ts.
    if (partial.position < partial.file.sizeBytes) await receive(partial, client, options);
    await verify(partial);
  };
  const signals = [client.signal, options.signal];
  await retrying(attempt, { policy: client.policy, progress: () => partial.position, signals });
}

async function receive(partial: Partial, client: HubClient, options: DownloadBlobOptions): Promise<void> {
  const { file } = partial;
  const headers: Record<string, string> = partial.position > 0 ? { range: `bytes=${partial.position}-` } : {};
  const answer = await client.get(file.url, { headers, signal: options.signal });
  try {
    // Anything but the rest of the file is the whole of it, or must be asked for anew.
    if (!continuesAt(answer, partial.position)) await restart(partial);
    if (answer.status === 416) throw transient(file, "the server has no such range");
    for await (const chunk of answer.body) {
      if (partial.position + chunk.length > file.sizeBytes) {
        await mismatch(partial, `expected ${file.sizeBytes} bytes, got more`);
      }
      await partial.handle.appendFile(chunk);
      partial.hash.update(chunk);
      partial.position += chunk.length;
      options.onBytes?.(partial.position);
    }
  } finally {
    answer.close();
  }
  if (partial.position < file.sizeBytes) {
    throw transient(file, `expected ${file.sizeBytes} bytes, got ${partial.position}`);
  }
}

function continuesAt(answer: HubAnswer, position: number): boolean {
  if (answer.status === 200) return position === 0;
  return (
    answer.status === 206 && (answer.headers.get("content-range") ?? "").startsWith(`bytes ${position}-`)
  );
}

async function verify(partial: Partial): Promise<void> {
  const { file } = partial;
  const expected = file.sha256 ?? file.etag;
  const got = partial.hash.digest("hex");
  if (got === expected) return;
  await mismatch(partial, `expected ${file.sha256 ? "SHA-256" : "git SHA-1"} ${expected}, got ${got}`);
}

/** Drops what is there. Once may be an accident on the way; twice is the server. */
async function mismatch(partial: Partial, what: string): Promise<never> {
  await restart(partial);
  partial.mismatches++;
  if (partial.mismatches === 1) throw transient(partial.file, what);
  throw new HubError(`Cannot download ${partial.file.name}: ${what}; nothing was kept`, { status: null });
}

async function restart(partial: Partial): Promise<void> {
  await partial.handle.truncate(0);
  partial.hash = newHash(partial.file);
  partial.position = 0;
}

/** The Hub names large files by their SHA-256, and the others as git does: SHA-1 over a header and the content. */
function newHash(file: RemoteFile): Hash {
  if (file.sha256 !== null) return createHash("sha256");
  return createHash("sha1").update(`blob ${file.sizeBytes}\0`);
}

function transient(file: RemoteFile, what: string): TransientError {
  return new TransientError(`Cannot download ${file.name}: ${what}`, { status: null });
}
