import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import type { TokenBatch } from "../../src/chat/batch.ts";
import { UsageError } from "../../src/errors.ts";
import type { BatchSource } from "../../src/training/batch-source.ts";
import { latestCheckpoint } from "../../src/training/checkpoint.ts";
import type { TrainBatchesOptions } from "../../src/training/plan.ts";
import { readTensors } from "../../src/training/tensor-file.ts";
import { type StepReport, trainBatches } from "../../src/training/trainer.ts";
import { temporaryFolder } from "../tiny-model.ts";
import { REFERENCE_FILE, type TorchRun, tinyArtifacts, torchBatches, torchRun } from "./tiny-artifacts.ts";

const optionsOf = async (run: TorchRun): Promise<TrainBatchesOptions> => ({
  batches: torchBatches(run),
  out: join(await temporaryFolder(), "run"),
  backend: "onnxruntime-cpu",
  threads: 1,
  steps: run.steps,
  accumulation: run.accumulation,
  learningRate: run.learningRate,
  maxGradientNorm: run.clip,
  schedule: "cosine",
  warmup: run.warmup,
});

async function reportsOf(steps: AsyncIterable<StepReport>): Promise<StepReport[]> {
  const reports: StepReport[] = [];
  for await (const report of steps) reports.push(report);
  return reports;
}

/** Content of the newest checkpoint's files. */
async function checkpointOf(out: string): Promise<Record<string, string>> {
  const folder = await latestCheckpoint(out);
  if (folder === null) throw new Error(`${out} holds no checkpoint`);
  const names = (await readdir(folder)).sort();
  const contents = await Promise.all(names.map((name) => readFile(join(folder, name), "base64")));
  return Object.fromEntries(names.map((name, index) => [name, contents[index] ?? ""]));
}

const relative = (actual: number, expected: number) => Math.abs(actual - expected) / Math.abs(expected);

describe("trainBatches()", async () => {
  const run = await torchRun();

  it("follows torch's loss curve over 50 AdamW steps with accumulation and clipping, each step within 1e-3", async () => {
    const artifacts = await tinyArtifacts();
    const options = await optionsOf(run);
    const reports = await reportsOf(trainBatches(artifacts, options));
    expect(reports.map(({ step }) => step)).toEqual(run.losses.map((_, index) => index + 1));
    for (const [index, { loss, gradientNorm }] of reports.entries()) {
      expect(relative(loss, run.losses[index] ?? 0)).toBeLessThan(1e-3);
      expect(relative(gradientNorm, run.gradientNorms[index] ?? 0)).toBeLessThan(1e-3);
    }
    expect(Math.min(...run.gradientNorms)).toBeGreaterThan(run.clip); // all steps clip
    const names = Object.entries(run.final).map(([name, values]) => ({
      name,
      shape: name.endsWith(".bias") ? [values.length] : [2, values.length / 2],
    }));
    const tensors = await readTensors(join(options.out, "checkpoint-50", "parameters.safetensors"), names);
    for (const [name, expected] of Object.entries(run.final))
      for (const [i, value] of expected.entries()) expect(tensors.get(name)?.[i]).toBeCloseTo(value, 4);
  });

  it("gives the same step however its sequences are cut into batches", async () => {
    const steps = 6;
    const whole = { ...(await optionsOf(run)), steps, batches: torchBatches(run, 8), accumulation: 1 };
    const cut = { ...(await optionsOf(run)), steps, batches: torchBatches(run, 2), accumulation: 4 };
    const [expected, actual] = await Promise.all(
      [whole, cut].map(async (options) => reportsOf(trainBatches(await tinyArtifacts(), options))),
    );
    expect(actual?.map(({ targets }) => targets)).toEqual(expected?.map(({ targets }) => targets));
    for (const [index, { loss }] of (actual ?? []).entries())
      expect(relative(loss, expected?.[index]?.loss ?? 0)).toBeLessThan(1e-5);
  });

  it("updates with what is left at the end of an epoch, and counts epochs", async () => {
    const options = { ...(await optionsOf(run)), batches: torchBatches(run, 5), accumulation: 2 };
    const { steps: _, ...rest } = options;
    const reports = await reportsOf(trainBatches(await tinyArtifacts(), { ...rest, epochs: 2 }));
    // 24 sequences in batches of 5, 5, 5, 5, 4: three updates.
    expect(reports.map(({ epoch }) => epoch)).toEqual([10 / 24, 20 / 24, 1, 1 + 10 / 24, 1 + 20 / 24, 2]);
    expect(reports.at(-1)?.remainingMs).toBe(0);
  });

  it("evaluates held-out data each N steps and at the end, and logs every step once", async () => {
    const options: TrainBatchesOptions = {
      ...(await optionsOf(run)),
      evaluation: { batches: torchBatches(run, 6), everySteps: 20 },
    };
    const reports = await reportsOf(trainBatches(await tinyArtifacts(), options));
    const evaluated = reports.filter(({ evaluation }) => evaluation !== null);
    expect(evaluated.map(({ step }) => step)).toEqual([20, 40, 50]);
    expect(relative(evaluated.at(-1)?.evaluation?.loss ?? 0, run.finalLoss)).toBeLessThan(1e-3);
    const lines = (await readFile(join(options.out, "metrics.jsonl"), "utf8")).trim().split("\n");
    expect(lines.map((line) => JSON.parse(line).step)).toEqual(reports.map(({ step }) => step));
    expect(JSON.parse(lines[19] ?? "")["eval/loss"]).toBe(evaluated[0]?.evaluation?.loss);
  });

  it("stopped by break or by the signal, goes on to the same bytes", async () => {
    const uninterrupted = { ...(await optionsOf(run)), steps: 12 };
    await reportsOf(trainBatches(await tinyArtifacts(), uninterrupted));
    const artifacts = await tinyArtifacts();
    const options = { ...(await optionsOf(run)), steps: 12, resume: true };
    for await (const { step } of trainBatches(artifacts, options)) if (step === 5) break;
    const controller = new AbortController();
    const aborted = (async () => {
      for await (const { step } of trainBatches(artifacts, { ...options, signal: controller.signal }))
        if (step === 8) controller.abort(new Error("enough"));
    })();
    await expect(aborted).rejects.toThrow("enough");
    const reports = await reportsOf(trainBatches(artifacts, options));
    expect(reports.map(({ step }) => step)).toEqual([9, 10, 11, 12]);
    expect(await checkpointOf(options.out)).toEqual(await checkpointOf(uninterrupted.out));
    const lines = (await readFile(join(options.out, "metrics.jsonl"), "utf8")).trim().split("\n");
    expect(lines.map((line) => JSON.parse(line).step)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  });

  it("killed at any moment, goes on to the same bytes as an uninterrupted run", {
    timeout: 120_000,
  }, async () => {
    const uninterrupted = await optionsOf(run);
    await reportsOf(trainBatches(await tinyArtifacts(), uninterrupted));
    const artifacts = await tinyArtifacts();
    const out = join(await temporaryFolder(), "run");
    const child = fileURLToPath(new URL("train-child.mjs", import.meta.url));
    let kills = 0;
    for (let attempt = 0; attempt < 40; attempt++) {
      const process_ = spawn(process.execPath, [child, artifacts, out, REFERENCE_FILE], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const exited = once(process_, "exit");
      // From the first step on, at a moment that changes from attempt to attempt.
      if (attempt < 6) {
        await Promise.race([once(process_.stdout, "data"), exited]);
        await new Promise((resolve) => setTimeout(resolve, 7 * attempt));
        if (process_.kill("SIGKILL")) kills++;
      } else {
        process_.stdout.resume();
      }
      const [code] = await exited;
      if (code === 0) break;
    }
    expect(kills).toBeGreaterThan(2);
    expect(await checkpointOf(out)).toEqual(await checkpointOf(uninterrupted.out));
    expect((await readdir(out)).filter((name) => name.includes("checkpoint"))).toEqual(["checkpoint-50"]);
  });

  it("stops when the loss is not finite, names the sequences, and keeps the checkpoint before", async () => {
    const options = { ...(await optionsOf(run)), learningRate: 1e30, schedule: "constant", warmup: 0 };
    const failing = reportsOf(trainBatches(await tinyArtifacts(), { ...options, checkpointSteps: 1 }));
    await expect(failing).rejects.toThrow(
      /^Cannot go on at step 3: the loss is NaN for sequences 17 to 20 of epoch 1; checkpoint-2 is from before/,
    );
    expect(await latestCheckpoint(options.out)).toBe(join(options.out, "checkpoint-2"));
  });

  it("refuses a folder with a run in it, other settings on resuming, and options that cannot be", async () => {
    const artifacts = await tinyArtifacts();
    const options = { ...(await optionsOf(run)), steps: 2 };
    await reportsOf(trainBatches(artifacts, options));
    await expect(reportsOf(trainBatches(artifacts, options))).rejects.toThrow(
      /it holds .*checkpoint-2; resume it \(--resume\)/,
    );
    await expect(
      reportsOf(trainBatches(artifacts, { ...options, resume: true, learningRate: 1 })),
    ).rejects.toThrow(/it was trained with learningRate 0\.02, got 1/);
    expect(await reportsOf(trainBatches(artifacts, { ...options, resume: true }))).toEqual([]);
    const path = join(artifacts, "manifest.json");
    const manifest = JSON.parse(await readFile(path, "utf8"));
    for (const [change, sentence] of [
      [{ model: { ...manifest.model, id: "other" } }, /trained with model .*, got other/],
      [{ chatTemplate: "chatml" }, /trained with chatTemplate none, got chatml/],
      [{ trainEmbeddings: "all" }, /trained with trainEmbeddings new-rows, got all/],
      [{ maxSequence: 8 }, /trained with maxSequence \d+, got 8/],
      [{ parameters: manifest.parameters.slice(1) }, /trained with other parameters;/],
    ] as const) {
      await writeFile(path, JSON.stringify({ ...manifest, ...change }));
      const resumed = reportsOf(trainBatches(artifacts, { ...options, resume: true }));
      await expect(resumed).rejects.toThrow(sentence);
      await expect(resumed).rejects.toThrow(UsageError);
    }
    await writeFile(path, JSON.stringify(manifest));
    const fresh = { ...options, out: `${options.out}-2` };
    await expect(reportsOf(trainBatches(artifacts, { ...fresh, steps: 0 }))).rejects.toThrow(
      "whole number from 1",
    );
    await expect(reportsOf(trainBatches(artifacts, { ...fresh, epochs: 1 }))).rejects.toThrow(
      "give one of them",
    );
    await expect(reportsOf(trainBatches(artifacts, { ...fresh, learningRate: -1 }))).rejects.toThrow(
      "above 0",
    );
    await expect(reportsOf(trainBatches(artifacts, { ...fresh, backend: "wasm" }))).rejects.toThrow(
      "no session",
    );
  });

  it("says so when a source gives fewer sequences than it claims", async () => {
    const source: BatchSource = {
      sequences: 30,
      batchSize: 4,
      batches: (from): AsyncIterable<TokenBatch> => torchBatches(run).batches(from),
    };
    const options = { ...(await optionsOf(run)), batches: source };
    await expect(reportsOf(trainBatches(await tinyArtifacts(), options))).rejects.toThrow(
      "its batches hold 24 sequences, expected 30",
    );
  });

  it("names the field of a manifest that is wrong", async () => {
    const artifacts = await tinyArtifacts();
    const path = join(artifacts, "manifest.json");
    const manifest = JSON.parse(await readFile(path, "utf8"));
    await writeFile(path, JSON.stringify({ ...manifest, checkpoint: "../elsewhere" }));
    await expect(reportsOf(trainBatches(artifacts, await optionsOf(run)))).rejects.toThrow(
      "checkpoint is missing or wrong",
    );
    await expect(reportsOf(trainBatches(await temporaryFolder(), await optionsOf(run)))).rejects.toThrow(
      "it has no manifest.json",
    );
  });
});
