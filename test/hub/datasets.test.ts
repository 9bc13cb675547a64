// Datasets on the Hub, against a Hub of the tests' own; the cache is the one that Python's huggingface_hub shares.
import { execFile, spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HubError, UsageError } from "../../src/errors.ts";
import type { OpenDatasetOptions } from "../../src/hub/open-dataset.ts";
import { openTrainingData } from "../../src/training/data.ts";
import { fetchDataset } from "../../src/training/dataset.ts";
import { spectrum } from "../cli/run.ts";
import { tinyArtifacts } from "../training/tiny-artifacts.ts";
import { COMMIT, etagOf, startHub, type TestHub } from "./hub-server.ts";

const ID = "tiny/chat";
const QUICK = { attempts: 3, firstDelayMs: 1, maxDelayMs: 50, idleTimeoutMs: 500 };
const CARD = `---
configs:
- config_name: short
  default: true
  data_files:
  - split: train
    path: short/train-*.jsonl
  - split: test
    path: short/test.jsonl
  - split: half
    path: short/train-0.jsonl
- config_name: long
  data_files: long/*.parquet
---
# Chats
`;

const bytes = (text: string) => new TextEncoder().encode(text);
const hasHub = spawnSync("python3", ["-c", "import huggingface_hub"]).status === 0;

let hub: TestHub;
let cacheDir: string;
let files: Map<string, Uint8Array>;

beforeEach(async () => {
  hub = await startHub();
  cacheDir = await realpath(await mkdtemp(join(tmpdir(), "hub-datasets-")));
  files = new Map([
    ["README.md", bytes(CARD)],
    ["short/train-1.jsonl", bytes('{"text": "two"}\n')],
    ["short/train-0.jsonl", bytes('{"text": "one"}\n')],
    ["short/test.jsonl", bytes('{"text": "three"}\n')],
    ["long/a.parquet", bytes(`PAR1${"x".repeat(50_000)}PAR1`)],
    ["train.csv", bytes("text\nnobody names it\n")],
  ]);
  hub.models.set(`datasets/${ID}`, { files });
});

afterEach(async () => {
  await hub.close();
  await rm(cacheDir, { recursive: true });
});

const repo = () => join(cacheDir, "datasets--tiny--chat");
const namesOf = (paths: readonly string[]) =>
  paths.map((path) => path.slice(join(repo(), "snapshots", COMMIT).length + 1));
const fetched = async (reference: string, options: OpenDatasetOptions = {}) =>
  fetchDataset(reference, {
    endpoint: hub.url,
    cacheDir,
    token: "",
    retry: QUICK,
    offline: false,
    ...options,
  });
const asked = () => hub.requests.filter(({ path }) => path.includes("resolve")).map(({ path }) => path);

describe("fetchDataset() on the Hub", () => {
  it("downloads the files of the split train of the default config and the card, and no others", async () => {
    const paths = await fetched(ID);
    expect(namesOf(paths)).toEqual(["short/train-0.jsonl", "short/train-1.jsonl"]);
    expect(await readFile(paths[1] ?? "", "utf8")).toBe('{"text": "two"}\n');
    const blobs = ["README.md", "short/train-0.jsonl", "short/train-1.jsonl"];
    const etags = blobs.map((name) => etagOf(name, files.get(name) ?? new Uint8Array()));
    expect((await readdir(join(repo(), "blobs"))).sort()).toEqual(etags.sort());
    expect(await readFile(join(repo(), "refs", "main"), "utf8")).toBe(COMMIT);
    expect(asked().every((path) => path.startsWith(`/datasets/${ID}/resolve/${COMMIT}/`))).toBe(true);
  });

  it.each([
    [`${ID}:test`, ["short/test.jsonl"]],
    [`${ID}:short/test`, ["short/test.jsonl"]],
    [`${ID}:long/train`, ["long/a.parquet"]],
    [`${ID}@main:test`, ["short/test.jsonl"]],
    [`${ID}@${COMMIT}:long/train`, ["long/a.parquet"]],
  ])("%s is another split, config or revision", async (reference, names) => {
    expect(namesOf(await fetched(reference))).toEqual(names);
  });

  it("downloads nothing twice, and asks for nothing when offline", async () => {
    const paths = await fetched(ID);
    hub.requests.length = 0;
    expect(await fetched(ID)).toEqual(paths);
    expect(asked()).toEqual([]);
    hub.requests.length = 0;
    expect(await fetched(ID, { offline: true })).toEqual(paths);
    expect(hub.requests).toEqual([]);
    await expect(fetched("tiny/other", { offline: true })).rejects.toThrow(/offline: it is not in the cache/);
  });

  it("does not take a part of a split for the whole when offline", async () => {
    await fetched(`${ID}:half`);
    await expect(fetched(ID, { offline: true })).rejects.toThrow(
      /short\/train-1\.jsonl is not in the cache .*; open it once online, without --offline and HF_HUB_OFFLINE/,
    );
    expect(namesOf(await fetched(`${ID}:half`, { offline: true }))).toEqual(["short/train-0.jsonl"]);
  });

  it("goes on where the connection dropped, refuses wrong bytes, and tells how far it is", async () => {
    hub.faults.set("long/a.parquet", [{ kind: "drop", after: 20_000 }]);
    const seen: number[] = [];
    const options: OpenDatasetOptions = {
      onProgress: ({ file, bytes: done }) => file === "long/a.parquet" && seen.push(done),
    };
    await fetched(`${ID}:long/train`, options);
    const ranges = hub.requests.filter(({ host }) => host === "cdn").map(({ range }) => range);
    expect(ranges).toEqual([undefined, "bytes=20000-"]);
    expect(seen.at(-1)).toBe(50_008);
    const corrupt = Array.from({ length: 9 }, () => ({ kind: "corrupt" }) as const);
    hub.faults.set("short/test.jsonl", corrupt);
    await expect(fetched(`${ID}:test`)).rejects.toThrow(
      /expected git SHA-1 \w{40}, got \w{40}; nothing was kept/,
    );
  });

  it("takes a file or folder of that name before the Hub's dataset", async () => {
    const folder = join(cacheDir, "local");
    await mkdir(join(folder, "x:y"), { recursive: true });
    await writeFile(join(folder, "x:y", "a.jsonl"), "");
    expect(await fetched(join(folder, "x:y"))).toEqual([join(folder, "x:y", "a.jsonl")]);
    expect(await fetched("examples/definitions/eval.jsonl")).toEqual(["examples/definitions/eval.jsonl"]);
    expect(hub.requests).toEqual([]);
  });

  it.each([
    [
      "nosuchdata",
      /"nosuchdata": there is no such file or folder, and a dataset on the Hub is named org\/name/,
    ],
    ["a/b/c", /there is no such file or folder/],
    ["tiny/chat:", /named org\/name\[@revision\]\[:\[config\/\]split\]/],
    ["tiny/chat:a/b/c", /named org\/name\[@revision\]/],
    ["data/chat.jsonl", /There is no file or folder data\/chat\.jsonl/],
    ["./tiny/chat", /There is no file or folder \.\/tiny\/chat/],
  ])("refuses %j before it asks anyone", async (reference, message) => {
    const error = await fetched(reference).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(UsageError);
    expect(String(error)).toMatch(message);
    expect(hub.requests).toEqual([]);
  });

  it("says what is missing or private, and where to accept a licence", async () => {
    await expect(fetched("tiny/none")).rejects.toThrow(
      /there is no such dataset, or it is private \(401\), and no file or folder of that name here; check the name, and set HF_TOKEN/,
    );
    hub.models.set(`datasets/${ID}`, { files, access: "gated" });
    const gated = await fetched(ID).catch((thrown: unknown) => thrown);
    expect(gated).toBeInstanceOf(HubError);
    expect(String(gated)).toContain(`accept its licence at ${hub.url}/datasets/${ID}`);
    expect(namesOf(await fetched(`${ID}:test`, { token: hub.token }))).toEqual(["short/test.jsonl"]);
  });

  it("refuses a card of 1 GB before it asks for it", async () => {
    const listing = (entries: Record<string, unknown>[]) =>
      entries.map((entry) => (entry.path === "README.md" ? { ...entry, size: 2 ** 30 } : entry));
    hub.models.set(`datasets/${ID}`, { files, listing });
    await expect(fetched(ID)).rejects.toThrow(/its README.md has 1073741824 bytes/);
    expect(asked()).toEqual([]);
  });

  it("is what training data and the command line take", async () => {
    const tokens = (ids: readonly number[]) => `${JSON.stringify({ input_ids: ids })}\n`;
    files.set("short/train-0.jsonl", bytes(tokens([1, 2, 3])));
    files.set("short/train-1.jsonl", bytes(tokens([4, 5, 6, 7])));
    const { dataset } = await openTrainingData(await tinyArtifacts(), `${ID}@main`, {
      folder: join(cacheDir, "packed"),
      hub: { endpoint: hub.url, cacheDir, token: "" },
    });
    expect(dataset.header).toMatchObject({ records: 2, tokens: 7, targets: 5 });

    files.set(
      "short/test.jsonl",
      bytes('{"prompt": "Define river.", "completion": "a large stream of water"}\n'),
    );
    const env = { HF_ENDPOINT: hub.url, HF_HUB_CACHE: cacheDir, HF_HUB_DISABLE_IMPLICIT_TOKEN: "1" };
    const evaluated = (...args: string[]) =>
      spectrum(
        ["evaluate", "examples/wordnet-llama-2m", "--backend", "onnxruntime-cpu", "--json", ...args],
        env,
      );
    const online = await evaluated("--data", `${ID}:test`);
    expect(JSON.parse(online.stdout).targets).toBeGreaterThan(4);
    hub.requests.length = 0;
    expect(await evaluated("--data", `${ID}:test`, "--offline")).toEqual(online);
    expect(hub.requests).toEqual([]);
    const other = await evaluated("--data", `${ID}:dev`);
    expect([other.code, other.stderr]).toEqual([
      2,
      `spectrum: Cannot use the split dev of ${ID}: it has train, test, half; name one, as in ${ID}:train\n`,
    ]);
  });

  it.skipIf(!hasHub)("shares the cache with Python's huggingface_hub, both ways", async () => {
    const python = async (statement: string, offline: boolean) => {
      const env = {
        HF_ENDPOINT: hub.url,
        HF_HOME: cacheDir,
        HF_HUB_CACHE: cacheDir,
        HF_HUB_DISABLE_IMPLICIT_TOKEN: "1",
        ...(offline && { HF_HUB_OFFLINE: "1" }),
      };
      const code = `from huggingface_hub import *; print(${statement})`;
      const run = await promisify(execFile)("python3", ["-c", code], { env: { ...process.env, ...env } });
      return run.stdout.trim();
    };
    const download = (name: string) => `hf_hub_download("${ID}", "${name}", repo_type="dataset")`;
    const [parquet] = await fetched(`${ID}:long/train`);
    expect(await python(download("long/a.parquet"), true)).toBe(parquet);
    const test = await python(download("short/test.jsonl"), false);
    hub.requests.length = 0;
    expect(await fetched(`${ID}:test`)).toEqual([test]);
    expect(asked()).toEqual([]);
    const scanned =
      "[(repo.repo_type, repo.repo_id) for repo in scan_cache_dir().repos], scan_cache_dir().warnings";
    expect(await python(`(${scanned})`, true)).toBe(`([('dataset', '${ID}')], [])`);
  });
});
