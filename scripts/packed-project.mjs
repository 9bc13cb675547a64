// An empty project with this package installed as users get it: packed from the built files, dependencies from npm.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** This repository. */
export const ROOT = fileURLToPath(new URL("..", import.meta.url));

/**
 * Packs dist as it is (build first), installs the tarball, and lists what is in it.
 *
 * @returns {{ folder: string, files: readonly string[], remove: () => void }}
 */
export function createPackedProject() {
  const folder = mkdtempSync(join(tmpdir(), "spectrum-packed-"));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  try {
    const pack = ["pack", "--json", "--ignore-scripts", "--pack-destination", folder];
    const [packed] = Object.values(JSON.parse(run("npm", pack, { cwd: ROOT })));
    // As the README says: without it npm fetches CUDA's provider from another registry, and fails where it cannot.
    const allowScripts = { "onnxruntime-node": false };
    writeFileSync(
      join(folder, "package.json"),
      JSON.stringify({ private: true, type: "module", allowScripts }),
    );
    const install = ["install", "--no-audit", "--no-fund", "--prefer-offline", join(folder, packed.filename)];
    run("npm", install, { cwd: folder });
    return { folder, files: packed.files.map(({ path }) => path), remove };
  } catch (error) {
    remove();
    throw error;
  }
}

/**
 * Standard output of a command that ends well.
 *
 * @param {string} file
 * @param {readonly string[]} args
 * @param {{ cwd: string, env?: Record<string, string> }} options
 * @returns {string}
 */
export function run(file, args, { cwd, env = {} }) {
  const child = spawnSync(file, args, { cwd, env: { ...process.env, ...env }, encoding: "utf8" });
  if (child.status === 0) return child.stdout;
  throw new Error(`${file} ${args.join(" ")} failed: ${child.error?.message ?? child.stdout + child.stderr}`);
}
