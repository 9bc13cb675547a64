// Hands the tasks of an update out to the calling thread and to others. Tensors travel whole, by transfer. One that would
// keep a thread longer than the rest stays here, and others get copies of its slices.
import { type CutTask, cutTask, type TaskSlice } from "./cut-task.ts";
import { freeMemory } from "./free-memory.ts";
import { SLICE_LENGTH } from "./slices.ts";
import type { Task, TaskResult } from "./tasks.ts";

/** Does tasks, in order. */
export type Performer = (tasks: readonly Task[]) => Promise<readonly TaskResult[]>;

/** Who does the tasks. */
export interface Performers {
  /** On the calling thread, which lets other work in meanwhile. */
  readonly here: Performer;
  /** Each on a thread of its own, to which the arrays are handed over. */
  readonly threads: readonly Performer[];
}

/** Values handed out at once: two milliseconds of work, so that all threads end at about the same time. */
const SHARE_LENGTH = 2 ** 20;
/** Shares that a thread holds, so that it has the next one when it is done with one. */
const SHARES_AHEAD = 2;
/** A tensor is cut where it is longer than this part of what each thread has to do. */
const CUT_FRACTION = 1 / 4;

/** Does the tasks, frees what they used up, and returns what came of each, in their order. */
export async function handOut(
  { here, threads }: Performers,
  tasks: readonly Task[],
): Promise<readonly TaskResult[]> {
  const longest = longestWhole(tasks, threads.length);
  const cut = new Map<Task, CutTask>();
  const whole: Task[] = [];
  for (const task of tasks.toSorted((a, b) => a.values.length - b.values.length)) {
    if (task.kind === "sumOfSquares" || task.values.length <= longest) whole.push(task);
    else cut.set(task, cutTask(task));
  }
  const slices = [...cut.values()].flatMap((task) => task.slices);
  const results = new Map<Task, TaskResult>();

  async function doWhole(perform: Performer): Promise<boolean> {
    const share = takeShare(whole);
    if (share.length === 0) return false;
    const done = await perform(share);
    for (const [index, task] of share.entries()) results.set(task, at(done, index));
    freeMemory(done.flatMap(usedBy));
    return true;
  }
  async function doSlice(perform: Performer, take: (slice: TaskSlice) => Task): Promise<boolean> {
    const slice = slices.pop();
    if (slice === undefined) return false;
    slice.done(at(await perform([take(slice)]), 0));
    return true;
  }
  const workHere = async () => {
    // Slices first: here they are not copied.
    while ((await doSlice(here, (slice) => slice.inPlace())) || (await doWhole(here)));
  };
  const spare: Float32Array<ArrayBuffer>[] = [];
  const workOn = async (perform: Performer) => {
    while ((await doWhole(perform)) || (await doSlice(perform, (slice) => slice.copied(spare))));
  };
  try {
    const ahead = threads.flatMap((perform) => Array.from({ length: SHARES_AHEAD }, () => workOn(perform)));
    await Promise.all([...ahead, workHere()]);
  } finally {
    whole.length = 0; // where one failed, the others do not go on
    slices.length = 0;
    freeMemory([...spare, ...[...cut.values()].map((task) => task.result().task.used)]);
  }
  return tasks.map((task) => {
    const result = cut.get(task)?.result() ?? results.get(task);
    if (result === undefined) throw new Error(`Cannot update "${task.name}": no thread gave it back`);
    return result;
  });
}

function usedBy({ task }: TaskResult): readonly Float32Array<ArrayBuffer>[] {
  return task.kind === "sumOfSquares" ? [] : [task.used];
}

/** Length above which tensors are cut. */
function longestWhole(tasks: readonly Task[], others: number): number {
  if (others === 0) return Number.POSITIVE_INFINITY;
  const values = tasks.reduce((sum, task) => sum + task.values.length, 0);
  return Math.max(SLICE_LENGTH, (values * CUT_FRACTION) / (others + 1));
}

function at(results: readonly TaskResult[], index: number): TaskResult {
  const result = results[index];
  if (result === undefined) throw new Error(`Expected more than ${results.length} results of a thread`);
  return result;
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
