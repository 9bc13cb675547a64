// The artifacts that scripts/fixtures/tiny-artifacts.py made, in a folder of their own for one test.
import { cp, readFile, realpath, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { TokenBatch } from "../../src/chat/batch.ts";
import type { BatchSource, EpochPosition } from "../../src/training/batch-source.ts";
import { temporaryFolder } from "../tiny-model.ts";

const FIXTURE = fileURLToPath(new URL("../fixtures/tiny-artifacts/", import.meta.url));

/** File of {@link torchRun}. */
export const REFERENCE_FILE = join(FIXTURE, "reference.json");

/** The base model of the artifacts. */
export const TINY_MODEL = join(FIXTURE, "model");

/** torch's run on the same sequences. */
export interface TorchRun {
  readonly batchSize: number;
  readonly accumulation: number;
  readonly steps: number;
  readonly learningRate: number;
  readonly clip: number;
  readonly warmup: number;
  readonly inputIds: readonly (readonly number[])[];
  readonly labels: readonly (readonly number[])[];
  readonly positionIds: readonly (readonly number[])[];
  readonly losses: readonly number[];
  readonly gradientNorms: readonly number[];
  readonly finalLoss: number;
  readonly final: Readonly<Record<string, readonly number[]>>;
}

/** Reads torch's run. */
export async function torchRun(): Promise<TorchRun> {
  return JSON.parse(await readFile(REFERENCE_FILE, "utf8"));
}

/** A copy of the artifacts whose manifest knows where the model is. */
export async function tinyArtifacts(): Promise<string> {
  const folder = join(await temporaryFolder(), "artifacts");
  await cp(join(FIXTURE, "artifacts"), folder, { recursive: true });
  const path = join(folder, "manifest.json");
  const manifest = JSON.parse(await readFile(path, "utf8"));
  await writeFile(path, JSON.stringify({ ...manifest, weightsFolder: await realpath(TINY_MODEL) }));
  return folder;
}

/** torch's sequences in torch's order, `batchSize` at a time. */
export function torchBatches(run: TorchRun, batchSize = run.batchSize): BatchSource {
  return {
    sequences: run.inputIds.length,
    batchSize,
    async *batches({ skip }: EpochPosition) {
      for (let first = skip; first < run.inputIds.length; first += batchSize)
        yield batchOf(run, first, batchSize);
    },
  };
}

/** Sequences [first, first + count) of torch's run. */
export function batchOf(run: TorchRun, first: number, count: number): TokenBatch {
  const rows = (table: readonly (readonly number[])[]) =>
    Int32Array.from(table.slice(first, first + count).flat());
  const labels = rows(run.labels);
  const positionIds = rows(run.positionIds);
  const sequence = run.inputIds[0]?.length ?? 0;
  return {
    batch: labels.length / sequence,
    sequence,
    inputIds: rows(run.inputIds),
    labels,
    positionIds,
    targets: labels.filter((label, index) => label !== -100 && positionIds[index] !== 0).length,
  };
}
