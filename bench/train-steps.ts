// A process of its own that trains artifacts for some steps as users do, through `trainBatches`, and states what each step took.
// Started by train.bench.ts: node train-steps.js <artifacts> <batches.json> <result.json>
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openBackend } from "../backends/index.ts";
import type { Backend, GraphSession } from "../src/backend.ts";
import type { BatchSource } from "../src/training/batch-source.ts";
import { trainBatches } from "../src/training/trainer.ts";

/** The work of one process, ours or the peer's. */
export interface StepsToTake {
  readonly threads: number;
  readonly learningRate: number;
  readonly maxGradientNorm: number;
  /** Names of the parameters that train. */
  readonly selection: readonly string[];
  /** Token ids of each step's one sequence, all of the same length. */
  readonly sequences: readonly (readonly number[])[];
}

/** One step. */
export interface StepCost {
  readonly loss: number;
  /** Before clipping. */
  readonly gradientNorm: number;
  readonly forwardBackwardMs: number;
  readonly stepMs: number;
  /** Processor time of the step, all threads together: what a busy machine changes least. */
  readonly cpuMs: number;
}

if (process.argv[1] === import.meta.filename) {
  const [artifacts = "", batches = "", result = ""] = process.argv.slice(2);
  const work: StepsToTake = JSON.parse(await readFile(batches, "utf8"));
  await writeFile(result, JSON.stringify(await takeSteps(artifacts, work)));
}

async function takeSteps(artifacts: string, work: StepsToTake): Promise<StepCost[]> {
  const { threads, learningRate, maxGradientNorm, sequences } = work;
  const { backend } = await openBackend("onnxruntime-cpu", {
    precision: "fast",
    capability: "session",
    threads,
  });
  const runs: number[] = [];
  const steps = trainBatches(artifacts, {
    backend: withTimedRuns(backend, runs),
    threads,
    batches: sourceOf(sequences),
    out: join(artifacts, `run-${process.pid}`),
    // One more than are taken: the run is left before its last step, which would write a checkpoint.
    steps: sequences.length + 1,
    learningRate,
    schedule: "constant",
    warmup: 0,
    maxGradientNorm,
  });
  const costs: StepCost[] = [];
  for (const { length } of sequences) {
    const before = process.cpuUsage();
    const { value: step } = await steps.next();
    const { user, system } = process.cpuUsage(before);
    if (!step) throw new Error(`The run ended after ${costs.length} steps, expected ${sequences.length}`);
    const { loss, gradientNorm, tokensPerSecond } = step;
    const stepMs = (1000 * length) / tokensPerSecond;
    const forwardBackwardMs = runs[costs.length] ?? Number.NaN;
    costs.push({ loss, gradientNorm, forwardBackwardMs, stepMs, cpuMs: (user + system) / 1000 });
  }
  return costs;
}

function sourceOf(sequences: StepsToTake["sequences"]): BatchSource {
  return {
    sequences: sequences.length,
    batchSize: 1,
    async *batches({ skip }) {
      for (const ids of sequences.slice(skip)) {
        yield {
          batch: 1,
          sequence: ids.length,
          inputIds: Int32Array.from(ids),
          labels: Int32Array.from(ids),
          positionIds: Int32Array.from(ids.keys()),
          targets: ids.length - 1,
        };
      }
    },
  };
}

/** The backend, with the milliseconds of each run of a graph noted. */
function withTimedRuns(backend: Backend, runs: number[]): Backend {
  const { name, computeDtypes = [], version, precision, concurrency } = backend;
  const close = () => backend.close();
  return {
    name,
    computeDtypes,
    version,
    precision,
    concurrency,
    async session(graph): Promise<GraphSession> {
      if (!backend.session) throw new Error(`The backend ${name} runs no graphs`);
      const session = await backend.session(graph);
      return {
        inputs: session.inputs,
        outputs: session.outputs,
        async run(feeds, outputs) {
          const begin = performance.now();
          const result = await session.run(feeds, outputs);
          runs.push(performance.now() - begin);
          return result;
        },
        close: () => session.close(),
        [Symbol.asyncDispose]: () => session.close(),
      };
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
