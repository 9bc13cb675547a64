// spectrum select: chooses the modules that are to train and writes the files that trainers read.
import {
  checkNames,
  DIALECTS,
  dialectNamed,
  type Estimator,
  type KnownNames,
  readResults,
  renderSelection,
  type ScanResults,
  type SelectOptions,
  type UnrankedModule,
  UsageError,
  unrankedModules,
  writeSelection,
} from "../index.ts";
import type { OptionTable, OptionValues } from "./arguments.ts";
import { type CommandContext, defineCommand, EXIT } from "./command.ts";
import { MODEL_OPTIONS, openNamedModel } from "./model-options.ts";

const OPTIONS = {
  "top-percent": {
    kind: "number",
    value: "P",
    least: 0,
    help: "Share to take, fractions allowed (default 25)",
  },
  estimator: {
    kind: "choice",
    choices: ["spectrum", "calibrated"],
    help: "Whose scores rank (default spectrum)",
  },
  format: { kind: "choice", choices: DIALECTS.map(({ name }) => name), help: "Default axolotl" },
  strategy: {
    kind: "choice",
    choices: ["per-type", "global", "parameter-share"],
    help: "Within each type (default), across, or a share",
  },
  count: {
    kind: "choice",
    choices: ["at-least-one", "floor"],
    help: "At least one per type (default), or floor",
  },
  embeddings: {
    kind: "choice",
    choices: ["auto", "always", "never"],
    help: "Embeddings and head (default auto)",
  },
  include: { kind: "list", value: "GLOB", help: "Only modules whose name, tensor or type matches" },
  exclude: { kind: "list", value: "GLOB", help: "No modules whose name, tensor or type matches" },
  model: { kind: "text", value: "MODEL", help: "Check every name against this model" },
  revision: MODEL_OPTIONS.revision,
  offline: MODEL_OPTIONS.offline,
  out: {
    kind: "text",
    value: "PATH",
    short: "o",
    help: "File or folder; without it nothing is written",
  },
  json: { kind: "flag", help: "Print the selection on stdout as JSON" },
} as const satisfies OptionTable;

/** The command `select`. */
export const selectCommand = defineCommand({
  name: "select",
  summary: "Choose the modules to train from the results of a scan",
  positionals: ["RESULTS"],
  options: OPTIONS,
  examples: [
    "spectrum select results.json --top-percent 25 --out selection.yaml",
    "spectrum select results.json --strategy parameter-share --top-percent 10",
    "spectrum select results.json --format original --out original/",
  ],
  async run({ positionals: [path], options }, { terminal, signal }) {
    checkModelOptions(options);
    const dialect = dialectNamed(options.format ?? "axolotl");
    const results = await readResults(path);
    const selection = dialect.select(results, selectOptions(options));
    // Also without --out: the dialect may refuse the selection, and its warnings are about the selection.
    const { warnings: dialectWarnings } = dialect.emit(selection, results);
    const warnings = [
      ...checkNames(selection, await knownNames(results, options, { terminal, signal })),
      ...describeUnranked(unrankedModules(results, selection.estimator), selection.estimator),
      ...dialectWarnings,
    ];
    terminal.print(renderSelection(selection, results, terminal.style));
    if (options.out === undefined) {
      terminal.print("\nNothing is written without --out.");
    } else {
      const { paths } = await writeSelection(options.out, selection, { results, dialect });
      terminal.print(`\nWrote ${dialect.summary}:`);
      for (const file of paths) terminal.print(`  ${file}`);
    }
    for (const warning of warnings) terminal.printNote(warning);
    if (options.json) await terminal.printDocument(selection);
    return EXIT.done;
  },
});

function checkModelOptions({ model, revision, offline }: OptionValues<typeof OPTIONS>): void {
  if (model !== undefined || (revision === undefined && !offline)) return;
  const option = revision === undefined ? "--offline" : "--revision";
  throw new UsageError(
    `${option} is about the model of --model, which is missing: name it, or drop ${option}`,
  );
}

/** The names that a selection is checked against: the model's where one is named, else those of the results. */
async function knownNames(
  results: ScanResults,
  options: OptionValues<typeof OPTIONS>,
  context: Pick<CommandContext, "terminal" | "signal">,
): Promise<KnownNames> {
  if (options.model === undefined) return { results, tensors: null };
  // Only the names are wanted: nothing is worth a download.
  const model = await openNamedModel(options.model, { ...options, stream: true }, context);
  await model.close();
  return { results, tensors: model.tensors.keys() };
}

/** A line per reason: how many modules could not be ranked, and one of them. */
function describeUnranked(modules: readonly UnrankedModule[], estimator: Estimator): string[] {
  const byReason = new Map<string, string[]>();
  for (const { name, reason } of modules) byReason.set(reason, [...(byReason.get(reason) ?? []), name]);
  return [...byReason].map(([reason, names]) => {
    const others = names.length > 1 ? ` and ${names.length - 1} more` : "";
    return `${names[0]}${others} cannot be ranked (${estimator}): ${reason}`;
  });
}

/** What was given on the command line; what was not is left to the defaults of `select` and of the format. */
function selectOptions(options: OptionValues<typeof OPTIONS>): SelectOptions {
  const { estimator, strategy, count, embeddings, include, exclude } = options;
  const topPercent = options["top-percent"];
  return {
    ...(topPercent !== undefined && { topPercent }),
    ...(estimator !== undefined && { estimator }),
    ...(strategy !== undefined && { strategy }),
    ...(count !== undefined && { count }),
    ...(embeddings !== undefined && { embeddings }),
    include,
    exclude,
  };
}
