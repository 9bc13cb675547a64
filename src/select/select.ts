// Results -> selection: who competes, the strategy's choice, and what the policies add. Ranking is in strategies.ts.
import { UsageError } from "../errors.ts";
import { checkPatterns, matchesAny } from "../modules/globs.ts";
import type { Estimator, ModuleResult, ScanResults } from "../snr/results.ts";
import type { SelectedModule, Selection, Strategy } from "./selection.ts";
import { type Candidate, type Count, takeGlobal, takeParameterShare, takePerType } from "./strategies.ts";

/**
 * What happens to embeddings and the head. `auto`: `never` when ranking per type, where each would be a type of its own;
 * ranked with the rest otherwise. `always`: they train whatever their score.
 */
export type EmbeddingPolicy = "auto" | "always" | "never";

/** Options of {@link select}. */
export interface SelectOptions {
  /** 0 to 100, fractions allowed; default 25. Of the modules, or with `parameter-share` of the model's parameters. */
  readonly topPercent?: number;
  /** Default `per-type`. */
  readonly strategy?: Strategy;
  /** Default `spectrum`, the published rule. */
  readonly estimator?: Estimator;
  /** Default `at-least-one`; `floor` counts as the original tool, which picks none of a small type. */
  readonly count?: Count;
  /** Default `auto`. */
  readonly embeddings?: EmbeddingPolicy;
  /** Patterns on a module's name, tensor or type (`*`, `?`): only what one of them matches competes. */
  readonly include?: readonly string[];
  /** Patterns likewise: what one of them matches never trains. */
  readonly exclude?: readonly string[];
}

/** {@link SelectOptions} with every default filled in. */
export type SelectRules = Required<SelectOptions>;

/** A module that `select` left out of the ranking though no option said so, and why. */
export interface UnrankedModule {
  readonly name: string;
  readonly reason: string;
}

interface Competitor extends Candidate {
  readonly module: ModuleResult;
}

/**
 * Chooses the modules that are to train.
 *
 * @throws UsageError on an option out of range, a pattern that matches nothing, an estimator the results have no scores of,
 * or when nothing at all would train.
 * @example
 * const selection = select(results, { topPercent: 25 });
 */
export function select(results: ScanResults, options: SelectOptions = {}): Selection {
  const rules = withDefaults(options);
  checkPatterns([...rules.include, ...rules.exclude], results.modules);
  const modules = withoutAliases(results.modules).filter(isMatrix);
  checkScores(results, modules, rules.estimator);

  const allowed = modules.filter((module) => !matchesAny(rules.exclude, module));
  const always = rules.embeddings === "always" ? allowed.filter((module) => module.part !== "body") : [];
  const ranksEmbeddings = rules.embeddings === "auto" && rules.strategy !== "per-type";
  const competing = allowed
    .filter((module) => module.part === "body" || ranksEmbeddings)
    .filter((module) => rules.include.length === 0 || matchesAny(rules.include, module));
  const competitors = competing.flatMap((module) => competitor(module, rules.estimator));
  const scores = new Map<ModuleResult, number | null>(always.map((module) => [module, null]));
  for (const { module, score } of take(competitors, always, results, rules)) scores.set(module, score);

  if (scores.size === 0 && competing.length === 0)
    throw new UsageError(
      `Nothing is selected: of ${modules.length} weight matrices 0 are left by the patterns and the embedding policy; ` +
        "loosen the patterns, or choose the embedding policy always",
    );
  if (scores.size === 0)
    throw new UsageError(
      `Nothing is selected: of ${modules.length} weight matrices ${competing.length} are left by the patterns and the embedding policy, ` +
        `${competitors.length} of them have a ${rules.estimator} score, and ${rules.topPercent} % of those (${rules.strategy}, ${rules.count}) is none; ` +
        "raise the percentage or loosen the patterns",
    );
  return describeSelection(results, rules, scores);
}

/**
 * The weight matrices that no estimate of the SNR could rank, with the reason the results give. Norms and biases are not
 * among them: they are never ranked.
 */
export function unrankedModules(results: ScanResults, estimator: Estimator): readonly UnrankedModule[] {
  return withoutAliases(results.modules).flatMap((module) => {
    if (isVector(module) || scoreOf(module, estimator) !== null) return [];
    return [
      { name: module.name, reason: module.skipped ?? module.unscored?.[estimator] ?? "it has no score" },
    ];
  });
}

/**
 * Options with the defaults filled in.
 *
 * @throws UsageError when the percentage is out of range.
 */
export function withDefaults(options: SelectOptions): SelectRules {
  const { topPercent = 25 } = options;
  if (!(topPercent >= 0 && topPercent <= 100))
    throw new UsageError(`Cannot select the top ${topPercent} %: expected a number from 0 to 100`);
  return {
    topPercent,
    strategy: options.strategy ?? "per-type",
    estimator: options.estimator ?? "spectrum",
    count: options.count ?? "at-least-one",
    embeddings: options.embeddings ?? "auto",
    include: options.include ?? [],
    exclude: options.exclude ?? [],
  };
}

function checkScores(results: ScanResults, modules: readonly ModuleResult[], estimator: Estimator): void {
  if (modules.some((module) => scoreOf(module, estimator) !== null)) return;
  const other: Estimator = estimator === "spectrum" ? "calibrated" : "spectrum";
  if (!modules.some((module) => scoreOf(module, other) !== null)) {
    const example = results.modules.find((module) => module.skipped ?? module.unscored?.[estimator]);
    const reason = example?.skipped ?? example?.unscored?.[estimator];
    throw new UsageError(
      `Nothing can be selected: none of the ${results.modules.length} modules in the results of ${results.model.id} has a score` +
        (example && reason ? `; ${example.name}, for one: ${reason}` : ""),
    );
  }
  const why = modules.find((module) => module.unscored?.[estimator])?.unscored?.[estimator];
  throw new UsageError(
    `The results have no ${estimator} scores${why ? ` (${why})` : ""}: scan the model, or use the estimator ${other}`,
  );
}

/** Modules that are the same storage as an earlier one under another name are left out: a tied tensor counts once. */
function withoutAliases(modules: readonly ModuleResult[]): readonly ModuleResult[] {
  const tensors = new Set<string>();
  const aliases = new Set<string>();
  return modules.filter((module) => {
    const isAlias = aliases.has(module.tensor) || (module.tiedTo !== undefined && tensors.has(module.tiedTo));
    if (isAlias) return false;
    tensors.add(module.tensor);
    if (module.tiedTo !== undefined) aliases.add(module.tiedTo);
    return true;
  });
}

function isVector(module: ModuleResult): boolean {
  return module.shape === null ? module.skipped !== undefined : module.shape.length < 2;
}

/** Whether it is a weight that can train as a module of its own: no norm, no bias, nothing the scan had to skip. */
function isMatrix(module: ModuleResult): boolean {
  return !isVector(module) && module.skipped === undefined;
}

function scoreOf(module: ModuleResult, estimator: Estimator): number | null {
  return module.snr?.[estimator] ?? null;
}

function competitor(module: ModuleResult, estimator: Estimator): readonly Competitor[] {
  const score = scoreOf(module, estimator);
  return score === null ? [] : [{ module, type: module.type, score, parameters: parametersOf(module) }];
}

function take(
  competitors: readonly Competitor[],
  always: readonly ModuleResult[],
  results: ScanResults,
  rules: SelectRules,
): readonly Competitor[] {
  const quota = { percent: rules.topPercent, count: rules.count };
  switch (rules.strategy) {
    case "per-type":
      return takePerType(competitors, quota);
    case "global":
      return takeGlobal(competitors, quota);
    case "parameter-share": {
      const total = results.model.parameters;
      const already = sum(always.map(parametersOf));
      if (total === null || already === null || competitors.some(({ parameters }) => parameters === null))
        throw new UsageError(
          `Cannot select by share of parameters: the results of ${results.model.id} do not know the shapes; scan the model`,
        );
      return takeParameterShare(competitors, { ...quota, total, already });
    }
    default:
      return rules.strategy satisfies never;
  }
}

/** Elements that train with a module, bias included; null when the results do not know. */
function parametersOf(module: ModuleResult): number | null {
  const bias = module.bias === undefined ? 0 : (module.biasParameters ?? null);
  if (module.shape === null || bias === null) return null;
  return module.shape.reduce((product, size) => product * size, 1) + bias;
}

function sum(counts: readonly (number | null)[]): number | null {
  return counts.reduce((total, count) => (total === null || count === null ? null : total + count), 0);
}

/** The selection of the modules that `scores` holds, each with the score it was chosen by, or null. */
export function describeSelection(
  results: ScanResults,
  rules: SelectRules,
  scores: ReadonlyMap<ModuleResult, number | null>,
): Selection {
  const modules = results.modules
    .filter((module) => scores.has(module))
    .map(
      (module): SelectedModule => ({
        name: module.name,
        tensor: module.tensor,
        bias: module.bias ?? null,
        type: module.type,
        layer: module.layer,
        expert: module.expert ?? null,
        snr: scores.get(module) ?? null,
        parameters: parametersOf(module),
      }),
    );
  const trainable = sum(modules.map((module) => module.parameters));
  const total = results.model.parameters;
  return {
    model: { id: results.model.id, revision: results.model.revision },
    estimator: rules.estimator,
    strategy: rules.strategy,
    topPercent: rules.topPercent,
    modules,
    parameterNames: [
      ...new Set(modules.flatMap(({ tensor, bias }) => (bias === null ? [tensor] : [tensor, bias]))),
    ],
    parameters: {
      trainable,
      total,
      share: trainable === null || total === null || total === 0 ? null : trainable / total,
    },
  };
}
