import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { batchOf, MAX_TOKEN_ID, packRows } from "../../src/chat/pack.ts";
import { shuffledOrder } from "../../src/chat/shuffle.ts";
import { collect } from "./fixtures.ts";

interface Segment {
  readonly ids: number[];
  readonly labels: number[];
}

/** The segments of a batch, by nothing but its positions and the padding's length. */
function segments(rows: readonly Uint32Array[], paddings: readonly number[]): Segment[] {
  const { batch, sequence, inputIds, labels, positionIds } = batchOf(rows);
  const found: Segment[] = [];
  for (let row = 0; row < batch; row += 1) {
    for (let at = 0; at < sequence - (paddings[row] ?? 0); at += 1) {
      const cell = row * sequence + at;
      if (positionIds[cell] === 0) found.push({ ids: [], labels: [] });
      found.at(-1)?.ids.push(inputIds[cell] ?? -1);
      found.at(-1)?.labels.push(labels[cell] ?? -1);
    }
  }
  return found;
}

const PADDING = 2 ** 32 - 1;
const SEQUENCE = 16;
const token = fc.record({ id: fc.integer({ min: 0, max: MAX_TOKEN_ID }), isTarget: fc.boolean() });
const records = fc.array(
  fc.array(token, { minLength: 1, maxLength: SEQUENCE }).map((tokens) => ({
    inputIds: tokens.map(({ id }) => id),
    labels: tokens.map(({ id, isTarget }) => (isTarget ? id : -100)),
  })),
  { minLength: 1, maxLength: 150 },
);
/** Labels as a batch shows them: the first token is nobody's target. */
const shown = (labels: readonly number[]) => labels.map((label, at) => (at === 0 ? -100 : label));
const sorted = (found: readonly Segment[]) => found.map((segment) => JSON.stringify(segment)).sort();

describe("packing", () => {
  it.each([true, false])(
    "keeps every record whole, once, as a segment of its own (packing: %s)",
    async (packing) => {
      await fc.assert(
        fc.asyncProperty(records, async (given) => {
          const rows = await collect(packRows(given, { sequence: SEQUENCE, packing }));
          for (const row of rows) expect(row).toHaveLength(SEQUENCE);
          if (!packing) expect(rows).toHaveLength(given.length);
          const used = rows.map((row) => row.filter((word) => word !== PADDING).length);
          const { sequence } = batchOf(rows);
          expect(sequence).toBe(Math.max(...used));
          const found = segments(
            rows,
            used.map((length) => sequence - length),
          );
          expect(sorted(found)).toEqual(
            sorted(given.map(({ inputIds, labels }) => ({ ids: inputIds, labels: shown(labels) }))),
          );
        }),
        { numRuns: 150, seed: 1 },
      );
    },
  );

  it("pads on the right with labels of -100, positions continuing, and counts targets that are not at position 0", async () => {
    await fc.assert(
      fc.asyncProperty(records, async (given) => {
        const rows = await collect(packRows(given, { sequence: SEQUENCE, packing: true }));
        const { batch, sequence, labels, positionIds, targets } = batchOf(rows);
        let counted = 0;
        for (let cell = 0; cell < batch * sequence; cell += 1) {
          const column = cell % sequence;
          const position = positionIds[cell] ?? -1;
          if (column === 0) expect(position).toBe(0);
          else if (position !== 0) expect(position).toBe((positionIds[cell - 1] ?? 0) + 1);
          if (labels[cell] !== -100 && position !== 0) counted += 1;
          if (rows[Math.floor(cell / sequence)]?.[column] === PADDING) {
            expect(labels[cell]).toBe(-100);
            expect(position).toBeGreaterThan(0);
          }
        }
        expect(targets).toBe(counted);
        expect(targets).toBe(
          given.flatMap(({ labels: own }) => shown(own)).filter((label) => label !== -100).length,
        );
      }),
      { numRuns: 100, seed: 2 },
    );
  });

  it("fills rows of 512 with records of 10 to 120 tokens to more than 99 %", async () => {
    const lengths = shuffledOrder(2000, { seed: 1, epoch: 0 });
    const given = Array.from(lengths, (value) => {
      const inputIds = Array.from({ length: 10 + (value % 111) }, () => 1);
      return { inputIds, labels: inputIds };
    });
    const rows = await collect(packRows(given, { sequence: 512, packing: true }));
    const tokens = given.reduce((sum, { inputIds }) => sum + inputIds.length, 0);
    expect(tokens / (rows.length * 512)).toBeGreaterThan(0.99);
  });

  it("makes the batch that is written out here", async () => {
    const given = [
      { inputIds: [5, 6, 7], labels: [5, -100, 7] },
      { inputIds: [8, 9], labels: [-100, 9] },
      { inputIds: [1, 2, 3, 4], labels: [-100, 2, 3, 4] },
    ];
    const rows = await collect(packRows(given, { sequence: 6, packing: true }));
    expect(batchOf(rows)).toEqual({
      batch: 2,
      sequence: 5,
      inputIds: Int32Array.of(5, 6, 7, 8, 9, 1, 2, 3, 4, 0),
      labels: Int32Array.of(-100, -100, 7, -100, 9, -100, 2, 3, 4, -100),
      positionIds: Int32Array.of(0, 1, 2, 0, 1, 0, 1, 2, 3, 4),
      targets: 5,
    });
  });

  it("refuses a token id that a row cannot hold", async () => {
    const given = [{ inputIds: [MAX_TOKEN_ID + 1, 1], labels: [1, 1] }];
    await expect(collect(packRows(given, { sequence: 4, packing: true }))).rejects.toThrow(
      /Cannot pack the token id/,
    );
  });
});

describe("shuffledOrder()", () => {
  it("is a permutation that seed and epoch determine", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 300 }), fc.nat(), fc.nat(100), (count, seed, epoch) => {
        const order = shuffledOrder(count, { seed, epoch });
        expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, index) => index));
        expect(shuffledOrder(count, { seed, epoch })).toEqual(order);
      }),
      { numRuns: 100, seed: 3 },
    );
    const orders = [
      [1, 0],
      [1, 1],
      [2, 0],
      [1 + 2 ** 32, 0],
    ].map(([seed = 0, epoch = 0]) => shuffledOrder(50, { seed, epoch }).join());
    expect(new Set(orders).size).toBe(4);
  });

  it("puts each element at each place equally often: chi-square of 24 orders of 4 within the 99.9 % bound", () => {
    const counts = new Map<string, number>();
    const draws = 24_000;
    for (let seed = 0; seed < draws; seed += 1) {
      const key = shuffledOrder(4, { seed, epoch: 0 }).join();
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    const expected = draws / 24;
    const chiSquare = [...counts.values()].reduce(
      (sum, count) => sum + (count - expected) ** 2 / expected,
      0,
    );
    expect(counts.size).toBe(24);
    expect(chiSquare).toBeLessThan(49.7);
  });
});
