import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { renderSelection } from "../../src/report/selection.ts";
import { select } from "../../src/select/select.ts";
import type { ModuleResult } from "../../src/snr/results.ts";
import { module, plain, resultsOf } from "./results.ts";

/** Type and layer of every marked cell of a picture, read from its bands. */
function marked(picture: string, types: readonly string[], layers: number, mark: RegExp): string[] {
  const width = cellWidth(picture, layers);
  return types
    .flatMap((type) => {
      const bands = plain(picture)
        .split("\n")
        .filter((line) => line.startsWith(`${type} `))
        .map((line) => line.slice(type.length + 1));
      const perBand = Math.ceil(layers / bands.length);
      const layersOf = Array.from({ length: layers }, (_, layer) => layer);
      return layersOf.flatMap((layer) => {
        const at = (layer % perBand) * width;
        const cell = bands[Math.floor(layer / perBand)]?.slice(at, at + width) ?? "";
        return mark.test(cell) ? [`${type}/${layer}`] : [];
      });
    })
    .sort();
}

/** Columns per cell, read from the header: where the second layer's number stands, if it is shown. */
function cellWidth(picture: string, layers: number): number {
  const header =
    plain(picture)
      .split("\n")
      .find((line) => line.startsWith("layer")) ?? "";
  const numbers = [...header.matchAll(/[0-9]+/g)].map((match) => ({
    at: match.index,
    layer: Number(match[0]),
  }));
  const [first, second] = numbers;
  return first && second && layers > 1 ? (second.at - first.at) / (second.layer - first.layer) : 1;
}

const TYPES = ["aaaaaa", "bbbbbb", "cccccc"];

describe("renderSelection()", () => {
  it("marks the selected cells and no others, in every width and colour", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 60 }),
        fc.integer({ min: 60, max: 160 }),
        fc.constantFrom("none" as const, "ansi256" as const, "truecolor" as const),
        fc.double({ min: 1, max: 100, noNaN: true }),
        fc.constantFrom("per-type" as const, "global" as const),
        fc.infiniteStream(fc.double({ min: 0, max: 100, noNaN: true })),
        (layers, width, color, topPercent, strategy, scores) => {
          const modules: ModuleResult[] = [];
          for (const type of TYPES)
            for (let layer = 0; layer < layers; layer++)
              modules.push(module(type, layer, scores.next().value ?? 0));
          const results = resultsOf(modules);
          const selection = select(results, { topPercent, strategy });
          const picture = renderSelection(selection, results, { width, color });
          expect(marked(picture, TYPES, layers, color === "none" ? /#/ : /●/)).toEqual(
            selection.modules.map(({ type, layer }) => `${type}/${layer}`).sort(),
          );
        },
      ),
      { numRuns: 150 },
    );
  });

  it("tells all experts of a layer from some of them", () => {
    const scores = [
      [9, 8],
      [7, 1],
      [2, 3],
    ];
    const modules = scores.flatMap((experts, layer) =>
      experts.map((score, expert) =>
        module("experts", layer, score, { expert, name: `layers.${layer}.experts[${expert}]` }),
      ),
    );
    const results = resultsOf(modules);
    const selection = select(results, { topPercent: 50 });
    const picture = renderSelection(selection, results, { width: 60, color: "none" });
    const row = picture.split("\n").find((line) => line.startsWith("experts")) ?? "";
    expect(
      [
        ...new Set(row.slice("experts".length).replace(/[0-9. ]+$/, (cells) => cells.replace(/[0-9]/g, ""))),
      ].join(""),
    ).toMatch(/^ #\+\.?/);
    expect(picture).toContain("+ some of its experts");
  });

  it("states the share of the parameters that will train", () => {
    const modules = Array.from({ length: 8 }, (_, layer) => module("attn", layer, layer));
    const results = resultsOf(modules);
    const picture = renderSelection(select(results, { topPercent: 25 }), results, {
      width: 80,
      color: "none",
    });
    expect(picture).toContain("2 modules will train");
    expect(picture).toContain("25% of the parameters: 32 of 128");
  });

  it("says that the share is unknown where the results hold no shapes", () => {
    const modules = [1, 2, 3].map((score, layer) =>
      module("attn", layer, score, { shape: null, dtype: null }),
    );
    const results = {
      ...resultsOf(modules),
      model: { id: "x", revision: null, files: [], parameters: null },
    };
    const picture = renderSelection(select(results), results, { width: 80, color: "none" });
    expect(picture).toMatch(/share of the parameters is unknown/);
  });

  it("lists the embeddings that train, and those that do not", () => {
    const modules = [1, 2].map((score, layer) => module("attn", layer, score));
    modules.push(module("embed_tokens", null, 9, { part: "embedding" }));
    const results = resultsOf(modules);
    const style = { width: 80, color: "none" as const };
    expect(renderSelection(select(results), results, style)).toMatch(/^Not trained, .*embed_tokens 9/m);
    const always = select(results, { embeddings: "always" });
    expect(renderSelection(always, results, style)).toMatch(/^Trained, .*embed_tokens/m);
  });
});
