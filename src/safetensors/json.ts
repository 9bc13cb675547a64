// A strict JSON reader over a cursor, for headers and indexes that come from strangers: duplicate keys, lone
// surrogates and deep nesting are errors, keys are never properties of an object. Not a general JSON library:
// the caller says what it expects next.

/** A place in a JSON text. */
export interface JsonCursor {
  readonly text: string;
  at: number;
}

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const LONE_SURROGATE = /\p{Surrogate}/u;
const MAX_DEPTH = 64;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * Decodes UTF-8 and sets a cursor on its start.
 *
 * @throws SyntaxError when the bytes are not UTF-8.
 */
export function jsonCursor(bytes: Uint8Array): JsonCursor {
  try {
    return { text: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes), at: 0 };
  } catch (cause) {
    throw new SyntaxError("it is not UTF-8", { cause });
  }
}

/** Reads an object; `visit` is called on each key and must read its value. */
export function readObject(cursor: JsonCursor, visit: (key: string) => void): void {
  const seen = new Set<string>();
  expect(cursor, "{");
  if (accept(cursor, "}")) return;
  do {
    const key = readString(cursor);
    if (seen.has(key)) throw new SyntaxError(`key ${JSON.stringify(key)} appears twice`);
    seen.add(key);
    expect(cursor, ":");
    visit(key);
  } while (accept(cursor, ","));
  expect(cursor, "}");
}

/** Reads an array; `visit` is called once per element and must read it. */
export function readArray(cursor: JsonCursor, visit: () => void): void {
  expect(cursor, "[");
  if (accept(cursor, "]")) return;
  do visit();
  while (accept(cursor, ","));
  expect(cursor, "]");
}

/** Reads a string. */
export function readString(cursor: JsonCursor): string {
  if (peek(cursor) !== '"') throw unexpected(cursor, "a string");
  const begin = cursor.at;
  // Found by hand and not by a pattern, whose stack would grow with the string.
  cursor.at = closingQuote(cursor.text, begin + 1) + 1;
  const string: unknown = JSON.parse(cursor.text.slice(begin, cursor.at));
  if (typeof string !== "string") throw new SyntaxError(`expected a string at offset ${begin}`);
  if (LONE_SURROGATE.test(string))
    throw new SyntaxError(`a lone surrogate is in the string at offset ${begin}`);
  return string;
}

/** Reads a number written as digits only, at most 2^53 - 1. */
export function readSize(cursor: JsonCursor): number {
  const token = match(cursor, NUMBER, "a number");
  const size = Number(token);
  if (!/^[0-9]+$/.test(token) || !Number.isSafeInteger(size)) {
    throw new SyntaxError(`expected a whole number from 0 to 2^53 - 1, got ${token.slice(0, 40)}`);
  }
  return size;
}

/** Reads and drops one value of any kind. */
export function skipValue(cursor: JsonCursor, depth = 0): void {
  if (depth > MAX_DEPTH) throw new SyntaxError(`values are nested deeper than ${MAX_DEPTH}`);
  const next = peek(cursor);
  if (next === "{") readObject(cursor, () => skipValue(cursor, depth + 1));
  else if (next === "[") readArray(cursor, () => skipValue(cursor, depth + 1));
  else if (next === '"') readString(cursor);
  else if (!["true", "false", "null"].some((word) => accept(cursor, word))) match(cursor, NUMBER, "a value");
}

/** Makes sure that nothing but white space is left. */
export function expectEnd(cursor: JsonCursor): void {
  if (peek(cursor) !== "") throw unexpected(cursor, "the end");
}

/** Index of the quote that ends a string whose content begins at `begin`. */
export function closingQuote(text: string, begin: number): number {
  for (let at = begin; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) return at;
    if (code === BACKSLASH) at++;
  }
  throw new SyntaxError(`the string at offset ${begin - 1} never ends`);
}

function peek(cursor: JsonCursor): string {
  for (;;) {
    const character = cursor.text.charAt(cursor.at);
    if (character !== " " && character !== "\n" && character !== "\r" && character !== "\t") return character;
    cursor.at++;
  }
}

function accept(cursor: JsonCursor, token: string): boolean {
  peek(cursor);
  if (!cursor.text.startsWith(token, cursor.at)) return false;
  cursor.at += token.length;
  return true;
}

function expect(cursor: JsonCursor, token: string): void {
  if (!accept(cursor, token)) throw unexpected(cursor, `"${token}"`);
}

function match(cursor: JsonCursor, pattern: RegExp, what: string): string {
  peek(cursor);
  pattern.lastIndex = cursor.at;
  const token = pattern.exec(cursor.text)?.[0];
  if (token === undefined) throw unexpected(cursor, what);
  cursor.at += token.length;
  return token;
}

function unexpected(cursor: JsonCursor, expected: string): SyntaxError {
  const found = cursor.text.slice(cursor.at, cursor.at + 20);
  const got = found === "" ? "the end" : JSON.stringify(found);
  return new SyntaxError(`expected ${expected} at offset ${cursor.at}, got ${got}`);
}
