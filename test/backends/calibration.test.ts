// How auto finds the fastest backend. The candidates are the wasm backend under several names, some of them held up.
import { chmod, mkdtemp, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import {
  type Calibration,
  chooseFastest,
  describeChoice,
  WORTH_CALIBRATING_FLOPS,
} from "../../backends/calibration/choice.ts";
import { findFastest, openFastest } from "../../backends/calibration/fastest.ts";
import { type CalibrationKey, calibrationFile, calibrationKey } from "../../backends/calibration/stored.ts";
import { timeBackends } from "../../backends/calibration/timing.ts";
import * as reference from "../../backends/reference/index.ts";
import * as wasm from "../../backends/wasm/index.ts";
import type { Backend, BackendEntry, MatrixSource } from "../../src/backend.ts";
import { BackendUnavailableError } from "../../src/errors.ts";

const options = { precision: "exact", threads: 1 } as const;
const today = () => new Date().toISOString().slice(0, 10);

// The first to be timed would otherwise be the one that computes.
beforeAll(async () => {
  const { backend } = await openSpy("first", {});
  await timeBackends([backend]);
  await backend.close();
});

function folder(): Promise<string> {
  return mkdtemp(join(tmpdir(), "spectrum-calibrations-"));
}

describe("chooseFastest()", () => {
  const timings = fc
    .array(fc.double({ min: 1e-3, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 6 })
    .map((rates) =>
      rates.map((matricesPerSecond, i) => ({ name: `b${i}`, version: "1", matricesPerSecond })),
    );

  it("takes one that is within 5 % of every other, and the first such", () => {
    fc.assert(
      fc.property(timings, (all) => {
        const within = all.filter((one) =>
          all.every((other) => one.matricesPerSecond * 1.05 >= other.matricesPerSecond),
        );
        expect(chooseFastest(all)).toBe(within[0]);
      }),
    );
  });

  it("does not depend on the unit of time", () => {
    fc.assert(
      fc.property(timings, fc.integer({ min: -20, max: 20 }), (all, exponent) => {
        const scaled = all.map((one) => ({
          ...one,
          matricesPerSecond: one.matricesPerSecond * 2 ** exponent,
        }));
        expect(chooseFastest(scaled).name).toBe(chooseFastest(all).name);
      }),
    );
  });

  it("refuses to choose among none", () => {
    expect(() => chooseFastest([])).toThrow(RangeError);
  });
});

describe("describeChoice()", () => {
  const timed = (...rates: number[]): Calibration => ({
    date: "2026-11-21",
    timings: rates.map((matricesPerSecond, i) => ({ name: `b${i}`, version: "1", matricesPerSecond })),
    failures: [],
  });

  it("compares with the next fastest, and tells equals from faster ones", () => {
    expect(describeChoice(timed(1, 3, 5.1))).toBe("1.7 times as fast as b1 in a calibration of 2026-11-21");
    expect(describeChoice(timed(38, 1))).toMatch(/^38 times as fast as b1 /);
    expect(describeChoice(timed(100, 104, 2))).toMatch(/^as fast as b1 within 5 % in /);
    expect(describeChoice({ ...timed(2), failures: [{ name: "gpu", reason: "no memory" }] })).toBe(
      "the only one that worked in a calibration of 2026-11-21; left out gpu, which failed: no memory",
    );
  });
});

describe("timeBackends()", () => {
  it("times each once where rounds are long, and keeps the best of four where they are short", async () => {
    for (const [costMs, rounds] of [
      [1600, 1],
      [900, 3],
      [1, 4],
    ] as const) {
      let [clock, calls] = [0, 0];
      const { backend } = await openSpy("a", {
        before: async () => {
          calls++;
          // The first one, of the warm-up, is not counted; the first round is the slowest.
          clock += calls === 2 ? costMs * 1.5 : costMs;
        },
      });
      const [timed] = await timeBackends([backend], () => clock);
      expect(calls).toBe(1 + rounds);
      const leastMs = rounds === 1 ? costMs * 1.5 : costMs;
      expect(timed).toEqual({ backend, matricesPerSecond: 1000 / leastMs });
      await backend.close();
    }
  });

  it("does not time one whose warm-up says that it would take minutes, unless there is no other", async () => {
    let clock = 0;
    const costing = (name: string, ms: number) =>
      openSpy(name, {
        before: async () => {
          clock += ms;
        },
      });
    const [quick, slow] = [await costing("quick", 100), await costing("slow", 6000)];
    const timed = await timeBackends([slow.backend, quick.backend], () => clock);
    expect(timed).toEqual([
      { backend: slow.backend, reason: "it took 6.0 s to warm up, quick 0.1 s" },
      { backend: quick.backend, matricesPerSecond: 10 },
    ]);
    expect((await timeBackends([slow.backend], () => clock))[0]).toEqual({
      backend: slow.backend,
      matricesPerSecond: 1000 / 6000,
    });
    for (const { backend } of [quick, slow]) await backend.close();
  });

  it("counts the matrices that a backend takes at once", async () => {
    let clock = 0;
    const { backend } = await openSpy("a", {
      threads: 2,
      before: async () => {
        clock += 200;
      },
    });
    expect(backend.concurrency).toBe(2);
    const [timed] = await timeBackends([backend], () => clock);
    expect(timed).toEqual({ backend, matricesPerSecond: 5 });
    await backend.close();
  });

  it("has a reason for one that fails, or computes something else", async () => {
    const failing = await openSpy("a", { before: () => Promise.reject(new Error("device lost")) });
    const wrong = await openSpy("b", { after: (values) => values.map((x) => x * 1.001) });
    const short = await openSpy("c", { after: (values) => values.subarray(1) });
    const timed = await timeBackends([failing.backend, wrong.backend, short.backend]);
    expect(timed).toEqual([
      { backend: failing.backend, reason: "device lost" },
      {
        backend: wrong.backend,
        reason: expect.stringMatching(/expected 800 singular values with squares of/),
      },
      { backend: short.backend, reason: expect.stringMatching(/got 799 of/) },
    ]);
    for (const { backend } of [failing, wrong, short]) await backend.close();
  });
});

describe("calibrationFile()", () => {
  const key = calibrationKey(["wasm", "gpu"], "exact");
  const calibration: Calibration = {
    date: "2026-11-21",
    timings: [{ name: "wasm", version: "1-abc", matricesPerSecond: 12.5 }],
    failures: [{ name: "gpu", reason: "no memory" }],
  };

  it("gives back what was written, for this key and no other", async () => {
    const place = await folder();
    const file = calibrationFile(place, key);
    expect(await file.read()).toBeNull();
    await file.write(calibration);
    expect(await file.read()).toEqual(calibration);
    const others: Partial<CalibrationKey>[] = [
      { version: 0 },
      { tool: "0.0.9" },
      { platform: "aix" },
      { arch: "mips" },
      { processor: "another" },
      { processors: 1000 },
      { runtime: { node: "18.0.0" } },
      { precision: "fast" },
      { backends: ["wasm"] },
    ];
    for (const other of others) {
      const elsewhere = calibrationFile(place, { ...key, ...other });
      expect(elsewhere.path).not.toBe(file.path);
      expect(await elsewhere.read()).toBeNull();
      // Nor when the file of another key is moved there.
      await writeFile(elsewhere.path, await readFile(file.path));
      expect(await elsewhere.read()).toBeNull();
    }
    expect(Object.keys(others.reduce((all, one) => Object.assign(all, one), {})).sort()).toEqual(
      Object.keys(key).sort(),
    );
  });

  it("takes a file that was cut off or damaged for none, and replaces it", async () => {
    const file = calibrationFile(await folder(), key);
    await file.write(calibration);
    const text = await readFile(file.path, "utf8");
    const damaged = [
      { ...calibration, date: "yesterday" },
      { ...calibration, timings: [] },
      { ...calibration, timings: [{ name: "other", version: "1", matricesPerSecond: 1 }] },
      { ...calibration, timings: [{ name: "wasm", version: "1", matricesPerSecond: 0 }] },
      { ...calibration, timings: [{ name: "wasm", version: "1", matricesPerSecond: "9" }] },
      { ...calibration, timings: [{ name: "wasm", matricesPerSecond: 1 }] },
      { ...calibration, timings: [null] },
      { ...calibration, failures: [{ name: "gpu" }] },
      { ...calibration, failures: null },
      null,
    ].map((broken) => JSON.stringify({ key, calibration: broken }));
    for (let length = 0; length < text.trimEnd().length; length += 7) damaged.push(text.slice(0, length));
    for (const content of [...damaged, "[]", "null", "\u0000", JSON.stringify({ calibration })]) {
      await writeFile(file.path, content);
      expect(await file.read(), content).toBeNull();
    }
    await file.write(calibration);
    expect(await file.read()).toEqual(calibration);
  });

  it("is whole at any time while several write it", async () => {
    const place = await folder();
    const file = calibrationFile(place, key);
    const versions = Array.from({ length: 20 }, (_, i) => "v".repeat(1 + 200 * i));
    const write = (version: string) =>
      file.write({ ...calibration, timings: [{ name: "wasm", version, matricesPerSecond: 1 }] });
    await write("v");
    const writing = Promise.all(versions.map(write));
    for (let i = 0; i < 50; i++) expect(versions).toContain((await file.read())?.timings[0]?.version);
    await writing;
    expect(await readdir(place)).toHaveLength(1);
  });
});

describe("openFastest()", () => {
  it("takes the fastest, stores that, and times nothing when it is opened again", async () => {
    const calibrationFolder = await folder();
    const [slow, quick] = [spy("slow", { before: () => delay(400) }), spy("quick")];
    const first = await openFastest([slow.entry, quick.entry], { ...options, calibrationFolder });
    expect(first.backend.name).toBe("quick");
    const [name = ""] = await readdir(calibrationFolder);
    const path = join(calibrationFolder, name);
    expect(first.notes).toEqual([
      expect.stringMatching(
        /^auto took the backend quick: [\d.]+ times as fast as slow in a calibration of /,
      ),
    ]);
    expect(first.notes[0]).toContain(`${today()}, stored in ${path}`);
    // The other one is closed, the chosen one open.
    expect([slow.open, quick.open]).toEqual([0, 1]);
    await first.backend.close();

    const [calls, before] = [slow.calls + quick.calls, await stat(path)];
    const second = await openFastest([slow.entry, quick.entry], { ...options, calibrationFolder });
    expect(second.backend.name).toBe("quick");
    expect(second.notes).toEqual(first.notes);
    expect(slow.calls + quick.calls).toBe(calls);
    expect(slow.opened).toBe(1);
    expect((await stat(path)).mtimeMs).toBe(before.mtimeMs);
    await second.backend.close();
  });

  it("takes the stored one even where another is now faster, until it is calibrated anew", async () => {
    const calibrationFolder = await folder();
    let slowName = "a";
    const hold = (name: string) => () => delay(name === slowName ? 400 : 0);
    const [a, b] = [spy("a", { before: hold("a") }), spy("b", { before: hold("b") })];
    const entries = [a.entry, b.entry];
    const open = async () => {
      const { backend } = await openFastest(entries, { ...options, calibrationFolder });
      await backend.close();
      return backend.name;
    };
    const find = (calibrate: boolean) => findFastest(entries, { ...options, calibrationFolder, calibrate });
    expect(await find(false)).toMatchObject({ backend: null, candidates: ["a", "b"], calibration: null });
    expect(await open()).toBe("b");
    slowName = "b";
    expect(await open()).toBe("b");
    expect(await find(false)).toMatchObject({ backend: "b", calibration: { date: today() } });
    expect((await find(true)).backend).toBe("a");
    expect(await open()).toBe("a");
    expect([a.open, b.open]).toEqual([0, 0]);
  });

  it("takes the same for any number of threads, timed with all of them", async () => {
    const calibrationFolder = await folder();
    const [slow, quick] = [spy("slow", { before: () => delay(400) }), spy("quick")];
    for (const threads of [1, 2, 3]) {
      const options = { precision: "exact", threads, calibrationFolder } as const;
      const { backend } = await openFastest([slow.entry, quick.entry], options);
      expect([backend.name, backend.concurrency]).toEqual(["quick", threads]);
      await backend.close();
    }
    expect([slow.opened, quick.threads]).toEqual([1, [undefined, 1, 2, 3]]);
  });

  it("takes the first, and times nothing, for less work than a calibration is worth", async () => {
    const calibrationFolder = await folder();
    const [first, quick] = [spy("first", { before: () => delay(400) }), spy("quick")];
    const open = async (flops: number) => {
      const entries = [absent("gpu"), first.entry, quick.entry];
      const { backend, notes } = await openFastest(entries, { ...options, calibrationFolder, flops });
      await backend.close();
      return notes.map((note) => note.replace(/:.*/, ""));
    };
    expect(await open(WORTH_CALIBRATING_FLOPS - 1)).toEqual(["auto took the backend first"]);
    expect([first.calls, quick.opened, await readdir(calibrationFolder)]).toEqual([0, 0, []]);
    expect(await open(WORTH_CALIBRATING_FLOPS)).toEqual(["auto took the backend quick"]);
    // The stored one counts for large models alone: which one a model gets does not depend on what was scanned before.
    expect(await open(1)).toEqual(["auto took the backend first"]);
  });

  it("times nothing and stores nothing where one candidate is left beside the last resort", async () => {
    const calibrationFolder = await folder();
    const only = spy("only");
    const { backend, notes } = await openFastest([reference, only.entry, absent("gpu")], {
      ...options,
      calibrationFolder,
    });
    expect(backend.name).toBe("only");
    expect(notes).toEqual(["gpu cannot run here: no device; buy one", "auto took the backend only"]);
    expect(only.calls).toBe(0);
    expect(await readdir(calibrationFolder)).toEqual([]);
    await backend.close();
  });

  it("takes the last resort where nothing else can run, and says why", async () => {
    const calibrationFolder = await folder();
    const { backend, notes } = await openFastest([absent("gpu"), reference], {
      ...options,
      calibrationFolder,
    });
    expect(backend.name).toBe("reference");
    expect(notes).toEqual(["gpu cannot run here: no device; buy one", "auto took the backend reference"]);
    await expect(openFastest([absent("gpu")], { ...options, calibrationFolder })).rejects.toThrow(
      BackendUnavailableError,
    );
  });

  it("leaves out for exact what computes fast alone, and for fast it does not", async () => {
    const calibrationFolder = await folder();
    const [single, double] = [spy("single"), spy("double", { before: () => delay(400) })];
    const entries = [{ ...single.entry, exact: false }, double.entry];
    const exact = await openFastest(entries, { ...options, calibrationFolder });
    expect(exact.backend.name).toBe("double");
    expect(exact.notes[0]).toBe("single does not compute in the precision exact");
    expect(single.opened).toBe(0);
    await exact.backend.close();
    const fast = await openFastest(entries, { ...options, precision: "fast", calibrationFolder });
    expect(fast.backend.name).toBe("single");
    await fast.backend.close();
  });

  it("leaves out what fails, remembers that, and fails when all do", async () => {
    const calibrationFolder = await folder();
    const broken = spy("broken", { before: () => Promise.reject(new Error("device lost")) });
    const closed: BackendEntry = {
      ...wasm,
      name: "closed",
      open: () => Promise.reject(new Error("driver too old")),
    };
    const works = spy("works");
    for (let i = 0; i < 2; i++) {
      const opened = await openFastest([broken.entry, closed, works.entry], {
        ...options,
        calibrationFolder,
      });
      expect(opened.backend.name).toBe("works");
      expect(opened.notes[0]).toMatch(
        /: the only one that worked in a calibration of .*left out closed, which failed: driver too old; left out broken, which failed: device lost, stored in/,
      );
      await opened.backend.close();
    }
    expect([broken.opened, broken.open]).toEqual([1, 0]);
    await expect(openFastest([broken.entry, closed], { ...options, calibrationFolder })).rejects.toThrow(
      /Cannot use any backend: closed failed: driver too old; broken failed: device lost/,
    );
    expect(broken.open).toBe(0);
  });

  it("calibrates anew where what is stored is damaged, or the chosen backend has another version", async () => {
    const calibrationFolder = await folder();
    const [slow, quick] = [spy("slow", { before: () => delay(400) }), spy("quick")];
    const file = calibrationFile(calibrationFolder, calibrationKey(["slow", "quick"], "exact"));
    const other = { name: "slow", version: "0-another", matricesPerSecond: 9 };
    const contents = [
      "{",
      JSON.stringify({
        key: calibrationKey(["slow", "quick"], "exact"),
        calibration: { date: "2026-01-01", timings: [other], failures: [] },
      }),
    ];
    await file.write({ date: "2026-01-01", timings: [other], failures: [] });
    for (const content of contents) {
      await writeFile(file.path, content);
      const { backend } = await openFastest([slow.entry, quick.entry], { ...options, calibrationFolder });
      expect(backend.name).toBe("quick");
      expect((await file.read())?.date).toBe(today());
      await backend.close();
    }
    expect([slow.open, quick.open]).toEqual([0, 0]);
  });

  it("takes what another process stored while it timed", async () => {
    const calibrationFolder = await folder();
    const file = calibrationFile(calibrationFolder, calibrationKey(["slow", "quick"], "exact"));
    const slow = spy("slow", {
      before: async (version) => {
        await delay(400);
        const theirs = { name: "slow", version, matricesPerSecond: 9 };
        await file.write({ date: "2026-01-01", timings: [theirs], failures: [] });
      },
    });
    const quick = spy("quick");
    const { backend } = await openFastest([slow.entry, quick.entry], { ...options, calibrationFolder });
    expect(backend.name).toBe("slow");
    expect((await file.read())?.date).toBe("2026-01-01");
    await backend.close();
  });

  it("scans all the same where nothing can be stored, and says so", async () => {
    const place = await folder();
    const notFolder = join(place, "file");
    await writeFile(notFolder, "");
    const readOnly = join(place, "read-only");
    await calibrationFile(readOnly, calibrationKey([], "exact")).write({
      date: "",
      timings: [],
      failures: [],
    });
    await chmod(readOnly, 0o500);
    // To the superuser every folder can be written.
    const isRoot = process.getuid?.() === 0;
    for (const calibrationFolder of isRoot ? [notFolder] : [notFolder, readOnly]) {
      const [slow, quick] = [spy("slow", { before: () => delay(400) }), spy("quick")];
      const opened = await openFastest([slow.entry, quick.entry], { ...options, calibrationFolder });
      expect(opened.backend.name).toBe("quick");
      expect(opened.notes[0]).toMatch(/, not stored: Cannot write .*\.json/);
      await opened.backend.close();
      expect(slow.open).toBe(0);
    }
  });
});

interface Hooks {
  readonly threads?: number;
  /** Before each matrix is computed; gets the backend's version. */
  readonly before?: (version: string) => Promise<void>;
  readonly after?: (values: Float64Array) => Float64Array;
}

/** By shape: of each, calibrations have one matrix. */
const known = new Map<string, Promise<Float64Array>>();

/** What the wasm backend computes, once for each shape. */
function valuesOf(matrix: MatrixSource): Promise<Float64Array> {
  const key = matrix.shape.join(" x ");
  const values = known.get(key) ?? compute(matrix);
  known.set(key, values);
  return values;
}

async function compute(matrix: MatrixSource): Promise<Float64Array> {
  await using backend = await wasm.open(options);
  return (await backend.singularValues?.(matrix)) ?? new Float64Array();
}

/** The wasm backend under another name, with hooks; counts matrices, and how often it was and is open, with how many threads. */
function spy(name: string, hooks: Hooks = {}) {
  const threads: (number | undefined)[] = [];
  const counts = { calls: 0, opened: 0, open: 0, threads };
  const entry: BackendEntry = {
    name,
    capabilities: wasm.capabilities,
    availability: wasm.availability,
    async open(given) {
      const backend = await wasm.open(given);
      counts.opened++;
      counts.open++;
      threads.push(given.threads);
      const close = async () => {
        counts.open--;
        await backend.close();
      };
      return {
        name,
        version: backend.version,
        precision: backend.precision,
        concurrency: backend.concurrency,
        async singularValues(matrix) {
          counts.calls++;
          await hooks.before?.(backend.version);
          const values = await valuesOf(matrix);
          return hooks.after?.(values) ?? values;
        },
        close,
        [Symbol.asyncDispose]: close,
      };
    },
  };
  return Object.assign(counts, { entry });
}

async function openSpy(name: string, hooks: Hooks): Promise<{ readonly backend: Backend }> {
  return { backend: await spy(name, hooks).entry.open({ ...options, threads: hooks.threads ?? 1 }) };
}

function absent(name: string): BackendEntry {
  return {
    name,
    capabilities: ["singularValues"],
    availability: async () => ({ ok: false, reason: "no device", fix: "buy one" }),
    open: () => Promise.reject(new Error("It cannot run here")),
  };
}
