// The configs that a dataset repository declares in the YAML at the head of its README.md, as Python's `datasets` reads
// them.
import { parseDocument } from "yaml";
import { UsageError } from "../errors.ts";

/** A config: a part of a repository that is a dataset of its own. */
export interface CardConfig {
  readonly name: string;
  readonly isDefault: boolean;
  /** Folder that the config's files are in; empty for the whole repository. */
  readonly folder: string;
  /** Patterns of files by split; null where names decide. */
  readonly patterns: ReadonlyMap<string, readonly string[]> | null;
}

/** Fields that change nothing about which records there are. */
const KNOWN_FIELDS: ReadonlySet<string> = new Set(
  "config_name default data_dir data_files description features version drop_labels drop_metadata".split(" "),
);

/** More than any card's head has. */
const MAX_HEAD_CHARACTERS = 4 * 2 ** 20;

/**
 * The configs that a README.md declares; none when it has no head, or one without configs. `where` names it in errors.
 *
 * @throws UsageError when the head is no YAML, or its configs say what cannot be or is not supported.
 */
export function cardConfigs(readme: string, where: string): readonly CardConfig[] {
  const head = /^\uFEFF?---[ \t]*\r?\n([\s\S]*?)\r?\n---[ \t]*(?:\r?\n|$)/.exec(readme)?.[1];
  if (head === undefined) return [];
  const { configs } = parseHead(head, where);
  if (configs === undefined || configs === null) return [];
  if (!Array.isArray(configs)) throw wrong(where, "configs is no list");
  return configs.map((config: unknown) => parseConfig(config, where));
}

/** Plain YAML without aliases, which can make a short text enormous. */
function parseHead(head: string, where: string): Fields {
  if (head.length > MAX_HEAD_CHARACTERS)
    throw wrong(where, `it has more than ${MAX_HEAD_CHARACTERS} characters`);
  try {
    const document = parseDocument(head, { schema: "core" });
    const [problem] = document.errors;
    if (problem) throw problem;
    return fieldsOf(document.toJS({ maxAliasCount: 0 })) ?? {};
  } catch (cause) {
    throw wrong(where, cause instanceof Error ? cause.message : String(cause));
  }
}

function parseConfig(config: unknown, where: string): CardConfig {
  const fields = fieldsOf(config);
  const name = fields?.config_name;
  if (fields === null || typeof name !== "string") throw wrong(where, "a config has no config_name");
  const unknown = Object.keys(fields).find((field) => !KNOWN_FIELDS.has(field));
  if (unknown !== undefined)
    throw wrong(where, `the config ${name} sets ${unknown}, which this version does not support`);
  const folder = fields.data_dir ?? "";
  if (typeof folder !== "string") throw wrong(where, `data_dir of the config ${name} is no text`);
  return {
    name,
    isDefault: fields.default === true,
    folder: folder.replace(/^(?:\.\/)+|\/+$/g, ""),
    patterns: fields.data_files === undefined ? null : parsePatterns(fields.data_files, `${where}: ${name}`),
  };
}

/** `data_files`: a pattern, patterns, or entries of a split and its patterns. */
function parsePatterns(value: unknown, where: string): ReadonlyMap<string, readonly string[]> {
  if (!Array.isArray(value)) return new Map([["train", texts(value, where)]]);
  if (!value.some((entry) => fieldsOf(entry) !== null)) return new Map([["train", texts(value, where)]]);
  const patterns = new Map<string, readonly string[]>();
  for (const entry of value) {
    const { split, path } = fieldsOf(entry) ?? {};
    if (typeof split !== "string" || !/^\w+(\.\w+)*$/.test(split))
      throw wrong(where, "expected a split and a path in each of data_files");
    if (patterns.has(split)) throw wrong(where, `data_files has the split ${split} twice`);
    patterns.set(split, texts(path, where));
  }
  return patterns;
}

function texts(value: unknown, where: string): readonly string[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  return list.map((text) => {
    if (typeof text === "string") return text.replace(/^(?:\.\/)+/, "");
    throw wrong(where, `expected patterns in data_files, got ${JSON.stringify(text)?.slice(0, 80)}`);
  });
}

type Fields = Readonly<Record<string, unknown>>;

function fieldsOf(value: unknown): Fields | null {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : null;
}

function wrong(where: string, what: string): UsageError {
  return new UsageError(
    `Cannot use the README.md of ${where}: ${what}; download the files that you want and name their folder`,
  );
}
