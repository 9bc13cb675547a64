// spectrum scan: scores every module of a model and writes results.json.
import { access, constants, mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import {
  checkBackend,
  renderHeatMap,
  renderProgress,
  renderSummary,
  renderTable,
  type ScanOptions,
  type ScanProgress,
  type ScanResults,
  scan,
  UsageError,
  writeResults,
} from "../index.ts";
import type { OptionTable, OptionValues } from "./arguments.ts";
import { BACKEND_OPTIONS } from "./backend-options.ts";
import { defineCommand, EXIT, quote } from "./command.ts";
import { MODEL_OPTIONS, openNamedModel } from "./model-options.ts";
import { progressReporter } from "./progress.ts";

const OPTIONS = {
  out: {
    kind: "text",
    value: "FILE",
    short: "o",
    help: "Default results.json; with --json none",
  },
  ...BACKEND_OPTIONS,
  precision: {
    kind: "choice",
    choices: ["exact", "fast"],
    help: "Default exact; fast: score spectrum to 1e-6",
  },
  include: { kind: "list", value: "GLOB", help: "Only modules whose name, tensor or type matches" },
  exclude: { kind: "list", value: "GLOB", help: "No modules whose name, tensor or type matches" },
  ...MODEL_OPTIONS,
  cache: { kind: "text", value: "DIR", help: "Folder of known scores (default: your cache)" },
  "no-cache": { kind: "flag", help: "Neither read nor keep scores" },
  json: { kind: "flag", help: "Print the results on stdout as JSON" },
} as const satisfies OptionTable;

/** The command `scan`. */
export const scanCommand = defineCommand({
  name: "scan",
  summary: "Score every module of a model by its signal-to-noise ratio",
  positionals: ["MODEL"],
  options: OPTIONS,
  examples: [
    "spectrum scan HuggingFaceTB/SmolLM2-135M",
    "spectrum scan ./my-model --out my-results.json --include 'self_attn.*'",
    "spectrum scan org/name@main --stream --json > results.json",
  ],
  async run({ positionals: [id], options }, { terminal, signal, commandLine }) {
    const { out = options.json ? null : "results.json" } = options;
    const scanOptions = readScanOptions(options);
    const progress = progressReporter<ScanProgress>(terminal, renderProgress);
    try {
      // Before a download that may take long.
      await checkBackend(options.backend ?? "auto", { capability: "singularValues" });
      await using model = await openNamedModel(id, options, { terminal, signal });
      if (out !== null) await prepareFile(out);
      const onNote = (text: string) => terminal.print(text);
      const results = await scan(model, { ...scanOptions, onProgress: progress.report, onNote, signal });
      terminal.clearStatus();
      if (out !== null) await writeResults(out, results);
      if (progress.last) terminal.print(`${renderSummary(results, progress.last, terminal.style)}\n`);
      terminal.print(`${renderTable(results, terminal.style)}\n`);
      terminal.print(renderHeatMap(results, terminal.style));
      if (out !== null) terminal.print(`\nWrote ${out}. ${describeNext(out, results)}`);
      if (options.json) await terminal.printDocument(results);
      return EXIT.done;
    } catch (error) {
      if (!signal.aborted) throw error;
      terminal.print(describeInterruption(progress.last, options["no-cache"], commandLine));
      return EXIT.interrupted;
    }
  },
});

function readScanOptions(options: OptionValues<typeof OPTIONS>): ScanOptions {
  const { backend, precision, threads, include, exclude, cache } = options;
  const noCache = options["no-cache"];
  if (noCache && cache !== undefined) throw new UsageError("--cache and --no-cache exclude each other");
  return {
    ...(backend !== undefined && { backend }),
    ...(precision !== undefined && { precision }),
    ...(threads !== undefined && { threads }),
    ...(noCache ? { cache: false as const } : cache !== undefined && { cache }),
    include,
    exclude,
  };
}

function describeNext(out: string, results: ScanResults): string {
  return results.modules.some(({ snr }) => snr && (snr.spectrum !== null || snr.calibrated !== null))
    ? `Next:\n  spectrum select ${quote(out)} --top-percent 25 --out selection.yaml`
    : "No module has a score: there is nothing to select.";
}

/** Makes sure, before an hour of work, that its result can be written. */
async function prepareFile(path: string): Promise<void> {
  const found = await stat(path).catch(() => null);
  if (found?.isDirectory())
    throw new UsageError(`Cannot write the results to ${path}: it is a folder; name a file`);
  const folder = dirname(path);
  try {
    await mkdir(folder, { recursive: true });
    await access(folder, constants.W_OK);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`Cannot write the results to ${path}: ${reason}`, { cause });
  }
}

function describeInterruption(progress: ScanProgress | null, forgets: boolean, commandLine: string): string {
  if (progress === null)
    return `Interrupted while opening the model; what is downloaded is kept. To go on, run it again:\n  ${commandLine}`;
  const done = `Interrupted after ${progress.modulesDone} of ${progress.modulesTotal} matrices`;
  return forgets
    ? `${done}; --no-cache kept nothing, so the same command starts again.`
    : `${done}; their scores are kept. To go on, run it again:\n  ${commandLine}`;
}
