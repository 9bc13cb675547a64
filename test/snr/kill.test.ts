import { type ChildProcess, spawn } from "node:child_process";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { openModel } from "../../src/hub/open-model.ts";
import { scan } from "../../src/snr/scan.ts";
import { temporaryFolder, tinyLlama, writeTinyModel } from "../tiny-model.ts";

const entries = async (cache: string) =>
  (await readdir(cache, { recursive: true })).filter((name) => /^..[/\\][0-9a-f]+\.json$/.test(name)).length;

/** Resolves once the cache holds at least `count` scores, or the process has ended. */
async function untilCached(cache: string, count: number, child: ChildProcess): Promise<void> {
  while ((await entries(cache)) < count && child.exitCode === null) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe("a scan that is killed", () => {
  it("repeats at most the matrices in flight, and ends with identical results", {
    timeout: 120_000,
  }, async () => {
    const folder = await writeTinyModel(tinyLlama(8, 200));
    const cache = await temporaryFolder();
    const cli = fileURLToPath(new URL("../../dist/src/cli.js", import.meta.url));
    const args = [
      cli,
      "scan",
      folder,
      "--backend",
      "wasm",
      "--threads",
      "1",
      "--cache",
      cache,
      "--out",
      join(cache, "results.out"),
    ];
    const child = spawn(process.execPath, args, { stdio: "ignore" });
    const ended = new Promise((resolve) => child.on("exit", resolve));
    await untilCached(cache, 3, child);
    child.kill("SIGKILL");
    await ended;
    expect(child.signalCode).toBe("SIGKILL");

    const kept = await entries(cache);
    expect(kept).toBeGreaterThanOrEqual(3);
    const model = await openModel(folder);
    let cached = -1;
    const onProgress = ({ modulesCached }: { modulesCached: number }) => (cached = modulesCached);
    const resumed = await scan(model, { backend: "wasm", cache, threads: 1, onProgress });
    const uninterrupted = await scan(model, { backend: "wasm", cache: false, threads: 2 });
    await model.close();
    expect(cached).toBe(kept);
    expect(resumed).toEqual(uninterrupted);
  });
});
