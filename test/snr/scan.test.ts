import { createHash } from "node:crypto";
import { open, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { UsageError } from "../../src/errors.ts";
import type { Model } from "../../src/hub/model.ts";
import { openModel } from "../../src/hub/open-model.ts";
import { writeSafetensors } from "../../src/safetensors/writer.ts";
import type { ScanResults } from "../../src/snr/results.ts";
import { type ScanOptions, scan } from "../../src/snr/scan.ts";
import type { ScanProgress } from "../../src/snr/scan-progress.ts";
import { temporaryFolder, tinyLlama, writeTinyModel } from "../tiny-model.ts";

async function scanFolder(folder: string, options: ScanOptions = { cache: false }): Promise<ScanResults> {
  const model = await openModel(folder);
  try {
    return await scan(model, { threads: 2, ...options });
  } finally {
    await model.close();
  }
}

/** How many scores a scan took from the cache. */
async function cachedBy(folder: string, options: ScanOptions): Promise<number> {
  let last: ScanProgress | undefined;
  await scanFolder(folder, { ...options, onProgress: (progress) => (last = progress) });
  return last?.modulesCached ?? -1;
}

async function writeOver(path: string, position: number, bytes: Uint8Array): Promise<void> {
  const file = await open(path, "r+");
  await file.write(bytes, 0, bytes.length, position);
  await file.close();
}

const entriesOf = async (cache: string) =>
  (await readdir(cache, { recursive: true })).filter((name) => name.endsWith(".json"));

describe("scan()", () => {
  it("scores matrices, lists norms without a score, and holds no time or date", async () => {
    const results = await scanFolder(await writeTinyModel(tinyLlama(2, 24)));
    expect(results.modules.map(({ name }) => name)).toEqual(
      expect.arrayContaining(["model.embed_tokens", "model.layers.1.mlp.up_proj"]),
    );
    const norm = results.modules.find(({ name }) => name === "model.layers.0.input_layernorm");
    expect(norm?.skipped).toContain("vector");
    expect(norm?.snr).toBeUndefined();
    const matrices = results.modules.filter(({ snr }) => snr);
    expect(matrices).toHaveLength(7);
    for (const { snr } of matrices) expect(snr?.calibrated).toBeGreaterThan(0);
    expect(results.model.parameters).toBe(4 * 24 * 24 + 2 * (24 + 3 * 24 * 24));
    expect(JSON.stringify(results)).not.toMatch(/elapsed|20\d\d-/);
  });

  it("states the SHA-256 of the file of a model in a folder", async () => {
    const folder = await writeTinyModel(tinyLlama(1, 8));
    const { model } = await scanFolder(folder);
    const bytes = await readFile(join(folder, "model.safetensors"));
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    expect(model.files).toEqual([{ name: "model.safetensors", sha256 }]);
  });

  it.each(["auto", "wasm", "onnxruntime-cpu"])(
    "gives the same results to the bit on one thread and on two, from the cache and without: %s",
    async (backend) => {
      const folder = await writeTinyModel(tinyLlama(2, 33));
      const cache = await temporaryFolder();
      const one = await scanFolder(folder, { backend, cache: false, threads: 1 });
      expect(await scanFolder(folder, { backend, cache, threads: 2 })).toEqual(one);
      expect(await scanFolder(folder, { backend, cache, threads: 2 })).toEqual(one);
    },
  );

  it("computes only what changed since the last scan", async () => {
    const cache = await temporaryFolder();
    const tensors = tinyLlama(3, 16);
    expect(await cachedBy(await writeTinyModel(tensors), { cache })).toBe(0);
    const changed = tensors.get("model.layers.1.mlp.up_proj.weight");
    if (changed) changed.values[5] = 9;
    expect(await cachedBy(await writeTinyModel(tensors), { cache })).toBe(9);
  });

  it("does not take one backend's scores for another's", async () => {
    const cache = await temporaryFolder();
    const folder = await writeTinyModel(tinyLlama(1, 8));
    await scanFolder(folder, { cache, backend: "wasm" });
    expect(await cachedBy(folder, { cache, backend: "reference" })).toBe(0);
    expect(await cachedBy(folder, { cache, backend: "wasm" })).toBe(4);
  });

  it("computes again what is torn or foreign in the cache", async () => {
    const cache = await temporaryFolder();
    const folder = await writeTinyModel(tinyLlama(1, 8));
    const before = await scanFolder(folder, { cache });
    const [torn = "", foreign = ""] = await entriesOf(cache);
    await writeFile(join(cache, torn), '{"key":"');
    await writeFile(join(cache, foreign), '{"key":"0","statistics":{"snr":{"spectrum":1}}}');
    expect(await scanFolder(folder, { cache })).toEqual(before);
    expect(await cachedBy(folder, { cache })).toBe(4);
  });

  it("says which folder cannot keep scores, and what to do", async () => {
    const folder = await writeTinyModel(tinyLlama(1, 8));
    const cache = join(folder, "config.json");
    await expect(scanFolder(folder, { cache })).rejects.toThrow(
      /^Cannot keep scores in .*config\.json: .*; name another folder/,
    );
  });

  it("keeps what is done when it is aborted, and goes on from there", async () => {
    const cache = await temporaryFolder();
    const folder = await writeTinyModel(tinyLlama(6, 48));
    const stop = new AbortController();
    const onProgress = ({ modulesDone }: ScanProgress) => {
      if (modulesDone === 5) stop.abort();
    };
    await expect(scanFolder(folder, { cache, signal: stop.signal, onProgress })).rejects.toThrow(
      expect.objectContaining({ name: "AbortError" }),
    );
    expect(await cachedBy(folder, { cache })).toBeGreaterThanOrEqual(5);
    expect(await scanFolder(folder, { cache })).toEqual(await scanFolder(folder));
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY])(
    "says which module holds %s, and scores the others",
    async (bad) => {
      const tensors = tinyLlama(1, 12);
      const broken = tensors.get("model.layers.0.self_attn.q_proj.weight");
      if (broken) broken.values[100] = bad;
      const { modules } = await scanFolder(await writeTinyModel(tensors));
      const skipped = modules.filter(
        ({ part, type, skipped }) => part === "body" && !type.includes("norm") && skipped,
      );
      expect(skipped.map(({ name }) => name)).toEqual(["model.layers.0.self_attn.q_proj"]);
      expect(skipped[0]?.skipped).toMatch(/NaN|Infinity|finite/);
    },
  );

  it("fails, and skips nothing, when a module cannot be decoded", async () => {
    const folder = await temporaryFolder();
    const tensor = (name: string, dtype: "F8_E4M3" | "F32", shape: readonly number[], sizeBytes: number) => ({
      name: `model.layers.0.mlp.up_proj.${name}`,
      dtype,
      shape,
      blocks: [new Uint8Array(sizeBytes)],
    });
    await writeSafetensors(join(folder, "model.safetensors"), [
      tensor("weight", "F8_E4M3", [8, 8], 64),
      tensor("weight_scale_inv", "F32", [3, 5], 60),
    ]);
    await expect(scanFolder(folder)).rejects.toThrow(
      /Cannot score "model.layers.0.mlp.up_proj": .* a scale of shape \[3,5\] does not fit/,
    );
  });

  it("says that a matrix of zeros is one", async () => {
    const tensors = tinyLlama(1, 12);
    tensors.get("model.layers.0.mlp.up_proj.weight")?.values.fill(0);
    const { modules } = await scanFolder(await writeTinyModel(tensors));
    const zero = modules.find(({ name }) => name === "model.layers.0.mlp.up_proj");
    expect(zero).toMatchObject({ skipped: "every entry is zero", sigmaMax: 0, snr: { spectrum: null } });
  });

  it("keeps no score of a file that is written over between looking for its scores and reading it", async () => {
    const cache = await temporaryFolder();
    const folder = await writeTinyModel(tinyLlama(1, 16));
    const path = join(folder, "model.safetensors");
    await using model = await openModel(folder);
    const { begin = 0, end = 0 } = model.tensors.get("model.layers.0.mlp.up_proj.weight") ?? {};
    let reads = 0;
    const overwritten: Model = {
      ...model,
      async *readFile(file, range) {
        if (range.begin === begin && ++reads === 2) await writeOver(path, begin + 40, Buffer.from([1, 2, 3]));
        yield* model.readFile(file, range);
      },
    };
    expect(end - begin).toBe(4 * 256);
    await expect(scan(overwritten, { cache, threads: 2 })).rejects.toThrow(
      /^Cannot score "model.layers.0.mlp.up_proj": model.safetensors was changed while it was read; scan again/,
    );
    expect(reads).toBe(2);
    expect(await scanFolder(folder, { cache })).toEqual(await scanFolder(folder));
  });

  it("scans only what the globs ask for, and refuses a glob that matches nothing", async () => {
    const folder = await writeTinyModel(tinyLlama(2, 8));
    const options = {
      cache: false,
      include: ["*.mlp.*", "self_attn.q_proj"],
      exclude: ["model.layers.1.*"],
    } as const;
    const { modules } = await scanFolder(folder, options);
    const layer = "model.layers.0";
    expect(modules.map(({ name }) => name).sort()).toEqual([
      `${layer}.mlp.up_proj`,
      `${layer}.self_attn.q_proj`,
    ]);
    await expect(scanFolder(folder, { include: ["mlp.upproj"] })).rejects.toThrow(UsageError);
  });

  it("reports every module once, bytes that add up, and an end", async () => {
    const folder = await writeTinyModel(tinyLlama(2, 16));
    const seen: ScanProgress[] = [];
    await scanFolder(folder, { cache: false, onProgress: (progress) => seen.push(progress) });
    expect(seen.map(({ modulesDone }) => modulesDone)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(new Set(seen.map(({ module }) => module)).size).toBe(8);
    expect(seen.at(-1)).toMatchObject({ bytesDone: 4 * (4 * 256 + 6 * 256), remainingMs: 0 });
    expect(seen.at(-1)?.bytesTotal).toBe(seen.at(-1)?.bytesDone);
  });
});
