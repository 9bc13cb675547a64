import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { matchesGlob } from "../../src/modules/globs.ts";

describe("matchesGlob()", () => {
  it.each([
    ["*", "", true],
    ["*.mlp.*", "model.layers.0.mlp.up_proj", true],
    ["mlp.*", "model.mlp.up_proj", false],
    ["model.layers.?.mlp", "model.layers.1.mlp", true],
    ["model.layers.?.mlp", "model.layers.11.mlp", false],
    ["*a*b", "xaxbab", true],
    ["*a*b", "xaxba", false],
    ["model.layers", "modelxlayers", false],
    ["[ab]", "a", false],
  ])("%j on %j is %s", (pattern, text, expected) => {
    expect(matchesGlob(pattern, text)).toBe(expected);
  });

  it("agrees with the regular expression it stands for", () => {
    const letters = fc.string({ unit: fc.constantFrom("a", "b", ".", "*", "?"), maxLength: 8 });
    fc.assert(
      fc.property(
        letters,
        fc.string({ unit: fc.constantFrom("a", "b", "."), maxLength: 10 }),
        (pattern, text) => {
          const source = pattern.replaceAll(".", "\\.").replaceAll("*", ".*").replaceAll("?", ".");
          expect(matchesGlob(pattern, text)).toBe(new RegExp(`^${source}$`).test(text));
        },
      ),
      { seed: 4, numRuns: 2000 },
    );
  });

  it("takes no longer for many stars", () => {
    expect(matchesGlob(`${"a*".repeat(500)}b`, "a".repeat(2000))).toBe(false);
  });
});
