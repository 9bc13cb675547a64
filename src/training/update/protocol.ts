// What the updater and its threads say to each other. Arrays travel by transfer: their memory changes hands, uncopied.
import type { Task, TaskResult } from "./tasks.ts";

/** To a thread. */
export type Request =
  | { readonly kind: "perform"; readonly tasks: readonly Task[] }
  | { readonly kind: "stop" };

/** From a thread, one for each `perform`. */
export type Reply =
  | { readonly kind: "performed"; readonly results: readonly TaskResult[] }
  | { readonly kind: "failed"; readonly message: string };

/** The buffers of tasks, each once. */
export function buffersOfTasks(tasks: readonly Task[]): ArrayBuffer[] {
  return buffersOf(
    tasks.flatMap((task) => [
      task.values,
      ...(task.kind === "sumOfSquares" ? [] : [task.used]),
      ...(task.kind === "adamw" ? [task.moments.expAvg, task.moments.expAvgSq] : []),
    ]),
  );
}

/** The buffers of results, each once. */
export function buffersOfResults(results: readonly TaskResult[]): ArrayBuffer[] {
  return buffersOf(
    results.flatMap(({ values, moments }) => [
      values,
      ...(moments === null ? [] : [moments.expAvg, moments.expAvgSq]),
    ]),
  );
}

function buffersOf(arrays: readonly Float32Array<ArrayBuffer>[]): ArrayBuffer[] {
  return [...new Set(arrays.map(({ buffer }) => buffer))];
}
