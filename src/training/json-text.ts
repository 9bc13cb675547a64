// Changes single members of a JSON text and leaves the rest as it was written: JSON.stringify would turn 8.0 into 8,
// which Python reads as a whole number and transformers refuses for some fields.
import { closingQuote } from "../safetensors/json.ts";

interface Member {
  readonly key: string;
  /** Where its key begins, and its value begins and ends. */
  readonly begin: number;
  readonly value: number;
  readonly end: number;
}

/**
 * The text of an object with the member at `path` set to `value`, or without it where `value` is undefined. Objects on
 * the way to it have to be there.
 *
 * @param text - what JSON.parse takes, but for Python's Infinity and NaN.
 * @throws SyntaxError when the text, or what `path` leads through, is no object.
 *
 * @example
 * withMember('{\n  "factor": 8.0\n}', ["vocab_size"], 10); // '{\n  "factor": 8.0,\n  "vocab_size": 10\n}'
 */
export function withMember(text: string, path: readonly [string, ...string[]], value: unknown): string {
  const [key, ...rest] = path;
  const { members, open } = readMembers(text);
  const [next, ...further] = rest;
  const at = members.findLastIndex((member) => member.key === key);
  const found = members[at];
  if (next !== undefined) {
    if (!found) throw new SyntaxError(`expected a member ${JSON.stringify(key)}`);
    const inner = withMember(text.slice(found.value, found.end), [next, ...further], value);
    return text.slice(0, found.value) + inner + text.slice(found.end);
  }
  if (value === undefined) return found ? without(text, members, at) : text;
  const written = JSON.stringify(value, null, 2).replaceAll("\n", `\n${indentOf(text, members)}`);
  if (found) return text.slice(0, found.value) + written + text.slice(found.end);
  const last = members.at(-1);
  const between = last ? `,\n${indentOf(text, members)}` : "";
  const place = last?.end ?? open;
  return `${text.slice(0, place)}${between}${JSON.stringify(key)}: ${written}${text.slice(place)}`;
}

function without(text: string, members: readonly Member[], at: number): string {
  const [before, found, after] = [members[at - 1], members[at], members[at + 1]];
  if (!found) return text;
  if (after) return text.slice(0, found.begin) + text.slice(after.begin);
  return text.slice(0, before?.end ?? found.begin) + text.slice(found.end);
}

/** The white space before the first member, from the start of its line. */
function indentOf(text: string, [first]: readonly Member[]): string {
  if (!first) return "";
  return /[ \t]*$/.exec(text.slice(0, first.begin))?.[0] ?? "";
}

function readMembers(text: string): { readonly members: readonly Member[]; readonly open: number } {
  const open = skipSpace(text, 0);
  if (text[open] !== "{") throw new SyntaxError(`expected an object at offset ${open}`);
  const members: Member[] = [];
  let at = skipSpace(text, open + 1);
  while (text[at] === '"') {
    const begin = at;
    at = closingQuote(text, at + 1) + 1;
    const key: unknown = JSON.parse(text.slice(begin, at));
    const value = skipSpace(text, skipSpace(text, at) + 1);
    const end = endOfValue(text, value);
    members.push({ key: String(key), begin, value, end });
    at = skipSpace(text, end);
    if (text[at] === ",") at = skipSpace(text, at + 1);
  }
  if (text[at] !== "}") throw new SyntaxError(`expected the end of an object at offset ${at}`);
  return { members, open: open + 1 };
}

function endOfValue(text: string, begin: number): number {
  let depth = 0;
  for (let at = begin; at < text.length; at++) {
    const character = text[at];
    if (character === '"') at = closingQuote(text, at + 1);
    else if (character === "{" || character === "[") depth++;
    else if (depth > 0 && (character === "}" || character === "]")) depth--;
    else if (depth === 0 && /[\s,}\]]/.test(character ?? "")) return at;
    if (depth === 0 && /["}\]]/.test(text[at] ?? "")) return at + 1;
  }
  throw new SyntaxError(`the value at offset ${begin} never ends`);
}

function skipSpace(text: string, begin: number): number {
  let at = begin;
  while (/[\s\uFEFF]/.test(text[at] ?? "")) at++;
  return at;
}
