// How far a scan is, and how long it will still take.
import { singularValueFlops } from "./flops.ts";

/** What `onProgress` is told each time a module is done. */
export interface ScanProgress {
  readonly modulesDone: number;
  readonly modulesTotal: number;
  /** Of `modulesDone`, those whose score was known already. */
  readonly modulesCached: number;
  /** Bytes of the matrices that are done, as stored. */
  readonly bytesDone: number;
  readonly bytesTotal: number;
  readonly elapsedMs: number;
  /** Estimate from the arithmetic that is left; null until a matrix has been computed. */
  readonly remainingMs: number | null;
  /** Name of the module that was just done; empty on the first call. */
  readonly module: string;
}

/** A matrix as the estimate of time sees it. */
export interface ScanTask {
  readonly name: string;
  readonly matrix: readonly [rows: number, columns: number];
  readonly bytes: number;
}

/** Counts tasks as they end. */
export interface ProgressCounter {
  start(): ScanProgress;
  done(task: ScanTask, cached: boolean): ScanProgress;
}

/** A counter over `tasks`; `now` in milliseconds, monotonic. */
export function countProgress(tasks: readonly ScanTask[], now: () => number): ProgressCounter {
  const total = (of: (task: ScanTask) => number) => tasks.reduce((sum, task) => sum + of(task), 0);
  const bytesTotal = total((task) => task.bytes);
  const begin = now();
  let flopsLeft = total((task) => singularValueFlops(task.matrix));
  let flopsComputed = 0;
  let bytesDone = 0;
  let modulesDone = 0;
  let modulesCached = 0;
  const report = (module: string): ScanProgress => {
    const elapsedMs = now() - begin;
    const modulesTotal = tasks.length;
    const estimateMs = flopsComputed > 0 ? (elapsedMs * flopsLeft) / flopsComputed : null;
    const remainingMs = modulesDone === modulesTotal ? 0 : estimateMs;
    return {
      modulesDone,
      modulesTotal,
      modulesCached,
      bytesDone,
      bytesTotal,
      elapsedMs,
      remainingMs,
      module,
    };
  };
  return {
    start: () => report(""),
    done(task, cached) {
      modulesDone += 1;
      modulesCached += cached ? 1 : 0;
      bytesDone += task.bytes;
      flopsLeft -= singularValueFlops(task.matrix);
      flopsComputed += cached ? 0 : singularValueFlops(task.matrix);
      return report(task.name);
    },
  };
}
