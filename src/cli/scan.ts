// spectrum scan: scores every module of a model and writes results.json.
import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import {
  openModel,
  renderHeatMap,
  renderProgress,
  renderSummary,
  renderTable,
  type ScanProgress,
  scan,
  UsageError,
  writeResults,
} from "../index.ts";
import { defineCommand, EXIT } from "./command.ts";
import { progressReporter } from "./progress.ts";

/** The command `scan`. */
export const scanCommand = defineCommand({
  name: "scan",
  summary: "Score every module of a model by its signal-to-noise ratio",
  positionals: ["MODEL"],
  options: {
    out: {
      kind: "text",
      value: "FILE",
      short: "o",
      help: "Where to write (default results.json; with --json nowhere)",
    },
    backend: { kind: "text", value: "NAME", help: "auto (default), or one that spectrum doctor lists" },
    precision: { kind: "choice", choices: ["exact", "fast"], help: "Default exact" },
    threads: {
      kind: "number",
      value: "N",
      least: 1,
      whole: true,
      help: "Threads in all (default: all processors)",
    },
    include: { kind: "list", value: "GLOB", help: "Only modules whose name, tensor or type matches" },
    exclude: { kind: "list", value: "GLOB", help: "No modules whose name, tensor or type matches" },
    cache: { kind: "text", value: "DIR", help: "Folder of known scores (default: the user's cache)" },
    "no-cache": { kind: "flag", help: "Neither read nor keep scores" },
    json: { kind: "flag", help: "Print the results on stdout as JSON" },
  },
  examples: [
    "spectrum scan HuggingFaceTB/SmolLM2-135M",
    "spectrum scan ./my-model --out my-results.json --include 'self_attn.*'",
    "spectrum scan org/name@main --stream --json > results.json",
  ],
  async run({ positionals: [id], options }, { terminal, signal, commandLine }) {
    const { out = options.json ? null : "results.json", cache, json } = options;
    if (cache !== undefined && options["no-cache"])
      throw new UsageError("--cache and --no-cache exclude each other");
    const model = await openModel(id);
    const progress = progressReporter<ScanProgress>(terminal, renderProgress);
    try {
      if (out !== null) await prepareFile(out);
      const results = await scan(model, {
        backend: options.backend ?? "auto",
        precision: options.precision ?? "exact",
        ...(options.threads === undefined ? {} : { threads: options.threads }),
        include: options.include,
        exclude: options.exclude,
        ...(options["no-cache"] ? { cache: false } : cache === undefined ? {} : { cache }),
        onProgress: progress.report,
        onNote: (text) => terminal.print(text),
        signal,
      });
      terminal.clearStatus();
      if (progress.last) terminal.print(`${renderSummary(results, progress.last, terminal.style)}\n`);
      terminal.print(renderTable(results, terminal.style));
      terminal.print("");
      terminal.print(renderHeatMap(results, terminal.style));
      if (out !== null) {
        await writeResults(out, results);
        terminal.print(
          `\nWrote ${out}. Next:\n  spectrum select ${out} --top-percent 25 --out selection.yaml`,
        );
      }
      if (json) await terminal.printDocument(results);
      return EXIT.done;
    } catch (error) {
      if (!signal.aborted) throw error;
      terminal.print(describeInterruption(progress.last, options["no-cache"], commandLine));
      return EXIT.interrupted;
    } finally {
      await model.close();
    }
  },
});

/** Makes sure, before an hour of work, that its result can be written. */
async function prepareFile(path: string): Promise<void> {
  const found = await stat(path).catch(() => null);
  if (found?.isDirectory())
    throw new UsageError(`Cannot write the results to ${path}: it is a folder; name a file`);
  await mkdir(dirname(path), { recursive: true });
}

function describeInterruption(progress: ScanProgress | null, forgets: boolean, commandLine: string): string {
  const done = progress ? `${progress.modulesDone} of ${progress.modulesTotal} modules` : "reading the model";
  return forgets
    ? `Interrupted after ${done}; --no-cache kept nothing, so the same command starts again.`
    : `Interrupted after ${done}; their scores are kept. To go on, run it again:\n  ${commandLine}`;
}
