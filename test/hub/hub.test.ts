import { mkdtemp, readdir, readFile, readlink, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HubError } from "../../src/errors.ts";
import { repoFolder } from "../../src/hub/cache.ts";
import type { Model } from "../../src/hub/model.ts";
import { type OpenModelOptions, openModel } from "../../src/hub/open-model.ts";
import { COMMIT, etagOf, type Fault, startHub, type TestHub, type TestModel } from "./hub-server.ts";
import { NEEDED, SHARDS, shardedModel, TENSORS } from "./tiny-model.ts";

const ID = "tiny/model";
const [SHARD] = SHARDS;

let hub: TestHub;
let cacheDir: string;
let files: Map<string, Uint8Array>;

beforeEach(async () => {
  hub = await startHub();
  cacheDir = await mkdtemp(join(tmpdir(), "hub-cache-"));
  files = await shardedModel();
  serve({ files });
});

afterEach(async () => {
  await hub.close();
  await rm(cacheDir, { recursive: true });
});

const serve = (model: TestModel) => hub.models.set(ID, model);
const fail = (name: string, ...faults: Fault[]) => hub.faults.set(name, faults);
const repo = () => repoFolder(cacheDir, { kind: "model", id: ID });
const requested = (name: string) => hub.requests.filter(({ path }) => path.includes(`/${name}`));
const always = (fault: Fault) => Array.from({ length: 50 }, () => fault);

const QUICK = { attempts: 3, firstDelayMs: 1, maxDelayMs: 50, idleTimeoutMs: 500 };

function open(options: OpenModelOptions = {}): Promise<Model> {
  return openModel(ID, { endpoint: hub.url, cacheDir, token: "", retry: QUICK, offline: false, ...options });
}

async function readTensor(model: Model, name: string): Promise<Uint8Array> {
  const tensor = model.tensors.get(name);
  if (!tensor) throw new Error(`no tensor ${name}`);
  const blocks: Uint8Array[] = [];
  const range = { begin: tensor.begin, end: tensor.end, blockBytes: 50_000 };
  for await (const block of model.readFile(tensor.file, range)) blocks.push(block);
  expect(blocks.slice(0, -1).every((block) => block.length === 50_000)).toBe(true);
  return new Uint8Array(Buffer.concat(blocks));
}

async function expectWhole(model: Model): Promise<void> {
  expect(Buffer.compare(await readTensor(model, "a"), TENSORS.a)).toBe(0);
  expect(Buffer.compare(await readTensor(model, "b"), TENSORS.b)).toBe(0);
  await model.close();
}

const list = async (folder: string) => (await readdir(join(repo(), folder)).catch(() => [])).sort();
const blobOf = (name: string) => etagOf(name, files.get(name) ?? new Uint8Array());

/** Every blob that is there is whole, and the shard is not among them. */
async function expectNothingPartial(name: string = SHARD): Promise<void> {
  for (const blob of await list("blobs")) {
    if (blob.endsWith(".incomplete")) continue;
    expect([...files.keys()].map(blobOf)).toContain(blob);
  }
  expect(await list("blobs")).not.toContain(blobOf(name));
  expect(await list(`snapshots/${COMMIT}`)).not.toContain(name);
  expect(await list("refs")).toEqual([]);
}

describe("openModel() on the Hub", () => {
  it("downloads what is needed and no more, into the layout that Python shares", async () => {
    const model = await open();
    expect(await list(`snapshots/${COMMIT}`)).toEqual(NEEDED);
    expect(await list("blobs")).toEqual(NEEDED.map(blobOf).sort());
    for (const name of NEEDED) {
      const target = await readlink(join(repo(), "snapshots", COMMIT, name));
      expect(target).toBe(join("..", "..", "blobs", blobOf(name)));
      expect(new Uint8Array(await readFile(join(repo(), "snapshots", COMMIT, name)))).toEqual(
        files.get(name),
      );
    }
    expect(await readFile(join(repo(), "refs", "main"), "utf8")).toBe(COMMIT);
    expect([model.id, model.revision, model.config]).toEqual([ID, COMMIT, { model_type: "llama" }]);
    expect(model.folder).toBe(join(repo(), "snapshots", COMMIT));
    expect(model.files.map(({ name, sha256, etag }) => [name, sha256, etag])).toEqual(
      SHARDS.map((name) => [name, blobOf(name), blobOf(name)]),
    );
    await expectWhole(model);
  });

  it("asks for nothing when offline, and knows the hashes from the names of the blobs", async () => {
    const online = await open();
    await online.close();
    hub.requests.length = 0;
    const model = await open({ offline: true });
    expect(model.files).toEqual(online.files);
    expect([...model.tensors]).toEqual([...online.tensors]);
    await expectWhole(model);
    await (await openModel(`${ID}@${COMMIT}`, { cacheDir, offline: true })).close();
    expect(hub.requests).toEqual([]);
  });

  it("says that a model is not in the cache when offline", async () => {
    await expect(open({ offline: true })).rejects.toThrow(/"main" offline: it is not in the cache/);
    expect(hub.requests).toEqual([]);
  });

  it("downloads nothing twice", async () => {
    await (await open()).close();
    hub.requests.length = 0;
    await (await open()).close();
    expect(hub.requests.filter(({ path }) => path.includes("resolve"))).toEqual([]);
  });

  it("reports progress up to the whole", async () => {
    const seen: number[] = [];
    const model = await open({
      onProgress: ({ file, bytes, totalBytes }) => {
        if (SHARDS.some((name) => name === file)) seen.push(bytes / totalBytes);
      },
    });
    await model.close();
    expect(seen.at(-1)).toBe(1);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
  });

  it("sends the token to the Hub and to no host that it redirects to", async () => {
    await (await open({ token: "hf_secret" })).close();
    const told = (host: string) => hub.requests.filter((request) => request.host === host);
    expect(told("hub").every(({ authorization }) => authorization === "Bearer hf_secret")).toBe(true);
    expect(told("cdn").length).toBeGreaterThan(0);
    expect(told("cdn").every(({ authorization }) => authorization === undefined)).toBe(true);
  });

  it("opens a model whose weights are one file", async () => {
    const shard = files.get(SHARDS[1]) ?? new Uint8Array();
    files.set("model.safetensors", shard);
    await using model = await open({ stream: true });
    expect(await readTensor(model, "b")).toEqual(TENSORS.b);
    expect(model.files.map(({ name }) => name)).toEqual(["model.safetensors"]);
  });

  it("says what to do with a model that has only .bin files, and downloads none of it", async () => {
    serve({ files: new Map([...files].filter(([name]) => !name.includes("safetensors"))) });
    await expect(open()).rejects.toThrow(/its weights are in pytorch_model.bin.*convert it once/);
    expect(hub.requests.filter(({ path }) => path.includes("resolve"))).toEqual([]);
  });

  it("lets two openings at the same time end in one whole copy", async () => {
    const [one, two] = await Promise.all([open(), open()]);
    await expectWhole(one);
    await expectWhole(two);
    expect(await list("blobs")).toEqual(NEEDED.map(blobOf).sort());
  });
});

describe("openModel() when the Hub refuses", () => {
  const refusal = async (options: OpenModelOptions = {}) => {
    hub.requests.length = 0;
    const error = await open(options).catch((thrown: unknown) => thrown);
    if (!(error instanceof HubError)) throw error;
    expect(hub.requests.filter(({ path }) => path.includes("resolve")).length).toBeLessThan(5);
    return error;
  };

  it("says how to get at a gated model, without a token and with one that may not", async () => {
    serve({ files, access: "gated" });
    const without = await refusal();
    expect(without.status).toBe(401);
    expect(without.message).toContain(`accept its licence at ${hub.url}/${ID}, and set HF_TOKEN`);
    const refused = await refusal({ token: "hf_other" });
    expect(refused.status).toBe(403);
    expect(refused.message).toContain("use the token of an account that may read it");
    expect(refused.message).not.toContain("hf_other");
    await expectWhole(await open({ token: hub.token }));
  });

  it("says that a model does not exist or is private, and opens a private one with its token", async () => {
    serve({ files, access: "private" });
    expect((await refusal()).message).toMatch(/no such model, or it is private \(401\).*HF_TOKEN/);
    await expectWhole(await open({ token: hub.token }));
  });

  it("names the revision that does not exist", async () => {
    expect((await refusal({ revision: "v9" })).message).toBe(
      `Cannot open ${ID}: it has no revision "v9" (404)`,
    );
  });

  it("names the host that cannot be reached", async () => {
    const error = await refusal({ endpoint: "http://127.0.0.1:1" });
    expect(error.message).toMatch(/Cannot read tiny\/model from 127.0.0.1:1: .*(tried 3 times)/);
    expect(error.status).toBeNull();
  });
});

describe("openModel() when the Hub misbehaves for a while", () => {
  it.each<[string, Fault[]]>([
    ["drops the connection half way", [{ kind: "drop", after: 60_000 }]],
    [
      "drops it again and again, a little later each time",
      [1, 2, 3, 4, 5].map((part) => ({ kind: "drop", after: part * 7000 })),
    ],
    ["answers 503, then 500", [503, 500].map((status) => ({ kind: "status", status }))],
    ["answers 429 with Retry-After", [{ kind: "status", status: 429, headers: { "retry-after": "1" } }]],
    ["sends too few bytes and ends properly", [{ kind: "short", by: 1000 }]],
    ["sends too many bytes once", [{ kind: "short", by: -1000 }]],
    ["sends the wrong content once", [{ kind: "corrupt" }]],
    ["ignores the range after a drop", [{ kind: "drop", after: 60_000 }, { kind: "ignore-range" }]],
    ["sends another range after a drop", [{ kind: "drop", after: 60_000 }, { kind: "wrong-range" }]],
    [
      "answers 416 after a drop",
      [
        { kind: "drop", after: 60_000 },
        { kind: "status", status: 416 },
      ],
    ],
    ["falls silent", [{ kind: "silence" }]],
    ["is silent after a drop", [{ kind: "drop", after: 60_000 }, { kind: "silence" }]],
  ])("ends with the whole model when it %s", async (_title, faults) => {
    fail(SHARD, ...faults);
    await expectWhole(await open());
    expect(hub.faults.get(SHARD)).toEqual([]);
    expect(await list("blobs")).toEqual(NEEDED.map(blobOf).sort());
  });

  it("goes on from the byte where the connection dropped", async () => {
    fail(SHARD, { kind: "drop", after: 60_000 });
    await (await open()).close();
    const ranges = hub.requests
      .filter(({ host, path }) => host === "cdn" && path.includes(SHARD))
      .map(({ range }) => range);
    expect(ranges).toEqual([undefined, "bytes=60000-"]);
  });

  it("takes the whole file when the server ignores the range, and does not ask a third time", async () => {
    fail(SHARD, { kind: "drop", after: 60_000 }, { kind: "ignore-range" });
    await expectWhole(await open());
    expect(hub.requests.filter(({ host, path }) => host === "cdn" && path.includes(SHARD))).toHaveLength(2);
  });

  it("goes on in a later run from the bytes that an earlier one left", async () => {
    fail(SHARD, { kind: "drop", after: 60_000 }, ...always({ kind: "status", status: 503 }));
    await expect(open()).rejects.toThrow(/answers 503 \(tried \d times\)/);
    await expectNothingPartial();
    fail(SHARD);
    hub.requests.length = 0;
    await expectWhole(await open());
    expect(requested(SHARD).map(({ range }) => range)).toEqual(["bytes=60000-", "bytes=60000-"]);
  });

  it("begins anew when the bytes that an earlier run left are not the file's", async () => {
    fail(SHARD, { kind: "drop", after: 60_000 }, ...always({ kind: "status", status: 503 }));
    await expect(open()).rejects.toThrow();
    const [partial] = (await list("blobs")).filter((name) => name.endsWith(".incomplete"));
    await writeFile(join(repo(), "blobs", partial ?? ""), new Uint8Array(70_000));
    fail(SHARD);
    await expectWhole(await open());
  });

  it.each(["api", SHARD])("waits as long as Retry-After says, within its bound, for %s", async (name) => {
    fail(name, { kind: "status", status: 429, headers: { "retry-after": "3600" } });
    await (await open({ retry: { ...QUICK, maxDelayMs: 300 } })).close();
    const times = hub.requests.filter(({ path }) =>
      name === "api" ? path.startsWith("/api") : path.includes(name),
    );
    const waits = times.slice(1).map(({ at }, i) => at - (times[i]?.at ?? 0));
    expect(Math.max(...waits)).toBeGreaterThanOrEqual(295);
  });

  it.each(["config.json", "model.safetensors.index.json"])("checks the git hash of %s", async (name) => {
    fail(name, { kind: "corrupt" });
    await expectWhole(await open());
    fail(name, { kind: "corrupt" }, { kind: "corrupt" });
    await rm(repo(), { recursive: true });
    await expect(open()).rejects.toThrow(`Cannot download ${name}: expected git SHA-1 ${blobOf(name)}`);
    await expectNothingPartial(name);
  });
});

describe("openModel() when the Hub misbehaves for good", () => {
  it.each<[string, Fault[], RegExp]>([
    [
      "drops every connection at the same byte",
      always({ kind: "drop", after: 0 }),
      /Cannot read tiny\/model from 127.0.0.1.*tried 3 times/,
    ],
    [
      "answers 503",
      always({ kind: "status", status: 503 }),
      /answers 503 \(tried 3 times\); try again later/,
    ],
    ["answers 429", always({ kind: "status", status: 429 }), /answers 429 \(tried 3 times\)/],
    ["sends nothing", always({ kind: "short", by: 1e9 }), /expected \d+ bytes, got 0 \(tried 3 times\)/],
    [
      "sends too many bytes",
      always({ kind: "short", by: -1 }),
      /expected \d+ bytes, got more; nothing was kept/,
    ],
    [
      "sends the wrong content",
      always({ kind: "corrupt" }),
      /expected SHA-256 \w{64}, got \w{64}; nothing was kept/,
    ],
    ["redirects in circles", [], /more than 8 redirects/],
    ["redirects to a file", [{ kind: "redirect", to: "file:///etc/passwd" }], /redirects to "file:/],
    ["answers 404 to a file of its listing", [{ kind: "status", status: 404 }], /no such model or file/],
  ])("ends with one clear error when it %s", async (title, faults, message) => {
    if (title === "redirects in circles")
      faults = always({ kind: "redirect", to: `${hub.cdnUrl}/${ID}/${SHARD}` });
    fail(SHARD, ...faults);
    const error = await open().catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(HubError);
    expect(String(error)).toMatch(message);
    await expectNothingPartial();
    fail(SHARD);
    await expectWhole(await open());
  });

  it("keeps nothing of a file whose content was wrong", async () => {
    fail(SHARD, ...always({ kind: "corrupt" }));
    await expect(open()).rejects.toThrow(HubError);
    expect((await list("blobs")).filter((name) => name.startsWith(blobOf(SHARD)))).toEqual([]);
  });

  it.each<[string, (entries: Record<string, unknown>[]) => unknown, RegExp]>([
    [
      "a file outside of its folder",
      (all) => [...all, { ...all[0], path: "../../x" }],
      /a file is named "..\/..\/x"/,
    ],
    ["a hash that is a path", (all) => [{ ...all[0], oid: "../../../x" }], /has the hash "..\/..\/..\/x"/],
    ["a negative size", (all) => [{ ...all[0], size: -1 }], /has -1 bytes/],
    ["a size that is no number", (all) => [{ ...all[0], size: "12" }], /has 12 bytes/],
    [
      "a config of 1 GB",
      (all) => all.map((each) => (each.path === "config.json" ? { ...each, size: 2 ** 30 } : each)),
      /config.json: it has 1073741824 bytes/,
    ],
    ["no list", () => ({}), /makes no sense/],
    ["no JSON", () => "<html>", /makes no sense/],
    ["null", () => "[null]", /makes no sense/],
  ])("refuses a listing with %s", async (_title, listing, message) => {
    serve({ files, listing });
    await expect(open()).rejects.toThrow(message);
    expect((await readdir(cacheDir)).filter((name) => !name.startsWith("models--"))).toEqual([]);
    await expectNothingPartial();
  });

  const bytes = (json: string) => new TextEncoder().encode(json);
  it.each<[string, Uint8Array, RegExp]>([
    [
      "points out of its folder",
      bytes('{"weight_map":{"a":"../../../x.safetensors"}}'),
      /tensor "a" is said to be in "..\/..\/..\/x/,
    ],
    [
      "names a shard that does not exist",
      bytes('{"weight_map":{"a":"model-3.safetensors"}}'),
      /its index names model-3.safetensors, which it does not hold/,
    ],
    ["is not UTF-8", Uint8Array.of(0x7b, 0xff, 0x7d), /it is not UTF-8/],
    [
      "puts a tensor into the wrong shard",
      bytes(`{"weight_map":{"a":"${SHARDS[1]}"}}`),
      /Cannot find tensor "a"/,
    ],
  ])("refuses an index that %s, downloaded or streamed", async (_title, index, message) => {
    files.set("model.safetensors.index.json", index);
    await expect(open()).rejects.toThrow(message);
    if (!String(message).includes("hold it")) await expect(open({ stream: true })).rejects.toThrow(Error);
  });

  it.each<[string, (shard: Uint8Array) => void, RegExp]>([
    [
      "claims 10 GB",
      (shard) => new DataView(shard.buffer).setBigUint64(0, 10_000_000_000n, true),
      /claims 10000000000 bytes/,
    ],
    ["is not UTF-8", (shard) => shard.set([0xff], 12), /not UTF-8/],
    ["is no JSON", (shard) => shard.set([0x7b, 0x7b], 8), /Cannot read the header of model-00001/],
  ])("refuses a shard whose header %s, downloaded or streamed", async (_title, spoil, message) => {
    const shard = Uint8Array.from(files.get(SHARD) ?? []);
    spoil(shard);
    files.set(SHARD, shard);
    await expect(open({ stream: true })).rejects.toThrow(message);
    await expect(open()).rejects.toThrow(message);
  });
});

describe("openModel() with stream", () => {
  it("reads the same as a download, and stores nothing", async () => {
    const model = await open({ stream: true });
    expect([model.folder, model.revision]).toEqual([null, COMMIT]);
    expect(model.files.map(({ sha256 }) => sha256)).toEqual(SHARDS.map(blobOf));
    await expectWhole(model);
    expect(await readdir(cacheDir)).toEqual([]);
  });

  it.each<[string, Fault[]]>([
    [
      "drops the connection",
      [
        { kind: "drop", after: 20_000 },
        { kind: "drop", after: 30_000 },
      ],
    ],
    ["ends early", [{ kind: "short", by: 5000 }]],
    ["answers 503, then 429", [503, 429].map((status) => ({ kind: "status", status }))],
    ["sends another range", [{ kind: "wrong-range" }]],
    ["falls silent", [{ kind: "silence" }]],
  ])("asks for the missing part when the Hub %s", async (_title, faults) => {
    const model = await open({ stream: true });
    fail(SHARD, ...faults);
    await expectWhole(model);
    expect(hub.faults.get(SHARD)).toEqual([]);
  });

  it.each<[string, Fault[], RegExp]>([
    [
      "ignores ranges",
      [{ kind: "ignore-range" }],
      /the server ignores ranges; open the model without streaming/,
    ],
    ["sends more than was asked for", [{ kind: "short", by: -10 }], /sent more than was asked for/],
    ["is down", always({ kind: "status", status: 500 }), /answers 500 \(tried 3 times\)/],
  ])("ends with one clear error when the Hub %s", async (_title, faults, message) => {
    await using model = await open({ stream: true });
    fail(SHARD, ...faults);
    await expect(readTensor(model, "a")).rejects.toThrow(message);
    fail(SHARD);
    expect(Buffer.compare(await readTensor(model, "a"), TENSORS.a)).toBe(0);
  });

  it("drops the connection when the reader stops, and refuses to read when closed", async () => {
    const model = await open({ stream: true });
    for await (const block of model.readFile(SHARD, { begin: 0, end: 100_000, blockBytes: 10 })) {
      expect(block).toHaveLength(10);
      break;
    }
    await model.close();
    await expect(readTensor(model, "a")).rejects.toThrow("the model is closed");
  });
});

describe("openModel() with a signal", () => {
  it("stops at once, also while it waits to try again", async () => {
    fail(SHARD, ...always({ kind: "status", status: 503 }));
    const began = Date.now();
    const retry = { ...QUICK, firstDelayMs: 60_000, maxDelayMs: 60_000 };
    await expect(open({ signal: AbortSignal.timeout(300), retry })).rejects.toThrow(/timeout|aborted/);
    expect(Date.now() - began).toBeLessThan(5000);
    await expectNothingPartial();
  });
});

describe("names of models", () => {
  it.each([
    "a/b/c",
    "../x@y",
    "org/na me",
    "org/..",
    "org/",
    "",
    "-a/b",
    "org/a--b",
    "org/x@../../y",
    "org/x@",
    "nosuchfolder",
    "no/such/folder",
  ])("refuses %j before it asks anyone", async (id) => {
    await expect(openModel(id, { endpoint: hub.url, cacheDir, retry: QUICK })).rejects.toThrow(/Cannot open/);
    expect(hub.requests).toEqual([]);
  });

  it("says of a name that is neither a folder nor org/name what it looked for", async () => {
    const error = await openModel("nosuchfolder", { endpoint: hub.url }).catch((thrown: unknown) => thrown);
    expect(String(error)).toBe(
      'UsageError: Cannot open "nosuchfolder": there is no such folder, and a model on the Hub is named org/name or org/name@revision; check the name',
    );
    // What could be either is asked for.
    await expect(openModel("no/such", { endpoint: hub.url, cacheDir, token: "" })).rejects.toThrow(
      "there is no such model, or it is private (401), and no folder of that name here",
    );
  });

  it("refuses two revisions that differ", async () => {
    await expect(openModel(`${ID}@main`, { revision: "v1", endpoint: hub.url })).rejects.toThrow(
      "it names one revision",
    );
  });
});
