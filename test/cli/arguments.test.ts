import { describe, expect, it } from "vitest";
import { nearest, type OptionTable, parseArguments } from "../../src/cli/arguments.ts";

const OPTIONS = {
  out: { kind: "text", value: "FILE", short: "o", help: "" },
  include: { kind: "list", value: "GLOB", help: "" },
  precision: { kind: "choice", choices: ["exact", "fast"], help: "" },
  threads: { kind: "number", value: "N", least: 1, whole: true, help: "" },
  percent: { kind: "number", value: "P", least: 0, help: "" },
  json: { kind: "flag", help: "" },
} as const satisfies OptionTable;

function parse(...argv: string[]) {
  return parseArguments({ positionals: ["MODEL"], options: OPTIONS }, argv);
}

describe("parseArguments()", () => {
  it("reads every kind of option, wherever it stands", () => {
    const { positionals, options } = parse(
      ...[
        "-o",
        "a.json",
        "--include",
        "x*",
        "model",
        "--include=-y",
        "--json",
        "--percent",
        "12.5",
        "--threads=2",
      ],
    );
    expect(positionals).toEqual(["model"]);
    expect(options).toEqual({ out: "a.json", include: ["x*", "-y"], json: true, percent: 12.5, threads: 2 });
  });

  it("leaves out what was not given, gives no flag and an empty list", () => {
    expect(parse("model").options).toEqual({ include: [], json: false });
  });

  it.each([
    ["0", 0],
    ["007", 7],
    [".5", 0.5],
    ["99.75", 99.75],
  ])("reads the decimal %s", (text, percent) => {
    expect(parse("m", "--percent", text).options.percent).toBe(percent);
  });

  it("takes what follows -- as it is", () => {
    expect(parse("--", "--json").positionals).toEqual(["--json"]);
  });

  it.each([
    [["m", "--presicion", "fast"], "Unknown option --presicion; did you mean --precision?"],
    [["m", "-x"], "Unknown option -x"],
    [["m", "--constructor"], "Unknown option --constructor"],
    [[], "MODEL is missing"],
    [["a", "b"], 'got also "b"'],
    [["m", "--precision", "exat"], 'one of exact, fast, got "exat"; did you mean exact?'],
    [["m", "--threads", "1.5"], 'whole number from 1 up, got "1.5"'],
    [["m", "--threads", "0"], 'from 1 up, got "0"'],
    [["m", "--percent", "-1"], 'from 0 up, got "-1"'],
    [["m", "--percent", "ten"], 'got "ten"'],
    [["m", "--percent", "Infinity"], 'got "Infinity"'],
    [["m", "--percent", "0x10"], 'number from 0 up, got "0x10"'],
    [["m", "--percent", "1e"], 'number from 0 up, got "1e"'],
    [["m", "--percent", " 5"], 'number from 0 up, got " 5"'],
    [["m", "--threads", "0b11"], 'whole number from 1 up, got "0b11"'],
    [["m", "--percent="], "--percent needs a value: P"],
    [["m", "--out"], "--out needs a value: FILE"],
    [["m", "--out", "--json"], "got the option --json"],
    [["m", "--json=yes"], '--json takes no value, got "yes"'],
  ])("refuses %j, saying what is wrong", (argv, sentence) => {
    let thrown: unknown;
    try {
      parse(...argv);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toMatchObject({ name: "UsageError", message: expect.stringContaining(sentence) });
  });
});

describe("nearest()", () => {
  it("finds what was meant, and nothing where nothing is near", () => {
    const options = ["top-percent", "estimator", "embeddings", "exclude", "include"];
    expect(nearest("top_percent", options)).toBe("top-percent");
    expect(nearest("inlcude", options)).toBe("include");
    expect(nearest("topp", options)).toBe("top-percent");
    expect(nearest("verbose", options)).toBe(null);
  });
});
