import { describe, expect, it } from "vitest";
import type { Spread } from "../../bench/spread.ts";
import { spreadOf } from "../../bench/spread.ts";
import { drawChart } from "../../bench/svd-chart.ts";
import { checkAnswer, checkNorm } from "../../bench/svd-checks.ts";
import { compareReports, parseReport } from "../../bench/svd-compare.ts";
import type { Contender } from "../../bench/svd-contenders.ts";
import { generateMatrices } from "../../bench/svd-matrices.ts";
import { goalsOf, ratiosOf, SCHEMA_VERSION, type SvdReport, type SvdRow } from "../../bench/svd-report.ts";
import { type BenchShape, chooseShapes } from "../../bench/svd-shapes.ts";

const MODEL = "SmolLM-135M";

function row(backend: string, seconds: Spread, rest: Partial<SvdRow> = {}): SvdRow {
  return {
    shape: "576x576",
    model: MODEL,
    backend,
    precision: "float32",
    version: "1",
    mode: "throughput",
    concurrency: 1,
    runs: 5,
    seconds,
    relativeError: 1e-7,
    snrError: 1e-7,
    ...rest,
  };
}

function reportOf(rows: readonly SvdRow[]): SvdReport {
  const ratios = ratiosOf(rows);
  return {
    bench: "svd",
    schemaVersion: SCHEMA_VERSION,
    hardware: "1 x <Processor> & Co",
    runtime: "Node 20",
    threads: 2,
    versions: { torch: "2" },
    rows,
    ratios,
    goals: goalsOf(ratios),
  };
}

const PEERS = [
  row("torch", { min: 4, median: 5 }),
  row("scipy", { min: 3, median: 6 }),
  row("numpy", { min: 1, median: 1 }),
  row("scipy", { min: 0.5, median: 1 }, { mode: "latency" }),
];

describe("ratios and goals of the benchmark svd", () => {
  it("are to the faster of torch and scipy in the same mode, by least times", () => {
    const wasm = row("wasm", { min: 2, median: 9 }, { precision: "exact" });
    const [ratio, ...others] = ratiosOf([...PEERS, wasm]);
    expect(ratio).toMatchObject({
      backend: "wasm",
      peer: "scipy",
      timesFaster: 1.5,
      timesFasterThanCuda: null,
    });
    expect(others).toEqual([]);
    expect(ratiosOf([wasm])).toEqual([]);
  });

  it("hold a goal against fast where there is one, and against exact where there is none", () => {
    const exact = row("wasm", { min: 2, median: 2 }, { precision: "exact" });
    const fast = row("wasm", { min: 3, median: 3 }, { precision: "fast" });
    const goal = (rows: readonly SvdRow[]) => goalsOf(ratiosOf([...PEERS, ...rows]));
    expect(goal([exact])).toEqual([
      expect.objectContaining({ precision: "exact", timesFaster: 1.2, measured: 1.5, met: true }),
    ]);
    expect(goal([exact, fast])).toEqual([
      expect.objectContaining({ precision: "fast", measured: 1, met: false }),
    ]);
  });
});

describe("compareReports()", () => {
  const verdict = (old: readonly number[], now: readonly number[]) => {
    const [change] = compareReports(
      { rows: [row("wasm", spreadOf(now), { runs: now.length })] },
      { rows: [row("wasm", spreadOf(old), { runs: old.length })] },
    );
    return change?.verdict;
  };

  it("flags a row whose slower side's least time is above the other's median, by more than 5 %", () => {
    expect(verdict([1, 1.1, 1.2], [1.2, 1.3, 1.4])).toBe("slower");
    expect(verdict([1.2, 1.3, 1.4], [1, 1.1, 1.2])).toBe("faster");
    expect(verdict([1, 1.1, 1.2], [1.05, 1.3, 1.4])).toBe("noise");
    expect(verdict([1, 1, 1], [1.04, 1.04, 1.04])).toBe("noise");
  });

  it("asks for 25 % of fewer than three runs", () => {
    expect(verdict([1], [1.2])).toBe("noise");
    expect(verdict([1], [1.3])).toBe("slower");
  });

  it("leaves out rows that the older report lacks, and reports of another kind", () => {
    expect(compareReports({ rows: PEERS }, { rows: PEERS.slice(1) })).toHaveLength(3);
    const report = reportOf(PEERS);
    expect(parseReport(`a table\n${JSON.stringify(report)}\n`, "old.json")).toEqual(report);
    expect(() => parseReport('{"bench":"scan"}', "old.json")).toThrow(
      /old\.json: expected a report .* got scan/,
    );
  });
});

describe("checkAnswer()", () => {
  const shape: BenchShape = { label: "4x4", rows: 4, columns: 4, model: MODEL };
  const truth = { values: Float64Array.of(4, 3, 2, 1), by: "reference exact", contender: null };
  const contender = (precision: Contender["precision"]): Contender => ({
    backend: "wasm",
    precision,
    version: "1",
    concurrency: 1,
    peer: false,
    load: async () => {},
    values: async () => truth.values,
    time: async () => ({ milliseconds: 0, matrices: 1, answers: [] }),
    rest: async () => {},
  });
  const check = (precision: Contender["precision"], values: readonly number[], squaredNorm = 30) =>
    checkAnswer(contender(precision), shape, { values: Float64Array.from(values), truth, squaredNorm });

  it("states the error of squared values relative to the largest", () => {
    const { valueError } = check("float32", [4, 3, 2, 1 + 4e-6]);
    expect(valueError).toBeCloseTo(8e-6 / 16, 10);
    expect(check("exact", [4, 3, 2, 1])).toEqual({ valueError: 0, snrError: 0 });
  });

  it("throws on a value, or a norm, that the precision does not allow", () => {
    expect(() => check("exact", [4, 3, 2, 1 + 1e-9])).toThrow(/wasm exact is wrong on 4x4/);
    expect(() => check("exact", [4, 3, 1, 2])).toThrow(/wrong/); // the norm alone does not tell
    expect(() => check("fast", [4, 3, 2, 1 + 1e-5])).toThrow(/wrong/);
    expect(() => check("float32", [4, 3, 2, Number.NaN])).toThrow(/wrong/);
    expect(() => check("float32", [4, 3, 2, 1], 31)).toThrow(/add up to 30, expected 31/);
    expect(() =>
      checkNorm(contender("exact"), shape, { values: truth.values, squaredNorm: 30 + 1e-9 }),
    ).toThrow(/wasm exact is wrong/);
  });
});

describe("generateMatrices()", () => {
  it("makes distinct matrices, the same ones each time, with their squared norms", async () => {
    const shape: BenchShape = { label: "5x3", rows: 5, columns: 3, model: MODEL };
    const [first, second] = await generateMatrices(shape, null);
    expect(await generateMatrices(shape, null)).toEqual([first, second]);
    expect(first?.source.rows).not.toEqual(second?.source.rows);
    const blocks: Uint8Array[] = [];
    for await (const block of first?.source.rows ?? []) blocks.push(block);
    const bytes = Buffer.concat(blocks);
    const squares = Array.from({ length: 15 }, (_, i) => {
      const bits = Buffer.concat([Buffer.alloc(2), bytes.subarray(2 * i, 2 * i + 2)]);
      return bits.readFloatLE() ** 2;
    });
    expect(first?.squaredNorm).toBeCloseTo(
      squares.reduce((sum, square) => sum + square, 0),
      12,
    );
  });

  it("is asked for shapes by label or by model", () => {
    expect(chooseShapes(["4096x4096"]).map(({ model }) => model)).toEqual(["Llama-3-8B"]);
    expect(chooseShapes(["llama-3-8b"]).map(({ label }) => label)).toContain("14336x4096");
    expect(chooseShapes(["2048x8192", "5x5", "5x5", "192x576"])).toMatchObject([
      { label: "5x5", rows: 5, columns: 5, model: "" },
      { label: "192x576", model: MODEL },
      { label: "2048x8192", rows: 2048, columns: 8192 },
    ]);
    expect(() => chooseShapes(["5x0"])).toThrow(/the shape "5x0": expected ROWSxCOLUMNS, or one of SmolLM/);
  });
});

describe("drawChart()", () => {
  const rows = [
    ...PEERS,
    row("wasm", { min: 2, median: 2 }, { precision: "exact" }),
    row("wasm", { min: 1, median: 1 }, { precision: "fast" }),
  ];
  const chart = drawChart(reportOf(rows));

  it("draws a bar for each backend and precision, as long as it is times as fast", () => {
    const widths = [...chart.matchAll(/<rect class="(exact|fast)" x="230" y="\d+" width="([\d.]+)"/g)];
    const [exact, fast] = widths.map(([, , width]) => Number(width));
    expect(widths.map(([, precision]) => precision)).toEqual(["exact", "fast"]);
    expect((fast ?? 0) / (exact ?? 1)).toBeCloseTo(2, 3);
    expect(chart).toContain(">3.00x</text>");
    expect(chart).toContain(">576 × 576</text>");
  });

  it("is well-formed, follows the page's colours and holds no script", () => {
    const open: string[] = [];
    for (const [, closing, name, selfClosing] of chart.matchAll(/<(\/?)(\w+)[^>]*?(\/?)>/g)) {
      if (closing) expect(open.pop()).toBe(name);
      else if (!selfClosing && name) open.push(name);
    }
    expect(open).toEqual([]);
    expect(chart).toContain("1 x &lt;Processor&gt; &amp; Co");
    expect(chart).toContain("prefers-color-scheme: dark");
    expect(chart).not.toMatch(/<script|\bon\w+=|href/);
  });

  it("refuses a report without torch and scipy", () => {
    expect(() => drawChart(reportOf([row("wasm", { min: 1, median: 1 })]))).toThrow(/beside torch or scipy/);
  });
});
