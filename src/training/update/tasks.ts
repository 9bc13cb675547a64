// The pieces of work of an update, and how a thread does them. What comes of a tensor depends on it alone, hence not on
// which threads take it or its slices, nor on how many there are.
import type { AdamWFactors, Moments } from "./adamw.ts";
import type { Kernels } from "./kernels.ts";
import { type Slice, slicesOf } from "./slices.ts";

type Floats = Float32Array<ArrayBuffer>;

/** The work on a tensor, or on one of its slices. `values` and `used` are of one length; `used` is of no use after. */
export type Task =
  | { readonly kind: "sumOfSquares"; readonly name: string; readonly values: Floats }
  | { readonly kind: "add"; readonly name: string; readonly values: Floats; readonly used: Floats }
  | {
      readonly kind: "adamw";
      readonly name: string;
      /** The parameter. */
      readonly values: Floats;
      /** Of the slices of `values`. */
      readonly moments: readonly Moments[];
      /** The gradient. */
      readonly used: Floats;
      readonly factors: AdamWFactors;
    };

/** A task that is done. */
export interface TaskResult {
  /** With the same arrays, of the same memory: they may have travelled. */
  readonly task: Task;
  /** Of `sumOfSquares`, the slices' sums added in their order; else 0. */
  readonly squares: number;
}

/** Values after which a thread that has other things to do looks after them: a third of a millisecond. */
const PAUSE_LENGTH = 2 ** 17;

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
    let squares = 0;
    for (const [index, slice] of slicesOf(task.values.length).entries()) {
      let ofSlice = 0;
      for (const part of slicesOf(slice.to - slice.from, PAUSE_LENGTH)) {
        ofSlice += performPart(kernels, task, { index, begin: slice.from, part });
        sincePause += part.to - part.from;
        if (pause === undefined || sincePause < PAUSE_LENGTH) continue;
        await pause();
        sincePause = 0;
      }
      squares += ofSlice;
    }
    results.push({ task, squares });
  }
  return results;
}

/** A part of the slice of that index, which begins at `begin` in the tensor. */
interface Part {
  readonly index: number;
  readonly begin: number;
  readonly part: Slice;
}

/** Returns the sum of the part's squares where that is asked for. */
function performPart(kernels: Kernels, task: Task, part: Part): number {
  try {
    return runKernel(kernels, task, part);
  } catch (cause) {
    throw new Error(`Cannot update "${task.name}": ${cause instanceof Error ? cause.message : cause}`, {
      cause,
    });
  }
}

function runKernel(kernels: Kernels, task: Task, { index, begin, part: { from, to } }: Part): number {
  const ofTensor = (array: Floats) => array.subarray(begin + from, begin + to);
  const values = ofTensor(task.values);
  switch (task.kind) {
    case "sumOfSquares":
      return kernels.sumOfSquares(values);
    case "add":
      kernels.add(values, ofTensor(task.used));
      return 0;
    case "adamw": {
      const moments = task.moments[index];
      if (moments === undefined) throw new Error(`it has moments of ${task.moments.length} slices`);
      const expAvg = moments.expAvg.subarray(from, to);
      const expAvgSq = moments.expAvgSq.subarray(from, to);
      kernels.adamw({ parameter: values, gradient: ofTensor(task.used), expAvg, expAvgSq }, task.factors);
      return 0;
    }
    default:
      return task satisfies never;
  }
}
