import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Candidate,
  quotaOf,
  rank,
  takeGlobal,
  takeParameterShare,
  takePerType,
} from "../../src/select/strategies.ts";

function candidate(type: string, score: number, parameters = 10): Candidate {
  return { type, score, parameters };
}

describe("rank()", () => {
  it("is descending, stable, and puts Infinity first", () => {
    const [a, b, c, d, e] = [1, Number.POSITIVE_INFINITY, 1, Number.POSITIVE_INFINITY, -1].map((score) =>
      candidate("t", score),
    );
    expect(rank([a, b, c, d, e].filter((x) => x !== undefined))).toEqual([b, d, a, c, e]);
    const ranked = rank([a, b, c, d, e].filter((x) => x !== undefined));
    expect([ranked[0] === b, ranked[1] === d, ranked[2] === a, ranked[3] === c]).toEqual([
      true,
      true,
      true,
      true,
    ]);
  });
});

describe("quotaOf()", () => {
  // Right-hand sides by Python: int(n * p / 100).
  it.each([
    [32, 50, 16],
    [33, 50, 16],
    [1, 99.99, 0],
    [1, 100, 1],
    [7, 14.285714285714286, 1],
    [3, 33.333333333333336, 1],
    [3, 33.33333333333333, 0],
    [100, 29, 29],
    [1000, 0.1, 1],
    [0, 100, 0],
    [30, 0, 0],
  ])("floor: of %i, %d %% is %i", (n, percent, expected) => {
    expect(quotaOf(n, { percent, count: "floor" })).toBe(expected);
    const atLeastOne = n > 0 && percent > 0 ? Math.max(1, expected) : 0;
    expect(quotaOf(n, { percent, count: "at-least-one" })).toBe(atLeastOne);
  });
});

describe("takePerType() and takeGlobal()", () => {
  const candidates = [
    candidate("a", 1),
    candidate("b", 9),
    candidate("b", 8),
    candidate("b", 7),
    candidate("a", 2),
  ];

  it("take the quota of each type, or of all together", () => {
    const quota = { percent: 40, count: "at-least-one" } as const;
    expect(takePerType(candidates, quota).map(({ score }) => score)).toEqual([2, 9]);
    expect(takeGlobal(candidates, quota).map(({ score }) => score)).toEqual([9, 8]);
  });

  it("never leave out a better one of the same type", () => {
    const arbitrary = fc.array(
      fc.record({
        type: fc.constantFrom("a", "b", "c"),
        score: fc.integer({ min: 0, max: 9 }),
        parameters: fc.constant(1),
      }),
    );
    fc.assert(
      fc.property(arbitrary, fc.double({ min: 0, max: 100, noNaN: true }), (all, percent) => {
        const taken = new Set(takePerType(all, { percent, count: "floor" }));
        for (const left of all)
          if (!taken.has(left))
            for (const winner of taken)
              if (winner.type === left.type) expect(winner.score).toBeGreaterThanOrEqual(left.score);
        for (const type of ["a", "b", "c"]) {
          const n = all.filter((one) => one.type === type).length;
          expect([...taken].filter((one) => one.type === type)).toHaveLength(Math.floor((n * percent) / 100));
        }
      }),
      { seed: 3 },
    );
  });
});

describe("takeParameterShare()", () => {
  const candidates = [candidate("a", 1, 10), candidate("a", 3, 40), candidate("a", 2, 30)];
  const share = { count: "at-least-one", total: 100, already: 0 } as const;

  it.each([
    [70, [3, 2]],
    [69, [3]],
    [80, [3, 2, 1]],
    [100, [3, 2, 1]],
    [0, []],
  ])("of 40, 30 and 10 in 100 parameters, %i %% takes %j", (percent, scores) => {
    expect(takeParameterShare(candidates, { ...share, percent }).map(({ score }) => score)).toEqual(scores);
  });

  it("stops before the first that would exceed, though a smaller one fits; takes one even so, unless flooring", () => {
    expect(takeParameterShare(candidates, { ...share, percent: 39 }).map(({ score }) => score)).toEqual([3]);
    expect(takeParameterShare(candidates, { ...share, percent: 39, count: "floor" })).toEqual([]);
  });

  it("lets what trains already use up the share first", () => {
    expect(takeParameterShare(candidates, { ...share, percent: 70, already: 30 })).toHaveLength(1);
    expect(takeParameterShare(candidates, { ...share, percent: 70, already: 70 })).toEqual([]);
  });
});
