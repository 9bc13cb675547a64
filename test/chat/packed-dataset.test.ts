import { mkdtemp, readdir, readFile, rm, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { TokenBatch } from "../../src/chat/batch.ts";
import { encodeRecord } from "../../src/chat/encode.ts";
import { type PackDatasetOptions, type PackingProgress, packDataset } from "../../src/chat/packed-dataset.ts";
import { readHeader } from "../../src/chat/packed-header.ts";
import type { BadRecord } from "../../src/chat/read-dataset.ts";
import { chatTemplate } from "../../src/chat/template.ts";
import type { ChatTokenizer } from "../../src/chat/tokenizer.ts";
import { chatmlTokenizer, collect } from "./fixtures.ts";

const TRAIN = "examples/definitions/train.jsonl";
const EVAL = "examples/definitions/eval.jsonl";
const SEQUENCE = 192;

let root: string;
let tokenizer: ChatTokenizer;
beforeAll(async () => {
  tokenizer = await chatmlTokenizer();
});
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "spectrum-pack-"));
});
afterEach(() => rm(root, { recursive: true }));

function options(change: Partial<PackDatasetOptions> = {}): PackDatasetOptions {
  const folder = join(root, "packed");
  return {
    folder,
    template: chatTemplate("chatml", {}),
    tokenizer,
    trainOn: "assistant",
    sequence: SEQUENCE,
    ...change,
  };
}

async function write(name: string, lines: readonly unknown[]): Promise<string> {
  const path = join(root, name);
  await writeFile(
    path,
    lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line))).join("\n"),
  );
  return path;
}

const total = (batches: readonly TokenBatch[]) => batches.reduce((sum, { targets }) => sum + targets, 0);

describe("packDataset()", () => {
  it("packs the definitions: header, batches and records tell of the same tokens and targets", async () => {
    const { header, batches, batchCount } = await packDataset(TRAIN, options());
    const lines = (await readFile(TRAIN, "utf8")).trimEnd().split("\n");
    const encoded = lines.map((line) =>
      encodeRecord({ kind: "conversation", ...JSON.parse(line) }, options()),
    );
    const tokens = encoded.flatMap(({ inputIds }) => inputIds);
    const targets = encoded.flatMap(({ labels }) => labels.filter((label) => label !== -100));
    expect(header).toMatchObject({
      records: 2000,
      tokens: tokens.length,
      targets: targets.length,
      sequence: SEQUENCE,
    });
    expect(header).toMatchObject({
      truncatedRecords: 0,
      droppedRecords: 0,
      skippedRecords: 0,
      vocabularySize: 4098,
    });
    const epoch = await collect(batches({ batch: 4, seed: null }));
    expect(epoch).toHaveLength(batchCount(4));
    expect(total(epoch)).toBe(header.targets);
    expect(header.rows * SEQUENCE).toBeLessThan(1.06 * header.tokens);
    const labels = epoch.flatMap((batch) => [...batch.labels].filter((label) => label !== -100));
    expect(labels.sort()).toEqual(targets.sort());
  });

  it("shuffles by seed and epoch, and resumes anywhere with the same batches", async () => {
    const { batches } = await packDataset(EVAL, options());
    const epoch = await collect(batches({ batch: 3, seed: 3, epoch: 1 }));
    expect(await collect(batches({ batch: 3, seed: 3, epoch: 1 }))).toEqual(epoch);
    for (const skip of [0, 1, 11, epoch.length - 1, epoch.length]) {
      expect(await collect(batches({ batch: 3, seed: 3, epoch: 1, skip }))).toEqual(epoch.slice(skip));
    }
    const firsts = [epoch];
    for (const [seed, next] of [
      [3, 0],
      [4, 1],
    ] as const)
      firsts.push(await collect(batches({ batch: 3, seed, epoch: next })));
    expect(new Set(firsts.map((found) => found[0]?.inputIds.join())).size).toBe(3);
    for (const found of firsts) expect(total(found)).toBe(total(epoch));
  });

  it("writes the same bytes from the same data, opens them again, and packs anew when anything changes", async () => {
    const first = await packDataset(EVAL, options());
    const rows = await readFile(join(first.folder, first.header.rowsFile));
    const elsewhere = await packDataset(EVAL, options({ folder: join(root, "other") }));
    expect(await readFile(join(elsewhere.folder, elsewhere.header.rowsFile))).toEqual(rows);
    expect(elsewhere.header).toEqual(first.header);

    const long = new Date(2001, 1, 1);
    await utimes(join(first.folder, first.header.rowsFile), long, long);
    const progress: number[] = [];
    const again = await packDataset(EVAL, options({ onProgress: ({ records }) => progress.push(records) }));
    expect(again.header).toEqual(first.header);
    expect(progress).toEqual([]);
    expect(await collect(again.batches({ batch: 5, seed: 1 }))).toEqual(
      await collect(first.batches({ batch: 5, seed: 1 })),
    );

    const changed = await packDataset(
      EVAL,
      options({ trainOn: "all", onProgress: ({ records }) => progress.push(records) }),
    );
    expect(changed.header.fingerprint).not.toBe(first.header.fingerprint);
    expect(progress.at(-1)).toBe(200);
    expect((await readdir(changed.folder)).sort()).toEqual(["header.json", changed.header.rowsFile]);
  });

  it.each([EVAL, "test/fixtures/chat/messages-snappy.parquet"])(
    "tells how much of %s it has read, up to all",
    async (path) => {
      const seen: PackingProgress[] = [];
      const { header } = await packDataset(path, options({ onProgress: (progress) => seen.push(progress) }));
      const { size } = await stat(path);
      expect(seen.at(-1)).toMatchObject({
        records: header.records,
        tokens: header.tokens,
        bytes: size,
        totalBytes: size,
      });
      for (const [before, after] of seen.slice(1).map((next, at) => [seen[at], next] as const)) {
        expect(after.bytes).toBeGreaterThanOrEqual(before?.bytes ?? 0);
        expect(after.elapsedMs).toBeGreaterThanOrEqual(before?.elapsedMs ?? 0);
      }
    },
  );

  it("leaves what was there when it fails or is stopped, and nothing besides", async () => {
    const { header, folder } = await packDataset(EVAL, options());
    const before = await readdir(folder);
    const bad = await write("bad.jsonl", [{ text: "fine and long enough" }, { txt: "bad" }]);
    await expect(packDataset(bad, options())).rejects.toThrow(/bad\.jsonl:2: expected messages/);
    expect(await readdir(folder)).toEqual(before);
    const controller = new AbortController();
    const stopped = packDataset(
      EVAL,
      options({ sequence: 64, signal: controller.signal, onProgress: () => controller.abort() }),
    );
    await expect(stopped).rejects.toThrow(/aborted/);
    expect(await readdir(folder)).toEqual(before);
    expect(await readHeader(folder)).toEqual(header);
  });

  it("removes what a killed run left an hour ago", async () => {
    const { folder } = await packDataset(EVAL, options());
    const partials = [".rows.00000000000a.partial", ".rows.00000000000b.partial"];
    for (const name of partials) await writeFile(join(folder, name), "");
    const old = new Date(Date.now() - 2 * 3_600_000);
    await utimes(join(folder, partials[0] ?? ""), old, old);
    await packDataset(EVAL, options({ sequence: 64 }));
    const names = await readdir(folder);
    expect(names).not.toContain(partials[0]);
    expect(names).toContain(partials[1]);
  });

  it("says that a damaged folder is damaged", async () => {
    const { folder, header } = await packDataset(EVAL, options());
    await truncate(join(folder, header.rowsFile), 1000);
    await expect(packDataset(EVAL, options())).rejects.toThrow(
      /expected \d+ bytes, got 1000; remove .* and pack again/,
    );
    await writeFile(join(folder, "header.json"), JSON.stringify({ ...header, rowsFile: "../../secret" }));
    await expect(packDataset(EVAL, options())).rejects.toThrow(/it is no header of a packed dataset/);
  });

  it("cuts long records, drops those of which no target is left, and counts both", async () => {
    const turns = (question: string, answer: string) => ({
      messages: [
        { role: "user", content: question },
        { role: "assistant", content: answer },
      ],
    });
    const path = await write("long.jsonl", [
      turns("a", "b"),
      turns("a", "b ".repeat(100)),
      turns("a ".repeat(100), "b"),
    ]);
    const { header } = await packDataset(path, options({ sequence: 32 }));
    expect(header).toMatchObject({ records: 2, truncatedRecords: 1, droppedRecords: 1 });
    expect(header.truncatedTokens).toBeGreaterThan(60);
  });

  it("skips records without a target, or that the template refuses, and tells of each", async () => {
    const path = await write("mixed.jsonl", [
      { messages: [{ role: "user", content: "only a question" }] },
      {
        messages: [
          { role: "user", content: "?" },
          { role: "assistant", content: "!" },
        ],
      },
      "{",
    ]);
    const bad: BadRecord[] = [];
    const { header } = await packDataset(
      path,
      options({ onBadRecord: "skip", onSkip: (record) => bad.push(record) }),
    );
    expect(header).toMatchObject({ records: 1, skippedRecords: 2 });
    expect(bad.map(({ line, reason }) => [line, reason.slice(0, 20)])).toEqual([
      [1, "no token to train on"],
      [3, "not JSON: Expected p"],
    ]);
    await expect(
      packDataset(await write("none.jsonl", ["{"]), options({ onBadRecord: "skip" })),
    ).rejects.toThrow(/holds no token to train or evaluate on/);
  });

  it("does not wait for a template that never ends once for each record", async () => {
    const hang = `${"{% for i in range(99999) %}".repeat(3)}${"{% endfor %}".repeat(3)}`;
    const template = chatTemplate("model", { chat_template: hang });
    const started = performance.now();
    await expect(packDataset(EVAL, options({ template, onBadRecord: "skip" }))).rejects.toThrow(
      /did not end within/,
    );
    expect(performance.now() - started).toBeLessThan(10_000);
  });
});

describe("without a chat template", () => {
  it("takes text, prompt and completion, and closes them with the end-of-text token", async () => {
    const path = await write("plain.jsonl", [{ prompt: "ab", completion: " cd" }, { text: "one two" }]);
    const packed = await packDataset(path, options({ template: null, packing: false }));
    const [batch] = await collect(packed.batches({ batch: 2, seed: null }));
    const ids = (text: string) => tokenizer.library.encode(text, { add_special_tokens: false }).ids;
    const [prompt, completion, text] = [ids("ab"), ids(" cd"), ids("one two")];
    const rows = [
      [...prompt, ...completion, 0],
      [...text, 0],
    ];
    const sequence = Math.max(...rows.map((row) => row.length));
    const pad = (row: readonly number[], value: number) => [
      ...row,
      ...Array.from({ length: sequence - row.length }, () => value),
    ];
    expect([...(batch?.inputIds ?? [])]).toEqual(rows.flatMap((row) => pad(row, 0)));
    const labels = [
      [...prompt.map(() => -100), ...completion, 0],
      [-100, ...text.slice(1), 0],
    ];
    expect([...(batch?.labels ?? [])]).toEqual(labels.flatMap((row) => pad(row, -100)));
  });

  it("takes tokens without any tokenizer", async () => {
    const path = await write("tokens.jsonl", [{ input_ids: [3, 4, 5], labels: [-100, -100, 5] }]);
    const packed = await packDataset(path, options({ template: null, tokenizer: null }));
    expect(packed.header).toMatchObject({ tokens: 3, targets: 1, vocabularySize: 6 });
  });

  it("refuses what is packed already for a model that does not have its tokens", async () => {
    const path = await write("tokens.jsonl", [{ input_ids: [3, 4, 5] }]);
    const pack = (vocabularySize: number) => packDataset(path, options({ vocabularySize }));
    await pack(6);
    await expect(pack(5)).rejects.toThrow(/tokens\.jsonl: it has the token 5, and the model has 5 tokens/);
    expect((await readdir(join(root, "packed"))).length).toBe(2);
  });

  it("refuses a text that is longer than any sequence, by its line", async () => {
    const path = await write("long.jsonl", [{ text: "fine text" }, { text: "a".repeat(2 ** 20 + 1) }]);
    const packing = packDataset(path, options({ template: null }));
    await expect(packing).rejects.toThrow(
      /long\.jsonl:2: the text has 1048577 characters, expected at most 1048576/,
    );
  });

  it("says what it needs of what is missing", async () => {
    const chat = await write("chat.jsonl", [{ messages: [{ role: "assistant", content: "a" }] }]);
    await expect(packDataset(chat, options({ template: null }))).rejects.toThrow(
      /--chat-template none takes text/,
    );
    const text = await write("text.jsonl", [{ text: "a" }]);
    await expect(packDataset(text, options({ template: null, tokenizer: null }))).rejects.toThrow(
      /there is no tokenizer.json/,
    );
    await expect(packDataset(text, options({ sequence: 1 }))).rejects.toThrow(
      /Cannot pack sequences of 1 tokens/,
    );
  });
});
