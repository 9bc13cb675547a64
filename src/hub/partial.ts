// The unfinished copy of a blob: `<etag>.<host>-<pid>-<random>.incomplete` beside it. Every download has its own, so
// two processes never write to one file; the copy that a dead process left is taken over by renaming it, which only
// one taker can.
import { createHash, randomBytes } from "node:crypto";
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { nullIfMissing } from "./missing.ts";

/** A copy that nobody wrote to for so long is abandoned, whoever made it; far longer than any wait between tries. */
const ABANDONED_MS = 30 * 60_000;

const HOST = createHash("sha256").update(hostname()).digest("hex").slice(0, 8);

/** Paths that this process is writing to. */
const active = new Set<string>();

/** Claims a path for the unfinished copy of a blob; there is a file at it when an abandoned copy was taken over. */
export async function claimPartial(blob: string): Promise<string> {
  const folder = dirname(blob);
  await mkdir(folder, { recursive: true });
  const own = `${blob}.${HOST}-${process.pid}-${randomBytes(4).toString("hex")}.incomplete`;
  active.add(own);
  const [largest, ...rest] = await abandonedCopies(folder, basename(blob));
  if (largest !== undefined) await rename(largest, own).catch(nullIfMissing);
  for (const path of rest) await rm(path, { force: true });
  return own;
}

/** Ends a claim. The file stays, for the next download to take over, unless it was renamed or removed. */
export function releasePartial(path: string): void {
  active.delete(path);
}

/** Abandoned copies of one blob, the largest first. */
async function abandonedCopies(folder: string, etag: string): Promise<string[]> {
  const copies: { path: string; sizeBytes: number }[] = [];
  for (const name of await readdir(folder)) {
    const [, host, pid] =
      /^([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.incomplete$/.exec(name.slice(etag.length + 1)) ?? [];
    if (!name.startsWith(`${etag}.`) || host === undefined || pid === undefined) continue;
    const path = join(folder, name);
    const stats = await stat(path).catch(nullIfMissing);
    if (stats === null) continue;
    const orphaned = host === HOST && !isAlive(Number(pid), path);
    if (orphaned || Date.now() - stats.mtimeMs > ABANDONED_MS) copies.push({ path, sizeBytes: stats.size });
  }
  return copies.sort((a, b) => b.sizeBytes - a.sizeBytes).map(({ path }) => path);
}

function isAlive(pid: number, path: string): boolean {
  if (pid === process.pid) return active.has(path);
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it lives, and belongs to someone else.
    return !(error instanceof Error && "code" in error && error.code === "ESRCH");
  }
}
