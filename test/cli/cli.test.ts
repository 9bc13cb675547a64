import { mkdtemp, readdir, readFile, rm, stat, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readSelection } from "../../src/select/selection-file.ts";
import { parseResults, readResults, writeResults } from "../../src/snr/results-file.ts";
import { scanResults, scored } from "../select/results.ts";
import { tinyLlama, writeTinyModel } from "../tiny-model.ts";
import { CLI, ROOT, spectrum } from "./run.ts";

const MODEL = "examples/wordnet-llama-2m";
const PUBLISHED = "test/fixtures/published/snr_results_meta-llama-Meta-Llama-3-8B.json";

function folder(): Promise<string> {
  return mkdtemp(join(tmpdir(), "spectrum-cli-"));
}

describe("help and version", () => {
  it("print on stdout and exit with 0", async () => {
    const help = await spectrum(["--help"]);
    expect(help).toMatchObject({ code: 0, stderr: "" });
    expect(help.stdout).toMatch(/^Usage: spectrum COMMAND/m);
    const { version } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8"));
    expect(await spectrum(["--version"])).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
  });

  it.each(["scan", "select", "doctor"])(
    "of %s fits 80 columns and names options that exist",
    async (command) => {
      const { code, stdout } = await spectrum([command, "--help"]);
      expect(code).toBe(0);
      for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(80);
      expect(stdout).toMatch(new RegExp(`^Usage: spectrum ${command}`, "m"));
      expect((await spectrum(["help", command])).stdout).toBe(stdout);
      expect(stdout).toContain("--json");
    },
  );

  it("is printed on stderr, with exit code 2, when there is no command", async () => {
    const { code, stdout, stderr } = await spectrum([]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain("Commands:");
  });
});

describe("bad usage", () => {
  it.each([
    [["scan", MODEL, "--presicion", "fast"], /Unknown option --presicion; did you mean --precision\?/],
    [["scna"], /Unknown command scna; did you mean scan\?/],
    [["--hlep"], /did you mean --help\?/],
    [["scan", MODEL, "--backend", "gpu", "--json"], /"gpu": there is no such backend/],
    [
      ["scan", "nosuchfolder"],
      /"nosuchfolder": there is no such folder, and a model on the Hub is named org\/name/,
    ],
    // Before anyone asks the Hub for the model.
    [["scan", "no/such", "--backend", "wsm"], /Cannot use the backend "wsm": there is no such backend/],
    [["scan", MODEL, "--include", "zzz", "--json"], /zzz/],
    [["scan", MODEL, "--cache", "x", "--no-cache"], /exclude each other/],
    [["select", PUBLISHED, "--top-percent", "101"], /101/],
    [["select", PUBLISHED, "--top-percent", "0x10"], /number from 0 up, got "0x10"/],
    [["select", PUBLISHED, "--revision", "main"], /--revision is about the model of --model/],
    [["select", PUBLISHED, "--offline"], /--offline is about the model of --model/],
    [["select", "package.json"], /package\.json/],
    [["plan", "x"], /does not have it/],
  ])("%j exits with 2 and one sentence", async (args, sentence) => {
    const { code, stdout, stderr } = await spectrum(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(sentence);
    const lines = stderr.trimEnd().split("\n");
    expect(lines.at(-1)).toMatch(/^spectrum: /);
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  it("shows the stack with SPECTRUM_DEBUG=1", async () => {
    const { code, stderr } = await spectrum(["scan"], { SPECTRUM_DEBUG: "1" });
    expect(code).toBe(2);
    expect(stderr).toMatch(/^\s+at /m);
  });
});

describe("failure", () => {
  it("exits with 1 and says which file is missing", async () => {
    const { code, stdout, stderr } = await spectrum(["select", "nowhere/results.json"]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toMatch(/^spectrum: .*nowhere\/results\.json/);
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  it("exits with 2 and a sentence where a folder is given for results or a selection", async () => {
    const place = await folder();
    const results = await spectrum(["select", place]);
    expect(results).toEqual({
      code: 2,
      stdout: "",
      stderr: `spectrum: Cannot read the results in ${place}: it is a folder; name the file that a scan wrote\n`,
    });
    const model = await writeTinyModel(tinyLlama(1, 16));
    const selection = await spectrum(["export", model, "--selection", place, "--out", join(place, "out")]);
    expect(selection.code).toBe(2);
    expect(selection.stderr).toMatch(/Cannot read the selection in .*: it is a folder/);
  });
});

describe("scan", () => {
  it("writes results, draws them on stderr, and names the next command", async () => {
    const out = join(await folder(), "new", "results.json");
    const { code, stdout, stderr } = await spectrum(["scan", MODEL, "--out", out, "--no-cache"]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: "" });
    expect(stderr).toContain(`spectrum select ${out} `);
    expect(stderr).toMatch(/^mlp\.down_proj +8 /m);
    // Neither a redrawn line nor a colour goes into a log.
    expect(stderr).not.toContain("\r");
    expect(stderr).not.toContain("\u001b");
    const results = await readResults(out);
    expect(results.modules.filter((module) => module.snr?.spectrum != null)).toHaveLength(57);
  });

  it("prints with --json exactly one document on stdout, equal to the file", async () => {
    const out = join(await folder(), "results.json");
    const { code, stdout, stderr } = await spectrum(["scan", MODEL, "--out", out, "--no-cache", "--json"]);
    expect(code).toBe(0);
    expect(parseResults(stdout, "stdout")).toEqual(parseResults(await readFile(out, "utf8"), out));
    expect(JSON.parse(stdout)).toEqual(JSON.parse(await readFile(out, "utf8")));
    expect(stderr).toContain("modules have a score");
  });

  it("scans with --precision fast, says so, and scores within 1e-6 of exact", async () => {
    const scores = [];
    for (const precision of ["exact", "fast"]) {
      const args = [
        "scan",
        MODEL,
        "--include",
        "mlp.up_proj",
        "--no-cache",
        "--json",
        "--backend",
        "wasm",
        "--precision",
        precision,
      ];
      const { code, stdout, stderr } = await spectrum(args);
      expect(code).toBe(0);
      const results = parseResults(stdout, "stdout");
      expect(results.backend.precision).toBe(precision);
      expect(stderr).toContain(`by wasm (${precision})`);
      scores.push(results.modules.map((module) => module.snr?.spectrum ?? NaN));
    }
    const [exact = [], fast = []] = scores;
    expect(exact).toHaveLength(8);
    for (const [i, score] of fast.entries())
      expect(Math.abs(score / (exact[i] ?? NaN) - 1)).toBeLessThan(1e-6);
  });

  it("writes nothing with --json alone", async () => {
    const before = await readdir(ROOT);
    const { code, stdout } = await spectrum([
      "scan",
      MODEL,
      "--include",
      "mlp.up_proj",
      "--no-cache",
      "--json",
    ]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout).modules).toHaveLength(8);
    expect(await readdir(ROOT)).toEqual(before);
  });

  it("of a part without a matrix says that there is nothing to select, as select does", async () => {
    const out = join(await folder(), "norms.json");
    const scan = await spectrum(["scan", MODEL, "--include", "*norm", "--out", out, "--no-cache"]);
    expect(scan.code).toBe(0);
    expect(scan.stderr).toMatch(/No module has a score: there is nothing to select\.\n$/);
    expect(scan.stderr).not.toContain("spectrum select");
    const { code, stderr } = await spectrum(["select", out]);
    expect(code).toBe(2);
    expect(stderr).toMatch(
      /^spectrum: Nothing can be selected: none of the 17 modules .*norm, for one: a vector/,
    );
  });

  it("refuses to write over a folder before it scans", async () => {
    const out = await folder();
    const { code, stderr } = await spectrum(["scan", MODEL, "--out", out]);
    expect(code).toBe(2);
    expect(stderr).toContain("it is a folder");
    expect(stderr).not.toContain("modules have a score");
  });

  it("ends with 1 and a sentence when scores cannot be kept, whatever its threads are at", async () => {
    // A link to nowhere: nothing is known there, and nothing can be written, which shows while others are computed.
    const cache = join(await folder(), "scores");
    await symlink(`${cache}-nowhere`, cache);
    for (let i = 0; i < 4; i++) {
      const { code, stderr } = await spectrum(["scan", MODEL, "--json", "--cache", cache]);
      expect(stderr).toMatch(/^spectrum: Cannot keep scores in .*name another folder/m);
      expect(code).toBe(1);
    }
  });

  it("says before it scans that the results cannot be written there", async () => {
    const { code, stderr } = await spectrum(["scan", MODEL, "--out", "package.json/results.json"]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^spectrum: Cannot write the results to package\.json\/results\.json: [^\n]+\n$/);
  });

  it("colours where asked to, not where NO_COLOR is set, and keeps to COLUMNS", async () => {
    const args = ["scan", MODEL, "--no-cache", "--json"];
    const [forced, none] = await Promise.all([
      spectrum(args, { FORCE_COLOR: "3" }),
      spectrum(args, { NO_COLOR: "1", COLUMNS: "40" }),
    ]);
    expect(forced.stderr).toContain("\u001b[48;2;");
    expect(forced.stdout).not.toContain("\u001b");
    expect(none.stderr).not.toContain("\u001b");
    const pictures = none.stderr.slice(none.stderr.indexOf("\n\n"));
    for (const line of pictures.split("\n")) expect(line.length).toBeLessThanOrEqual(40);
  });
});

describe("auto", () => {
  it("times nothing for a model as small, and finds its scores in the next scan", async () => {
    const cache = await folder();
    const scan = async (...options: string[]) => {
      const args = ["scan", MODEL, "--json", ...options];
      const { code, stdout, stderr } = await spectrum(args, { SPECTRUM_CACHE: cache });
      expect(code).toBe(0);
      expect(JSON.parse(stdout).backend.name).toBe("wasm");
      expect(stderr).toContain("auto took the backend wasm");
      // Results hold no day.
      expect(stdout).not.toMatch(/\d{4}-\d\d-\d\d/);
      return { stdout, stderr };
    };
    const first = await scan("--include", "mlp.up_proj");
    const second = await scan("--include", "mlp.up_proj");
    expect(second.stdout).toBe(first.stdout);
    for (const { stderr } of [second, await scan()]) expect(stderr).toMatch(/8 of them\s+known before/);
    expect(await readdir(cache)).not.toContain("calibrations");
  });

  it("calibrates once for a large model, whatever is scanned of it, and doctor says the same", async () => {
    const cache = await folder();
    const calibrations = join(cache, "calibrations");
    // Name and time of writing of each calibration.
    const stored = async () => {
      const names = await readdir(calibrations).catch(() => []);
      return Promise.all(names.map(async (name) => [name, (await stat(join(calibrations, name))).mtimeMs]));
    };
    // A head of 6e11 operations, which is not scanned.
    const tensors = tinyLlama(1, 24).set("lm_head.weight", {
      shape: [6400, 6400],
      values: new Float32Array(6400 ** 2),
    });
    const model = await writeTinyModel(tensors, { model_type: "llama" });
    const scan = async () => {
      const args = ["scan", model, "--include", "mlp.up_proj", "--json"];
      const { code, stdout, stderr } = await spectrum(args, { SPECTRUM_CACHE: cache });
      expect(code).toBe(0);
      return { stdout, note: /^auto took .*$/m.exec(stderr)?.[0] };
    };
    const first = await scan();
    const calibrated = await stored();
    expect(await scan()).toEqual(first);
    expect(await stored()).toEqual(calibrated);

    const doctor = await spectrum(["doctor", "--json"], { SPECTRUM_CACHE: cache });
    const { fastest, folders } = JSON.parse(doctor.stdout);
    expect(folders.calibrations).toBe(calibrations);
    expect(fastest.exact.backend).toBe(JSON.parse(first.stdout).backend.name);
    expect(calibrated).toHaveLength(fastest.exact.candidates.length > 1 ? 1 : 0);
    expect(doctor.stderr).toContain(`exact  ${fastest.exact.backend}: ${fastest.exact.why}`);
    await rm(model, { recursive: true });
  });

  it("lets no runtime store an identifier of the machine for its telemetry", async () => {
    const home = await folder();
    const place = { HOME: home, XDG_CACHE_HOME: home, SPECTRUM_CACHE: join(home, "spectrum") };
    const args = ["scan", MODEL, "--include", "mlp.up_proj", "--json", "--backend", "onnxruntime-cpu"];
    expect((await spectrum(args, place)).code).toBe(0);
    expect(await readdir(home)).toEqual(["spectrum"]);
  });

  it("is calibrated by doctor on demand, for both precisions", async () => {
    const cache = await folder();
    const { code, stdout } = await spectrum(["doctor", "--calibrate", "--json"], { SPECTRUM_CACHE: cache });
    expect(code).toBe(0);
    const { fastest } = JSON.parse(stdout);
    const stored = await readdir(join(cache, "calibrations")).catch(() => []);
    const several = [fastest.exact, fastest.fast].filter(({ candidates }) => candidates.length > 1);
    expect(stored).toHaveLength(several.length);
    for (const { backend, candidates } of [fastest.exact, fastest.fast])
      expect(candidates).toContain(backend);
    expect(fastest.exact.candidates).not.toContain("reference");
  });
});

describe("Ctrl-C", () => {
  it("ends a scan with 130, keeps the scores and says how to go on", async () => {
    const model = await writeTinyModel(tinyLlama(6, 512));
    const [cache, out] = [join(await folder(), "cache"), join(await folder(), "it's results.json")];
    const args = ["scan", model, "--out", out, "--cache", cache];
    let sent = false;
    const first = await spectrum(args, {}, (stderr, kill) => {
      if (sent || !stderr.includes("auto took")) return;
      sent = true;
      setTimeout(() => kill("SIGINT"), 50);
    });
    expect({ code: first.code, stdout: first.stdout }).toEqual({ code: 130, stdout: "" });
    expect(first.stderr).toContain("Stopping");
    const [, done, total] = /Interrupted after (\d+) of (\d+) matrices/.exec(first.stderr) ?? [];
    expect(Number(total)).toBe(19);
    // What it says to type, a shell reads as the same command.
    expect(first.stderr).toContain(
      `spectrum scan ${model} --out '${out.replace("'", "'\\''")}' --cache ${cache}`,
    );

    const second = await spectrum(args);
    expect(second.code).toBe(0);
    const known = Number(/, (\d+) of them known before/.exec(second.stderr)?.[1] ?? 0);
    expect(known).toBeGreaterThanOrEqual(Number(done));
    expect((await readResults(out)).modules.length).toBeGreaterThan(0);
  });
});

describe("select", () => {
  it("writes the selection of a published result file, and prints it with --json", async () => {
    const out = join(await folder(), "selection.yaml");
    const { code, stdout, stderr } = await spectrum([
      "select",
      PUBLISHED,
      "--top-percent",
      "25",
      "--out",
      out,
      "--json",
    ]);
    expect(code).toBe(0);
    const { parameterNames } = JSON.parse(stdout);
    // 7 types of 32 layers, a quarter of each.
    expect(parameterNames).toHaveLength(7 * 8);
    const written = await readSelection(out);
    expect(written.map(({ name }) => name).sort()).toEqual([...parameterNames].sort());
    expect(stderr).toContain(out);
    expect(stderr).toMatch(/checked against the results only/);
  });

  it("writes the three files of the original tool into a folder", async () => {
    const out = await folder();
    const { code } = await spectrum([
      "select",
      PUBLISHED,
      "--format",
      "original",
      "--out",
      join(out, "original"),
    ]);
    expect(code).toBe(0);
    const files = await readdir(join(out, "original"), { recursive: true });
    expect(files.filter((file) => /\.(json|yaml)$/.test(file))).toHaveLength(3);
  });

  it("writes nothing without --out, and says so", async () => {
    const { code, stdout, stderr } = await spectrum(["select", PUBLISHED]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: "" });
    expect(stderr).toContain("Nothing is written without --out");
  });

  it("gives the warnings of the format without --out as with it", async () => {
    const path = join(await folder(), "results.json");
    await writeResults(path, scanResults([scored("model.layers.0.mlp.experts.3.up_proj", 1)]));
    const warning = /^Note: 1 names of experts are the checkpoint's/m;
    for (const rest of [[], ["--json"], ["--out", join(await folder(), "selection.yaml")]]) {
      const { code, stderr } = await spectrum(["select", path, ...rest]);
      expect(code).toBe(0);
      expect(stderr.match(new RegExp(warning, "gm"))).toHaveLength(1);
    }
  });

  it("draws nothing of a selection that the format refuses, with --out or without", async () => {
    const path = join(await folder(), "results.json");
    const tensor = "model.layers.0.mlp.experts.down_proj";
    const experts = [1, 2, 3, 4].map((score, expert) =>
      scored(`${tensor}[${expert}]`, score, { tensor, type: "mlp.experts.down_proj", expert }),
    );
    await writeResults(path, scanResults(experts));
    for (const rest of [[], ["--json"], ["--out", join(await folder(), "selection.yaml")]]) {
      const { code, stdout, stderr } = await spectrum(["select", path, "--format", "trl", ...rest]);
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
      expect(stderr).toMatch(/^spectrum: The format trl cannot select single experts [^\n]+\n$/);
    }
  });

  it("checks the names against a model that it is given", async () => {
    const { code, stderr } = await spectrum(["select", PUBLISHED, "--model", MODEL]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/match nothing in the model/);
  });
});

describe("doctor", () => {
  it("lists the backends, and prints the same as JSON", async () => {
    const { code, stdout, stderr } = await spectrum(["doctor", "--json"], { HF_TOKEN: "hf_secretvalue" });
    expect(code).toBe(0);
    const findings = JSON.parse(stdout);
    expect(findings.backends.map(({ name }: { name: string }) => name)).toContain("wasm");
    expect(stderr).toMatch(/^ {2}wasm +ready, scans$/m);
    expect(stderr).toMatch(/^ {2}onnxruntime-cpu +ready, scans, trains in float32 or float16$/m);
    expect(stdout + stderr).not.toContain("hf_secretvalue");
  });
});

describe("the bin", () => {
  it("can be executed as it is", async () => {
    expect((await readFile(CLI, "utf8")).startsWith("#!/usr/bin/env node\n")).toBe(true);
    expect((await stat(CLI)).mode & 0o111).toBe(0o111);
  });
});
