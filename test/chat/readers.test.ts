import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import * as zlib from "node:zlib";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { csvRecords } from "../../src/chat/csv-records.ts";
import { jsonRecords } from "../../src/chat/json-records.ts";
import { MAX_RECORD_BYTES } from "../../src/chat/raw-record.ts";
import { type BadRecord, datasetFiles, readDataset } from "../../src/chat/read-dataset.ts";
import { collect } from "./fixtures.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "spectrum-data-"));
});
afterAll(() => rm(folder, { recursive: true }));

const UTF8 = new TextEncoder();

/** The bytes in pieces of `size`: borders fall everywhere. */
function pieces(text: string | Uint8Array, size: number): Uint8Array[] {
  const bytes = typeof text === "string" ? UTF8.encode(text) : text;
  const cut: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += size) cut.push(bytes.subarray(at, at + size));
  return cut;
}

async function write(name: string, content: string): Promise<string> {
  const path = join(folder, name);
  await mkdir(join(path, ".."), { recursive: true });
  await writeFile(path, content);
  return path;
}

describe("jsonRecords()", () => {
  it("cuts any array of records, in any pieces, into what JSON.parse finds, with their lines", async () => {
    const objects = fc.array(fc.dictionary(fc.string(), fc.jsonValue()), { minLength: 1, maxLength: 5 });
    await fc.assert(
      fc.asyncProperty(
        objects,
        fc.integer({ min: 1, max: 9 }),
        fc.constantFrom(0, 2),
        async (records, size, indent) => {
          const found = await collect(jsonRecords(pieces(JSON.stringify(records, null, indent), size)));
          expect(found.map((record) => record.reason === null && record.value)).toEqual(
            JSON.parse(JSON.stringify(records)),
          );
        },
      ),
      { numRuns: 200, seed: 1 },
    );
    const lines = (
      await collect(jsonRecords(pieces('\ufeff[\n {"a": 1},\n\n {"b":\n 2}, {"c": "],\\"\\n"}\n]\n', 3)))
    ).map(({ line }) => line);
    expect(lines).toEqual([2, 4, 5]);
  });

  it("reads JSON Lines in any pieces, passing over empty lines", async () => {
    for (const size of [1, 2, 7, 100]) {
      const found = await collect(jsonRecords(pieces('\ufeff{"a": "é"}\r\n\n  \n{"b": [1]}', size)));
      expect(found).toEqual([
        { line: 1, value: { a: "é" }, reason: null },
        { line: 4, value: { b: [1] }, reason: null },
      ]);
    }
  });

  it("says of each damaged record where it stands, and reads the others", async () => {
    const lines = await collect(jsonRecords(pieces('{"a": 1}\n{"a": \n{"a": 2}\n', 5)));
    expect(lines.map(({ line, reason }) => [line, reason?.slice(0, 9) ?? null])).toEqual([
      [1, null],
      [2, "not JSON:"],
      [3, null],
    ]);
    const array = await collect(jsonRecords(pieces('[{"a": 1},\n{"a": },\n{"a": 2}]', 5)));
    expect(array.map(({ line, reason }) => [line, reason?.slice(0, 9) ?? null])).toEqual([
      [1, null],
      [2, "not JSON:"],
      [3, null],
    ]);
    const notUtf8 = await collect(jsonRecords([Uint8Array.of(0x7b, 0xff, 0x7d, 0x0a), UTF8.encode("{}\n")]));
    expect(notUtf8).toEqual([
      { line: 1, reason: "not UTF-8" },
      { line: 2, value: {}, reason: null },
    ]);
  });

  it.each([
    ['[{"a": 1}', /the file ends inside the array/],
    ['[{"a": 1}}]', /not JSON/],
    ['[{"a": 1},,{"a": 2}]', /a comma with no record/],
    ['[{"a": 1},]', /a comma with no record/],
    ['[{"a": 1}] [2]', /expected the end of the file/],
    ['[{"a": "x]', /the file ends inside the array/],
  ])("finds the fault of %s", async (text, reason) => {
    const found = await collect(jsonRecords(pieces(text, 2)));
    expect(found.map((record) => record.reason).join()).toMatch(reason);
  });

  it("holds no more than the bound of a record", async () => {
    const chunk = new Uint8Array(2 ** 20).fill(0x61);
    const chunks = function* () {
      for (let at = 0; at < 20; at += 1) yield chunk;
      yield UTF8.encode('\n{"a": 1}\n');
    };
    expect(await collect(jsonRecords(chunks()))).toEqual([
      { line: 1, reason: `longer than ${MAX_RECORD_BYTES} bytes` },
      { line: 2, value: { a: 1 }, reason: null },
    ]);
  });
});

describe("csvRecords()", () => {
  it("gives back what was written, in any pieces", async () => {
    const value = fc.string({ unit: fc.constantFrom('"', ",", "\n", "a", "é", " ") });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(value, value), { minLength: 1 }),
        fc.integer({ min: 1, max: 9 }),
        async (rows, size) => {
          const quoted = (cell: string) => `"${cell.replaceAll('"', '""')}"`;
          const file = ["prompt,completion", ...rows.map((row) => row.map(quoted).join(","))].join("\r\n");
          const found = await collect(csvRecords(pieces(file, size)));
          expect(found.map((record) => record.reason === null && record.value)).toEqual(
            rows.map(([prompt, completion]) => ({ prompt, completion })),
          );
        },
      ),
      { numRuns: 200, seed: 1 },
    );
  });

  it("names the line where a bad row begins", async () => {
    const file = 'text,n\n"two\nlines",1\nbare,2,3\n\n"open" x,4\nlast "quote,5';
    expect(await collect(csvRecords(pieces(file, 4)))).toEqual([
      { line: 2, value: { text: "two\nlines", n: "1" }, reason: null },
      { line: 4, reason: "expected 2 values, one for each column, got 3" },
      { line: 6, reason: "a character after the quote that closes a value" },
      { line: 7, value: { text: 'last "quote', n: "5" }, reason: null },
    ]);
  });
});

describe("readDataset()", () => {
  const FIXTURES = "test/fixtures/chat";

  it.each(["snappy", "gzip", "none", "zstd"])(
    "reads Parquet compressed with %s, row group by row group",
    async (compression) => {
      const records = collect(readDataset(`${FIXTURES}/messages-${compression}.parquet`));
      if (compression === "zstd" && !("zstdDecompressSync" in zlib)) {
        await expect(records).rejects.toThrow(
          /messages-zstd.parquet:1: not Parquet: it is compressed with Zstandard, which takes Node 22.15/,
        );
        return;
      }
      const found = await records;
      expect(found).toHaveLength(40);
      expect(found[39]).toEqual({
        record: {
          kind: "conversation",
          messages: [
            { role: "user", content: "Question 39 é" },
            { role: "assistant", content: "Answer 39", name: "A" },
          ],
        },
        file: `${FIXTURES}/messages-${compression}.parquet`,
        line: 40,
      });
    },
  );

  it("reads lists of integers from Parquet", async () => {
    const found = await collect(readDataset(`${FIXTURES}/tokens.parquet`));
    expect(found.map(({ record }) => record)).toEqual([
      { kind: "tokens", inputIds: [1, 2, 3], labels: [-100, 2, 3] },
      { kind: "tokens", inputIds: [4, 5], labels: [4, -100] },
    ]);
  });

  it("says where a Parquet file is damaged", async () => {
    const path = await write("damaged.parquet", "PAR1 nothing PAR1");
    await expect(collect(readDataset(path))).rejects.toThrow(/damaged.parquet:1: not Parquet: /);
  });

  it("reads a folder in order of names, its train split alone where there are splits", async () => {
    await write("plain/b.jsonl", '{"text": "b"}\n');
    await write("plain/a.csv", "text\na\n");
    await write("plain/.cache/c.jsonl", '{"text": "hidden"}\n');
    await write("plain/notes.md", "no data");
    const texts = (await collect(readDataset(join(folder, "plain")))).map(({ record }) => record);
    expect(texts).toEqual([
      { kind: "text", text: "a" },
      { kind: "text", text: "b" },
    ]);
    await write("split/data/train-00000-of-00002.jsonl", "");
    await write("split/data/train-00001-of-00002.jsonl", "");
    await write("split/data/test-00000-of-00001.jsonl", "");
    await write("split/contest.jsonl", "");
    const files = await datasetFiles(join(folder, "split"));
    expect(files.map((file) => basename(file))).toEqual([
      "train-00000-of-00002.jsonl",
      "train-00001-of-00002.jsonl",
    ]);
  });

  it("stops at the first malformed record with file and line, or skips and tells of each", async () => {
    const path = await write("bad.jsonl", '{"text": "a"}\n{"txt": "b"}\nnot json\n{"text": "c"}\n');
    await expect(collect(readDataset(path))).rejects.toThrow(
      /Cannot use the record at .*bad\.jsonl:2: expected messages; .* got txt/,
    );
    const skipped: BadRecord[] = [];
    const kept = await collect(
      readDataset(path, { onBadRecord: "skip", onSkip: (bad) => skipped.push(bad) }),
    );
    expect(kept.map(({ line }) => line)).toEqual([1, 4]);
    expect(skipped.map(({ line, file }) => [line, file])).toEqual([
      [2, path],
      [3, path],
    ]);
  });

  it("says what it reads when it is given something else", async () => {
    await expect(datasetFiles(join(folder, "none"))).rejects.toThrow(/There is no file or folder/);
    await expect(datasetFiles(await write("x.xlsx", ""))).rejects.toThrow(
      /expected a file that ends in .parquet, .jsonl, .ndjson, .json, .csv/,
    );
    await mkdir(join(folder, "empty"));
    await expect(datasetFiles(join(folder, "empty"))).rejects.toThrow(/holds no dataset/);
    await write("only-test/test.jsonl", "");
    await expect(datasetFiles(join(folder, "only-test"))).rejects.toThrow(/holds no file of the split train/);
  });
});
