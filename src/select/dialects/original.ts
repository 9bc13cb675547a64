// The original tool's three files, byte for byte given its scores. It scans by substrings of names, counts norms as modules
// and always unfreezes embeddings and head: all that is kept here, and only here.
import { UsageError } from "../../errors.ts";
import {
  formatFlat,
  formatSorted,
  type OriginalScore,
  type OriginalScores,
  originalSlug,
  rankedByType,
} from "../../snr/original-results.ts";
import { pythonFloat } from "../../snr/python-json.ts";
import type { ModuleResult, ScanResults } from "../../snr/results.ts";
import { parameterNaming, tensorNames } from "../parameter-names.ts";
import { describeSelection, type SelectOptions, withDefaults } from "../select.ts";
import type { Selection } from "../selection.ts";
import { quotaOf } from "../strategies.ts";
import type { Dialect, DialectOutput } from "./dialect.ts";
import { comment } from "./parameters.ts";

/** The dialect `original`. */
export const original: Dialect = {
  name: "original",
  summary: "the three files of the original Spectrum tool (implies --count floor)",
  output: "folder",
  select,
  emit,
};

/**
 * What its list trains: the best of each of its types, norms among them, and always the embedding and the head. It may
 * be nothing else, where the percentage is small.
 */
function select(results: ScanResults, options: SelectOptions): Selection {
  const selectRules = withDefaults(rules(options));
  const naming = parameterNaming(tensorNames(results));
  const names = new Set<string>(ALWAYS);
  for (const listed of listedByType(originalScores(results), selectRules.topPercent).values())
    for (const name of listed) names.add(`${name}.weight`);
  const chosen = results.modules.filter(({ tensor, tiedTo, expert }) =>
    [tensor, tiedTo].some((name) => expert === undefined && name !== undefined && names.has(naming(name))),
  );
  const scores = chosen.map((module) => [module, module.snr?.spectrum ?? null] as const);
  return describeSelection(results, selectRules, new Map(scores));
}

function rules(options: SelectOptions): SelectOptions {
  const { strategy = "per-type", estimator = "spectrum", count = "floor", embeddings = "auto" } = options;
  const [pattern] = [...(options.include ?? []), ...(options.exclude ?? [])];
  if (strategy !== "per-type") throw cannotExpress(`the strategy ${strategy}`);
  if (estimator !== "spectrum") throw cannotExpress(`the estimator ${estimator}`);
  if (count !== "floor") throw cannotExpress(`the count ${count}`);
  if (embeddings !== "auto") throw cannotExpress(`the embedding policy ${embeddings}`);
  if (pattern !== undefined) throw cannotExpress(`the pattern ${pattern}`);
  return { ...options, strategy, estimator, count, embeddings };
}

function cannotExpress(choice: string): UsageError {
  return new UsageError(
    `The format original cannot express ${choice}: it is what the original tool writes, which has no such choice`,
  );
}

function emit(selection: Selection, results: ScanResults): DialectOutput {
  rules({ strategy: selection.strategy, estimator: selection.estimator });
  const scores = originalScores(results);
  const base = `snr_results_${originalSlug(results.model.id)}`;
  const percent = selection.topPercent;
  return {
    files: [
      { path: `model_snr_results/${base}.json`, content: formatFlat(scores) },
      { path: `${base}_sorted.json`, content: formatSorted(scores) },
      {
        path: `${base}_unfrozenparameters_${percentWord(percent)}percent.yaml`,
        content: yaml(scores, percent),
      },
    ],
    warnings: [
      "The original's list always trains lm_head and the embedding, counts norms as modules, and its lines match every name they begin",
    ],
  };
}

/** The original takes whole percentages; others are spelled as Python would. */
function percentWord(percent: number): string {
  return Number.isInteger(percent) ? String(percent) : pythonFloat(percent);
}

function yaml(scores: OriginalScores, percent: number): string {
  const lines = ["unfrozen_parameters:", ...ALWAYS.map((name) => `- ^${name}$`)];
  for (const [type, names] of listedByType(scores, percent)) {
    lines.push(comment(`${type} layers`), ...names.map((name) => `- ${name}`));
  }
  return `${lines.join("\n")}\n`;
}

/** What it lists whatever the scores. */
const ALWAYS = ["lm_head.weight", "model.embed_tokens.weight"] as const;

/** The modules that it lists of each of its types, which may be none. */
function listedByType(scores: OriginalScores, percent: number): ReadonlyMap<string, readonly string[]> {
  const quota = { percent, count: "floor" } as const;
  const ranked = [...rankedByType(scores)];
  return new Map(ranked.map(([type, names]) => [type, names.slice(0, quotaOf(names.length, quota))]));
}

/** The original's scores of a scan, in the order in which it would have found the modules. */
export function originalScores(results: ScanResults): OriginalScores {
  if (results.modules.every((module) => module.shape === null))
    return new Map(
      results.modules.map(({ name, type, snr }) => [name, { type, snr: snr?.spectrum ?? Number.NaN }]),
    );
  const modules = scoresInModelOrder(results);
  const scores = new Map<string, OriginalScore>();
  // Every type whose name is a part of a module's name claims the module; the last one labels it, the first one places it.
  for (const type of originalTypes([...modules.keys()]))
    for (const [name, snr] of modules) if (name.includes(type)) scores.set(name, { snr, type });
  return scores;
}

/** Scores by the name of what transformers has as a module with a `weight`, in the order of `named_modules()`. */
function scoresInModelOrder(results: ScanResults): ReadonlyMap<string, number> {
  const naming = parameterNaming(tensorNames(results));
  const scores = new Map<string, number>();
  const tied = new Map<string, number>();
  for (const module of results.modules) {
    const name = weightOwner(naming(module.tensor));
    if (name === null || module.expert !== undefined) continue;
    scores.set(name, originalScore(module));
    const other = module.tiedTo === undefined ? null : weightOwner(naming(module.tiedTo));
    if (other !== null) tied.set(other, originalScore(module));
  }
  // A head comes after the rest of a model; where both names of a tied tensor are listed, the entry stands already.
  for (const [name, score] of tied) if (!scores.has(name)) scores.set(name, score);
  return new Map(inModelOrder([...scores.keys()]).map((name) => [name, scores.get(name) ?? Number.NaN]));
}

function weightOwner(tensor: string): string | null {
  return tensor.endsWith(".weight") ? tensor.slice(0, -".weight".length) : null;
}

/**
 * What its code makes of a weight, as float32. A vector is one row, whose only singular value is all signal: 1, or
 * Infinity when it is zero. So is, to its code, a matrix without noise. More axes than two it cannot reduce to one number.
 */
function originalScore({ shape, sigmaMax, snr }: ModuleResult): number {
  if (shape?.length === 1) return sigmaMax === 0 ? Number.POSITIVE_INFINITY : 1;
  if (shape?.length !== 2 || snr === undefined) return Number.NaN;
  return snr.spectrum === null ? Number.POSITIVE_INFINITY : Math.fround(snr.spectrum);
}

/** The types that its code sees: what follows the first number in a name, else the name; sorted as it sorts them. */
function originalTypes(names: readonly string[]): readonly string[] {
  const types = names.map((name) => {
    const parts = name.split(".");
    const number = parts.findIndex((part) => /^[0-9]+$/.test(part));
    return number < 0 ? name : parts.slice(number + 1).join(".");
  });
  const category = (type: string) => type.split(".", 1)[0] ?? "";
  return [...new Set(types)].sort((a, b) => compare(category(a), category(b)) || compare(a, b));
}

function compare(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

interface Branch {
  readonly children: Map<string, Branch>;
  isModule: boolean;
}

/**
 * Names in the order of a walk through the tree of modules: numbered children by number, others as they first come.
 * A checkpoint's own order is often that of the strings, where layer 10 comes before layer 2.
 */
function inModelOrder(names: readonly string[]): readonly string[] {
  const root: Branch = { children: new Map(), isModule: false };
  for (const name of names) {
    let branch = root;
    for (const part of name.split(".")) {
      const child = branch.children.get(part) ?? { children: new Map(), isModule: false };
      branch.children.set(part, child);
      branch = child;
    }
    branch.isModule = true;
  }
  return walk(root, "");
}

function walk(branch: Branch, prefix: string): string[] {
  const parts = [...branch.children].sort(([a], [b]) =>
    /^[0-9]+$/.test(a) && /^[0-9]+$/.test(b) ? Number(a) - Number(b) : 0,
  );
  return parts.flatMap(([part, child]) => [
    ...(child.isModule ? [prefix + part] : []),
    ...walk(child, `${prefix}${part}.`),
  ]);
}
