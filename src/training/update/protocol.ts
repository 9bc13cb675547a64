// What the updater and its threads say to each other. Arrays travel by transfer: their memory changes hands, uncopied.
import type { Task, TaskResult } from "./tasks.ts";

/** To a thread. */
export type Request =
  | { readonly kind: "perform"; readonly tasks: readonly Task[] }
  | { readonly kind: "stop" };

/** From a thread, one for each `perform`, in their order. */
export type Reply =
  | { readonly kind: "performed"; readonly results: readonly TaskResult[] }
  | { readonly kind: "failed"; readonly message: string };

/** The buffers of tasks, each once. */
export function buffersOf(tasks: readonly Task[]): ArrayBuffer[] {
  const arrays = tasks.flatMap((task) => [
    task.values,
    ...(task.kind === "sumOfSquares" ? [] : [task.used]),
    ...(task.kind === "adamw" ? task.moments.flatMap(({ expAvg, expAvgSq }) => [expAvg, expAvgSq]) : []),
  ]);
  return [...new Set(arrays.map(({ buffer }) => buffer))];
}
