// The selection file: written in any dialect, read back from Axolotl's YAML into exact parameter names.
import { open, stat } from "node:fs/promises";
import { join } from "node:path";
import { parseDocument } from "yaml";
import { UsageError } from "../errors.ts";
import { replaceFile } from "../files.ts";
import type { ScanResults } from "../snr/results.ts";
import { axolotl } from "./dialects/axolotl.ts";
import type { Dialect, DialectOutput } from "./dialects/dialect.ts";
import { parameterNaming } from "./parameter-names.ts";
import type { Selection } from "./selection.ts";

/** A hundred thousand experts' names fit. */
const MAX_BYTES = 16 * 2 ** 20;
const ENTRY = /^\^([\w./-]+)\$(?:\[([0-9]{1,9}):([0-9]{1,9})\])?$/;

/** A parameter that a selection file names. */
export interface NamedParameter {
  readonly name: string;
  /** Half-open range along the first axis; null for the whole parameter. */
  readonly rows: readonly [begin: number, end: number] | null;
}

/** What {@link writeSelection} needs besides the place. */
export interface WriteSelectionOptions {
  readonly results: ScanResults;
  /** Default: `axolotl`, the dialect that {@link readSelection} reads. */
  readonly dialect?: Dialect;
}

/** What {@link writeSelection} wrote: paths, and warnings to show. */
export interface WrittenSelection {
  readonly paths: readonly string[];
  readonly warnings: readonly string[];
}

/**
 * Writes a selection. `path` is the file, or the folder it goes into: where it is a folder already, ends in a slash, or the
 * dialect writes several files. Each file is replaced in one step.
 *
 * @throws UsageError when the dialect cannot express the selection; then nothing is written.
 */
export async function writeSelection(
  path: string,
  selection: Selection,
  { results, dialect = axolotl }: WriteSelectionOptions,
): Promise<WrittenSelection> {
  const { files, warnings }: DialectOutput = dialect.emit(selection, results);
  const intoFolder = dialect.output === "folder" || (await isFolder(path));
  const paths: string[] = [];
  for (const file of files) {
    const target = intoFolder ? join(path, file.path) : path;
    await replaceFile(target, file.content);
    paths.push(target);
  }
  return { paths, warnings };
}

async function isFolder(path: string): Promise<boolean> {
  if (/[/\\]$/.test(path)) return true;
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return false;
    throw error;
  }
}

/**
 * Reads a selection file of the dialect `axolotl`.
 *
 * @throws UsageError when it is no such file.
 */
export async function readSelection(path: string): Promise<readonly NamedParameter[]> {
  const file = await open(path);
  try {
    const found = await file.stat();
    if (found.isDirectory())
      throw new UsageError(
        `Cannot read the selection in ${path}: it is a folder; name the file that select wrote`,
      );
    const { size } = found;
    if (size > MAX_BYTES)
      throw new UsageError(`Cannot read ${path}: it has ${size} bytes, a selection has at most ${MAX_BYTES}`);
    return parseSelection(await file.readFile("utf8"), path);
  } finally {
    await file.close();
  }
}

/**
 * Parses the text of a selection file; `where` names it in errors. Other keys of the YAML are let be, so that the
 * configuration of a whole Axolotl run can be read.
 *
 * @throws UsageError unless `unfrozen_parameters` is a list of entries `^name$` or `^name$[a:b]`, each once.
 */
export function parseSelection(text: string, where: string): readonly NamedParameter[] {
  if (text.length > MAX_BYTES)
    throw new UsageError(`Cannot read the selection in ${where}: more than ${MAX_BYTES} characters`);
  const entries = unfrozenParameters(text, where);
  const seen = new Set<string>();
  return entries.map((entry) => {
    const match = typeof entry === "string" ? ENTRY.exec(entry) : null;
    const [, name, begin, end] = match ?? [];
    if (name === undefined)
      throw new UsageError(
        `Cannot read the selection in ${where}: expected entries like ^model.layers.0.mlp.up_proj.weight$, got ${JSON.stringify(entry)}; ` +
          describeEntry(entry),
      );
    if (seen.has(String(entry)))
      throw new UsageError(`Cannot read the selection in ${where}: ${entry} is there twice`);
    seen.add(String(entry));
    const rows: readonly [number, number] | null = begin === undefined ? null : [Number(begin), Number(end)];
    if (rows && rows[0] >= rows[1])
      throw new UsageError(`Cannot read the selection in ${where}: the range of ${entry} is empty`);
    return { name, rows };
  });
}

/** What to know of an entry that is no name: the dialect trl escapes dots, the original tool leaves anchors out. */
function describeEntry(entry: unknown): string {
  return String(entry).includes("\\.")
    ? "that is the format trl, and only the format axolotl is read back"
    : "an entry without ^ and $ matches every name that begins like it";
}

function unfrozenParameters(text: string, where: string): readonly unknown[] {
  const content = parseYaml(text, where);
  const list =
    typeof content === "object" && content !== null && "unfrozen_parameters" in content
      ? content.unfrozen_parameters
      : undefined;
  if (Array.isArray(list) && list.length > 0) return list;
  throw new UsageError(
    `Cannot read the selection in ${where}: expected a list "unfrozen_parameters" with at least one entry, as spectrum select writes it in the format axolotl`,
  );
}

/** Plain YAML: no tags of its own kind, and no aliases, which can make a short text enormous. */
function parseYaml(text: string, where: string): unknown {
  try {
    const document = parseDocument(text, { schema: "core" });
    const [problem] = [...document.errors, ...document.warnings];
    if (problem) throw problem;
    return document.toJS({ maxAliasCount: 0 });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new UsageError(`Cannot read the selection in ${where}: ${reason}`, { cause });
  }
}

/**
 * The checkpoint's tensors that a selection file means, for a model that has `tensors`: names may be the checkpoint's or
 * those of transformers.
 *
 * @throws UsageError naming the first that is neither.
 */
export function resolveParameters(
  parameters: readonly NamedParameter[],
  tensors: Iterable<string>,
): readonly NamedParameter[] {
  const known = new Set(tensors);
  const naming = parameterNaming(known);
  const byParameter = new Map([...known].map((tensor) => [naming(tensor), tensor]));
  return parameters.map(({ name, rows }) => {
    const tensor = byParameter.get(name) ?? (known.has(name) ? name : undefined);
    if (tensor !== undefined) return { name: tensor, rows };
    throw new UsageError(
      `The selection names ${JSON.stringify(name)}, which is no parameter of the model: was it made for another model or revision?`,
    );
  });
}
