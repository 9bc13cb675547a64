// Parses config.json as Python's json module does: Infinity and NaN are allowed, because some published configs
// hold them (`time_step_limit` of Mamba 2).
import { closingQuote } from "../safetensors/json.ts";

/** The longest config.json that is read. */
export const MAX_CONFIG_BYTES = 16 * 2 ** 20;

/**
 * Parses config.json; NaN becomes null.
 *
 * @throws SyntaxError when it is not UTF-8, not JSON, or not an object.
 */
export function parseConfig(json: Uint8Array, id: string): Readonly<Record<string, unknown>> {
  let config: unknown;
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(json);
    config = JSON.parse(withoutPythonNumbers(text));
  } catch (cause) {
    const why = cause instanceof SyntaxError ? cause.message : "it is not UTF-8";
    throw new SyntaxError(`Cannot read config.json of ${id}: ${why}`, { cause });
  }
  if (!isRecord(config)) {
    throw new SyntaxError(
      `Cannot read config.json of ${id}: expected an object, got ${JSON.stringify(config)?.slice(0, 40)}`,
    );
  }
  return config;
}

const WORDS: ReadonlyMap<string, string> = new Map([
  ["Infinity", "1e999"],
  ["-Infinity", "-1e999"],
  ["NaN", "null"],
]);

/** Spells Python's numbers as JSON does, outside of strings. */
function withoutPythonNumbers(text: string): string {
  const pieces: string[] = [];
  for (let at = 0; at < text.length; ) {
    const quote = text.indexOf('"', at);
    const outside = quote === -1 ? text.slice(at) : text.slice(at, quote);
    pieces.push(outside.replace(/-?Infinity|NaN/g, (word) => WORDS.get(word) ?? word));
    if (quote === -1) break;
    at = closingQuote(text, quote + 1) + 1;
    pieces.push(text.slice(quote, at));
  }
  return pieces.join("");
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
