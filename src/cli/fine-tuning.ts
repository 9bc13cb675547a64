// What export, train and evaluate share: from a MODEL or a folder of artifacts to artifacts.
import { stat } from "node:fs/promises";
import { join } from "node:path";
import {
  checkExport,
  exportArtifacts,
  type Manifest,
  type Model,
  readSelection,
  renderProgress,
  resolveParameters,
  type ScanProgress,
  scan,
  select,
  UsageError,
  writeResults,
  writeSelection,
} from "../index.ts";
import type { OptionTable, OptionValues } from "./arguments.ts";
import type { CommandContext } from "./command.ts";
import { MODEL_OPTIONS, openNamedModel } from "./model-options.ts";
import { progressReporter } from "./progress.ts";
import { checkResumedArtifacts, topSource } from "./resumed-artifacts.ts";
import { EXPORT_OPTIONS, readExportOptions } from "./training-options.ts";

/** How a MODEL becomes artifacts on the way to training. */
export const SOURCE_OPTIONS = {
  selection: { kind: "text", value: "FILE", help: "What spectrum select wrote (default: a scan decides)" },
  "top-percent": { kind: "number", value: "P", least: 0, help: "Share of each type to train (default 25)" },
  ...EXPORT_OPTIONS,
  revision: MODEL_OPTIONS.revision,
  offline: MODEL_OPTIONS.offline,
} as const satisfies OptionTable;

/** Options that say how a model becomes artifacts: with artifacts given they come too late. */
const FIXED_BY_EXPORT = [
  "selection",
  "top-percent",
  "chat-template",
  "train-embeddings",
  "compute-dtype",
  "recompute",
  "revision",
] as const;

/** Whether a folder is one of artifacts. */
export async function isArtifacts(folder: string): Promise<boolean> {
  const found = await stat(join(folder, "manifest.json")).catch(() => null);
  return found?.isFile() === true;
}

/** The parameters that a selection file names, by their names in the model's checkpoint. */
export async function readSelectedParameters(path: string | undefined, model: Model) {
  if (path === undefined)
    throw new UsageError(
      "Nothing says what is to train: give --selection FILE, which spectrum select writes",
    );
  const parameters = resolveParameters(await readSelection(path), model.tensors.keys());
  const part = parameters.find(({ rows }) => rows !== null);
  if (part)
    throw new UsageError(
      `Cannot train rows ${part.rows?.join(" to ")} of ${part.name} alone: select the whole parameter`,
    );
  return { parameterNames: parameters.map(({ name }) => name), source: path };
}

/** Options of {@link prepareArtifacts}. */
export interface PrepareOptions extends OptionValues<typeof SOURCE_OPTIONS> {
  /** Folder of the run. */
  readonly out: string;
  readonly resume: boolean;
  readonly sequence: number | undefined;
}

/** @throws UsageError when the options cannot be, whatever the model. */
export function checkSelectionOptions(
  options: Pick<OptionValues<typeof SOURCE_OPTIONS>, "selection" | "top-percent">,
): void {
  const topPercent = options["top-percent"];
  if (topPercent === undefined) return;
  if (options.selection !== undefined)
    throw new UsageError("--selection and --top-percent exclude each other");
  if (topPercent === 0 || topPercent > 100)
    throw new UsageError(`Cannot train the top ${topPercent} %: expected a number above 0, up to 100`);
}

/**
 * Artifacts of what a person named: the folder itself, those that an earlier run in `out` wrote when it is resumed, or
 * new ones of the model, selected by the file or by a scan.
 */
export async function prepareArtifacts(
  id: string,
  options: PrepareOptions,
  context: CommandContext,
): Promise<string> {
  const { out, resume, selection: selectionFile } = options;
  const topPercent = options["top-percent"];
  if (await isArtifacts(id)) {
    for (const name of FIXED_BY_EXPORT) {
      if (options[name] === undefined) continue;
      throw new UsageError(`${id} holds artifacts, in which --${name} is fixed: export the model again`);
    }
    return id;
  }
  const folder = join(out, "artifacts");
  if (await isArtifacts(folder)) {
    if (!resume)
      throw new UsageError(
        `Cannot begin a run in ${out}: it holds one already; go on with it by --resume, or name another folder`,
      );
    await checkResumedArtifacts(folder, { ...options, model: id });
    return folder;
  }
  const { terminal } = context;
  await using model = await openNamedModel(id, { ...options, stream: false }, context);
  const exportOptions = { out: folder, signal: context.signal, ...readExportOptions(options) };
  // Before the scan, which takes long.
  const { maxSequence } = await checkExport(model, exportOptions);
  if (options.sequence !== undefined && options.sequence > maxSequence)
    throw new UsageError(
      `Cannot train on sequences of ${options.sequence} tokens: ${id} takes at most ${maxSequence}`,
    );
  const selection =
    selectionFile === undefined
      ? await scanAndSelect(model, { out, topPercent: topPercent ?? 25 }, context)
      : await readSelectedParameters(selectionFile, model);
  const { manifest } = await exportArtifacts(model, selection, exportOptions);
  terminal.print(`${describeArtifacts(manifest)}\n`);
  return folder;
}

async function scanAndSelect(
  model: Model,
  { out, topPercent }: { readonly out: string; readonly topPercent: number },
  { terminal, signal }: CommandContext,
) {
  const progress = progressReporter<ScanProgress>(terminal, renderProgress);
  const results = await scan(model, {
    onProgress: progress.report,
    onNote: (note) => terminal.print(note),
    signal,
  });
  terminal.clearStatus();
  const selection = select(results, { topPercent });
  const file = join(out, "selection.yaml");
  await writeResults(join(out, "results.json"), results);
  await writeSelection(file, selection, { results });
  terminal.print(`Selected ${selection.modules.length} modules; scores and selection are in ${out}.`);
  return { parameterNames: selection.parameterNames, source: topSource(topPercent) };
}

/** What of a model will train, in a sentence or two. */
export function describeArtifacts({ model, parameters, addedTokens }: Manifest): string {
  const count = parameters.reduce(
    (sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1),
    0,
  );
  const tokens = addedTokens.map(({ content }) => content).join(" and ");
  return (
    `${parameters.length} parameters of ${model.id} train, ${count} values.` +
    (tokens === "" ? "" : ` ${tokens} are new tokens, with rows of their own.`)
  );
}
