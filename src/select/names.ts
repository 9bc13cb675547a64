// Checks that the names of a selection mean exactly the parameters they are to mean.
import { UsageError } from "../errors.ts";
import type { ScanResults } from "../snr/results.ts";
import { parameterNaming, tensorNames } from "./parameter-names.ts";
import type { Selection } from "./selection.ts";

/** What the names of a selection are checked against. */
export interface KnownNames {
  /** What the selection was made of: its tensors tell how their parameters are named. */
  readonly results: ScanResults;
  /** Names of all tensors of the model; null when it is not at hand, and the results stand in for it, hence the warning. */
  readonly tensors: Iterable<string> | null;
}

/**
 * Checks that every parameter of the selection, by the name that the dialects write, is a parameter of the model.
 * Names of transformers are told from the tensors of a whole checkpoint: results of a part of it may give others.
 *
 * @returns warnings to show.
 * @throws UsageError naming the first that is not.
 */
export function checkNames(selection: Selection, { results, tensors }: KnownNames): readonly string[] {
  const scanned = tensorNames(results);
  const written = selection.parameterNames.map(parameterNaming(scanned));
  const known = [...(tensors ?? scanned)];
  const names = new Set(known.map(parameterNaming(known)));
  const missing = written.filter((name) => !names.has(name));
  const [first] = missing;
  if (first !== undefined)
    throw new UsageError(
      `${missing.length} of ${written.length} parameters selected from the results of ${selection.model.id} match nothing in ${tensors === null ? "these results" : "the model they are checked against"}, ` +
        `the first is ${JSON.stringify(first)}; were the results made from another model or revision, or from a part of it?`,
    );
  if (tensors !== null) return [];
  return [
    `The names are checked against the results only, not against the model ${selection.model.id} itself`,
  ];
}

/** A pattern of a selection file, and the one parameter it is to match. */
export interface NamePattern {
  /** A regular expression without anything that repeats: letters, digits, `_`, `-`, `/`, dots, `^` and `$` at the ends. */
  readonly pattern: string;
  readonly parameter: string;
}

/** What a dot without a backslash means to the reader of the file. */
export type DotRule = "literal" | "any-character";

const PATTERN = /^\^?(?:[\w/-]|\\?\.)+\$?$/;

/**
 * Checks each pattern as Python's `re.match` would apply it, which takes any beginning of a name: `model.layers.1` also
 * matches layer 11.
 *
 * @throws UsageError when a pattern holds other characters, misses its parameter, or matches another one too.
 */
export function checkPatterns(
  patterns: readonly NamePattern[],
  parameterNames: Iterable<string>,
  dots: DotRule,
): void {
  const names = new Set(parameterNames);
  for (const { pattern, parameter } of patterns) {
    const others = otherMatches(pattern, parameter, names, dots);
    if (others.length > 0)
      throw new UsageError(
        `Pattern ${pattern} is wider than meant: beside ${parameter} it matches ${others.length} more, such as ${others[0]}`,
      );
  }
}

function otherMatches(
  pattern: string,
  parameter: string,
  names: ReadonlySet<string>,
  dots: DotRule,
): readonly string[] {
  if (!PATTERN.test(pattern))
    throw new UsageError(
      `Pattern ${JSON.stringify(pattern)} holds more than a name: expected letters, digits, "_", "-", "/" and dots between "^" and "$"`,
    );
  const literal = pattern.replace(/^\^/, "").replaceAll("\\.", ".");
  const exact = dots === "literal" || !/(?<!\\)\./.test(pattern);
  if (exact && literal === `${parameter}$` && names.has(parameter)) return [];
  const source = dots === "literal" ? pattern.replace(/(?<!\\)\./g, "\\.") : pattern;
  const expression = new RegExp(source.startsWith("^") ? source : `^${source}`);
  const matches = [...names].filter((name) => expression.test(name));
  if (!matches.includes(parameter))
    throw new UsageError(
      `Pattern ${pattern} does not match the parameter ${parameter}, or it does not exist`,
    );
  return matches.filter((name) => name !== parameter);
}
