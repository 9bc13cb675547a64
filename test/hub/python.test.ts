// Shares one cache with Python's huggingface_hub, both ways. Skipped where Python does not have it.
import { execFile, spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openModel } from "../../src/hub/open-model.ts";
import { COMMIT, startHub, type TestHub } from "./hub-server.ts";
import { NEEDED, SHARDS, shardedModel } from "./tiny-model.ts";

const ID = "tiny/model";
const hasHub = spawnSync("python3", ["-c", "import huggingface_hub"]).status === 0;

let hub: TestHub;
let cacheDir: string;
beforeEach(async () => {
  hub = await startHub();
  hub.models.set(ID, { files: await shardedModel() });
  cacheDir = await mkdtemp(join(tmpdir(), "python-cache-"));
});
afterEach(async () => {
  await hub.close();
  await rm(cacheDir, { recursive: true });
});

/** Runs statements of Python with the test's Hub and cache, away from the user's; gives what they print. */
async function python(statements: string, env: Record<string, string> = {}): Promise<string[]> {
  const hubEnv = {
    HF_ENDPOINT: hub.url,
    HF_HOME: cacheDir,
    HF_HUB_CACHE: cacheDir,
    HF_HUB_DISABLE_IMPLICIT_TOKEN: "1",
  };
  const { stdout } = await promisify(execFile)(
    "python3",
    ["-c", `from huggingface_hub import *; ${statements}`],
    {
      env: { ...process.env, ...hubEnv, ...env },
    },
  );
  return stdout.trim().split("\n");
}

describe.skipIf(!hasHub)("the cache shared with huggingface_hub", () => {
  it("finds offline what Python downloaded, hashes included", async () => {
    const [folder] = await python(`print(snapshot_download("${ID}", ignore_patterns="model-99*"))`);
    hub.requests.length = 0;
    await using model = await openModel(ID, { cacheDir, offline: true });
    expect(model.folder).toBe(folder);
    expect([...model.tensors.keys()]).toEqual(["a", "b"]);
    expect(model.files.map(({ sha256 }) => sha256?.length)).toEqual([64, 64]);
    expect(hub.requests).toEqual([]);
  });

  it("downloads nothing that Python has, and is found by Python, offline and by file", async () => {
    await python(`print(hf_hub_download("${ID}", "${SHARDS[0]}"))`);
    hub.requests.length = 0;
    await (await openModel(ID, { cacheDir, endpoint: hub.url, token: "", offline: false })).close();
    expect(hub.requests.filter(({ path }) => path.includes(SHARDS[0]))).toEqual([]);
    hub.requests.length = 0;
    const snapshot = join(cacheDir, "models--tiny--model", "snapshots", COMMIT);
    const finds = [
      `print(snapshot_download("${ID}", allow_patterns=${JSON.stringify(NEEDED)}))`,
      `print(hf_hub_download("${ID}", "${SHARDS[1]}"))`,
      `print([repo.repo_id for repo in scan_cache_dir().repos], scan_cache_dir().warnings)`,
    ];
    expect(await python(finds.join("; "), { HF_HUB_OFFLINE: "1" })).toEqual([
      snapshot,
      join(snapshot, SHARDS[1]),
      `['${ID}'] []`,
    ]);
    expect(hub.requests.filter(({ path }) => path.includes(ID))).toEqual([]);
  });
});
