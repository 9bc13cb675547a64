// The Hub cache on this machine, in the layout that Python's huggingface_hub shares:
// models--org--name (datasets--org--name)/{blobs/<etag>, refs/<revision>, snapshots/<commit>/<file> -> ../../blobs/<etag>}.
import { randomBytes } from "node:crypto";
import { copyFile, mkdir, readFile, readlink, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import type { FileIdentity } from "./folder.ts";
import { nullIfMissing } from "./missing.ts";
import type { HubRepo } from "./repo.ts";
import type { HubSettings } from "./settings.ts";

/** Says whether a revision is a commit: it never moves, hence has no ref. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

/** The folder of one repository in the cache. */
export function repoFolder(cacheFolder: string, { kind, id }: Pick<HubRepo, "kind" | "id">): string {
  return join(cacheFolder, [`${kind}s`, ...id.split("/")].join("--"));
}

/** The folder with the files of one commit. */
export function snapshotFolder(repo: string, commit: string): string {
  return join(repo, "snapshots", commit);
}

/** The commit that a branch or tag stood for when it was last looked up; null when it never was. */
export async function readRef(repo: string, revision: string): Promise<string | null> {
  if (isCommit(revision)) return revision;
  const commit = (await readFile(join(repo, "refs", revision), "utf8").catch(nullIfMissing))?.trim() ?? "";
  return isCommit(commit) ? commit : null;
}

/**
 * The folder of a repository's files in the cache, for work without the Hub.
 *
 * @throws Error when it was never downloaded at that revision.
 */
export async function cachedSnapshot(
  repo: HubRepo,
  { cacheFolder }: Pick<HubSettings, "cacheFolder">,
): Promise<{ readonly snapshot: string; readonly commit: string }> {
  const folder = repoFolder(cacheFolder, repo);
  const commit = await readRef(folder, repo.revision);
  const snapshot = commit && snapshotFolder(folder, commit);
  if (snapshot && (await stat(snapshot).catch(nullIfMissing)) !== null) return { snapshot, commit };
  throw new Error(
    `Cannot open ${repo.id} at revision "${repo.revision}" offline: it is not in the cache ${cacheFolder}; open it once online, without --offline and HF_HUB_OFFLINE`,
  );
}

/** Notes which commit a branch or tag stands for. */
export async function writeRef(repo: string, revision: string, commit: string): Promise<void> {
  if (isCommit(revision)) return;
  const path = join(repo, "refs", revision);
  await mkdir(dirname(path), { recursive: true });
  await replace(path, (aside) => writeFile(aside, commit));
}

/** Where the content with an ETag is kept. */
export function blobPath(repo: string, etag: string): string {
  return join(repo, "blobs", etag);
}

/** Says whether a file is there with the size it should have. */
export async function hasFile(path: string, sizeBytes: number): Promise<boolean> {
  const stats = await stat(path).catch(nullIfMissing);
  return stats?.isFile() === true && stats.size === sizeBytes;
}

/** Options of {@link linkBlob}. */
export interface LinkOptions {
  /** Whether nothing else can refer to the blob yet, so that it may be moved where links are not allowed. */
  readonly isNew: boolean;
  /** Default: the file system's. */
  readonly symlink?: (target: string, path: string) => Promise<void>;
}

/**
 * Makes a file of a snapshot refer to a blob; where the system allows no symbolic links, the file is moved or copied,
 * as Python does.
 */
export async function linkBlob(blob: string, pointer: string, options: LinkOptions): Promise<void> {
  const makeLink = options.symlink ?? symlink;
  await mkdir(dirname(pointer), { recursive: true });
  await replace(pointer, async (aside) => {
    try {
      await makeLink(relative(dirname(pointer), blob), aside);
    } catch (error) {
      if (!isForbidden(error)) throw error;
      await (options.isNew ? rename(blob, aside) : copyFile(blob, aside));
    }
  });
}

/** What a snapshot's link says of its file: blobs of large files are named by their SHA-256. */
export async function linkedIdentity(snapshot: string, name: string): Promise<FileIdentity> {
  const target = await readlink(join(snapshot, name)).catch(nullIfNoLink);
  const etag = target === null ? "" : basename(target);
  if (/^[0-9a-f]{64}$/.test(etag)) return { sha256: etag, etag };
  return { sha256: null, etag: isCommit(etag) ? etag : null };
}

/** Writes aside and renames, so that nobody sees half of it. */
async function replace(path: string, write: (aside: string) => Promise<void>): Promise<void> {
  const aside = `${path}.${randomBytes(4).toString("hex")}.incomplete`;
  try {
    await write(aside);
    await rename(aside, path);
  } finally {
    await rm(aside, { force: true });
  }
}

function isForbidden(error: unknown): boolean {
  return (
    error instanceof Error &&
    "code" in error &&
    ["EPERM", "EACCES", "ENOSYS", "ENOTSUP"].includes(`${error.code}`)
  );
}

function nullIfNoLink(error: unknown): null {
  // UNKNOWN is what some Windows file systems answer for EINVAL.
  if (error instanceof Error && "code" in error && (error.code === "EINVAL" || error.code === "UNKNOWN"))
    return null;
  return nullIfMissing(error);
}
