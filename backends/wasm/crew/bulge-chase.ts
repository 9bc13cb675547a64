// Stage two on several threads: groups of sweeps, each chased down the band by one thread, two segments behind the group
// before it. The same operations on the same elements in the same order as by one thread.

import type { Kernels } from "../kernels.ts";
import type { Layout } from "../singular-values/layout.ts";
import type { Arguments } from "../singular-values/steps.ts";
import { waitWhile } from "./control.ts";

/** Segments by which a group follows the one before: see chase_segment in kernels/bulge.c. */
const BEHIND = 2;
const ALL = 2 ** 30;

/** The step whose chunks are groups of sweeps. */
export function chaseStep(kernels: Kernels, { n, band, sweeps }: Layout) {
  const args: Arguments = [band, n, sweeps, 0, 0];
  return { name: "chaseBulges", chunks: Math.ceil((n - 1) / kernels.sweepGroup()), args } as const;
}

/** A thread's place. */
export interface Place {
  readonly kernels: Kernels;
  /** Segments that each group has done, all of them 0 when the step is opened. */
  readonly progress: Int32Array;
  /** 0 for the thread with the matrix, else the helper's number. */
  readonly seat: number;
  /** Called while the group before is not far enough; throws when it never will be. */
  readonly check: () => void;
}

/** Chases one group of sweeps out of the band. */
export function chaseGroup({ kernels, progress, seat, check }: Place, group: number, args: Arguments): void {
  const [band, n, allSweeps] = args;
  const sweeps = allSweeps + seat * kernels.sweepBytes();
  for (let segment = 0, done = false; !done; segment++) {
    if (group > 0) waitUntil(progress, group - 1, segment + BEHIND, check);
    done = kernels.chaseSegment(band, n, group * kernels.sweepGroup(), segment, sweeps) === 1;
    Atomics.store(progress, group, done ? ALL : segment + 1);
    Atomics.notify(progress, group);
  }
}

function waitUntil(words: Int32Array, index: number, least: number, check: () => void): void {
  for (let now = Atomics.load(words, index); now < least; now = Atomics.load(words, index)) {
    check();
    waitWhile(words, index, now);
  }
}
