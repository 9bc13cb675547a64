import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { renderHeatMap } from "../../src/report/heat-map.ts";
import { type ColorDepth, type ReportStyle, SHADES } from "../../src/report/paint.ts";
import { renderDownload, renderPacking, renderProgress } from "../../src/report/progress.ts";
import { renderSelection } from "../../src/report/selection.ts";
import { renderSummary } from "../../src/report/summary.ts";
import { renderTable } from "../../src/report/table.ts";
import { displayWidth } from "../../src/report/text.ts";
import { select } from "../../src/select/select.ts";
import type { ModuleResult } from "../../src/snr/results.ts";
import { module, plain, resultsOf } from "./results.ts";

const ASCII: ReportStyle = { width: 80, color: "none" };

/** The cells of a row drawn without colour, by layer: `begin` is where the first one stands. */
function cellsOf(picture: string, type: string): string[] {
  const lines = picture.split("\n").filter((line) => line.startsWith(`${type} `));
  return lines.map((line) => line.slice(type.length + 1));
}

interface Shape {
  readonly layers: number;
  readonly types: readonly string[];
  readonly scores: readonly (number | null)[];
  readonly experts: number;
  readonly skipped: boolean;
}

const arbitraryShape: fc.Arbitrary<Shape> = fc.record({
  layers: fc.integer({ min: 0, max: 130 }),
  types: fc.uniqueArray(fc.string({ unit: "binary", minLength: 1, maxLength: 40 }), { maxLength: 5 }),
  scores: fc.array(fc.oneof(fc.double({ noNaN: true, min: 0 }), fc.constant(null)), { minLength: 1 }),
  experts: fc.integer({ min: 1, max: 3 }),
  skipped: fc.boolean(),
});

/** Modules of every type in every layer and once outside, their scores taken in turn. */
function modulesOf({ layers, types, scores, experts, skipped }: Shape): ModuleResult[] {
  const modules: ModuleResult[] = [];
  for (const type of types)
    for (let layer = -1; layer < layers; layer++)
      for (let expert = 0; expert < experts; expert++) {
        const score = scores[modules.length % scores.length] ?? null;
        const reason = skipped && modules.length % 7 === 0 ? { skipped: `bad ${type}` } : {};
        modules.push(module(type, layer < 0 ? null : layer, score, { expert, ...reason }));
      }
  return modules;
}

const arbitraryStyle: fc.Arbitrary<ReportStyle> = fc.record({
  width: fc.integer({ min: 24, max: 200 }),
  color: fc.constantFrom<ColorDepth>("none", "ansi256", "truecolor"),
  unicode: fc.boolean(),
});

describe("every picture", () => {
  it("stays within the width, whatever the names, scores, layers and colours", () => {
    fc.assert(
      fc.property(arbitraryShape, arbitraryStyle, (shape, style) => {
        const modules = modulesOf(shape);
        const results = resultsOf(modules);
        const scored = modules.some((m) => m.layer !== null && m.snr?.spectrum != null && !m.skipped);
        const pictures = [renderTable(results, style), renderHeatMap(results, style)];
        if (scored) pictures.push(renderSelection(select(results, { topPercent: 30 }), results, style));
        const progress = {
          modulesDone: modules.length,
          modulesTotal: 99999,
          modulesCached: 0,
          bytesDone: 123456789,
          bytesTotal: 9876543210,
          elapsedMs: 1234567,
          remainingMs: 98765432,
          module: modules[0]?.name ?? "",
        };
        pictures.push(renderProgress(progress, style), renderSummary(results, progress, style));
        const download = {
          file: progress.module,
          bytes: 123456789,
          totalBytes: 9876543210,
          elapsedMs: 98765,
        };
        pictures.push(renderDownload(download, style));
        const packing = {
          records: 123456,
          tokens: 1e9,
          bytes: 123456789,
          totalBytes: 9876543210,
          elapsedMs: 98765,
        };
        pictures.push(renderPacking(packing, style));
        for (const line of pictures.join("\n").split("\n")) {
          expect(displayWidth(line)).toBeLessThanOrEqual(style.width);
          // Colours apart, nothing but printable characters reaches a terminal.
          expect(plain(line)).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u);
          if (style.color === "none") expect(line).toBe(plain(line));
        }
      }),
      { numRuns: 150 },
    );
  });

  it("shows records, time left, tokens and their rate while a dataset is packed", () => {
    const style: ReportStyle = { width: 120, color: "none", unicode: false };
    const state = { records: 1200, tokens: 90_000, bytes: 25e6, totalBytes: 100e6, elapsedMs: 10_000 };
    const line = renderPacking(state, style);
    expect(line).toContain("1.20 K records  0:30 left  90.0 K tokens  9.00 K tokens/s  25.0 MB of 100 MB");
    const nothing = { records: 0, tokens: 0, bytes: 0, totalBytes: 0, elapsedMs: 0 };
    expect(renderPacking(nothing, style)).toContain("0 records");
  });

  it("is pure ASCII where the terminal has no more, and has no colour where there is none", () => {
    const results = resultsOf([0, 1, 2].map((layer) => module("mlp.up_proj", layer, layer)));
    const style: ReportStyle = { width: 80, color: "none", unicode: false };
    const pictures =
      renderTable(results, style) +
      renderHeatMap(results, style) +
      renderSelection(select(results), results, style);
    expect(pictures).toMatch(/^[\n\x20-\x7e]+$/);
  });
});

describe("renderHeatMap()", () => {
  it("shows each score's rank within its own type, at its own layer", () => {
    const count = SHADES.length;
    const modules = Array.from({ length: count }, (_, layer) => [
      module("rising", layer, 1e-9 * 10 ** layer),
      module("falling", layer, 1000 - layer),
    ]).flat();
    const picture = renderHeatMap(resultsOf(modules), { ...ASCII, width: 40 });
    expect(cellsOf(picture, "rising")[0]?.replaceAll(" ", "")).toBe(
      [...SHADES].map((shade) => shade.repeat(cellRepeat(picture, "rising", count))).join(""),
    );
    const falling = cellsOf(picture, "falling")[0] ?? "";
    expect([...new Set(falling.replaceAll(" ", ""))].join("")).toBe([...SHADES].reverse().join(""));
  });

  it("leaves a hole where a layer lacks the type, and a question mark where a module has no score", () => {
    const modules = [0, 1, 2, 3].map((layer) => module("attn", layer, layer + 1));
    modules.push(module("mlp", 1, 5), module("mlp", 3, null));
    const picture = renderHeatMap(resultsOf(modules), { ...ASCII, width: 24 });
    const attn = cellsOf(picture, "attn  ")[0] ?? "";
    const mlp = cellsOf(picture, "mlp   ")[0] ?? "";
    const cell = attn.length / 4;
    const at = (row: string, layer: number) => row.slice(layer * cell, (layer + 1) * cell).trim();
    expect(at(attn, 0)).toMatch(/^\.+$/);
    expect([at(mlp, 0), at(mlp, 2)]).toEqual(["", ""]);
    expect(at(mlp, 1)).toMatch(/^@+$/);
    expect(at(mlp, 3)).toMatch(/^\?+$/);
  });

  it("continues below where the layers do not fit, losing none", () => {
    const modules = Array.from({ length: 81 }, (_, layer) => module("mlp.up_proj", layer, layer));
    const picture = renderHeatMap(resultsOf(modules), { ...ASCII, width: 40 });
    const bands = cellsOf(picture, "mlp.up_proj");
    expect(bands.length).toBeGreaterThan(1);
    const shades = bands.map((band) => band.trimEnd()).join("");
    expect(shades).toHaveLength(81);
    expect([...shades].map((shade) => SHADES.indexOf(shade))).toEqual(
      Array.from({ length: 81 }, (_, layer) => Math.min(8, Math.floor((layer / 80) * 9))),
    );
    expect(picture).toContain("81 layers");
  });

  it("shows of a layer's experts the highest, and says so", () => {
    const experts = (layer: number, scores: number[]) =>
      scores.map((score, expert) => module("experts.up", layer, score, { expert }));
    const modules = [...experts(0, [9, 1, 1]), ...experts(1, [3, 3, 3]), ...experts(2, [5, 0, 4])];
    const picture = renderHeatMap(resultsOf(modules), { ...ASCII, width: 30 });
    expect([...new Set(cellsOf(picture, "experts.up")[0]?.replaceAll(" ", ""))].join("")).toBe("@.+");
    expect(picture).toMatch(/several experts/);
  });

  it("prints the lowest and the highest score of a type at the row's end", () => {
    const modules = [0.5, 0.0125, 730.4].map((score, layer) => module("attn", layer, score));
    expect(renderHeatMap(resultsOf(modules), ASCII)).toMatch(/^attn .* 0\.0125 +730$/m);
  });

  it("gives the same cells one background each in both palettes, dark to light with the rank", () => {
    const modules = Array.from({ length: 10 }, (_, layer) => module("attn", layer, layer));
    for (const color of ["ansi256", "truecolor"] as const) {
      const picture = renderHeatMap(resultsOf(modules), { width: 80, color });
      const row = picture.split("\n").find((line) => line.startsWith("attn")) ?? "";
      const backgrounds = [...row.matchAll(/\[48;(?:2;([0-9]+);([0-9]+);([0-9]+)|5;([0-9]+))/g)];
      expect(backgrounds).toHaveLength(10);
      const rgb = backgrounds.map(([, r, g, b, code]) =>
        code === undefined ? [Number(r), Number(g), Number(b)] : cube(Number(code)),
      );
      const luminance = rgb.map(([r = 0, g = 0, b = 0]) => 0.299 * r + 0.587 * g + 0.114 * b);
      expect(luminance).toEqual([...new Set(luminance)].sort((a, b) => a - b));
      expect(luminance[9]).toBeGreaterThan((luminance[0] ?? 0) + 150);
    }
  });

  it("says that there is nothing to map without layers, and lists what is outside of them", () => {
    const picture = renderHeatMap(resultsOf([module("lm_head", null, 2.5, { part: "head" })]), ASCII);
    expect(picture).toMatch(/nothing to map/);
    expect(picture).toMatch(/Outside the layers: lm_head 2\.50/);
  });

  it("draws an unbounded score of imported results as the highest", () => {
    const modules = [1, Number.POSITIVE_INFINITY, 2].map((score, layer) => module("attn", layer, score));
    const picture = renderHeatMap(resultsOf(modules), ASCII);
    expect([...new Set(cellsOf(picture, "attn  ")[0]?.slice(0, 12).replaceAll(" ", ""))].join("")).toBe(
      ".@+",
    );
    expect(picture).toMatch(/ inf$/m);
  });
});

/** How often a cell repeats its shade. */
function cellRepeat(picture: string, type: string, layers: number): number {
  return (cellsOf(picture, type)[0]?.replaceAll(" ", "").length ?? 0) / layers;
}

/** The colour of a code of the xterm palette's 6 x 6 x 6 cube. */
function cube(code: number): number[] {
  const levels = [0, 95, 135, 175, 215, 255];
  const index = code - 16;
  return [Math.floor(index / 36), Math.floor(index / 6) % 6, index % 6].map((i) => levels[i] ?? 0);
}
