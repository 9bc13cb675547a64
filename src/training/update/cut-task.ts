// A task whose tensor is cut: it stays where it is, its slices are done one by one, here in place or elsewhere on copies.
import type { Moments } from "./adamw.ts";
import { SLICE_LENGTH, type Slice, slicesOf } from "./slices.ts";
import type { Task, TaskResult } from "./tasks.ts";

type Floats = Float32Array<ArrayBuffer>;

/** A task that may be cut. A sum of squares is not: it takes no longer than to copy what it is of. */
export type ChangingTask = Exclude<Task, { readonly kind: "sumOfSquares" }>;

/** One slice of a task, to be done once. */
export interface TaskSlice {
  /** The slice as a task on the tensor's own memory. */
  inPlace(): ChangingTask;
  /** The slice as a task on memory that may be handed over; copies are made in `spare` arrays as far as there are. */
  copied(spare: Floats[]): ChangingTask;
  /** Takes what came of it; a copy's arrays become spare. */
  done(result: TaskResult): void;
}

/** A task that is done slice by slice. */
export interface CutTask {
  readonly slices: readonly TaskSlice[];
  /** What came of all slices. */
  result(): TaskResult & { readonly task: ChangingTask };
}

/** Cuts a task. */
export function cutTask(task: ChangingTask): CutTask {
  const moments: Moments[] = task.kind === "adamw" ? [...task.moments] : [];
  const sliceOf = ({ from, to }: Slice, index: number): TaskSlice => {
    const own = moments.slice(index, index + 1);
    let freed: Floats[] | null = null;
    const inPlace = () => {
      const [values, used] = [task.values.subarray(from, to), task.used.subarray(from, to)];
      return task.kind === "adamw" ? { ...task, values, used, moments: own } : { ...task, values, used };
    };
    return {
      inPlace,
      copied(spare) {
        freed = spare;
        const slice = inPlace();
        return { ...slice, values: copyOf(slice.values, spare), used: copyOf(slice.used, spare) };
      },
      done({ task: piece }) {
        if (piece.kind === "adamw") moments.splice(index, 1, ...piece.moments);
        if (freed === null || piece.kind === "sumOfSquares") return;
        task.values.set(piece.values, from);
        freed.push(new Float32Array(piece.values.buffer), new Float32Array(piece.used.buffer));
      },
    };
  };
  return {
    slices: slicesOf(task.values.length).map(sliceOf),
    result: () => ({ task: task.kind === "adamw" ? { ...task, moments } : task, squares: 0 }),
  };
}

/** A copy in a spare array, or in a new one of a whole slice. */
function copyOf(values: Floats, spare: Floats[]): Floats {
  const copy = (spare.pop() ?? new Float32Array(SLICE_LENGTH)).subarray(0, values.length);
  copy.set(values);
  return copy;
}
