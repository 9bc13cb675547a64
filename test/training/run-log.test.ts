import { appendFile, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openRunLog } from "../../src/training/run-log.ts";
import { crc32c, maskedCrc32c, openEventFile } from "../../src/training/tensorboard.ts";
import { temporaryFolder } from "../tiny-model.ts";

/** The records of an event file, their checksums verified. */
function recordsOf(bytes: Buffer): Buffer[] {
  const records: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(at));
    expect(bytes.readUInt32LE(at + 8)).toBe(maskedCrc32c(bytes.subarray(at, at + 8)));
    const content = bytes.subarray(at + 12, at + 12 + length);
    expect(bytes.readUInt32LE(at + 12 + length)).toBe(maskedCrc32c(content));
    records.push(content);
    at += 16 + length;
  }
  return records;
}

describe("crc32c()", () => {
  it("is that of RFC 3720, appendix B.4", () => {
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd794e);
    expect(crc32c(new TextEncoder().encode("123456789"))).toBe(0xe3069283);
  });
});

describe("an event file", () => {
  it("is to the byte what TensorFlow's protobufs and record writer make of the same events", async () => {
    const folder = await temporaryFolder();
    const file = await openEventFile(folder, 3, () => 1_700_000_000.25);
    await file.write(300, { "train/loss": 2.5, "eval/loss": -0.1 });
    await file.close();
    const [name = ""] = await readdir(folder);
    expect(name).toMatch(/^events\.out\.tfevents\.1700000000\./);
    const bytes = await readFile(join(folder, name));
    const expected = await readFile(new URL("../fixtures/tensorboard.events", import.meta.url));
    expect(bytes.toString("hex")).toBe(expected.toString("hex"));
    expect(recordsOf(bytes)).toHaveLength(3);
  });
});

describe("the log of a run", () => {
  it("drops lines after the step it goes on from, and one that was cut short", async () => {
    const folder = await temporaryFolder();
    const first = await openRunLog(folder, 0);
    for (const step of [1, 2, 3]) await first.write(step, { "train/loss": step / 10 });
    await first.close();
    await appendFile(join(folder, "metrics.jsonl"), '{"step":2,"train/lo');
    const second = await openRunLog(folder, 2);
    await second.write(3, { "train/loss": 0.9 });
    await second.close();
    const lines = (await readFile(join(folder, "metrics.jsonl"), "utf8")).trim().split("\n");
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      { step: 1, "train/loss": 0.1 },
      { step: 2, "train/loss": 0.2 },
      { step: 3, "train/loss": 0.9 },
    ]);
    expect(await readdir(join(folder, "tensorboard"))).toHaveLength(2);
  });
});
