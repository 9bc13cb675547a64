import { spawn } from "node:child_process";
import { once } from "node:events";
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { linkBlob, linkedIdentity, readRef, writeRef } from "../../src/hub/cache.ts";
import { openModel } from "../../src/hub/open-model.ts";
import { claimPartial, releasePartial } from "../../src/hub/partial.ts";
import { COMMIT, etagOf, startHub } from "./hub-server.ts";
import { SHARDS, shardedModel } from "./tiny-model.ts";

const SHA256 = "a".repeat(64);

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "cache-"));
});
afterEach(() => rm(folder, { recursive: true }));

describe("linkBlob()", () => {
  const forbidden = () => Promise.reject(Object.assign(new Error("no links"), { code: "EPERM" }));
  const pointer = () => join(folder, "snapshots", COMMIT, "sub", "w.safetensors");
  const blob = () => join(folder, "blobs", SHA256);

  beforeEach(async () => {
    await mkdir(join(folder, "blobs"));
    await writeFile(blob(), "weights");
  });

  it("links relative to the snapshot, over what was there, and the link tells the hash", async () => {
    await mkdir(join(folder, "snapshots", COMMIT, "sub"), { recursive: true });
    await writeFile(pointer(), "stale");
    await linkBlob(blob(), pointer(), { isNew: false });
    expect((await lstat(pointer())).isSymbolicLink()).toBe(true);
    expect(await readFile(pointer(), "utf8")).toBe("weights");
    expect(await linkedIdentity(join(folder, "snapshots", COMMIT), "sub/w.safetensors")).toEqual({
      sha256: SHA256,
      etag: SHA256,
    });
  });

  it("moves a new blob where links are not allowed, and copies one that others may use", async () => {
    await linkBlob(blob(), pointer(), { isNew: false, symlink: forbidden });
    expect(await readFile(pointer(), "utf8")).toBe("weights");
    expect(await readFile(blob(), "utf8")).toBe("weights");
    await linkBlob(blob(), `${pointer()}2`, { isNew: true, symlink: forbidden });
    expect(await readFile(`${pointer()}2`, "utf8")).toBe("weights");
    expect(await readdir(join(folder, "blobs"))).toEqual([]);
    expect(await linkedIdentity(join(folder, "snapshots", COMMIT), "sub/w.safetensors")).toEqual({
      sha256: null,
      etag: null,
    });
  });
});

describe("refs", () => {
  it("name the commit of a branch, those with slashes too, and nothing that is no commit", async () => {
    await writeRef(folder, "refs/pr/1", COMMIT);
    expect(await readFile(join(folder, "refs", "refs", "pr", "1"), "utf8")).toBe(COMMIT);
    expect(await readRef(folder, "refs/pr/1")).toBe(COMMIT);
    expect(await readRef(folder, "main")).toBeNull();
    await writeFile(join(folder, "refs", "main"), "../../../x");
    expect(await readRef(folder, "main")).toBeNull();
    expect(await readRef(folder, COMMIT)).toBe(COMMIT);
  });
});

describe("claimPartial()", () => {
  it("takes over what a dead process left, once, and never what is in use", async () => {
    const blob = join(folder, SHA256);
    const first = await claimPartial(blob);
    await writeFile(first, "12345");
    expect(await claimPartial(blob)).not.toBe(first);
    expect(await readFile(first, "utf8")).toBe("12345");
    releasePartial(first);
    const claims = await Promise.all([claimPartial(blob), claimPartial(blob)]);
    const taken = await Promise.all(claims.map((path) => readFile(path, "utf8").catch(() => "none")));
    expect(taken.sort()).toEqual(["12345", "none"]);
  });

  it("leaves the copies of other blobs, of living processes and of Python alone", async () => {
    const host = (await claimPartial(join(folder, SHA256))).split(".").at(-2)?.split("-")[0];
    const others = [
      `${"b".repeat(64)}.${host}-999999999-00000000.incomplete`,
      `${SHA256}.${host}-${process.ppid}-00000000.incomplete`,
      `${SHA256}.00000000-1-00000000.incomplete`,
      `${SHA256}.incomplete`,
      `${SHA256}.0123abcd.incomplete`,
    ].sort();
    for (const name of others) await writeFile(join(folder, name), "x");
    await claimPartial(join(folder, SHA256));
    expect((await readdir(folder)).sort()).toEqual(others);
  });
});

describe("a download that is killed", () => {
  it("goes on in the next process from the bytes that are there", async () => {
    const hub = await startHub();
    try {
      const files = await shardedModel();
      hub.models.set("tiny/model", { files });
      // The first process gets part of the shard, and then hangs until it is killed.
      hub.faults.set(SHARDS[0], [{ kind: "drop", after: 70_000 }, { kind: "silence" }]);
      const script = `
        import { openModel } from ${JSON.stringify(new URL("../../dist/src/hub/open-model.js", import.meta.url).href)};
        await openModel("tiny/model", { endpoint: "${hub.url}", cacheDir: ${JSON.stringify(folder)}, token: "", offline: false, retry: { firstDelayMs: 1 } });`;
      const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
        cwd: fileURLToPath(new URL("../..", import.meta.url)),
        stdio: "inherit",
      });
      while (hub.requests.filter(({ host, path }) => host === "cdn" && path.includes(SHARDS[0])).length < 2) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      child.kill("SIGKILL");
      await once(child, "exit");
      const blobs = await readdir(join(folder, "models--tiny--model", "blobs"));
      expect(blobs.filter((name) => name.endsWith(".incomplete"))).toHaveLength(1);
      expect(blobs).not.toContain(etagOf(SHARDS[0], files.get(SHARDS[0]) ?? new Uint8Array()));
      hub.requests.length = 0;
      await (
        await openModel("tiny/model", { endpoint: hub.url, cacheDir: folder, token: "", offline: false })
      ).close();
      const ranges = hub.requests
        .filter(({ host, path }) => host === "cdn" && path.includes(SHARDS[0]))
        .map(({ range }) => range);
      expect(ranges).toEqual(["bytes=70000-"]);
    } finally {
      await hub.close();
    }
  });
});
