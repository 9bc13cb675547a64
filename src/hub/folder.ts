// A model in a folder on this machine, a snapshot of the Hub cache included.
import { constants } from "node:fs";
import { access, type FileHandle, open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { UsageError } from "../errors.ts";
import { nullIfMissing } from "./missing.ts";
import type { ByteRange, ModelFile } from "./model.ts";
import { DEFAULT_BLOCK_BYTES, type ModelSource } from "./source.ts";

/** What the Hub says about a file. */
export interface FileIdentity {
  readonly sha256: string | null;
  readonly etag: string | null;
}

/** Options of {@link folderSource}. */
export interface FolderSourceOptions {
  /** Name of the model for people; default: the folder. */
  readonly id?: string;
  /** Commit of the snapshot; default none. */
  readonly revision?: string;
  /** What is known of a file's content without reading it; default nothing. */
  readonly identify?: (name: string) => Promise<FileIdentity>;
}

/**
 * A folder as a source. Files are opened when they are first read, and stay open until closed.
 *
 * @throws UsageError when there is no such folder.
 */
export async function folderSource(folder: string, options: FolderSourceOptions = {}): Promise<ModelSource> {
  const id = options.id ?? folder;
  await checkFolder(folder);
  const handles = new Map<string, Promise<FileHandle>>();
  let closed = false;

  async function handleOf(file: ModelFile): Promise<FileHandle> {
    if (closed) throw new Error(`Cannot read ${file.name} of ${id}: the model is closed`);
    let handle = handles.get(file.name);
    if (handle === undefined) {
      handle = open(join(folder, file.name), "r");
      handles.set(file.name, handle);
    }
    return handle;
  }

  return {
    id,
    revision: options.revision ?? null,
    folder,
    async list() {
      const entries = await readdir(folder, { withFileTypes: true });
      return entries.filter((entry) => !entry.isDirectory()).map((entry) => entry.name);
    },
    async stat(name) {
      const stats = await stat(join(folder, name)).catch(nullIfMissing);
      if (!stats?.isFile()) return null;
      const identity = (await options.identify?.(name)) ?? { sha256: null, etag: null };
      return { name, sizeBytes: stats.size, ...identity };
    },
    async *read(file, range) {
      const handle = await handleOf(file);
      yield* readHandle(handle, file, range);
    },
    async close() {
      closed = true;
      const opened = await Promise.allSettled(handles.values());
      handles.clear();
      await Promise.all(
        opened.map((result) => (result.status === "fulfilled" ? result.value.close() : null)),
      );
    },
  };
}

async function checkFolder(folder: string): Promise<void> {
  const stats = await stat(folder).catch(nullIfMissing);
  if (stats === null) {
    throw new UsageError(
      `Cannot open ${folder}: there is no such folder; name a folder that holds a model, or a model on the Hub as org/name`,
    );
  }
  if (!stats.isDirectory()) {
    throw new UsageError(`Cannot open ${folder}: it is a file; name the folder that holds it`);
  }
  await access(folder, constants.R_OK | constants.X_OK);
}

async function* readHandle(
  handle: FileHandle,
  file: ModelFile,
  range: ByteRange,
): AsyncGenerator<Uint8Array> {
  const { size } = await handle.stat();
  if (size !== file.sizeBytes) throw changed(file, size);
  const blockBytes = range.blockBytes ?? DEFAULT_BLOCK_BYTES;
  let block: Buffer | null = null;
  for (let begin = range.begin; begin < range.end; begin += blockBytes) {
    range.signal?.throwIfAborted();
    const length = Math.min(blockBytes, range.end - begin);
    block = range.transient && block !== null ? block.subarray(0, length) : Buffer.allocUnsafeSlow(length);
    let filled = 0;
    while (filled < block.length) {
      const { bytesRead } = await handle.read(block, filled, block.length - filled, begin + filled);
      if (bytesRead === 0) throw changed(file, begin + filled);
      filled += bytesRead;
    }
    yield block;
  }
}

function changed(file: ModelFile, sizeBytes: number): Error {
  return new Error(
    `Cannot read ${file.name}: it had ${file.sizeBytes} bytes when it was opened and has ${sizeBytes} now; open the model again when nothing writes to it`,
  );
}
