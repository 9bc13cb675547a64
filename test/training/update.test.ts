// The kernels of an update against torch (test/fixtures/adamw.json), the optimizer graph and the obvious formulas; the
// updater against itself on other numbers of threads.
import { spawnSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openBackend } from "../../backends/index.ts";
import type { GraphTensor } from "../../src/backend.ts";
import { clipScale } from "../../src/training/clip.ts";
import { type AdamWStep, adamwFactors, type Moments, zeroMoments } from "../../src/training/update/adamw.ts";
import { handOut } from "../../src/training/update/hand-out.ts";
import { openKernels } from "../../src/training/update/kernels.ts";
import { buffersOf } from "../../src/training/update/protocol.ts";
import { SLICE_LENGTH } from "../../src/training/update/slices.ts";
import { performTasks, type Task } from "../../src/training/update/tasks.ts";
import { UpdateThread } from "../../src/training/update/thread.ts";
import { openUpdater } from "../../src/training/update/updater.ts";
import { tinyArtifacts } from "./tiny-artifacts.ts";

const torch = JSON.parse(await readFile(new URL("../fixtures/adamw.json", import.meta.url), "utf8"));
const kernels = openKernels();
// One value, parts of a vector, parts of a block, and blocks.
const LENGTHS = [0, 1, 3, 4, 5, 1023, 1025, 8191, 8192, 8193, 20_001];

/** Largest difference relative to the reference's value, or to `floor` where that is more. */
function deviation(actual: ArrayLike<number>, expected: ArrayLike<number>, floor = 1e-3): number {
  expect(actual.length).toBe(expected.length);
  let largest = 0;
  for (let i = 0; i < actual.length; i++) {
    const reference = expected[i] ?? Number.NaN;
    const difference = Math.abs((actual[i] ?? Number.NaN) - reference);
    const relative = difference / Math.max(Math.abs(reference), floor);
    if (!(relative <= largest)) largest = relative;
  }
  return largest;
}

const waves = (length: number, speed: number, size = 1) =>
  Float32Array.from({ length }, (_, i) => size * Math.sin(speed * (i + 1)) * 10 ** -(i % 5));

const zeroMomentsOf = (size: number): Moments => ({
  expAvg: new Float32Array(size),
  expAvgSq: new Float32Array(size),
});

/** One update by the kernel. */
function adamw(parameter: Float32Array, gradient: Float32Array, moments: Moments, step: AdamWStep): void {
  kernels.adamw({ parameter, gradient, ...moments }, adamwFactors(step));
}

/** The same in float64, but for what decays: over many steps its roundings to float32 add up one way. */
function obviousAdamw(
  parameter: Float32Array,
  gradient: Float32Array,
  { expAvg, expAvgSq }: Moments,
  { learningRate, step, gradScale, beta1, beta2, epsilon, weightDecay }: AdamWStep,
): void {
  const keep = Math.fround(1 - learningRate * weightDecay);
  for (const [i, p] of parameter.entries()) {
    const g = (gradient[i] ?? Number.NaN) * gradScale;
    const m = (expAvg[i] ?? Number.NaN) * beta1 + g * (1 - beta1);
    const v = (expAvgSq[i] ?? Number.NaN) * beta2 + g * g * (1 - beta2);
    [expAvg[i], expAvgSq[i]] = [m, v];
    const change = m / (1 - beta1 ** step) / (Math.sqrt(v / (1 - beta2 ** step)) + epsilon);
    parameter[i] = Math.fround(p * keep) - learningRate * change;
  }
}

describe("the kernel adamw", () => {
  it.each(["0.0", "0.1"])("is within 1e-6 of torch.optim.AdamW over 50 steps, weight decay %s", (decay) => {
    const parameter = Float32Array.from(torch.initial);
    const moments = zeroMomentsOf(parameter.length);
    for (const [index, gradient] of torch.gradients.entries())
      adamw(parameter, Float32Array.from(gradient), moments, {
        ...torch,
        step: index + 1,
        gradScale: 1,
        weightDecay: Number(decay),
      });
    const expected = torch.runs[decay];
    expect(deviation(parameter, expected.parameter, 1)).toBeLessThan(1e-6);
    expect(deviation(moments.expAvg, expected.expAvg)).toBeLessThan(1e-6);
    expect(deviation(moments.expAvgSq, expected.expAvgSq)).toBeLessThan(1e-6);
  });

  it.each(LENGTHS)("is within 1e-6 of the formula in float64 for %i values", (length) => {
    const constants = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.1, learningRate: 0.01 };
    const [actual, expected] = [0, 1].map(() => ({
      parameter: waves(length, 1),
      moments: zeroMomentsOf(length),
    }));
    if (!actual || !expected) throw new Error("Two runs were made");
    for (let step = 1; step <= 5; step++) {
      const gradient = waves(length, step + 1, 3);
      const settings = { ...constants, step, gradScale: 1 / step };
      adamw(actual.parameter, gradient, actual.moments, settings);
      obviousAdamw(expected.parameter, gradient, expected.moments, settings);
    }
    expect(deviation(actual.parameter, expected.parameter, 1)).toBeLessThan(1e-6);
    expect(deviation(actual.moments.expAvg, expected.moments.expAvg, 0.1)).toBeLessThan(1e-6);
    expect(deviation(actual.moments.expAvgSq, expected.moments.expAvgSq)).toBeLessThan(1e-6);
  });

  it("is within 1e-6 of the optimizer graph over 20 steps, for parameters that decay and those that do not", async () => {
    const folder = await tinyArtifacts();
    const manifest = JSON.parse(await readFile(join(folder, "manifest.json"), "utf8"));
    const { backend } = await openBackend("onnxruntime-cpu", {
      precision: "fast",
      threads: 1,
      capability: "session",
    });
    const session = await backend.session?.({
      path: join(folder, "optimizer_model.onnx"),
      weightsFolder: null,
    });
    const suffixes = ["", ".exp_avg", ".exp_avg_sq"];
    for (const { name, shape, decay } of manifest.parameters) {
      const size = shape.reduce((product: number, side: number) => product * side, 1);
      const parameter = Float32Array.from({ length: size }, (_, i) => Math.sin(i));
      const moments = zeroMomentsOf(size);
      let state = [parameter, moments.expAvg, moments.expAvgSq].map((values) => values.slice());
      for (let step = 1; step <= 20; step++) {
        const gradient = Float32Array.from({ length: size }, (_, i) => Math.cos(i * step) * 10 ** -(i % 6));
        const { weightDecay } = manifest.optimizer;
        const settings = { ...manifest.optimizer, learningRate: 0.01 / step, step, gradScale: 0.5 };
        adamw(parameter, gradient, moments, { ...settings, weightDecay: decay ? weightDecay : 0 });
        const feeds = new Map<string, GraphTensor>([
          ["learning_rate", { dtype: "float32", shape: [], values: Float32Array.of(settings.learningRate) }],
          ["grad_scale", { dtype: "float32", shape: [], values: Float32Array.of(0.5) }],
          ["step", { dtype: "int64", shape: [], values: BigInt64Array.of(BigInt(step)) }],
          [`${name}.grad`, { dtype: "float32", shape, values: gradient }],
        ]);
        for (const [index, suffix] of suffixes.entries())
          feeds.set(name + suffix, { dtype: "float32", shape, values: state[index] ?? new Float32Array() });
        for (const input of manifest.optimizer.inputs) {
          if (feeds.has(input.name)) continue;
          const length = input.shape.reduce((product: number, side: number) => product * side, 1);
          feeds.set(input.name, { dtype: "float32", shape: input.shape, values: new Float32Array(length) });
        }
        const outputs = suffixes.map((suffix) => `${name}${suffix}.next`);
        const run = await session?.run(feeds, outputs);
        state = outputs.map((output) => Float32Array.from(run?.outputs.get(output)?.values ?? [], Number));
      }
      expect(deviation(parameter, state[0] ?? [], 1)).toBeLessThan(1e-6);
      expect(deviation(moments.expAvg, state[1] ?? [], 0.1)).toBeLessThan(1e-6);
      expect(deviation(moments.expAvgSq, state[2] ?? [], 0.1)).toBeLessThan(1e-6);
    }
    await backend.close();
  });
});

describe("the kernel add", () => {
  it.each(LENGTHS)("adds %i values as float32 does, to the bit", (length) => {
    const [values, addend] = [waves(length, 1), waves(length, 2)];
    const expected = values.map((value, i) => value + (addend[i] ?? Number.NaN));
    kernels.add(values, addend);
    expect(values).toEqual(expected);
  });
});

describe("the kernel sumOfSquares", () => {
  it.each(LENGTHS)("is within 1e-14 of the obvious sum for %i values", (length) => {
    const values = waves(length, 1);
    const expected = values.reduce((sum, value) => sum + value ** 2, 0);
    expect(Math.abs(kernels.sumOfSquares(values) - expected)).toBeLessThanOrEqual(1e-14 * expected);
  });

  it("accumulates in float64, and tells of what is not finite", () => {
    expect(kernels.sumOfSquares(Float32Array.of(3, -4))).toBe(25);
    const small = kernels.sumOfSquares(new Float32Array(2 ** 20).fill(0.001));
    expect(small).toBeCloseTo(2 ** 20 * Math.fround(0.001) ** 2, 9);
    expect(kernels.sumOfSquares(Float32Array.of(1e30, 1e30))).toBeCloseTo(2 * Math.fround(1e30) ** 2, -50);
    expect(kernels.sumOfSquares(Float32Array.of(1, Number.NaN))).toBeNaN();
    expect(kernels.sumOfSquares(Float32Array.of(1, Number.NEGATIVE_INFINITY))).toBe(Number.POSITIVE_INFINITY);
  });
});

describe("an updater", () => {
  // 9.6 million values: work for three threads. Some tensors are cut, of which "up" has whole slices alone; "gate" is
  // more than a slice and travels whole.
  const LENGTHS_BY_NAME = new Map([
    ["norm", 577],
    ["embedding", 5_000_003],
    ["up", 4 * SLICE_LENGTH],
    ["gate", SLICE_LENGTH + 5],
    ["down", 1_900_001],
    ["empty", 0],
  ]);
  const values = [...LENGTHS_BY_NAME.values()].reduce((sum, length) => sum + length, 0);
  const tensors = (fill: number) =>
    new Map(
      [...LENGTHS_BY_NAME].map(([name, length]) => {
        const array = new Float32Array(length);
        for (let i = 0; i < length; i++) array[i] = (((i + 1) * fill) % 1009) / 1009 - 0.5;
        return [name, array];
      }),
    );

  /** Two updates of two batches each. */
  async function takeSteps(threads: number) {
    await using updater = openUpdater({ values, threads });
    const parameters = tensors(7);
    const moments = new Map([...LENGTHS_BY_NAME].map(([name, length]) => [name, zeroMoments(length)]));
    const norms: number[] = [];
    for (const step of [1, 2]) {
      const [gradients, more] = [tensors(10 + step), tensors(20 + step)];
      await updater.add(gradients, more);
      norms.push(await updater.sumOfSquares(gradients));
      const decaying = new Set(["up", "down", "embedding"]);
      const constants = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.1, learningRate: 0.01 };
      await updater.adamw(
        { parameters, moments, gradients, decaying },
        { ...constants, step, gradScale: 0.5 },
      );
      expect(gradients.size + more.size).toBe(0);
    }
    return { parameters, moments, norms };
  }

  it("gives the same bits with 1, 2 and 3 threads, and those of the kernels alone", async () => {
    const [one, two, three] = [await takeSteps(1), await takeSteps(2), await takeSteps(3)];
    expect([two.norms, three.norms]).toEqual([one.norms, one.norms]);
    for (const name of LENGTHS_BY_NAME.keys())
      for (const other of [two, three]) {
        const bytes = ({ parameters, moments }: typeof one) =>
          [
            parameters.get(name),
            ...(moments.get(name) ?? []).flatMap(({ expAvg, expAvgSq }) => [expAvg, expAvgSq]),
          ].map((array) => Buffer.from(array?.buffer ?? new ArrayBuffer(1)));
        const expected = bytes(one);
        for (const [index, actual] of bytes(other).entries())
          expect(actual.equals(expected[index] ?? Buffer.alloc(1))).toBe(true);
      }
    const sums = tensors(11);
    for (const [name, addend] of tensors(21)) kernels.add(sums.get(name) ?? addend, addend);
    const total = [...sums.values()].reduce((sum, array) => sum + kernels.sumOfSquares(array), 0);
    expect(one.norms[0]).toBeCloseTo(total, 3);
    const norm = tensors(7).get("norm") ?? new Float32Array();
    const moments = zeroMomentsOf(norm.length);
    const constants = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, learningRate: 0.01 };
    adamw(norm, sums.get("norm") ?? norm, moments, { ...constants, step: 1, gradScale: 0.5 });
    const second = tensors(12).get("norm") ?? norm;
    kernels.add(second, tensors(22).get("norm") ?? norm);
    adamw(norm, second, moments, { ...constants, step: 2, gradScale: 0.5 });
    expect(one.parameters.get("norm")).toEqual(norm);
  });

  it("lets other work in while it computes on the calling thread", async () => {
    await using updater = openUpdater({ values, threads: 1 });
    const gradients = tensors(3);
    let turns = 0;
    let over = false;
    const count = () => {
      turns++;
      if (!over) setImmediate(count);
    };
    setImmediate(count);
    await updater.sumOfSquares(gradients);
    over = true;
    // At least once for each quarter of a million values.
    expect(turns).toBeGreaterThan(values / 2 ** 18);
  });

  it("names the tensor that has no gradient, or one of another length", async () => {
    await using updater = openUpdater({ values: 1, threads: 1 });
    const sums = new Map([["w", new Float32Array(3)]]);
    await expect(updater.add(sums, new Map())).rejects.toThrow(
      'expected 3 values of the gradient of "w", got nothing',
    );
    await expect(updater.add(sums, new Map([["w", new Float32Array(2)]]))).rejects.toThrow("got 2");
  });

  it("does not keep the process alive when it is left open", () => {
    const url = new URL("../../dist/src/training/update/updater.js", import.meta.url);
    const script = `import { openUpdater } from ${JSON.stringify(url.href)};
      const updater = openUpdater({ values: 2 ** 24, threads: 2 });
      const gradients = new Map([["a", new Float32Array(2 ** 22).fill(1)], ["b", new Float32Array(2 ** 22).fill(2)]]);
      console.log(await updater.sumOfSquares(gradients));`;
    const args = ["--input-type=module", "--eval", script];
    const { stdout, status } = spawnSync(process.execPath, args, { encoding: "utf8", timeout: 30_000 });
    expect({ stdout, status }).toEqual({ stdout: `${5 * 2 ** 22}\n`, status: 0 });
  });
});

describe("handing out tasks", () => {
  const here = (tasks: readonly Task[]) =>
    performTasks(kernels, tasks, () => new Promise((resolve) => setImmediate(resolve)));

  /** Stands for threads: takes the arrays away, and gives them back with its results. */
  function away(counts: number[], index: number) {
    return async (tasks: readonly Task[]) => {
      const taken = structuredClone(tasks, { transfer: buffersOf(tasks) });
      for (const { values } of taken) counts[index] = (counts[index] ?? 0) + values.length;
      const results = await here(taken);
      return structuredClone(results, { transfer: buffersOf(results.map(({ task }) => task)) });
    };
  }

  it("divides one large tensor between all threads, with the same bits; it does not travel itself", async () => {
    const length = 9 * SLICE_LENGTH + 77;
    const values = waves(length, 1);
    const expected = values.slice();
    const used = waves(length, 2);
    kernels.add(expected, used);
    const counts = [0, 0, 0];
    const threads = [away(counts, 0), away(counts, 1), away(counts, 2)];
    const [added] = await handOut({ here, threads }, [{ kind: "add", name: "w", values, used }]);
    expect(added?.task.values.buffer).toBe(values.buffer);
    expect(Buffer.from(values.buffer).equals(Buffer.from(expected.buffer))).toBe(true);
    expect(Math.min(...counts)).toBeGreaterThan(0);
    expect(counts.reduce((total, count) => total + count, 0)).toBeLessThan(length); // the rest was done here
    expect(used.length).toBe(0); // and freed
  });

  it("hands a tensor whole to one thread where it is no longer than that thread's part", async () => {
    const counts = [0];
    const tasks = Array.from({ length: 8 }, (_, index): Task => {
      const [values, used] = [
        new Float32Array(SLICE_LENGTH + 1).fill(index),
        new Float32Array(SLICE_LENGTH + 1).fill(1),
      ];
      return { kind: "add", name: `w${index}`, values, used };
    });
    const results = await handOut({ here, threads: [away(counts, 0)] }, tasks);
    expect(results.map(({ task }) => [task.name, task.values[SLICE_LENGTH]])).toEqual(
      tasks.map(({ name }, index) => [name, index + 1]),
    );
    expect(counts[0]).toBeGreaterThan(0);
    expect((counts[0] ?? 0) % (SLICE_LENGTH + 1)).toBe(0);
  });

  it("ends with the error of the thread that failed, and gives the others nothing more", async () => {
    let calls = 0;
    const fails = async () => {
      throw new Error("out of memory");
    };
    const counted = (tasks: readonly Task[]) => {
      calls++;
      return here(tasks);
    };
    const [values, used] = [new Float32Array(8 * SLICE_LENGTH), new Float32Array(8 * SLICE_LENGTH)];
    const tasks: Task[] = [{ kind: "add", name: "w", values, used }];
    await expect(handOut({ here: counted, threads: [fails] }, tasks)).rejects.toThrow("out of memory");
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(calls).toBeLessThan(8);
  });
});

describe("a thread of the updater", () => {
  it("rejects what it cannot do by the tensor's name, goes on with the next, and ends when told", async () => {
    const thread = new UpdateThread();
    const values = new Float32Array(8).fill(2);
    const failing = thread.perform([
      {
        kind: "adamw",
        name: "layers.0",
        values: new Float32Array(8),
        moments: [zeroMomentsOf(4)],
        used: new Float32Array(8),
        factors: [1, 0.1, 0.999, 0.001, 1, 0.1, 1, 1e-8],
      },
    ]);
    await expect(failing).rejects.toThrow('Cannot update "layers.0": ');
    const [result] = await thread.perform([{ kind: "sumOfSquares", name: "w", values }]);
    expect(result).toMatchObject({ squares: 32, task: { values: new Float32Array(8).fill(2) } });
    expect(values.length).toBe(0); // handed over, not copied
    const [one, two] = [
      thread.perform([{ kind: "sumOfSquares", name: "v", values: Float32Array.of(3) }]),
      thread.perform([]),
    ];
    expect([(await one)[0]?.squares, await two]).toEqual([9, []]); // the second waited for the first
    const last = thread.perform([{ kind: "sumOfSquares", name: "w", values: new Float32Array(2 ** 20) }]);
    const [closed] = await Promise.allSettled([last, thread.close()]);
    expect(closed.status).toBe("rejected");
    await expect(thread.perform([])).rejects.toThrow("were closed");
  });
});

describe("clipping", () => {
  it("scales a larger norm down to the bound, and leaves a smaller one alone", () => {
    expect(clipScale(5, 1) * 5).toBeCloseTo(1, 6);
    expect(clipScale(0.5, 1)).toBe(1);
    expect(clipScale(0, 1)).toBe(1);
    expect(clipScale(5, null)).toBe(1);
  });
});
