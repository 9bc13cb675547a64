import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { withMember } from "../../src/training/json-text.ts";

const CONFIG = `{
  "rms_norm_eps": 1e-05,
  "rope_scaling": {
    "factor": 8.0,
    "note": "a } \\" in a string"
  },
  "vocab_size": 100,
  "limit": [0.0, Infinity]
}
`;

describe("withMember()", () => {
  it("changes one value and leaves each other character, numbers and Python's words included", () => {
    expect(withMember(CONFIG, ["vocab_size"], 102)).toBe(CONFIG.replace("100", "102"));
    expect(withMember(CONFIG, ["rope_scaling", "factor"], 4)).toBe(CONFIG.replace("8.0", "4"));
  });

  it("adds what is not there in the style of the rest, objects indented", () => {
    expect(withMember(CONFIG, ["dtype"], { a: [1] })).toBe(
      CONFIG.replace("Infinity]", 'Infinity],\n  "dtype": {\n    "a": [\n      1\n    ]\n  }'),
    );
    expect(withMember("{}", ["a"], 1)).toBe('{"a": 1}');
  });

  it("takes a member away, wherever it stands", () => {
    for (const [text, rest] of [
      ['{"a": 1, "b": 2}', '{"b": 2}'],
      ['{"b": 2, "a": {"c": [1]}}', '{"b": 2}'],
      ['{"a": 1}', "{}"],
      ['{"b": 2}', '{"b": 2}'],
    ] as const)
      expect(withMember(text, ["a"], undefined)).toBe(rest);
  });

  it("changes the last of two with the same name, which is the one that parsers take", () => {
    expect(JSON.parse(withMember('{"a": 1, "a": 2}', ["a"], 3))).toEqual({ a: 3 });
  });

  it("parses as the object with that member, for any object and spacing", () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string(), fc.jsonValue(), { noNullPrototype: true }),
        fc.string(),
        fc.jsonValue(),
        fc.constantFrom("", "  ", "\t"),
        (object, key, value, spacing) => {
          const changed: unknown = JSON.parse(
            withMember(JSON.stringify(object, null, spacing), [key], value),
          );
          const expected = new Map(Object.entries({ ...object }));
          expected.set(key, value);
          expect(changed).toEqual(JSON.parse(JSON.stringify(Object.fromEntries(expected))));
        },
      ),
    );
  });

  it("refuses what is no object", () => {
    for (const text of ["[1]", "", '{"a": 1', '{"a"'])
      expect(() => withMember(text, ["a"], 1)).toThrow(SyntaxError);
    expect(() => withMember('{"a": 1}', ["b", "c"], 1)).toThrow(SyntaxError);
  });
});
