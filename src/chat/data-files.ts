// Which files of a repository or folder are data, of which split, from their names alone: the rules of Python's `datasets`
// (data_files.py of 5.2).
import { matchesPath } from "./path-glob.ts";

/** Files of a split, in the order in which they are read. */
export type Splits = ReadonlyMap<string, readonly string[]>;

const SPLITS: readonly (readonly [split: string, keywords: readonly string[]])[] = [
  ["train", ["train", "training"]],
  ["validation", ["validation", "valid", "dev", "val"]],
  ["test", ["test", "testing", "eval", "evaluation"]],
];

/** What may stand beside a keyword. */
const BESIDE = "[-._ 0-9]";

const inFolderName = (keyword: string) => [
  `**/${keyword}/**`,
  `**/${keyword}${BESIDE}*/**`,
  `**/*${BESIDE}${keyword}/**`,
  `**/*${BESIDE}${keyword}${BESIDE}*/**`,
];

const inFileName = (keyword: string) => [`**/${keyword}${BESIDE}*`, `**/*${BESIDE}${keyword}${BESIDE}*`];

const SHARDED = /^data\/([^/]*)-[0-9]{5}-of-[0-9]{5}[^/]*\.[^/]*$/;

/** They describe a repository and are no data, unless a pattern names them. */
const IGNORED: ReadonlySet<string> = new Set([
  "README.md",
  "config.json",
  "dataset_info.json",
  "dataset_infos.json",
  "dummy_data.zip",
  "dataset_dict.json",
]);

/**
 * The splits of files that nothing else describes: shards `data/<split>-00000-of-00001.*`; else folders, else files, whose
 * name holds a word such as train, validation or test; else all files are `train`.
 */
export function splitsByName(names: readonly string[]): Splits {
  const sharded = shardsBySplit(names);
  if (sharded.size > 0) return sharded;
  for (const patternsOf of [inFolderName, inFileName]) {
    const splits = new Map<string, readonly string[]>();
    for (const [split, keywords] of SPLITS) {
      const files = filesMatching(names, keywords.flatMap(patternsOf));
      if (files.length > 0) splits.set(split, files);
    }
    if (splits.size > 0) return splits;
  }
  const all = filesMatching(names, ["**"]);
  return new Map(all.length > 0 ? [["train", all]] : []);
}

function shardsBySplit(names: readonly string[]): Splits {
  const splits = new Map<string, string[]>();
  for (const name of [...names].sort()) {
    const split = SHARDED.exec(name)?.[1];
    if (split === undefined || isHidden(name, "data/*")) continue;
    const files = splits.get(split);
    if (files === undefined) splits.set(split, [name]);
    else files.push(name);
  }
  return splits;
}

/** The files that match, pattern after pattern, each once. Hidden ones have to be asked for. */
export function filesMatching(names: readonly string[], patterns: readonly string[]): readonly string[] {
  const sorted = [...names].sort();
  const found = patterns.flatMap((pattern) =>
    sorted.filter((name) => {
      const file = baseName(name);
      if (IGNORED.has(file) && file !== baseName(pattern)) return false;
      return matchesPath(pattern, name) && !isHidden(name, pattern);
    }),
  );
  return [...new Set(found)];
}

/** Whether a name has more parts that begin with a dot, or folders that begin with two underscores, than its pattern. */
function isHidden(name: string, pattern: string): boolean {
  const dotted = (path: string) => path.split("/").filter((part) => part.startsWith(".")).length;
  const special = (path: string) =>
    path
      .split("/")
      .slice(0, -1)
      .filter((part) => part.startsWith("__")).length;
  return dotted(name) !== dotted(pattern) || special(name) !== special(pattern);
}

/** Extensions of files that can be read, by format. */
const FORMATS: ReadonlyMap<string, string> = new Map([
  [".parquet", "parquet"],
  [".jsonl", "json"],
  [".ndjson", "json"],
  [".json", "json"],
  [".csv", "csv"],
]);

/** The extensions of the files that can be read. */
export const DATA_EXTENSIONS: readonly string[] = [...FORMATS.keys()];

/** The extension of a file's name in small letters, with its dot; empty when there is none. */
export function extensionOf(name: string): string {
  const file = baseName(name);
  const dot = file.lastIndexOf(".");
  return dot > 0 ? file.slice(dot).toLowerCase() : "";
}

/**
 * Of files in several formats, which hold the same data more than once or something else, those of the one that most have;
 * of formats with as many files Parquet, then JSON, then CSV.
 */
export function filesOfOneFormat(names: readonly string[]): readonly string[] {
  const counts = new Map<string, number>();
  for (const name of names) {
    const extension = extensionOf(name);
    if (FORMATS.has(extension)) counts.set(extension, (counts.get(extension) ?? 0) + 1);
  }
  const order = (extension: string) => DATA_EXTENSIONS.indexOf(extension);
  const [most] = [...counts].sort(([a, m], [b, n]) => n - m || order(a) - order(b));
  const format = most && FORMATS.get(most[0]);
  return names.filter((name) => format !== undefined && FORMATS.get(extensionOf(name)) === format);
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
