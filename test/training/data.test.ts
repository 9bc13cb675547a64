import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openTrainingData, type TrainingDataOptions } from "../../src/training/data.ts";
import { temporaryFolder } from "../tiny-model.ts";
import { tinyArtifacts } from "./tiny-artifacts.ts";

describe("openTrainingData()", () => {
  const notesOn = async (records: readonly object[], change: Partial<TrainingDataOptions> = {}) => {
    const folder = await temporaryFolder();
    const data = join(folder, "tokens.jsonl");
    await writeFile(data, records.map((record) => `${JSON.stringify(record)}\n`).join(""));
    const notes: string[] = [];
    const options = {
      folder: join(folder, "packed"),
      sequence: 4,
      onNote: (note: string) => notes.push(note),
      ...change,
    };
    await openTrainingData(await tinyArtifacts(), data, options);
    return { data, notes };
  };
  const short = { input_ids: [1, 2, 3] };
  const long = { input_ids: [1, 2, 3, 4, 5, 6] };
  const late = { input_ids: [1, 2, 3, 4, 5], labels: [-100, -100, -100, -100, 5] };

  it("says how many records did not fit into a sequence, and what of them is lost", async () => {
    const { data, notes } = await notesOn([short, long, late]);
    expect(notes).toEqual([
      `${data}: of 3 records, 2 are longer than the 4 tokens of a sequence: 1 lost 2 tokens at their end; 1 are left out, their first 4 tokens hold no target`,
    ]);
  });

  it("says nothing where all fit", async () => {
    expect((await notesOn([short])).notes).toEqual([]);
  });

  it("refuses a token that the model does not have at its record, whether or not bad ones are skipped", async () => {
    const foreign = { input_ids: [1, 2, 32] };
    const expected =
      /tokens\.jsonl:2: it has the token 32, and the model has 32 tokens; tokenize with the model's own tokenizer/;
    await expect(notesOn([short, foreign, short])).rejects.toThrow(expected);
    await expect(notesOn([short, foreign, short], { onBadRecord: "skip" })).rejects.toThrow(expected);
    expect((await notesOn([{ input_ids: [1, 2, 31] }])).notes).toEqual([]);
  });

  it("says why nothing is left to train on", async () => {
    await expect(notesOn([late])).rejects.toThrow("records with no target among their first 4 tokens: 1");
    await expect(notesOn([])).rejects.toThrow("it has no records");
  });
});
