// A parsed JSON document -> ScanResults, schema version 1. Each parser takes a value and what to call it in an error.
import { isObject, type JsonObject, type JsonValue } from "./python-json.ts";
import { type ModuleResult, type ResultsFile, SCHEMA_VERSION, type ScanResults } from "./results.ts";

type Parser<T> = (value: JsonValue | undefined, what: string) => T;

/**
 * Checks a document against schema version 1; keys it does not know are left out.
 *
 * @throws Error saying which field, what was expected there and what is.
 */
export function parseDocument(document: JsonObject): ScanResults {
  const version = document.get("schemaVersion");
  if (version !== SCHEMA_VERSION)
    throw new Error(
      `schema version ${show(version)} is not known here: expected ${SCHEMA_VERSION}; use the version of spectrum-tune that wrote it, or scan again`,
    );
  const model = asObject(document.get("model"), "model");
  const tool = asObject(document.get("tool"), "tool");
  const backend = asObject(document.get("backend"), "backend");
  const modules = asArray(document.get("modules"), "modules").map(parseModule);
  const names = new Set<string>();
  for (const { name } of modules) {
    if (names.has(name)) throw new Error(`module ${JSON.stringify(name)} is there twice`);
    names.add(name);
  }
  return {
    schemaVersion: SCHEMA_VERSION,
    model: {
      id: asString(model.get("id"), "model.id"),
      revision: orNull(asString)(model.get("revision"), "model.revision"),
      files: asArray(model.get("files"), "model.files").map(parseFile),
      parameters: orNull(asCount)(model.get("parameters"), "model.parameters"),
    },
    tool: {
      name: asString(tool.get("name"), "tool.name"),
      version: asString(tool.get("version"), "tool.version"),
    },
    backend: {
      name: asString(backend.get("name"), "backend.name"),
      version: asString(backend.get("version"), "backend.version"),
      precision: oneOf(["exact", "fast"])(backend.get("precision"), "backend.precision"),
    },
    modules,
  };
}

function parseFile(value: JsonValue, index: number): ResultsFile {
  const what = `model.files[${index}]`;
  const file = asObject(value, what);
  return {
    name: asString(file.get("name"), `${what}.name`),
    ...optional(file, "sha256", asString, what),
    ...optional(file, "etag", asString, what),
  };
}

function parseModule(value: JsonValue, index: number): ModuleResult {
  const module = asObject(value, `modules[${index}]`);
  const name = asString(module.get("name"), `modules[${index}].name`);
  const what = `module ${JSON.stringify(name)}, `;
  return {
    name,
    tensor: asString(module.get("tensor"), `${what}tensor`),
    type: asString(module.get("type"), `${what}type`),
    layer: orNull(asCount)(module.get("layer"), `${what}layer`),
    part: oneOf(["body", "embedding", "head"])(module.get("part"), `${what}part`),
    shape: orNull(asShape)(module.get("shape"), `${what}shape`),
    dtype: orNull(asString)(module.get("dtype"), `${what}dtype`),
    ...optional(module, "expert", asCount, what),
    ...optional(module, "bias", asString, what),
    ...optional(module, "biasParameters", asCount, what),
    ...optional(module, "tiedTo", asString, what),
    ...optional(module, "sigmaMax", asNumber, what),
    ...optional(module, "sigmaMin", asNumber, what),
    ...optional(module, "quantiles", asQuantiles, what),
    ...optional(module, "threshold", asNumber, what),
    ...optional(module, "signalValues", asCount, what),
    ...optional(module, "noiseSigma", orNull(asNumber), what),
    ...optional(module, "edge", orNull(asNumber), what),
    ...optional(module, "spikes", orNull(asCount), what),
    ...optional(module, "stableRank", asNumber, what),
    ...optional(module, "effectiveRank", asNumber, what),
    ...optional(module, "snr", asScores, what),
    ...optional(module, "unscored", asReasons, what),
    ...optional(module, "skipped", asString, what),
  };
}

function optional<K extends string, T>(
  from: JsonObject,
  key: K,
  parse: Parser<T>,
  what: string,
): { [P in K]?: T } {
  const entry: { [P in K]?: T } = {};
  if (from.has(key)) entry[key] = parse(from.get(key), what + key);
  return entry;
}

const asScores: Parser<{ spectrum: number | null; calibrated: number | null }> = (value, what) => {
  const snr = asObject(value, what);
  return {
    spectrum: orNull(asNumber)(snr.get("spectrum"), `${what}.spectrum`),
    calibrated: orNull(asNumber)(snr.get("calibrated"), `${what}.calibrated`),
  };
};

const asReasons: Parser<{ spectrum?: string; calibrated?: string }> = (value, what) => {
  const reasons = asObject(value, what);
  return {
    ...optional(reasons, "spectrum", asString, `${what}.`),
    ...optional(reasons, "calibrated", asString, `${what}.`),
  };
};

const asQuantiles: Parser<{ q25: number; q50: number; q75: number }> = (value, what) => {
  const quantiles = asObject(value, what);
  return {
    q25: asNumber(quantiles.get("q25"), `${what}.q25`),
    q50: asNumber(quantiles.get("q50"), `${what}.q50`),
    q75: asNumber(quantiles.get("q75"), `${what}.q75`),
  };
};

const asShape: Parser<readonly number[]> = (value, what) =>
  asArray(value, what).map((size, axis) => asCount(size, `${what}[${axis}]`));

const asNumber: Parser<number> = (value, what) =>
  typeof value === "number" && Number.isFinite(value) ? value : wrong(what, "a finite number", value);

const asCount: Parser<number> = (value, what) =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= 0
    ? value
    : wrong(what, "a whole number, 0 or more", value);

const asString: Parser<string> = (value, what) =>
  typeof value === "string" ? value : wrong(what, "a string", value);

const asObject: Parser<JsonObject> = (value, what) =>
  isObject(value) ? value : wrong(what, "an object", value);

const asArray: Parser<readonly JsonValue[]> = (value, what) =>
  Array.isArray(value) ? value : wrong(what, "a list", value);

function orNull<T>(parse: Parser<T>): Parser<T | null> {
  return (value, what) => (value === null ? null : parse(value, what));
}

function oneOf<const T extends string>(words: readonly T[]): Parser<T> {
  return (value, what) =>
    words.find((word) => word === value) ?? wrong(what, words.map((word) => `"${word}"`).join(" or "), value);
}

function wrong(what: string, expected: string, got: JsonValue | undefined): never {
  throw new Error(`${what}: expected ${expected}, got ${show(got)}`);
}

function show(value: JsonValue | undefined): string {
  if (value === undefined) return "nothing";
  if (isObject(value)) return "an object";
  if (Array.isArray(value)) return "a list";
  return typeof value === "string" ? JSON.stringify(value.slice(0, 80)) : String(value);
}
