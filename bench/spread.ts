// What several measurements of one thing come to.

/** Least and median. */
export interface Spread {
  readonly min: number;
  readonly median: number;
}

/** Least and median (the upper one of an even count); NaN of nothing. */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  return { min: sorted[0] ?? Number.NaN, median: sorted[sorted.length >> 1] ?? Number.NaN };
}
