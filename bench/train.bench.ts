// A training step, forward + backward and whole, and its peak memory, for three selections of two Llama shapes, beside
// PyTorch eager where Python has torch. Each configuration is a process of its own, each round starts it anew, and the
// first step of each is a warm-up. The first step's loss and gradient norm must be torch's before timing counts.
//
//   npm run bench -- train                                    both shapes, 3 rounds
//   npm run bench -- train --quick                            the small shape, 100 % and 25 %, 1 round, ours alone
//   npm run bench -- train --model 2m --rounds 5             one of them
//   npm run bench -- train --threads 1                       processor times without threads that wait spinning
//   PYTHON=path/to/python npm run bench -- train              beside the PyTorch of that Python
import { spawnSync } from "node:child_process";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Bench } from "tinybench";
import { openModel } from "../src/hub/open-model.ts";
import { exportArtifacts } from "../src/training/artifacts.ts";
import { SMOLLM_135M, writeCheckpoint } from "./checkpoint.ts";
import { hardware, runtime } from "./machine.ts";
import { readFlags, runPart, temporaryFolder } from "./part.ts";
import { type Spread, spreadOf } from "./spread.ts";
import type { StepCost, StepsToTake } from "./train-steps.ts";
import { type Command, ourCommand, runCommand } from "./whole-command.ts";

const SEQUENCE = 512;
const LEARNING_RATE = 1e-4;
const MAX_GRADIENT_NORM = 1;
const TOLERANCE = 1e-3;
/** Percent of the matrices of each type that train; at 100 every parameter does, embedding and norms too. */
const SHARES = [100, 50, 25] as const;
type Share = (typeof SHARES)[number];
const TYPES = [
  "self_attn.q_proj",
  "self_attn.k_proj",
  "self_attn.v_proj",
  "self_attn.o_proj",
  "mlp.gate_proj",
  "mlp.up_proj",
  "mlp.down_proj",
] as const;

interface Shape {
  readonly vocabulary: number;
  readonly layers: number;
  /** Coprime to the layers, see {@link selectionOf}. */
  readonly stride: number;
  /** Steps that a process takes after its warm-up. */
  readonly steps: number;
  /** The model's folder. */
  folder(aside: string): Promise<string>;
}

const SHAPES: ReadonlyMap<string, Shape> = new Map([
  [
    "2m",
    {
      vocabulary: 4096,
      layers: 8,
      stride: 3,
      steps: 10,
      folder: async () => join(root, "examples/wordnet-llama-2m"),
    },
  ],
  [
    "135m",
    {
      vocabulary: SMOLLM_135M.vocabulary,
      layers: SMOLLM_135M.layers,
      stride: 7,
      steps: 3,
      async folder(aside: string) {
        const folder = join(aside, "smollm-135m");
        await writeCheckpoint(folder, SMOLLM_135M);
        return folder;
      },
    },
  ],
]);

/** What the processes of one contender measured. */
interface Runs {
  readonly losses: number[];
  readonly gradientNorms: number[];
  readonly forwardBackwardMs: number[];
  readonly updateMs: number[];
  readonly stepMs: number[];
  readonly cpuMs: number[];
  readonly peakBytes: number[];
}

/** One contender at one selection. */
interface Summary {
  readonly model: string;
  readonly share: number;
  readonly name: string;
  readonly forwardBackwardMs: Spread;
  /** Clipping and optimizer. */
  readonly updateMs: Spread;
  readonly stepMs: Spread;
  readonly cpuMs: Spread;
  readonly peakBytes: Spread;
}

/** An export of one selection. */
interface Exported {
  readonly model: string;
  readonly share: number;
  readonly seconds: number;
  readonly trainedBytes: number;
  /** Graphs and manifest. */
  readonly otherBytes: number;
}

const root = fileURLToPath(new URL("../..", import.meta.url));
const flags = readFlags({
  model: { kind: "choice", choices: [...SHAPES.keys()] },
  rounds: { kind: "number", value: "N", least: 1, whole: true },
  threads: { kind: "number", value: "N", least: 1, whole: true },
  quick: { kind: "flag" },
});
const asked = flags.model ?? (flags.quick ? "2m" : undefined);
const rounds = flags.rounds ?? (flags.quick ? 1 : 3);
const threads = flags.threads ?? 2;
const shares = SHARES.filter((share) => !flags.quick || share !== 50);
const aside = temporaryFolder();
await runPart(main);

async function main(): Promise<void> {
  const chosen = [...SHAPES].filter(([name]) => asked === undefined || asked === name);
  const python = flags.quick ? null : pythonWithTorch();
  const summaries: Summary[] = [];
  const exports: Exported[] = [];
  console.log(
    `Steps of ${SEQUENCE} tokens, batch 1, ${threads} threads, ${rounds} rounds, on ${hardware()}, ${runtime()}`,
  );
  for (const [name, shape] of chosen) {
    const result = await benchShape(name, shape, python);
    summaries.push(...result.summaries);
    exports.push(...result.exports);
  }
  const ratios = ratiosOf(summaries);
  for (const line of ratios) console.log(sentence(line));
  const machine = { hardware: hardware(), runtime: runtime() };
  console.log(JSON.stringify({ bench: "train", ...machine, summaries, exports, ratios }));
}

/** The Python to measure PyTorch with; null, with the reason on stderr, where there is none. */
function pythonWithTorch(): string | null {
  const python = process.env.PYTHON ?? "python3";
  const { status, stderr } = spawnSync(python, ["-c", "import torch, transformers"], { encoding: "utf8" });
  if (status === 0) return python;
  console.error(`PyTorch is not measured: ${stderr?.trim().split("\n").at(-1) ?? `no ${python}`}`);
  return null;
}

async function benchShape(model: string, shape: Shape, python: string | null) {
  console.error(`Preparing the ${model} shape ...`);
  const folder = await shape.folder(aside);
  const exports: Exported[] = [];
  const contenders: { share: number; name: string; command: Command; result: string }[] = [];
  for (const share of shares) {
    const selection = await selectionOf(folder, shape, share);
    const artifacts = join(aside, `${model}-${share}`);
    exports.push({ model, share, ...(await timeExport(folder, selection, artifacts)) });
    const work = `${artifacts}.json`;
    await writeFile(work, JSON.stringify(workOf(shape, selection)));
    const result = `${artifacts}.spectrum.json`;
    const command = ourCommand(
      "dist/bench/train-steps.js",
      [artifacts, work, result],
      aside,
      `${result}.cost`,
    );
    contenders.push({ share, name: "spectrum", command, result });
    if (python !== null) {
      const result = `${artifacts}.torch.json`;
      const args = [join(root, "bench/peers/train.py"), folder, work, result];
      const command = { file: python, args, cwd: aside, costFile: `${result}.cost` };
      contenders.push({ share, name: "PyTorch", command, result });
    }
  }
  const runs = await measure(contenders);
  const summaries = contenders.flatMap(({ share, name }, index) => {
    const ofContender = runs[index];
    return ofContender ? [summarize({ model, share, name }, ofContender)] : [];
  });
  print(model, summaries, exports);
  return { summaries, exports };
}

/** The parameters that train: all of them at 100 percent, as in full fine-tuning, and a share of the matrices below. */
async function selectionOf(folder: string, shape: Shape, share: Share): Promise<readonly string[]> {
  if (share !== 100) return matricesOf(shape, share);
  await using model = await openModel(folder);
  return [...model.tensors.keys()];
}

/**
 * A fixed selection: of each type the first `share` percent of the layers in the order of
 * (stride layer + 4 type) mod layers, which spreads them over the depth, and begins each type at another layer.
 */
function matricesOf({ layers, stride }: Shape, share: Share): string[] {
  const count = Math.floor((layers * share) / 100);
  return TYPES.flatMap((type, index) =>
    Array.from({ length: layers }, (_, layer) => layer)
      .filter((layer) => (stride * layer + 4 * index) % layers < count)
      .map((layer) => `model.layers.${layer}.${type}.weight`),
  );
}

/** Random tokens, other ones each step and the same in every run, by the generator of Numerical Recipes. */
function workOf({ vocabulary, steps }: Shape, selection: readonly string[]): StepsToTake {
  let state = 1;
  const token = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * vocabulary);
  };
  const sequences = Array.from({ length: steps + 1 }, () => Array.from({ length: SEQUENCE }, token));
  return {
    threads,
    learningRate: LEARNING_RATE,
    maxGradientNorm: MAX_GRADIENT_NORM,
    selection,
    sequences,
  };
}

async function timeExport(folder: string, selection: readonly string[], out: string) {
  await using model = await openModel(folder);
  const begin = performance.now();
  await exportArtifacts(model, { parameterNames: selection }, { out, chatTemplate: "none" });
  const seconds = (performance.now() - begin) / 1000;
  let [trainedBytes, otherBytes] = [0, 0];
  for (const entry of await readdir(out, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const { size } = await stat(join(entry.parentPath, entry.name));
    if (entry.name === "parameters.safetensors") trainedBytes += size;
    else otherBytes += size;
  }
  return { seconds, trainedBytes, otherBytes };
}

/**
 * Runs the processes in turn, round after round, so that a change in the machine's speed meets them all.
 *
 * @throws Error when the first step of two contenders of a selection differs.
 */
async function measure(
  contenders: readonly { share: number; name: string; command: Command; result: string }[],
): Promise<Runs[]> {
  const all = contenders.map(
    (): Runs => ({
      losses: [],
      gradientNorms: [],
      forwardBackwardMs: [],
      updateMs: [],
      stepMs: [],
      cpuMs: [],
      peakBytes: [],
    }),
  );
  const bench = new Bench({ iterations: 1, time: 0, warmup: false, throws: true });
  for (const [index, { share, name, command, result }] of contenders.entries()) {
    bench.add(`${share} ${name}`, async () => {
      const { peakBytes } = await runCommand(command);
      const [first, ...steps]: StepCost[] = JSON.parse(await readFile(result, "utf8"));
      const runs = all[index];
      if (!runs || !first) throw new Error(`${name} took no step`);
      runs.losses.push(first.loss);
      runs.gradientNorms.push(first.gradientNorm);
      runs.peakBytes.push(peakBytes);
      for (const { forwardBackwardMs, stepMs, cpuMs } of steps) {
        runs.forwardBackwardMs.push(forwardBackwardMs);
        runs.updateMs.push(stepMs - forwardBackwardMs);
        runs.stepMs.push(stepMs);
        runs.cpuMs.push(cpuMs);
      }
    });
  }
  for (let round = 0; round < rounds; round++) {
    console.error(`Round ${round + 1} of ${rounds} ...`);
    bench.reset();
    await bench.run();
    if (round === 0) verify(contenders, all);
  }
  return all;
}

/** Nothing counts unless the contenders of a selection begin with the same loss and gradient norm. */
function verify(contenders: readonly { share: number; name: string }[], all: readonly Runs[]): void {
  for (const [index, { share, name }] of contenders.entries()) {
    const first = all[contenders.findIndex((other) => other.share === share)];
    for (const key of ["losses", "gradientNorms"] as const) {
      const [got, expected] = [all[index]?.[key][0] ?? Number.NaN, first?.[key][0] ?? Number.NaN];
      if (Math.abs(got / expected - 1) <= TOLERANCE) continue;
      throw new Error(`At ${share} %, ${key} of the first step are ${expected} and, of ${name}, ${got}`);
    }
  }
}

function summarize(what: Pick<Summary, "model" | "share" | "name">, runs: Runs): Summary {
  return {
    ...what,
    forwardBackwardMs: spreadOf(runs.forwardBackwardMs),
    updateMs: spreadOf(runs.updateMs),
    stepMs: spreadOf(runs.stepMs),
    cpuMs: spreadOf(runs.cpuMs),
    peakBytes: spreadOf(runs.peakBytes),
  };
}

function print(model: string, summaries: readonly Summary[], exports: readonly Exported[]): void {
  const ms = ({ min, median }: Spread) => `${min.toFixed(0)} / ${median.toFixed(0)}`;
  const valuesAt = (share: number) =>
    (exports.find((other) => other.share === share)?.trainedBytes ?? Number.NaN) / 4;
  console.log(
    `\n${model}: milliseconds, least / median; nanoseconds of clip + optimizer for each trained value`,
  );
  console.table(
    summaries.map(({ share, name, forwardBackwardMs, updateMs, stepMs, cpuMs, peakBytes }) => ({
      trained: share === 100 ? "every parameter" : `${share} % of the matrices`,
      by: name,
      "forward + backward": ms(forwardBackwardMs),
      "clip + optimizer": ms(updateMs),
      "ns a value": ((1e6 * updateMs.min) / valuesAt(share)).toFixed(2),
      step: ms(stepMs),
      processors: ms(cpuMs),
      "peak MB": Math.round(peakBytes.median / 1e6),
    })),
  );
  for (const { share, seconds, trainedBytes, otherBytes } of exports) {
    const [trained, other] = [trainedBytes, otherBytes].map((bytes) => (bytes / 1e6).toFixed(1));
    console.log(
      `Export at ${share} %: ${seconds.toFixed(2)} s, ${trained} MB of trainable values, ${other} MB of graphs`,
    );
  }
}

/** Ratios of least times and median peaks, to our own 100 % and to PyTorch's same selection. */
function ratiosOf(summaries: readonly Summary[]) {
  return summaries
    .filter(({ name }) => name === "spectrum")
    .map(({ model, share, forwardBackwardMs, stepMs, cpuMs, peakBytes }) => {
      const same = summaries.filter((other) => other.model === model);
      const full = same.find((other) => other.share === 100 && other.name === "spectrum");
      const torch = same.find((other) => other.share === share && other.name === "PyTorch");
      return {
        model,
        share,
        forwardBackwardOfFull: forwardBackwardMs.min / (full?.forwardBackwardMs.min ?? Number.NaN),
        stepOfFull: stepMs.min / (full?.stepMs.min ?? Number.NaN),
        processorsOfFull: cpuMs.min / (full?.cpuMs.min ?? Number.NaN),
        timesFaster: torch ? torch.stepMs.min / stepMs.min : null,
        processorShare: torch ? cpuMs.min / torch.cpuMs.min : null,
        memoryShare: torch ? peakBytes.median / torch.peakBytes.median : null,
      };
    });
}

function sentence(ratios: ReturnType<typeof ratiosOf>[number]): string {
  const { model, share, forwardBackwardOfFull, stepOfFull, processorsOfFull } = ratios;
  const { timesFaster, processorShare, memoryShare } = ratios;
  const [run, step, cpu] = [forwardBackwardOfFull, stepOfFull, processorsOfFull].map((x) => x.toFixed(2));
  const own = `forward + backward ${run}, step ${step} and its processor time ${cpu} of 100 %`;
  const beside =
    timesFaster !== null && processorShare !== null && memoryShare !== null
      ? `; ${timesFaster.toFixed(2)} times as fast as PyTorch, in ${processorShare.toFixed(2)} of its processor time and ${memoryShare.toFixed(2)} of its memory`
      : "";
  return `${model} at ${share} %: ${own}${beside}`;
}
