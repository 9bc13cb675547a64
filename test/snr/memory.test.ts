// What a scan holds: never the model, at most one matrix for each that the backend computes and one that waits.
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openBackend } from "../../backends/index.ts";
import type { Model } from "../../src/hub/model.ts";
import { openModel } from "../../src/hub/open-model.ts";
import { writeSafetensors } from "../../src/safetensors/writer.ts";
import { readAhead } from "../../src/snr/read-ahead.ts";
import { scan } from "../../src/snr/scan.ts";
import { temporaryFolder, tinyMatrix } from "../tiny-model.ts";

const COUNT = 40;
const SIDE = 512;
const MATRIX_BYTES = 4 * SIDE * SIDE;

/** A folder with a model of {@link COUNT} F32 matrices of {@link SIDE} x {@link SIDE}. */
async function writeModel(): Promise<string> {
  const folder = await temporaryFolder();
  const { values } = tinyMatrix(SIDE, SIDE, 1);
  await writeSafetensors(
    join(folder, "model.safetensors"),
    Array.from({ length: COUNT }, (_, layer) => ({
      name: `model.layers.${layer}.mlp.up_proj.weight`,
      dtype: "F32" as const,
      shape: [SIDE, SIDE],
      blocks: [new Uint8Array(values.buffer)],
    })),
  );
  return folder;
}

describe("scan()", () => {
  it.each([1, 2])("on %i threads has read at most one matrix more than it has threads", async (threads) => {
    await using model = await openModel(await writeModel());
    await using backend = (await openBackend("wasm", { precision: "exact", threads })).backend;
    let [bytesRead, bytesScored, mostHeld] = [0, 0, 0];
    const counted: Model = {
      ...model,
      // With their hash stated, files are read for their matrices only.
      files: model.files.map((file) => ({ ...file, sha256: "0".repeat(64) })),
      async *readFile(file, range) {
        for await (const block of model.readFile(file, range)) {
          bytesRead += block.byteLength;
          mostHeld = Math.max(mostHeld, bytesRead - bytesScored);
          yield block;
        }
      },
    };
    await scan(counted, {
      backend,
      cache: false,
      onProgress: ({ modulesDone }) => {
        bytesScored = modulesDone * MATRIX_BYTES;
      },
    });
    expect([bytesRead, bytesScored]).toEqual([COUNT * MATRIX_BYTES, COUNT * MATRIX_BYTES]);
    expect(backend.concurrency).toBe(threads);
    expect(mostHeld).toBeGreaterThanOrEqual(MATRIX_BYTES);
    expect(mostHeld).toBeLessThanOrEqual((threads + 1) * MATRIX_BYTES);
  });
});

describe("readAhead()", () => {
  it("reads no further than its limit while nobody takes a block, then on as blocks are taken", async () => {
    let made = 0;
    async function* source(): AsyncIterable<Uint8Array> {
      while (made < 20) yield Uint8Array.of(made++, 0, 0, 0);
    }
    const settled = () => new Promise((resolve) => setTimeout(resolve, 5));
    const blocks = readAhead(source(), 12);
    await settled();
    expect(made).toBe(3);
    const taken: number[] = [];
    for await (const block of blocks) {
      taken.push(block[0] ?? -1);
      await settled();
      expect(made).toBe(Math.min(20, taken.length + 3));
    }
    expect(taken).toEqual(Array.from({ length: 20 }, (_, index) => index));
  });
});
