// The pieces of work of an update, one tensor each, and how a thread does them. What comes of a tensor depends on it alone,
// hence not on which thread takes it, nor on how many there are.
import type { AdamWFactors, Moments } from "./adamw.ts";
import { freeMemory } from "./free-memory.ts";
import type { Kernels } from "./kernels.ts";

type Floats = Float32Array<ArrayBuffer>;

/** One tensor's work. Its arrays are of one length; `used` ones are freed once the work is done. */
export type Task =
  | { readonly kind: "sumOfSquares"; readonly name: string; readonly values: Floats }
  | { readonly kind: "add"; readonly name: string; readonly values: Floats; readonly used: Floats }
  | {
      readonly kind: "adamw";
      readonly name: string;
      /** The parameter. */
      readonly values: Floats;
      readonly moments: Moments;
      /** The gradient. */
      readonly used: Floats;
      readonly factors: AdamWFactors;
    };

/** What is left of a task: the arrays, which may have travelled, and what was asked of them. */
export interface TaskResult {
  readonly values: Floats;
  /** Of `adamw`. */
  readonly moments: Moments | null;
  /** Of `sumOfSquares`; else 0. */
  readonly squares: number;
}

/** Values after which a thread that has other things to do looks after them: a third of a millisecond. */
const SLICE_LENGTH = 2 ** 17;

/**
 * Does the tasks in order.
 *
 * @param pause - called now and then, to let other work in.
 * @throws Error naming the tensor whose task failed.
 */
export async function performTasks(
  kernels: Kernels,
  tasks: readonly Task[],
  pause?: () => Promise<void>,
): Promise<TaskResult[]> {
  const results: TaskResult[] = [];
  let sincePause = 0;
  for (const task of tasks) {
    const { values } = task;
    let squares = 0;
    for (let from = 0; from < values.length; from += SLICE_LENGTH) {
      const to = Math.min(values.length, from + SLICE_LENGTH);
      squares += performSlice(kernels, task, from, to);
      sincePause += to - from;
      if (pause === undefined || sincePause < SLICE_LENGTH) continue;
      await pause();
      sincePause = 0;
    }
    results.push({ values, moments: task.kind === "adamw" ? task.moments : null, squares });
  }
  freeMemory(tasks.flatMap((task) => (task.kind === "sumOfSquares" ? [] : [task.used])));
  return results;
}

/** One stretch of a task's values; returns the sum of their squares where that is asked for. */
function performSlice(kernels: Kernels, task: Task, from: number, to: number): number {
  try {
    return runKernel(kernels, task, from, to);
  } catch (cause) {
    throw new Error(`Cannot update "${task.name}": ${cause instanceof Error ? cause.message : cause}`, {
      cause,
    });
  }
}

function runKernel(kernels: Kernels, task: Task, from: number, to: number): number {
  const slice = (array: Floats) => array.subarray(from, to);
  const values = slice(task.values);
  switch (task.kind) {
    case "sumOfSquares":
      return kernels.sumOfSquares(values);
    case "add":
      kernels.add(values, slice(task.used));
      return 0;
    case "adamw": {
      const { expAvg, expAvgSq } = task.moments;
      kernels.adamw(
        { parameter: values, gradient: slice(task.used), expAvg: slice(expAvg), expAvgSq: slice(expAvgSq) },
        task.factors,
      );
      return 0;
    }
    default:
      return task satisfies never;
  }
}
