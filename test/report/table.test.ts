import { describe, expect, it } from "vitest";
import { renderTable } from "../../src/report/table.ts";
import { formatBytes, formatCount, formatDuration, formatScore } from "../../src/report/units.ts";
import { module, resultsOf } from "./results.ts";

describe("renderTable()", () => {
  const results = resultsOf([
    module("attn", 0, 1, { spikes: 4, stableRank: 2 }),
    module("attn", 1, 9, { spikes: 5, stableRank: 3 }),
    module("attn", 2, 4, { spikes: 9, stableRank: 7 }),
    module("attn", 3, null, { unscored: { spectrum: "nothing is signal" } }),
    module("norm", null, null, { skipped: "a vector" }),
    module("norm2", null, null, { skipped: "a vector" }),
  ]);

  it("gives modules, lowest, median and highest score, medians of spikes and stable rank, best layers first", () => {
    const row = renderTable(results, { width: 100, color: "none" }).split("\n")[1] ?? "";
    expect(row.split(/ {2,}/)).toEqual(["attn", "4", "1.00", "4.00", "9.00", "5", "3", "1, 2, 0"]);
  });

  it("counts what has no score, with the reasons", () => {
    const table = renderTable(results, { width: 100, color: "none" });
    expect(table).toContain("3 of 6 modules have a score.");
    expect(table).toContain("2 without: a vector");
    expect(table).toContain("1 without: nothing is signal");
  });

  it("keeps the type, the highest score and the best layers when there is room for no more", () => {
    const [header] = renderTable(results, { width: 40, color: "none" }).split("\n");
    expect(header).toMatch(/^type .*max.*best layers/);
    const narrow = renderTable(results, { width: 24, color: "none" }).split("\n")[0];
    expect(narrow).toMatch(/^type .*max/);
  });

  it("leaves out what imported results do not know", () => {
    const imported = resultsOf([
      module("attn", 0, 1, { shape: null }),
      module("attn", 1, 2, { shape: null }),
    ]);
    const [header] = renderTable(imported, { width: 100, color: "none" }).split("\n");
    expect(header).not.toMatch(/spikes|stable/);
  });

  it("says that nothing has a score in results without modules", () => {
    expect(renderTable(resultsOf([]), { width: 80, color: "none" })).toBe("0 of 0 modules have a score.\n");
  });
});

describe("units", () => {
  it("rounds across a power without a fourth digit", () => {
    expect([999, 999.6, 1000, 1234, 999_499, 999_500, 8.03e9].map(formatCount)).toEqual([
      "999",
      "1.00 K",
      "1.00 K",
      "1.23 K",
      "999 K",
      "1.00 M",
      "8.03 B",
    ]);
    expect(formatBytes(4_010_000)).toBe("4.01 MB");
  });
  it("writes every score in at most eight characters", () => {
    for (let power = -320; power <= 308; power++)
      for (const digits of [1, 1.005, 4.4449, 9.9996])
        expect(formatScore(digits * 10 ** power).length).toBeLessThanOrEqual(8);
    expect([0, 0.0456, 1.234, 12.34, 1234.5, 4.5e-7, null].map(formatScore)).toEqual([
      "0",
      "0.0456",
      "1.23",
      "12.3",
      "1235",
      "4.5e-7",
      "-",
    ]);
  });
  it("carries minutes into hours", () => {
    expect([0, 7_400, 59_600, 754_000, 11_100_000].map(formatDuration)).toEqual([
      "0:00",
      "0:07",
      "1:00",
      "12:34",
      "3:05:00",
    ]);
  });
});
