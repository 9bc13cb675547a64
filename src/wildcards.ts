// Matching a sequence against a pattern in which some places stand for any run of things.

/** In a pattern: any number of things, also none. */
export const ANY_RUN = Symbol("any run");

/** What each thing of a sequence is to be, or a run of any. */
export type Pattern<T> = readonly (((thing: T) => boolean) | typeof ANY_RUN)[];

/** Says whether the whole sequence matches; time is at most the product of the two lengths, whatever the pattern. */
export function matchesPattern<T>(pattern: Pattern<T>, things: readonly T[]): boolean {
  let p = 0;
  let t = 0;
  let star = -1;
  let resume = 0;
  while (t < things.length) {
    const expected = pattern[p];
    if (expected === ANY_RUN) {
      star = p++;
      resume = t;
    } else if (expected?.(things[t] as T)) {
      p++;
      t++;
    } else if (star >= 0) {
      // The last run takes one thing more; an earlier run never needs to.
      p = star + 1;
      t = ++resume;
    } else return false;
  }
  while (pattern[p] === ANY_RUN) p++;
  return p === pattern.length;
}
