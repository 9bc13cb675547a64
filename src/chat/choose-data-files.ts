// Chooses the files of a dataset repository: of a config that its README.md declares, or by their names.
import { UsageError } from "../errors.ts";
import { DATA_EXTENSIONS, filesMatching, filesOfOneFormat, type Splits, splitsByName } from "./data-files.ts";
import { type CardConfig, cardConfigs } from "./dataset-card.ts";

/** What a repository is, and which part of it is wanted. */
export interface DataFilesChoice {
  /** Name of the repository, with its revision where one was stated. */
  readonly id: string;
  /** Text of its README.md; null when it has none. */
  readonly readme: string | null;
  /** Null for the default one. */
  readonly config: string | null;
  readonly split: string;
}

/**
 * The files of a split, in the order in which they are read.
 *
 * @throws UsageError saying what there is instead, and how to name it.
 */
export function chooseDataFiles(names: readonly string[], choice: DataFilesChoice): readonly string[] {
  const { id, readme, split } = choice;
  const configs = readme === null ? [] : cardConfigs(readme, id);
  const config = chooseConfig(configs, choice);
  const splits = config === null ? splitsByName(names) : splitsOf(config, names);
  const found = splits.get(split);
  const part = config === null || config.isDefault || configs.length === 1 ? "" : `${config.name}/`;
  if (found === undefined) throw withoutSplit(choice, { splits, configs, part });
  const files = filesOfOneFormat(found);
  if (files.length > 0) return files;
  const what =
    found.length === 0
      ? "no file matches what its README.md says"
      : `${list(found)} cannot be read, expected files that end in ${DATA_EXTENSIONS.join(", ")}`;
  throw new UsageError(
    `Cannot use the split ${split} of ${id}: ${what}; the Hub may have it as Parquet: ${idOnly(id)}@refs/convert/parquet:${config?.name ?? "default"}/${split}`,
  );
}

function chooseConfig(configs: readonly CardConfig[], { id, config: asked, split }: DataFilesChoice) {
  if (asked !== null) {
    const found = configs.find(({ name }) => name === asked);
    if (found !== undefined) return found;
    if (configs.length === 0 && asked === "default") return null;
    const there = configs.length === 0 ? "it declares none" : `it has ${list(namesOf(configs))}`;
    throw new UsageError(`Cannot use the config ${asked} of ${id}: ${there}`);
  }
  if (configs.length === 0) return null;
  const found =
    configs.length === 1
      ? configs[0]
      : configs.find(({ name, isDefault }) => isDefault || name === "default");
  if (found !== undefined) return found;
  throw new UsageError(
    `Cannot use ${id}: it has the configs ${list(namesOf(configs))}, and none is its default; name one, as in ${id}:${configs[0]?.name}/${split}`,
  );
}

function splitsOf({ folder, patterns }: CardConfig, names: readonly string[]): Splits {
  const prefix = folder === "" ? "" : `${folder}/`;
  const inner = names.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
  const splits =
    patterns === null
      ? splitsByName(inner)
      : new Map([...patterns].map(([split, globs]) => [split, filesMatching(inner, globs)] as const));
  return new Map([...splits].map(([split, files]) => [split, files.map((file) => prefix + file)]));
}

interface Found {
  readonly splits: Splits;
  readonly configs: readonly CardConfig[];
  /** The config as it is written before a split. */
  readonly part: string;
}

function withoutSplit({ id, split }: DataFilesChoice, { splits, configs, part }: Found): UsageError {
  const cannot = `Cannot use the split ${split} of ${id}`;
  if (configs.some(({ name }) => name === split))
    return new UsageError(`${cannot}: that is a config; name a split of it, as in ${id}:${split}/train`);
  const [first] = splits.keys();
  if (first === undefined) return new UsageError(`${cannot}: it holds no data files`);
  return new UsageError(
    `${cannot}: it has ${list([...splits.keys()])}; name one, as in ${id}:${part}${first}`,
  );
}

function namesOf(configs: readonly CardConfig[]): readonly string[] {
  return configs.map(({ name }) => name);
}

function idOnly(id: string): string {
  return id.split("@")[0] ?? id;
}

const SHOWN = 12;

function list(names: readonly string[]): string {
  const more = names.length > SHOWN ? ` and ${names.length - SHOWN} more` : "";
  return names.slice(0, SHOWN).join(", ") + more;
}
