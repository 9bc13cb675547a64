// JSON as Python's json module writes it: bare Infinity and NaN, its own spelling of floats, ASCII only.
// One reader for that and for strict JSON: it keeps the order of keys, which objects of JavaScript do not.

/** A document in memory; objects are maps, so that keys keep their order whatever they look like. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;

/** An object of a document. */
export type JsonObject = ReadonlyMap<string, JsonValue>;

/** Says whether a value of a document is an object. */
export function isObject(value: JsonValue | undefined): value is JsonObject {
  return value instanceof Map;
}

const MAX_DEPTH = 64;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const SPACE = /[ \t\n\r]*/y;
const LITERALS: ReadonlyMap<string, JsonValue> = new Map<string, JsonValue>([
  ["null", null],
  ["true", true],
  ["false", false],
  ["NaN", Number.NaN],
  ["Infinity", Number.POSITIVE_INFINITY],
  ["-Infinity", Number.NEGATIVE_INFINITY],
]);

/**
 * Parses JSON, with the bare `Infinity`, `-Infinity` and `NaN` that Python writes.
 *
 * @throws SyntaxError with the offset on anything else: other syntax, a key given twice, more than 64 levels.
 */
export function parsePythonJson(text: string): JsonValue {
  let at = 0;

  function fail(expected: string): never {
    const got = at < text.length ? JSON.stringify(text.slice(at, at + 12)) : "the end";
    throw new SyntaxError(`expected ${expected} at offset ${at}, got ${got}`);
  }
  function skipSpace(): void {
    SPACE.lastIndex = at;
    at += SPACE.exec(text)?.[0].length ?? 0;
  }
  function take(character: string): boolean {
    if (text[at] !== character) return false;
    at++;
    skipSpace();
    return true;
  }
  function string(): string {
    const begin = at;
    if (text[at] !== '"') fail("a string");
    for (at++; text[at] !== '"'; at++) {
      if (at >= text.length) fail("the end of a string");
      if (text[at] === "\\") at++;
    }
    at++;
    const value: unknown = JSON.parse(text.slice(begin, at));
    skipSpace();
    return String(value);
  }
  function array(depth: number): JsonValue {
    const values: JsonValue[] = [];
    if (take("]")) return values;
    do values.push(value(depth + 1));
    while (take(","));
    if (!take("]")) fail('"," or "]"');
    return values;
  }
  function object(depth: number): JsonValue {
    const entries = new Map<string, JsonValue>();
    if (take("}")) return entries;
    do {
      const key = string();
      if (entries.has(key)) throw new SyntaxError(`key ${JSON.stringify(key)} is there twice`);
      if (!take(":")) fail('":"');
      entries.set(key, value(depth + 1));
    } while (take(","));
    if (!take("}")) fail('"," or "}"');
    return entries;
  }
  function value(depth: number): JsonValue {
    if (depth > MAX_DEPTH) throw new SyntaxError(`more than ${MAX_DEPTH} levels at offset ${at}`);
    if (text[at] === '"') return string();
    if (take("{")) return object(depth);
    if (take("[")) return array(depth);
    for (const [word, meaning] of LITERALS) {
      if (!text.startsWith(word, at)) continue;
      at += word.length;
      skipSpace();
      return meaning;
    }
    NUMBER.lastIndex = at;
    const digits = NUMBER.exec(text)?.[0] ?? fail("a value");
    at += digits.length;
    skipSpace();
    return Number(digits);
  }

  skipSpace();
  const document = value(0);
  if (at < text.length) fail("the end");
  return document;
}

/** A float64 as Python's `repr` and `json.dump` spell it: shortest digits that round-trip, `1.0`, `1e-05`, `1e+16`. */
export function pythonFloat(x: number): string {
  if (Number.isNaN(x)) return "NaN";
  if (!Number.isFinite(x)) return x > 0 ? "Infinity" : "-Infinity";
  const sign = x < 0 || Object.is(x, -0) ? "-" : "";
  const [mantissa = "", power = "0"] = Math.abs(x).toExponential().split("e");
  const digits = mantissa.replace(".", "");
  const exponent = Number(power);
  if (exponent < -4 || exponent >= 16) {
    const fraction = digits.length > 1 ? `.${digits.slice(1)}` : "";
    const size = String(Math.abs(exponent)).padStart(2, "0");
    return `${sign}${digits[0]}${fraction}e${exponent < 0 ? "-" : "+"}${size}`;
  }
  if (exponent < 0) return `${sign}0.${"0".repeat(-exponent - 1)}${digits}`;
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, "0");
  return `${sign}${whole}.${digits.slice(exponent + 1) || "0"}`;
}

/** A string as Python's `json.dump` writes it: in ASCII, everything else as `\uXXXX` in lower case. */
export function pythonString(text: string): string {
  const escaped = JSON.stringify(text).replace(
    /[^ -~]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return escaped;
}
