import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { headerEnd, parseHeader, type SafetensorsHeader } from "../../src/safetensors/header.ts";

/** A safetensors file as bytes: length prefix, JSON, `dataBytes` zeros. */
function fileOf(json: string | Uint8Array, dataBytes: number): Uint8Array {
  const header = typeof json === "string" ? new TextEncoder().encode(json) : json;
  const file = new Uint8Array(8 + header.length + dataBytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(header.length), true);
  file.set(header, 8);
  return file;
}

function parseFile(file: Uint8Array): SafetensorsHeader {
  const source = { file: "m.safetensors", sizeBytes: file.length };
  return parseHeader(file.subarray(8, headerEnd(file, source)), source);
}

const parse = (json: string | Uint8Array, dataBytes: number) => parseFile(fileOf(json, dataBytes));
const tensor = (begin: number, end: number, shape = `[${end - begin}]`) =>
  `{"dtype":"U8","shape":${shape},"data_offsets":[${begin},${end}]}`;

describe("parseHeader()", () => {
  it("gives tensors in order of offset with ranges from the start of the file", () => {
    const json = `{"b":${tensor(4, 6)},"__metadata__":{"format":"pt"},"a":${tensor(0, 4, "[2,2]")}, "z":${tensor(4, 4)} }  `;
    const { tensors, metadata } = parse(json, 6);
    const begin = 8 + json.length;
    expect([...tensors.values()].map(({ name, begin, end }) => [name, begin, end])).toEqual([
      ["a", begin, begin + 4],
      ["z", begin + 4, begin + 4],
      ["b", begin + 4, begin + 6],
    ]);
    expect(tensors.get("a")?.shape).toEqual([2, 2]);
    expect(metadata.get("format")).toBe("pt");
  });

  it("takes any string as a name, those of an object's own machinery too", () => {
    const json = `{"__proto__":${tensor(0, 1)},"constructor":${tensor(1, 2)},"":${tensor(2, 3)},"\\u00e9\\ud83d\\ude00":${tensor(3, 4)}}`;
    expect([...parse(json, 4).tensors.keys()]).toEqual(["__proto__", "constructor", "", "é😀"]);
  });

  it("takes a scalar, packed 4-bit elements, and an empty file of tensors", () => {
    expect(parse('{"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}', 4).tensors.size).toBe(1);
    expect(parse('{"s":{"dtype":"F4","shape":[3,2],"data_offsets":[0,3]}}', 3).tensors.size).toBe(1);
    expect(parse("{}", 0).tensors.size).toBe(0);
  });

  it.each([
    ["a hole before", `{"a":${tensor(1, 2)}}`, 2, "neither overlap nor leave holes"],
    ["a hole between", `{"a":${tensor(0, 1)},"b":${tensor(2, 3)}}`, 3, 'tensor "b" of m.safetensors'],
    ["a hole behind", `{"a":${tensor(0, 1)}}`, 2, "but the file has"],
    ["an overlap", `{"a":${tensor(0, 2)},"b":${tensor(1, 3)}}`, 3, "neither overlap nor leave holes"],
    ["the same range twice", `{"a":${tensor(0, 2)},"b":${tensor(0, 2)}}`, 2, "neither overlap"],
    ["an offset out of range", `{"a":${tensor(0, 9)}}`, 2, "it is cut short or broken"],
    ["a reversed range", '{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}', 1, "neither overlap"],
    ["an end before its begin", '{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,-1]}}', 0, "whole number"],
    ["a size that does not fit", `{"a":${tensor(0, 4, "[3]")}}`, 4, "needs 3 bytes, got 4"],
    ["an overflowing shape", `{"a":${tensor(0, 4, "[4294967296,4294967296,4]")}}`, 4, "more than 2^53"],
    [
      "an overflow hidden by a zero",
      `{"a":${tensor(0, 0, "[4294967296,4294967296,0]")}}`,
      0,
      "more than 2^53",
    ],
    ["half a byte", '{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}', 2, "broken number"],
    ["a negative size", `{"a":${tensor(0, 4, "[-4]")}}`, 4, "whole number"],
    ["a fraction", `{"a":${tensor(0, 4, "[4.0]")}}`, 4, "whole number"],
    ["an exponent", `{"a":${tensor(0, 4, "[4e0]")}}`, 4, "whole number"],
    ["a size past 2^53", `{"a":${tensor(0, 4, "[9007199254740992]")}}`, 4, "whole number"],
    ["an unknown dtype", '{"a":{"dtype":"toString","shape":[],"data_offsets":[0,4]}}', 4, "unknown dtype"],
    ["no dtype", '{"a":{"shape":[],"data_offsets":[0,4]}}', 4, "no dtype"],
    ["no shape", '{"a":{"dtype":"U8","data_offsets":[0,4]}}', 4, "no shape"],
    ["three offsets", '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,1]}}', 1, "needs two data_offsets"],
    ["a name twice", `{"a":${tensor(0, 1)},"a":${tensor(1, 2)}}`, 2, 'key "a" appears twice'],
    ["an escaped name twice", `{"a":${tensor(0, 1)},"\\u0061":${tensor(1, 2)}}`, 2, 'key "a" appears twice'],
    ["a key twice", '{"a":{"dtype":"U8","dtype":"U8","shape":[],"data_offsets":[0,1]}}', 1, "appears twice"],
    ["metadata that is no string", '{"__metadata__":{"format":1}}', 0, "expected a string"],
    ["a trailing comma", `{"a":${tensor(0, 1)},}`, 1, "expected a string"],
    ["something behind", "{}x", 0, "expected the end"],
    ["a space before", " {}", 0, 'does not begin with "{"'],
    ["an array", "[]", 0, 'does not begin with "{"'],
    ["a lone surrogate", `{"\\ud800":${tensor(0, 1)}}`, 1, "lone surrogate"],
    ["a control character", `{"a\n":${tensor(0, 1)}}`, 1, "Cannot read the header"],
    ["an unclosed string", '{"a', 0, "never ends"],
    ["deep nesting", `{"a":{"x":${"[".repeat(100)}`, 0, "nested deeper"],
  ])("refuses %s", (_title, json, dataBytes, message) => {
    expect(() => parse(json, dataBytes)).toThrow(message);
  });

  it("refuses bytes that are not UTF-8", () => {
    expect(() => parse(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d), 0)).toThrow("not UTF-8");
    expect(() => parse(Uint8Array.of(0xef, 0xbb, 0xbf, 0x7b, 0x7d), 0)).toThrow('does not begin with "{"');
  });

  it("takes a string of 20 MB for what it is: a name that is too long for nothing", () => {
    const json = `{"${"n".repeat(20e6)}":${tensor(0, 1)}}`;
    expect([...parse(json, 1).tensors.keys()][0]).toHaveLength(20e6);
  });
});

describe("headerEnd()", () => {
  it("knows a pointer of git-lfs", () => {
    const pointer = new TextEncoder().encode(
      "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    );
    const source = { file: "m.safetensors", sizeBytes: pointer.length };
    expect(() => headerEnd(pointer, source)).toThrow("git lfs pull");
  });

  const claiming = (length: bigint) => {
    const prefix = new Uint8Array(8);
    new DataView(prefix.buffer).setBigUint64(0, length, true);
    return prefix;
  };

  it("refuses a header of 10 GB from its 8 bytes, before anything is read for it", () => {
    const huge = { file: "m.safetensors", sizeBytes: 20e9 };
    expect(() => headerEnd(claiming(10_000_000_000n), huge)).toThrow(
      /claims 10000000000 bytes, expected at most 1/,
    );
    expect(() => headerEnd(claiming(2n ** 64n - 1n), huge)).toThrow(RangeError);
    expect(headerEnd(claiming(100_000_000n), huge)).toBe(100_000_008);
  });

  it("refuses a header longer than its file, and a file too short for one", () => {
    expect(() => headerEnd(claiming(3n), { file: "m", sizeBytes: 10 })).toThrow("ends at byte 11");
    expect(() => headerEnd(new Uint8Array(7), { file: "m", sizeBytes: 7 })).toThrow("this one has 7");
  });
});

describe("parseHeader() on 10,000 mutated files", () => {
  const dtypes = ["U8", "BF16", "F32", "F64", "F4", "F8_E4M3", "BOOL"] as const;
  const sizes = { U8: 1, BF16: 2, F32: 4, F64: 8, F4: 0.5, F8_E4M3: 1, BOOL: 1 };
  const specs = fc.uniqueArray(
    fc.record({
      name: fc.oneof(fc.string({ unit: "binary" }), fc.constantFrom("__proto__", "a.weight", "toString")),
      dtype: fc.constantFrom(...dtypes),
      shape: fc.array(
        fc.nat({ max: 3 }).map((half) => half * 2),
        { maxLength: 3 },
      ),
    }),
    { selector: ({ name }) => name, maxLength: 6 },
  );

  function validFile(
    tensors: { name: string; dtype: (typeof dtypes)[number]; shape: number[] }[],
  ): Uint8Array {
    let begin = 0;
    const members = tensors.map(({ name, dtype, shape }) => {
      const dims = dtype === "F4" ? [2, ...shape] : shape;
      const end = begin + dims.reduce((product, size) => product * size, 1) * sizes[dtype];
      const member = `${JSON.stringify(name)}:${JSON.stringify({ dtype, shape: dims, data_offsets: [begin, end] })}`;
      begin = end;
      return member;
    });
    return fileOf(`{${members.join(",")}}`, begin);
  }

  const tokens = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    '"',
    "\\",
    "-1",
    "9007199254740993",
    "1e400",
    "null",
    '"dtype"',
    "\ud800",
  ];
  const edits = fc.array(
    fc.record({
      at: fc.nat(),
      drop: fc.nat({ max: 12 }),
      insert: fc.oneof(
        fc.uint8Array({ maxLength: 4 }),
        fc.constantFrom(...tokens).map((token) => new TextEncoder().encode(token)),
      ),
    }),
    { maxLength: 4 },
  );

  function mutate(file: Uint8Array, at: number, drop: number, insert: Uint8Array): Uint8Array {
    const begin = at % (file.length + 1);
    return Uint8Array.from([...file.subarray(0, begin), ...insert, ...file.subarray(begin + drop)]);
  }

  it("reads every valid file", () => {
    const valid = specs.filter((tensors) => tensors.every(({ name }) => name !== "__metadata__"));
    fc.assert(
      fc.property(valid, (tensors) => {
        expect([...parseFile(validFile(tensors)).tensors.keys()].sort()).toEqual(
          tensors.map(({ name }) => name).sort(),
        );
      }),
      { numRuns: 500, seed: 1 },
    );
  });

  it("gives a table that covers the file exactly, or one clear error", () => {
    const outcomes = { table: 0, error: 0 };
    fc.assert(
      fc.property(specs, edits, (tensors, changes) => {
        const file = changes.reduce(
          (bytes, { at, drop, insert }) => mutate(bytes, at, drop, insert),
          validFile(tensors),
        );
        try {
          const header = parseFile(file);
          let end = headerEnd(file, { file: "", sizeBytes: file.length });
          for (const found of header.tensors.values()) {
            expect(found.begin).toBe(end);
            end = found.end;
          }
          expect(end).toBe(file.length);
          outcomes.table++;
        } catch (error) {
          if (!(error instanceof SyntaxError || error instanceof RangeError)) throw error;
          expect(error.message).toMatch(/^Cannot read /);
          outcomes.error++;
        }
      }),
      { numRuns: 10_000, seed: 2 },
    );
    // Both kinds must occur often, or the property says nothing.
    expect(Math.min(outcomes.table, outcomes.error)).toBeGreaterThan(1000);
  });
});
