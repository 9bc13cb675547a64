import { cp, mkdir, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  type Checkpoint,
  INITIAL_STATE,
  latestCheckpoint,
  readCheckpoint,
  saveCheckpoint,
  writeCheckpointFiles,
} from "../../src/training/checkpoint.ts";
import { type Moments, zeroMoments } from "../../src/training/update/adamw.ts";
import { SLICE_LENGTH } from "../../src/training/update/slices.ts";
import { temporaryFolder } from "../tiny-model.ts";

const SHAPES = [
  { name: "a.weight", shape: [2, 3] },
  { name: "b.bias", shape: [3] },
  { name: "empty", shape: [0, 3] },
];

function checkpointAt(step: number): Checkpoint {
  const values = (size: number, first: number) =>
    Float32Array.from({ length: size }, (_, i) => first + i / 7);
  const sizes = [
    ["a.weight", 6],
    ["b.bias", 3],
    ["empty", 0],
  ] as const;
  return {
    parameters: new Map(sizes.map(([name, size]) => [name, values(size, step)])),
    moments: new Map(
      sizes.map(([name, size]) => [
        name,
        size === 0 ? [] : [{ expAvg: values(size, -step), expAvgSq: values(size, 2 * step) }],
      ]),
    ),
    state: { ...INITIAL_STATE, step, epoch: 1, sequences: 8, targets: 99, settings: { learningRate: 0.1 } },
  };
}

describe("a checkpoint", () => {
  it("is read as it was written, to the bit", async () => {
    const run = await temporaryFolder();
    const path = await saveCheckpoint(run, checkpointAt(3), SHAPES);
    expect(path).toBe(join(run, "checkpoint-3"));
    expect(await readCheckpoint(path, SHAPES)).toEqual(checkpointAt(3));
  });

  it("reads the moments of a tensor of several slices slice by slice, each with memory of its own", async () => {
    const size = 2 * SLICE_LENGTH + 3;
    const moments = zeroMoments(size);
    for (const [index, { expAvg, expAvgSq }] of moments.entries()) {
      expAvg.set([index + 1], expAvg.length - 1);
      expAvgSq.fill(index + 0.5);
    }
    const checkpoint = {
      parameters: new Map([["w", new Float32Array(size)]]),
      moments: new Map([["w", moments]]),
      state: { ...INITIAL_STATE, step: 1 },
    };
    const shapes = [{ name: "w", shape: [size] }];
    const read = await readCheckpoint(
      await saveCheckpoint(await temporaryFolder(), checkpoint, shapes),
      shapes,
    );
    const bytes = (slices: readonly Moments[] = []) =>
      slices.flatMap(({ expAvg, expAvgSq }) => [Buffer.from(expAvg.buffer), Buffer.from(expAvgSq.buffer)]);
    const [actual, expected] = [bytes(read.moments?.get("w")), bytes(moments)];
    expect(actual.map(({ length }) => length)).toEqual(expected.map(({ length }) => length));
    expect(actual.every((buffer, index) => buffer.equals(expected[index] ?? Buffer.alloc(0)))).toBe(true);
  });

  it("replaces the one before it, and removes what killed runs left aside", async () => {
    const run = await temporaryFolder();
    await saveCheckpoint(run, checkpointAt(1), SHAPES);
    await mkdir(join(run, ".checkpoint-2.0123456789ab"));
    await writeFile(join(run, "metrics.jsonl"), "");
    await saveCheckpoint(run, checkpointAt(2), SHAPES);
    expect((await readdir(run)).sort()).toEqual(["checkpoint-2", "metrics.jsonl"]);
    await expect(saveCheckpoint(run, checkpointAt(2), SHAPES)).rejects.toThrow(
      `Cannot write ${join(run, "checkpoint-2")}: it is there already`,
    );
    expect(await readCheckpoint(join(run, "checkpoint-2"), SHAPES)).toEqual(checkpointAt(2));
  });

  it("is never taken for whole before it bears its name, wherever writing it stopped", async () => {
    const run = await temporaryFolder();
    expect(await latestCheckpoint(run)).toBeNull();
    expect(await latestCheckpoint(join(run, "missing"))).toBeNull();
    const first = await saveCheckpoint(run, checkpointAt(1), SHAPES);
    // What a process leaves that was killed while it wrote the second, or while it removed the zeroth.
    for (const name of [".checkpoint-2.aaaaaaaaaaaa", ".checkpoint-0.bbbbbbbbbbbb", "checkpoint-9x"])
      await cp(first, join(run, name), { recursive: true });
    await rm(join(run, ".checkpoint-2.aaaaaaaaaaaa", "trainer_state.json"));
    expect(await latestCheckpoint(run)).toBe(first);
    await saveCheckpoint(run, checkpointAt(10), SHAPES);
    expect(await latestCheckpoint(run)).toBe(join(run, "checkpoint-10"));
  });

  it.each(["parameters.safetensors", "optimizer.safetensors", "trainer_state.json"])(
    "is refused when %s is cut short or missing",
    async (file) => {
      const path = await saveCheckpoint(await temporaryFolder(), checkpointAt(1), SHAPES);
      const { length } = await readFile(join(path, file));
      for (const size of [length - 4, 40, 4, 0]) {
        await truncate(join(path, file), size);
        await expect(readCheckpoint(path, SHAPES)).rejects.toThrow();
      }
      await rm(join(path, file));
      await expect(readCheckpoint(path, SHAPES)).rejects.toThrow();
    },
  );

  it("names the tensor that is missing or of another shape", async () => {
    const path = await saveCheckpoint(await temporaryFolder(), checkpointAt(1), SHAPES);
    await expect(readCheckpoint(path, [{ name: "c", shape: [1] }])).rejects.toThrow(
      /"c" .*expected F32 \[1\], got nothing/,
    );
    await expect(readCheckpoint(path, [{ name: "b.bias", shape: [4] }])).rejects.toThrow(
      /"b.bias" .*expected F32 \[4\], got F32 \[3\]/,
    );
  });

  it("without moments stands for a run that has not begun", async () => {
    const folder = await temporaryFolder();
    const initial = { ...checkpointAt(0), moments: null, state: INITIAL_STATE };
    await writeCheckpointFiles(folder, initial, SHAPES);
    expect((await readdir(folder)).sort()).toEqual(["parameters.safetensors", "trainer_state.json"]);
    expect(await readCheckpoint(folder, SHAPES)).toEqual(initial);
  });
});
