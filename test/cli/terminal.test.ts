import { describe, expect, it } from "vitest";
import { nearest } from "../../src/cli/arguments.ts";
import { colorDepth, terminalWidth } from "../../src/cli/terminal.ts";

describe("colorDepth()", () => {
  it.each([
    [{ TERM: "xterm-256color" }, true, "ansi256"],
    [{ TERM: "xterm-256color", COLORTERM: "truecolor" }, true, "truecolor"],
    [{ TERM: "xterm-256color", COLORTERM: "truecolor" }, false, "none"],
    [{ TERM: "xterm-256color", NO_COLOR: "1" }, true, "none"],
    [{ TERM: "xterm-256color", NO_COLOR: "" }, true, "ansi256"],
    [{ TERM: "dumb", COLORTERM: "truecolor" }, true, "none"],
    [{ FORCE_COLOR: "1" }, false, "ansi256"],
    [{ FORCE_COLOR: "3", NO_COLOR: "1" }, false, "truecolor"],
    [{ FORCE_COLOR: "0", TERM: "xterm-256color" }, true, "none"],
    [{}, true, "none"],
  ] as const)("of %j on a terminal (%s) is %s", (env, isTTY, depth) => {
    expect(colorDepth(env, isTTY)).toBe(depth);
  });
});

describe("terminalWidth()", () => {
  it("takes COLUMNS, then the terminal's width, then 80, and no nonsense", () => {
    expect(terminalWidth({ COLUMNS: "40" }, 120)).toBe(40);
    expect(terminalWidth({ COLUMNS: "wide" }, 120)).toBe(120);
    expect(terminalWidth({ COLUMNS: "0" }, undefined)).toBe(80);
    expect(terminalWidth({}, 0)).toBe(80);
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
