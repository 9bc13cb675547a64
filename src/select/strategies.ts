// How modules compete, and how many win. Pure: candidates in, winners out.

/** A module that competes. */
export interface Candidate {
  /** Those of one type are ranked together when ranking per type. */
  readonly type: string;
  /** Its SNR; Infinity (in imported results) stands above all numbers. */
  readonly score: number;
  /** Elements that would train; needed by {@link takeParameterShare} only. */
  readonly parameters: number | null;
}

/** `at-least-one`: a positive percentage picks at least one. `floor`: as the original tool, which may pick none. */
export type Count = "at-least-one" | "floor";

/** How much is taken. */
export interface Quota {
  /** 0 to 100, fractions allowed. */
  readonly percent: number;
  readonly count: Count;
}

/** Candidates in descending order of score; of equal ones, the earlier comes first. */
export function rank<T extends Candidate>(candidates: readonly T[]): T[] {
  return candidates.toSorted((a, b) => (a.score === b.score ? 0 : a.score > b.score ? -1 : 1));
}

/** How many of `n` a quota is: n p / 100 rounded down, in float64 as Python's `int(n * p / 100)` computes it. */
export function quotaOf(n: number, quota: Quota): number {
  const floor = Math.floor((n * quota.percent) / 100);
  return quota.count === "at-least-one" && quota.percent > 0 && n > 0 ? Math.max(1, floor) : floor;
}

/** The best of each type; the quota is taken of each type by itself. */
export function takePerType<T extends Candidate>(candidates: readonly T[], quota: Quota): T[] {
  const byType = new Map<string, T[]>();
  for (const candidate of candidates) {
    const others = byType.get(candidate.type);
    if (others) others.push(candidate);
    else byType.set(candidate.type, [candidate]);
  }
  return [...byType.values()].flatMap((group) => takeGlobal(group, quota));
}

/** The best of all together. */
export function takeGlobal<T extends Candidate>(candidates: readonly T[], quota: Quota): T[] {
  return rank(candidates).slice(0, quotaOf(candidates.length, quota));
}

/** What {@link takeParameterShare} measures shares in. */
export interface ShareOptions {
  /** Parameters of the whole model. */
  readonly total: number;
  /** Parameters that train whatever is taken here; they use up the share first. */
  readonly already: number;
}

/**
 * The best of all together for as long as the share of parameters that train does not exceed the percentage:
 * it stops before the first that would exceed it, though a smaller one might still have fitted. `at-least-one` takes the
 * best one even so, unless something trains already.
 */
export function takeParameterShare<T extends Candidate>(
  candidates: readonly T[],
  quota: Quota & ShareOptions,
): T[] {
  const limit = (quota.total * quota.percent) / 100;
  const ranked = rank(candidates);
  let taken = quota.already;
  let n = 0;
  for (const { parameters } of ranked) {
    taken += parameters ?? Number.POSITIVE_INFINITY;
    if (taken > limit) break;
    n++;
  }
  const atLeast = quota.count === "at-least-one" && quota.percent > 0 && quota.already === 0 ? 1 : 0;
  return ranked.slice(0, Math.max(n, atLeast));
}
