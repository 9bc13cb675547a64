import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packDataset } from "../../src/chat/packed-dataset.ts";
import { chatTemplate } from "../../src/chat/template.ts";
import { packedBatches } from "../../src/training/packed-batches.ts";
import { chatmlTokenizer, collect } from "../chat/fixtures.ts";
import { temporaryFolder } from "../tiny-model.ts";

describe("packedBatches()", () => {
  it("enters an epoch anywhere, with the batches that going through it gives", async () => {
    const dataset = await packDataset("examples/definitions/eval.jsonl", {
      folder: join(await temporaryFolder(), "packed"),
      template: chatTemplate("chatml", {}),
      tokenizer: await chatmlTokenizer(),
      trainOn: "assistant",
      sequence: 128,
    });
    const source = packedBatches(dataset, { batchSize: 4, seed: 5 });
    const all = await collect(source.batches({ epoch: 2, skip: 0 }));
    expect(all.reduce((sum, { batch }) => sum + batch, 0)).toBe(source.sequences);
    expect(all.slice(0, -1).every(({ batch }) => batch === 4)).toBe(true);
    expect(await collect(source.batches({ epoch: 2, skip: 8 }))).toEqual(all.slice(2));
    expect(await collect(source.batches({ epoch: 3, skip: 0 }))).not.toEqual(all);
    expect(() => source.batches({ epoch: 0, skip: 3 })).toThrow("batches have 4 each");
  });
});
