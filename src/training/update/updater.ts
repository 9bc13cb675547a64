// Sums gradients, measures and applies them: on the calling thread, which stays free for other work meanwhile, and on
// threads of its own where there is enough to do. Results do not depend on the number of threads, to the bit.
import { setImmediate as nextTurn } from "node:timers/promises";
import type { NamedArrays } from "../tensor-file.ts";
import { type AdamWStep, adamwFactors, type Moments } from "./adamw.ts";
import { openKernels } from "./kernels.ts";
import { performTasks, type Task, type TaskResult } from "./tasks.ts";
import { UpdateThread } from "./thread.ts";

/** Values that are worth a thread: it takes 8 MB and 25 ms to start, and a step's values a few milliseconds. */
const VALUES_PER_THREAD = 2 ** 22;
/** More add nothing: the update is bound by the machine's memory. */
const MAX_THREADS = 8;
/** Values handed out at once: some milliseconds of work, so that all threads end at about the same time. */
const SHARE_LENGTH = 2 ** 21;

/** What AdamW changes, and by what. Names, and lengths by name, are the same everywhere. */
export interface TrainedTensors {
  /** Names of the parameters that decay. */
  readonly decaying: ReadonlySet<string>;
  readonly parameters: NamedArrays;
  readonly moments: Map<string, Moments>;
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
  const performers = [...others.map((thread) => (tasks: readonly Task[]) => thread.perform(tasks)), here];
  const perform = (tasks: readonly Task[]) => performOn(performers, tasks);
  async function close(): Promise<void> {
    await Promise.all(others.map((thread) => thread.close()));
  }
  return {
    async add(sums, gradients) {
      const tasks = [...sums].map(([name, values]): Task => {
        const used = ofLength(gradients.get(name), values.length, `the gradient of "${name}"`);
        return { kind: "add", name, values, used };
      });
      for (const [{ name }, { values }] of await perform(tasks)) sums.set(name, values);
      gradients.clear();
    },

    async sumOfSquares(gradients) {
      const tasks = [...gradients].map(([name, values]): Task => ({ kind: "sumOfSquares", name, values }));
      let sum = 0;
      for (const [{ name }, { values, squares }] of await perform(tasks)) {
        gradients.set(name, values);
        sum += squares;
      }
      return sum;
    },

    async adamw({ parameters, moments, gradients, decaying }, step) {
      const decayed = adamwFactors(step);
      const kept = adamwFactors({ ...step, weightDecay: 0 });
      const tasks = [...parameters].map(([name, values]): Task => {
        const used = ofLength(gradients.get(name), values.length, `the gradient of "${name}"`);
        const { expAvg, expAvgSq } = moments.get(name) ?? {};
        const both = {
          expAvg: ofLength(expAvg, values.length, `the first moment of "${name}"`),
          expAvgSq: ofLength(expAvgSq, values.length, `the second moment of "${name}"`),
        };
        return {
          kind: "adamw",
          name,
          values,
          moments: both,
          used,
          factors: decaying.has(name) ? decayed : kept,
        };
      });
      for (const [{ name }, result] of await perform(tasks)) {
        parameters.set(name, result.values);
        if (result.moments !== null) moments.set(name, result.moments);
      }
      gradients.clear();
    },

    close,
    [Symbol.asyncDispose]: close,
  };
}

function ofLength(
  array: Float32Array<ArrayBuffer> | undefined,
  length: number,
  what: string,
): Float32Array<ArrayBuffer> {
  if (array?.length === length) return array;
  throw new Error(`Cannot update: expected ${length} values of ${what}, got ${array?.length ?? "nothing"}`);
}

type Performer = (tasks: readonly Task[]) => Promise<readonly TaskResult[]>;

/** Hands the tasks out, the largest first, to whoever is free; returns them in their order, each with its result. */
async function performOn(
  performers: readonly Performer[],
  tasks: readonly Task[],
): Promise<(readonly [Task, TaskResult])[]> {
  const queue = tasks.toSorted((a, b) => a.values.length - b.values.length);
  const results = new Map<Task, TaskResult>();
  const work = async (perform: Performer) => {
    for (let share = takeShare(queue); share.length > 0; share = takeShare(queue)) {
      const done = await perform(share);
      for (const [index, task] of share.entries()) {
        const result = done[index];
        if (result !== undefined) results.set(task, result);
      }
    }
  };
  try {
    await Promise.all(performers.map(work));
  } finally {
    queue.length = 0; // where one failed, the others do not go on
  }
  return tasks.map((task) => {
    const result = results.get(task);
    if (result === undefined) throw new Error(`Cannot update "${task.name}": no thread gave it back`);
    return [task, result];
  });
}

/** Takes tasks from the end of the queue until they are enough for one go. */
function takeShare(queue: Task[]): Task[] {
  const share: Task[] = [];
  for (let length = 0; length < SHARE_LENGTH; ) {
    const task = queue.pop();
    if (task === undefined) break;
    share.push(task);
    length += task.values.length;
  }
  return share;
}
