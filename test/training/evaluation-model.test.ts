import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { BatchSource } from "../../src/training/batch-source.ts";
import { type EvaluationModel, evaluate, openEvaluationModel } from "../../src/training/evaluation-model.ts";
import { trainBatches } from "../../src/training/trainer.ts";
import { temporaryFolder } from "../tiny-model.ts";
import { tinyArtifacts, torchBatches, torchRun } from "./tiny-artifacts.ts";

const CPU = { backend: "onnxruntime-cpu", threads: 1 } as const;

async function tokensOf(tokens: AsyncIterable<number>): Promise<number[]> {
  const ids: number[] = [];
  for await (const id of tokens) ids.push(id);
  return ids;
}

async function withModel<T>(artifacts: string, use: (model: EvaluationModel) => Promise<T>): Promise<T> {
  const model = await openEvaluationModel(artifacts, CPU);
  try {
    return await use(model);
  } finally {
    await model.close();
  }
}

describe("evaluate()", () => {
  it("finds the loss of torch before the first and after the last step, whatever the batches", async () => {
    const run = await torchRun();
    const artifacts = await tinyArtifacts();
    const out = join(await temporaryFolder(), "run");
    const settings = { steps: run.steps, accumulation: run.accumulation, learningRate: run.learningRate };
    const steps = trainBatches(artifacts, {
      ...CPU,
      ...settings,
      batches: torchBatches(run),
      out,
      warmup: run.warmup,
      maxGradientNorm: run.clip,
    });
    for await (const { step } of steps) expect(step).toBeLessThanOrEqual(run.steps);
    const before = await evaluate(artifacts, { ...CPU, batches: torchBatches(run) });
    const after = await evaluate(artifacts, { ...CPU, batches: torchBatches(run), checkpoint: out });
    expect(Math.abs(after.loss / run.finalLoss - 1)).toBeLessThan(1e-3);
    expect(after.loss).toBeLessThan(before.loss);
    expect(after.tokenAccuracy).toBeGreaterThan(before.tokenAccuracy);
    expect(after.perplexity).toBe(Math.exp(after.loss));
    const one = await evaluate(artifacts, { ...CPU, batches: torchBatches(run, 1), checkpoint: out });
    expect(one).toEqual({
      ...after,
      loss: expect.closeTo(after.loss, 5),
      perplexity: expect.closeTo(after.perplexity, 4),
    });
  });

  it("evaluates twice at once what it evaluates once", async () => {
    const batches = torchBatches(await torchRun(), 4);
    await withModel(await tinyArtifacts(), async (model) => {
      const alone = await model.evaluate(batches);
      const [one, other] = await Promise.all([model.evaluate(batches), model.evaluate(batches)]);
      expect([one, other]).toEqual([alone, alone]);
    });
  });

  it("refuses ids that are no tokens, which the graph takes for others: torch raises", async () => {
    const artifacts = await tinyArtifacts();
    const batches = torchBatches(await torchRun(), 4);
    const withId = (name: "inputIds" | "labels", id: number): BatchSource => ({
      ...batches,
      async *batches(from) {
        for await (const batch of batches.batches(from)) {
          const ids = batch[name].slice();
          ids[2 * batch.sequence + 5] = id;
          yield { ...batch, [name]: ids };
        }
      },
    });
    await withModel(artifacts, async (model) => {
      for (const id of [32, 5000, -1]) {
        await expect(model.evaluate(withId("inputIds", id))).rejects.toThrow(
          `Cannot run a batch that has ${id} among its input_ids, at position 6 of sequence 3: expected tokens of tiny, 0 to 31; tokenize with the tokenizer of the artifacts`,
        );
        await expect(model.evaluate(withId("labels", id))).rejects.toThrow(
          `has ${id} among its labels, at position 6 of sequence 3: expected tokens of tiny, 0 to 31, or -100 where there is no target`,
        );
      }
      expect((await model.evaluate(withId("inputIds", 31))).loss).toBeGreaterThan(0);
    });
  });

  it("counts a prediction as right exactly where it is the next target", async () => {
    const run = await torchRun();
    const artifacts = await tinyArtifacts();
    await withModel(artifacts, async (model) => {
      // The likeliest next tokens of a sequence as its labels: all right; all but one: one wrong.
      const ids = run.inputIds[0] ?? [];
      const next: number[] = [];
      for (let length = 1; length < ids.length; length++)
        next.push(...(await tokensOf(model.generate(ids.slice(0, length), { maxTokens: 1 }))));
      const accuracyOf = async (labels: readonly number[]) => {
        const source = torchBatches(
          { ...run, inputIds: [ids], labels: [labels], positionIds: [ids.map((_, index) => index)] },
          1,
        );
        return (await model.evaluate(source)).tokenAccuracy;
      };
      expect(await accuracyOf([0, ...next])).toBe(1);
      const oneWrong = next.map((id, index) => (index === 4 ? (id + 1) % 32 : id));
      expect(await accuracyOf([0, ...oneWrong])).toBeCloseTo(10 / 11, 12);
      expect(await accuracyOf([0, ...oneWrong.map((id, index) => (index > 5 ? -100 : id))])).toBeCloseTo(
        5 / 6,
        12,
      );
      await expect(accuracyOf(ids.map(() => -100))).rejects.toThrow("the data holds no target token");
    });
  });
});

describe("generate()", () => {
  it("is greedy at temperature 0 and near it, and the same for the same seed", async () => {
    await withModel(await tinyArtifacts(), async (model) => {
      const sample = (options: object) => tokensOf(model.generate([3, 5], { maxTokens: 20, ...options }));
      const greedy = await sample({});
      expect(greedy).toHaveLength(20);
      expect(await sample({ temperature: 1e-6 })).toEqual(greedy);
      const drawn = await sample({ temperature: 2, seed: 7 });
      expect(await sample({ temperature: 2, seed: 7 })).toEqual(drawn);
      expect(await sample({ temperature: 2, seed: 8 })).not.toEqual(drawn);
      const [, , stop = -1] = drawn;
      expect(await sample({ temperature: 2, seed: 7, stopIds: [stop] })).toEqual(
        drawn.slice(0, drawn.indexOf(stop)),
      );
    });
  });

  it("draws each token as often as its probability", async () => {
    await withModel(await tinyArtifacts(), async (model) => {
      const counts = new Map<number, number>();
      const draws = 600;
      for (let seed = 0; seed < draws; seed++) {
        const [id = -1] = await tokensOf(model.generate([3], { maxTokens: 1, temperature: 1, seed }));
        counts.set(id, (counts.get(id) ?? 0) + 1);
      }
      const [[likeliest = -1, most = 0] = []] = [...counts].sort((a, b) => b[1] - a[1]);
      expect(await tokensOf(model.generate([3], { maxTokens: 1 }))).toEqual([likeliest]);
      // The loss of that one token is -log of its probability.
      const source = torchBatches(
        {
          ...(await torchRun()),
          inputIds: [[3, likeliest]],
          labels: [[3, likeliest]],
          positionIds: [[0, 1]],
        },
        1,
      );
      const probability = Math.exp(-(await model.evaluate(source)).loss);
      const deviation = Math.sqrt((probability * (1 - probability)) / draws);
      expect(Math.abs(most / draws - probability)).toBeLessThan(4 * deviation);
    });
  });

  it("ends where the positions end, and refuses prompts that cannot be", async () => {
    await withModel(await tinyArtifacts(), async (model) => {
      const prompt = Array.from({ length: 62 }, () => 1);
      expect(await tokensOf(model.generate(prompt))).toHaveLength(2);
      await expect(tokensOf(model.generate([]))).rejects.toThrow("expected 1 to 64");
      await expect(tokensOf(model.generate([32]))).rejects.toThrow("the vocabulary has 32 tokens");
      await expect(tokensOf(model.generate([1], { temperature: -1 }))).rejects.toThrow("from 0");
    });
  });
});
