import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { checkWritable, replaceFile } from "../src/files.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "replace-file-"));
});
afterEach(() => rm(folder, { recursive: true }));

describe("replaceFile()", () => {
  it("makes folders, replaces what was there, and leaves nothing aside", async () => {
    const path = join(folder, "a", "b.json");
    await replaceFile(path, "first, and longer");
    await replaceFile(path, new Uint8Array([0x68, 0x69]));
    expect(await readFile(path, "utf8")).toBe("hi");
    expect(await readdir(join(folder, "a"))).toEqual(["b.json"]);
  });

  it("is never seen half-written by readers", async () => {
    const path = join(folder, "f");
    const contents = ["a", "b"].map((letter) => letter.repeat(300_000));
    await replaceFile(path, contents[0] ?? "");
    let done = false;
    const writing = (async () => {
      for (let i = 0; i < 20; i++) await replaceFile(path, contents[i % 2] ?? "");
      done = true;
    })();
    while (!done) expect(contents.includes(await readFile(path, "utf8"))).toBe(true);
    await writing;
  });

  it("follows a symbolic link and keeps it", async () => {
    await writeFile(join(folder, "real"), "old");
    await symlink("real", join(folder, "link"));
    await replaceFile(join(folder, "link"), "new");
    expect((await lstat(join(folder, "link"))).isSymbolicLink()).toBe(true);
    expect(await readFile(join(folder, "real"), "utf8")).toBe("new");
  });

  it("refuses a folder, and cleans up when it cannot write", async () => {
    await mkdir(join(folder, "d"));
    await expect(replaceFile(join(folder, "d"), "x")).rejects.toThrow(/no regular file/);
    await writeFile(join(folder, "f"), "");
    await expect(replaceFile(join(folder, "f", "below"), "x")).rejects.toThrow(/^Cannot write .*below: /);
    await expect(replaceFile(join(folder, "f", "a", "b"), "x")).rejects.toThrow(/^Cannot write .*b: /);
    expect((await readdir(folder)).sort()).toEqual(["d", "f"]);
  });
});

describe("checkWritable()", () => {
  it("takes a folder, or one that can be made, and makes nothing", async () => {
    await checkWritable(folder);
    await checkWritable(join(folder, "a", "b"));
    expect(await readdir(folder)).toEqual([]);
  });

  it("refuses what lies below a file", async () => {
    await writeFile(join(folder, "file"), "");
    await expect(checkWritable(join(folder, "file", "a"))).rejects.toThrow(/Cannot write .*ENOTDIR/);
  });

  // Nothing is forbidden to root.
  it.skipIf(process.getuid?.() === 0)("refuses a folder that nothing may be written to", async () => {
    await chmod(folder, 0o555);
    await expect(checkWritable(join(folder, "a", "b"))).rejects.toThrow(/Cannot write .*EACCES/);
    await chmod(folder, 0o755);
  });
});
