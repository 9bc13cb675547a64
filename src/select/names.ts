// Checks that the names of a selection mean exactly the parameters they are to mean.
import { UsageError } from "../errors.ts";
import type { Selection } from "./selection.ts";

/** Parameter names to check against, and what they are the names of. */
export interface KnownNames {
  readonly names: Iterable<string>;
  /** `results` when no model is at hand: they list what was scanned, hence the warning. */
  readonly source: "model" | "results";
}

/**
 * Checks that every parameter of the selection is one of the known names, exactly.
 *
 * @returns warnings to show.
 * @throws UsageError naming the first that is not.
 */
export function checkNames(selection: Selection, known: KnownNames): readonly string[] {
  const names = new Set(known.names);
  const missing = selection.parameterNames.filter((name) => !names.has(name));
  const [first] = missing;
  if (first !== undefined)
    throw new UsageError(
      `${missing.length} of ${selection.parameterNames.length} selected parameters match nothing in the ${known.source} of ${selection.model.id}, ` +
        `the first is ${JSON.stringify(first)}; were the results made from another model or revision?`,
    );
  if (known.source === "model") return [];
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
