import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  isObject,
  type JsonValue,
  parsePythonJson,
  pythonFloat,
  pythonString,
} from "../../src/snr/python-json.ts";

interface Table {
  readonly floats: readonly (readonly [hex: string, text: string])[];
  readonly strings: readonly (readonly [units: readonly number[], text: string])[];
}
// Made by Python itself: scripts/fixtures/python-json.py.
const TABLE: Table = JSON.parse(
  readFileSync(new URL("../fixtures/python-json.json", import.meta.url), "utf8"),
);

function plain(value: JsonValue): unknown {
  if (isObject(value)) return Object.fromEntries([...value].map(([key, entry]) => [key, plain(entry)]));
  return Array.isArray(value) ? value.map(plain) : value;
}

describe("Python's spelling", () => {
  it("pythonFloat() equals json.dumps on 231 floats, subnormal, huge, float32 and not finite ones included", () => {
    expect(TABLE.floats.length).toBe(231);
    for (const [hex, text] of TABLE.floats)
      expect(pythonFloat(Buffer.from(hex, "hex").readDoubleBE(0)), hex).toBe(text);
  });

  it("pythonString() equals json.dumps on quotes, controls, DEL, non-ASCII and a lone surrogate", () => {
    for (const [units, text] of TABLE.strings) expect(pythonString(String.fromCharCode(...units))).toBe(text);
  });
});

describe("parsePythonJson()", () => {
  it("agrees with JSON.parse on every strict document", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), fc.constantFrom(0, 2), (value, indent) => {
        const text = JSON.stringify(value, null, indent);
        expect(plain(parsePythonJson(text))).toEqual(JSON.parse(text));
      }),
      { seed: 1, numRuns: 500 },
    );
  });

  it("throws SyntaxError, and nothing else, wherever JSON.parse does on mutated documents", () => {
    const base = '{"a": [1.5e-3, "x\\u0041", null], "b": {"c": true}}';
    fc.assert(
      fc.property(
        fc.nat(base.length - 1),
        fc.constantFrom("", '"', "{", "]", ",", "\\", "0", "-", " ", "\u0001"),
        (at, character) => {
          const text = base.slice(0, at) + character + base.slice(at + 1);
          let strict = true;
          try {
            JSON.parse(text);
          } catch {
            strict = false;
          }
          if (strict) expect(plain(parsePythonJson(text))).toEqual(JSON.parse(text));
          else expect(() => parsePythonJson(text)).toThrow(SyntaxError);
        },
      ),
      { seed: 2, numRuns: 1000 },
    );
  });

  it("reads bare Infinity, -Infinity and NaN as numbers, and leaves the words in strings alone", () => {
    const document = parsePythonJson(
      '{"Infinity": Infinity, "n": [-Infinity, NaN], "s": "is NaN, -Infinity"}',
    );
    expect(plain(document)).toEqual({
      Infinity: Number.POSITIVE_INFINITY,
      n: [Number.NEGATIVE_INFINITY, Number.NaN],
      s: "is NaN, -Infinity",
    });
  });

  it("keeps the order of keys that look like numbers, and takes __proto__ for a key", () => {
    const document = parsePythonJson('{"b": 1, "10": 2, "2": 3, "__proto__": 4}');
    expect(isObject(document) && [...document.keys()]).toEqual(["b", "10", "2", "__proto__"]);
  });

  it.each([
    "",
    "nul",
    "NaNs",
    "+1",
    "01",
    ".5",
    "1.",
    "[1,]",
    '{"a":1,}',
    "{a:1}",
    "'a'",
    "[1] 2",
    '"a',
    '"\\',
  ])("refuses %j", (text) => {
    expect(() => parsePythonJson(text)).toThrow(SyntaxError);
  });

  it("refuses a key given twice and a million opening brackets", () => {
    expect(() => parsePythonJson('{"a": 1, "a": 2}')).toThrow(/"a" is there twice/);
    expect(() => parsePythonJson("[".repeat(1_000_000))).toThrow(/more than 64 levels/);
  });
});
