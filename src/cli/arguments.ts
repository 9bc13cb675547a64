// Command-line arguments, read against the table that a command declares; help.ts writes the help from the same table.
import { parseArgs } from "node:util";
import { UsageError } from "../index.ts";

/** How an option is written. */
export type OptionSyntax = {
  /** A single letter. */
  readonly short?: string;
} & (
  | { readonly kind: "flag" }
  /** `value` is how help calls the value. A list may be given many times. */
  | { readonly kind: "text" | "list"; readonly value: string }
  | { readonly kind: "choice"; readonly choices: readonly string[] }
  /** A finite number from `least` up in decimals (`2e-5` too), whole when `whole` is set. */
  | { readonly kind: "number"; readonly value: string; readonly least: number; readonly whole?: boolean }
);

/** Options to read, by their long names. */
export type SyntaxTable = Readonly<Record<string, OptionSyntax>>;

/** An option that a command takes. */
export type OptionSpec = OptionSyntax & { readonly help: string };

/** The options of a command, by their long names. */
export type OptionTable = Readonly<Record<string, OptionSpec>>;

/** What an option gives the command; undefined when it was not on the command line. */
type OptionValue<Spec extends OptionSyntax> = Spec extends { kind: "flag" }
  ? boolean
  : Spec extends { kind: "list" }
    ? readonly string[]
    : Spec extends { kind: "choice"; choices: readonly (infer Choice)[] }
      ? Choice | undefined
      : Spec extends { kind: "number" }
        ? number | undefined
        : string | undefined;

/** The values of all options of a table, by their long names. */
export type OptionValues<Table extends SyntaxTable> = {
  readonly [Name in keyof Table]: OptionValue<Table[Name]>;
};

/** What a command line may say. */
export interface Grammar<Names extends readonly string[], Table extends SyntaxTable> {
  /** What it takes beside options, all required: `MODEL`. */
  readonly positionals: Names;
  readonly options: Table;
}

/** A command line, read. */
export interface Arguments<Names extends readonly string[], Table extends SyntaxTable> {
  readonly positionals: { readonly [Index in keyof Names]: string };
  readonly options: OptionValues<Table>;
}

/**
 * Reads what follows the command's name.
 *
 * @throws UsageError naming the argument that is unknown, missing, too many or out of range.
 */
export function parseArguments<Names extends readonly string[], Table extends SyntaxTable>(
  grammar: Grammar<Names, Table>,
  argv: readonly string[],
): Arguments<Names, Table> {
  const table = new Map<string, OptionSyntax>(Object.entries(grammar.options));
  const values: Record<string, unknown> = {};
  for (const [name, spec] of table) {
    if (spec.kind === "flag") values[name] = false;
    if (spec.kind === "list") values[name] = [];
  }
  const positionals: string[] = [];
  for (const token of tokenize(table, argv)) {
    if (token.kind === "positional") positionals.push(token.value);
    if (token.kind !== "option") continue;
    const spec = table.get(token.name);
    if (!spec) throw unknownOption(token.rawName, table);
    const value = readValue(token, spec);
    const before = values[token.name];
    values[token.name] = spec.kind === "list" && Array.isArray(before) ? [...before, value] : value;
  }
  checkCount(grammar.positionals, positionals);
  return {
    positionals: positionals as Arguments<Names, Table>["positionals"],
    options: values as OptionValues<Table>,
  };
}

/** The candidate nearest to a mistyped word, where one is near enough to be meant. */
export function nearest(word: string, candidates: Iterable<string>): string | null {
  let found: string | null = null;
  let least = Math.max(2, Math.floor(word.length / 3)) + 1;
  const letters = (text: string) => text.replaceAll("-", "");
  for (const candidate of candidates) {
    const begun = word.length > 2 && letters(candidate).startsWith(letters(word));
    const distance = begun ? 1 : editDistance(word, candidate);
    if (distance < least) [found, least] = [candidate, distance];
  }
  return found;
}

interface OptionToken {
  readonly rawName: string;
  readonly value: string | undefined;
  readonly inlineValue: boolean | undefined;
}

function tokenize(table: ReadonlyMap<string, OptionSyntax>, argv: readonly string[]) {
  const options = Object.fromEntries(
    [...table].map(([name, spec]) => [
      name,
      {
        type: spec.kind === "flag" ? ("boolean" as const) : ("string" as const),
        ...(spec.short === undefined ? {} : { short: spec.short }),
      },
    ]),
  );
  return parseArgs({ args: [...argv], options, strict: false, allowPositionals: true, tokens: true }).tokens;
}

function readValue(token: OptionToken, spec: OptionSyntax): boolean | string | number {
  const { rawName, value } = token;
  if (spec.kind === "flag") {
    if (value !== undefined) throw new UsageError(`${rawName} takes no value, got "${value}"`);
    return true;
  }
  const label = spec.kind === "choice" ? `one of ${spec.choices.join(", ")}` : spec.value;
  if (value === undefined || value === "") throw new UsageError(`${rawName} needs a value: ${label}`);
  if (!token.inlineValue && value.startsWith("-") && spec.kind !== "number")
    throw new UsageError(
      `${rawName} needs a value (${label}), got the option ${value}; if that is the value, write ${rawName}=${value}`,
    );
  switch (spec.kind) {
    case "text":
    case "list":
      return value;
    case "choice":
      return readChoice(rawName, value, spec.choices);
    case "number":
      return readNumber(rawName, value, spec);
    default:
      return spec satisfies never;
  }
}

function readChoice(option: string, value: string, choices: readonly string[]): string {
  if (choices.includes(value)) return value;
  const near = nearest(value, choices);
  const hint = near === null ? "" : `; did you mean ${near}?`;
  throw new UsageError(`${option} takes one of ${choices.join(", ")}, got "${value}"${hint}`);
}

/** No sign, other base or space, all of which `Number` takes. */
const DECIMAL = /^(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$/;

function readNumber(
  option: string,
  text: string,
  { least, whole }: { readonly least: number; readonly whole?: boolean },
): number {
  const value = Number(text);
  if (DECIMAL.test(text) && Number.isFinite(value) && value >= least && (!whole || Number.isInteger(value)))
    return value;
  throw new UsageError(`${option} takes a ${whole ? "whole " : ""}number from ${least} up, got "${text}"`);
}

function unknownOption(rawName: string, table: ReadonlyMap<string, OptionSyntax>): UsageError {
  const near = nearest(rawName.replace(/^-+/, ""), table.keys());
  const hint = near === null ? "; --help lists the options" : `; did you mean --${near}?`;
  return new UsageError(`Unknown option ${rawName}${hint}`);
}

function checkCount(expected: readonly string[], got: readonly string[]): void {
  const missing = expected[got.length];
  if (missing !== undefined) throw new UsageError(`${missing} is missing; --help shows an example`);
  const surplus = got[expected.length];
  if (surplus !== undefined)
    throw new UsageError(
      `Expected ${expected.length === 0 ? "options alone" : `${expected.join(" ")} and options`}, got also "${surplus}"`,
    );
}

/** Levenshtein distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
