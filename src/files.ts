// Files: replaced so that a reader sees the old content or the new and never a part of it, and copied where there are any.
import { randomBytes } from "node:crypto";
import { access, constants, copyFile, mkdir, open, realpath, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";

/**
 * Puts `content` (text as UTF-8) at `path` in one step: written aside in the same folder, synced, renamed.
 * Missing parent folders are made; a symbolic link keeps pointing where it did, and what it points to is replaced.
 *
 * @throws Error when `path` exists and is no regular file, or the file system refuses; nothing is left aside.
 */
export async function replaceFile(path: string, content: Uint8Array | string): Promise<void> {
  const target = await targetOf(path);
  try {
    await mkdir(dirname(target), { recursive: true });
  } catch (cause) {
    throw cannotWrite(path, cause);
  }
  const aside = join(dirname(target), `.${basename(target).slice(0, 100)}.${randomBytes(6).toString("hex")}`);
  try {
    const file = await open(aside, "wx");
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(aside, target);
  } catch (cause) {
    await rm(aside, { force: true });
    throw cannotWrite(path, cause);
  }
}

function cannotWrite(path: string, cause: unknown): Error {
  return new Error(`Cannot write ${path}: ${cause instanceof Error ? cause.message : cause}`, { cause });
}

/** The regular file, existing or not yet, that `path` leads to. */
async function targetOf(path: string): Promise<string> {
  let target: string;
  try {
    target = await realpath(path);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return path;
    throw cannotWrite(path, error);
  }
  if (!(await stat(target)).isFile())
    throw new Error(`Cannot write ${path}: it is there and is no regular file`);
  return target;
}

/**
 * Checks that a folder can be made, or written to where it is there already; makes nothing.
 *
 * @throws Error with what the file system says of the nearest folder that is there.
 */
export async function checkWritable(folder: string): Promise<void> {
  let nearest = resolve(folder);
  for (;;) {
    try {
      return await access(nearest, constants.W_OK | constants.X_OK);
    } catch (cause) {
      const parent = dirname(nearest);
      const isMissing = cause instanceof Error && "code" in cause && cause.code === "ENOENT";
      if (!isMissing || parent === nearest) throw cannotWrite(folder, cause);
      nearest = parent;
    }
  }
}

/** Whether there is a regular file at `path`, links followed. */
export async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return false;
    throw error;
  }
}

/** Copies a file, where there is one. */
export async function copyIfThere(from: string, to: string): Promise<void> {
  if (await isFile(from)) await copyFile(from, to);
}
