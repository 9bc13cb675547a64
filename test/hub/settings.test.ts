import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { UsageError } from "../../src/errors.ts";
import { hubSettings } from "../../src/hub/settings.ts";

let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "hf-home-"));
});
afterEach(() => rm(home, { recursive: true }));

describe("hubSettings()", () => {
  it("falls back to the places that Python uses", async () => {
    const settings = await hubSettings({}, { HF_HUB_DISABLE_IMPLICIT_TOKEN: "1" });
    expect(settings).toEqual({
      endpoint: "https://huggingface.co",
      cacheFolder: join(homedir(), ".cache", "huggingface", "hub"),
      token: null,
      offline: false,
    });
  });

  it.each([
    [{ XDG_CACHE_HOME: "/x" }, "/x/huggingface/hub"],
    [{ XDG_CACHE_HOME: "/x", HF_HOME: "/h" }, "/h/hub"],
    [{ HF_HOME: "/h", HUGGINGFACE_HUB_CACHE: "/legacy" }, "/legacy"],
    [{ HF_HOME: "/h", HUGGINGFACE_HUB_CACHE: "/legacy", HF_HUB_CACHE: "/cache" }, "/cache"],
    [{ HF_HOME: "~/h" }, join(homedir(), "h", "hub")],
    [{ HF_HUB_CACHE: `$BIG/\${SUB}/c`, BIG: "/big", SUB: "s" }, "/big/s/c"],
    [{ HF_HOME: "/h", HF_HUB_CACHE: "" }, "/h/hub"],
  ])("finds the cache of %j", async (env, expected) => {
    const settings = await hubSettings({}, { ...env, HF_HUB_DISABLE_IMPLICIT_TOKEN: "1" });
    expect(settings.cacheFolder).toBe(resolve(expected));
  });

  it("takes the token from the option, HF_TOKEN, the file that login writes, in this order", async () => {
    await writeFile(join(home, "token"), "hf_file\n");
    await writeFile(join(home, "other"), "hf_other\n");
    const tokenOf = async (env: Record<string, string>, token?: string) =>
      (await hubSettings(token === undefined ? {} : { token }, { HF_HOME: home, ...env })).token;
    expect(await tokenOf({})).toBe("hf_file");
    expect(await tokenOf({ HF_TOKEN_PATH: join(home, "other") })).toBe("hf_other");
    expect(await tokenOf({ HF_TOKEN: "hf_env" })).toBe("hf_env");
    expect(await tokenOf({ HF_TOKEN: "hf_env" }, "hf_option")).toBe("hf_option");
    expect(await tokenOf({ HF_TOKEN: "hf_env" }, "")).toBeNull();
    expect(await tokenOf({ HF_TOKEN_PATH: join(home, "none") })).toBeNull();
  });

  it("never puts a token into a message", async () => {
    const error = await hubSettings({ token: "hf_se\ncret" }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(UsageError);
    expect(String(error)).not.toContain("cret");
  });

  it.each([
    [{ HF_HUB_OFFLINE: "1" }, true],
    [{ HF_HUB_OFFLINE: "yes" }, true],
    [{ TRANSFORMERS_OFFLINE: "TRUE" }, true],
    [{ HF_HUB_OFFLINE: "0", TRANSFORMERS_OFFLINE: "1" }, false],
    [{}, false],
  ])("reads offline mode from %j", async (env, offline) => {
    expect((await hubSettings({}, { HF_HOME: home, ...env })).offline).toBe(offline);
  });

  it("takes a mirror, and refuses what is no http(s) URL", async () => {
    const of = (HF_ENDPOINT: string) => hubSettings({}, { HF_HOME: home, HF_ENDPOINT });
    expect((await of("http://mirror:8080/hf/")).endpoint).toBe("http://mirror:8080/hf");
    await expect(of("mirror")).rejects.toThrow(UsageError);
    await expect(of("file:///x")).rejects.toThrow(UsageError);
  });
});
