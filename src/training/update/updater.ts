// Sums gradients, measures and applies them: on the calling thread, which stays free for other work meanwhile, and on
// threads of its own where there is enough to do. Results do not depend on the number of threads, to the bit.
import { setImmediate as nextTurn } from "node:timers/promises";
import type { NamedArrays } from "../tensor-file.ts";
import { type AdamWStep, adamwFactors, type Moments } from "./adamw.ts";
import { handOut } from "./hand-out.ts";
import { openKernels } from "./kernels.ts";
import { slicesOf } from "./slices.ts";
import { performTasks, type Task, type TaskResult } from "./tasks.ts";
import { UpdateThread } from "./thread.ts";

/** Values that are worth a thread: it takes 8 MB and 25 ms to start, and a step's values a few milliseconds. */
const VALUES_PER_THREAD = 2 ** 22;
/** More add nothing: the update is bound by the machine's memory. */
const MAX_THREADS = 8;

/** What AdamW changes, and by what. Names, and lengths by name, are the same everywhere. */
export interface TrainedTensors {
  /** Names of the parameters that decay. */
  readonly decaying: ReadonlySet<string>;
  readonly parameters: NamedArrays;
  /** Of each slice of a parameter. */
  readonly moments: Map<string, readonly Moments[]>;
  readonly gradients: NamedArrays;
}

/**
 * Arithmetic on all trained tensors. Each call puts new arrays, of the same memory, into the maps that it is given; after
 * one that failed the tensors are gone.
 */
export interface Updater extends AsyncDisposable {
  /** Adds gradients to `sums`, and frees them. */
  add(sums: NamedArrays, gradients: NamedArrays): Promise<void>;
  /** Sum of squares of all values, accumulated in float64. */
  sumOfSquares(gradients: NamedArrays): Promise<number>;
  /** Updates parameters and moments, and frees the gradients. */
  adamw(tensors: TrainedTensors, step: AdamWStep): Promise<void>;
  /** Ends the threads once the work in progress is done. */
  close(): Promise<void>;
}

/** Options of {@link openUpdater}. */
export interface UpdaterOptions {
  /** Values of all trained tensors together. */
  readonly values: number;
  /** Threads it may use, the calling one included. */
  readonly threads: number;
}

/**
 * An updater. Idle, its threads do not keep the process alive.
 *
 * @example
 * await using updater = openUpdater({ values: 106_168_320, threads: 2 });
 * const norm = Math.sqrt(await updater.sumOfSquares(gradients));
 */
export function openUpdater({ values, threads }: UpdaterOptions): Updater {
  const kernels = openKernels();
  const count = Math.min(threads, MAX_THREADS, Math.ceil(values / VALUES_PER_THREAD));
  const others = Array.from({ length: Math.max(0, count - 1) }, () => new UpdateThread());
  const here = (tasks: readonly Task[]) => performTasks(kernels, tasks, () => nextTurn());
  const performers = {
    here,
    threads: others.map((thread) => (tasks: readonly Task[]) => thread.perform(tasks)),
  };
  async function perform(tasks: readonly Task[], keep: (result: TaskResult) => void): Promise<void> {
    for (const result of await handOut(performers, tasks)) keep(result);
  }
  async function close(): Promise<void> {
    await Promise.all(others.map((thread) => thread.close()));
  }
  return {
    async add(sums, gradients) {
      const tasks = [...sums].map(([name, values]): Task => {
        const used = ofLength(gradients.get(name), values.length, `the gradient of "${name}"`);
        return { kind: "add", name, values, used };
      });
      await perform(tasks, ({ task }) => sums.set(task.name, task.values));
      gradients.clear();
    },

    async sumOfSquares(gradients) {
      const tasks = [...gradients].map(([name, values]): Task => ({ kind: "sumOfSquares", name, values }));
      let sum = 0;
      await perform(tasks, ({ task, squares }) => {
        gradients.set(task.name, task.values);
        sum += squares;
      });
      return sum;
    },

    async adamw({ parameters, moments, gradients, decaying }, step) {
      const decayed = adamwFactors(step);
      const kept = adamwFactors({ ...step, weightDecay: 0 });
      const tasks = [...parameters].map(([name, values]): Task => {
        const used = ofLength(gradients.get(name), values.length, `the gradient of "${name}"`);
        return {
          kind: "adamw",
          name,
          values,
          moments: momentsOf(values.length, moments.get(name), name),
          used,
          factors: decaying.has(name) ? decayed : kept,
        };
      });
      await perform(tasks, ({ task }) => {
        parameters.set(task.name, task.values);
        if (task.kind === "adamw") moments.set(task.name, task.moments);
      });
      gradients.clear();
    },

    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Checks that there are moments of each slice. */
function momentsOf(length: number, moments: readonly Moments[] = [], name: string): readonly Moments[] {
  for (const [index, { from, to }] of slicesOf(length).entries()) {
    ofLength(moments[index]?.expAvg, to - from, `slice ${index} of the first moment of "${name}"`);
    ofLength(moments[index]?.expAvgSq, to - from, `slice ${index} of the second moment of "${name}"`);
  }
  return moments;
}

function ofLength(
  array: Float32Array<ArrayBuffer> | undefined,
  length: number,
  what: string,
): Float32Array<ArrayBuffer> {
  if (array?.length === length) return array;
  throw new Error(`Cannot update: expected ${length} values of ${what}, got ${array?.length ?? "nothing"}`);
}
