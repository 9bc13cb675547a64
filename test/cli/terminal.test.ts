import { Writable } from "node:stream";
import { describe, expect, it } from "vitest";
import { progressReporter } from "../../src/cli/progress.ts";
import { colorDepth, Terminal, terminalWidth } from "../../src/cli/terminal.ts";

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

/** A stream that keeps what is written to it. */
function recorder(isTTY: boolean) {
  const written: string[] = [];
  const stream = {
    isTTY,
    columns: 60,
    written,
    write(text: string, done?: (error?: Error | null) => void) {
      written.push(text);
      done?.();
      return true;
    },
    on: () => stream,
  };
  return stream;
}

describe("Terminal", () => {
  it("redraws its status line in place, and takes it away before anything else is printed", () => {
    const stderr = recorder(true);
    const terminal = new Terminal(recorder(true), stderr, { TERM: "xterm" });
    terminal.showStatus("1 of 2");
    terminal.showStatus("2 of 2");
    terminal.print("done");
    expect(stderr.written.join("")).toBe("\r1 of 2\u001b[K\r2 of 2\u001b[K\r\u001b[Kdone\n");
  });

  it("tells who prints that stdout cannot take it, and takes a closed pipe for the end", async () => {
    const failing = (code: string) =>
      new Writable({ write: (_text, _encoding, done) => done(Object.assign(new Error(code), { code })) });
    const full = new Terminal(failing("ENOSPC"), recorder(false), {});
    await expect(full.printDocument({})).rejects.toThrow("Cannot write to stdout: ENOSPC");
    const closed = new Terminal(failing("EPIPE"), recorder(false), {});
    await expect(closed.printDocument({})).resolves.toBeUndefined();
  });

  it("has no status line in a log or on a dumb terminal", () => {
    for (const [isTTY, TERM] of [
      [false, "xterm"],
      [true, "dumb"],
    ] as const) {
      const stderr = recorder(isTTY);
      const terminal = new Terminal(recorder(true), stderr, { TERM });
      terminal.showStatus("1 of 2");
      terminal.print("done");
      expect(stderr.written.join("")).toBe("done\n");
    }
  });

  it("prints documents on stdout alone", async () => {
    const [stdout, stderr] = [recorder(false), recorder(true)];
    await new Terminal(stdout, stderr, {}).printDocument({ a: [1] });
    expect(JSON.parse(stdout.written.join(""))).toEqual({ a: [1] });
    expect(stderr.written).toEqual([]);
  });

  it("lets no control or invisible character of an error's message or a note through", () => {
    const stderr = recorder(true);
    const terminal = new Terminal(recorder(true), stderr, {});
    terminal.printError("bad name \u001b[2J\u009b0m\u0007");
    terminal.printNote("w\u202e and\nx\u001b[1m");
    expect(stderr.written.join("")).toBe("spectrum: bad name ?[2J?0m?\nNote: w? and\nx?[1m.\n");
  });

  it("is told of progress at most ten times a second, the first time at once", () => {
    const stderr = recorder(true);
    const terminal = new Terminal(recorder(true), stderr, { TERM: "xterm" });
    const progress = progressReporter<number>(terminal, (count, { width }) => `${count} in ${width}`);
    for (let count = 1; count <= 1000; count++) progress.report(count);
    expect(stderr.written[0]).toBe("\r1 in 59\u001b[K");
    expect(stderr.written.length).toBeLessThan(10);
    expect(progress.last).toBe(1000);
  });
});
