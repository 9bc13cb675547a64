// The two shapes of JSON that the original tool writes, read and written: flat {module: {snr, type}}, and
// sorted {type: {module: snr}}. What they mean as scan results is here too; which modules it lists is in ../select.
import { isObject, type JsonObject, type JsonValue, pythonFloat, pythonString } from "./python-json.ts";
import type { ModuleResult, ScanResults } from "./results.ts";

/** A score of the original tool, as it stands in its files: the number may be Infinity or NaN. */
export interface OriginalScore {
  readonly snr: number;
  readonly type: string;
}

/** The original's scores by module name, in the order of its file. */
export type OriginalScores = ReadonlyMap<string, OriginalScore>;

/**
 * Reads either shape.
 *
 * @returns null when the document has neither shape.
 * @throws Error naming the entry that breaks the shape its first entry promised.
 */
export function readOriginalScores(document: JsonValue): OriginalScores | null {
  if (!isObject(document)) return null;
  const [first] = document.values();
  if (!isObject(first) || first.size === 0) return null;
  return first.has("snr") ? readFlat(document) : readSorted(document);
}

function readFlat(document: JsonObject): OriginalScores {
  const scores = new Map<string, OriginalScore>();
  for (const [name, entry] of document) {
    const snr = isObject(entry) ? entry.get("snr") : undefined;
    const type = isObject(entry) ? entry.get("type") : undefined;
    if (typeof snr !== "number" || typeof type !== "string")
      throw new Error(`module ${JSON.stringify(name)}: expected {"snr": number, "type": string}`);
    scores.set(name, { snr, type });
  }
  return scores;
}

function readSorted(document: JsonObject): OriginalScores | null {
  const scores = new Map<string, OriginalScore>();
  for (const [type, modules] of document) {
    if (!isObject(modules)) return null;
    for (const [name, snr] of modules) {
      if (typeof snr !== "number") return null;
      if (scores.has(name)) throw new Error(`module ${JSON.stringify(name)}: listed under two types`);
      scores.set(name, { snr, type });
    }
  }
  return scores;
}

/** The original's `snr_results_{slug}.json`, byte for byte. */
export function formatFlat(scores: OriginalScores): string {
  const entries = [...scores].map(
    ([name, { snr, type }]) =>
      `    ${pythonString(name)}: {\n        "snr": ${pythonFloat(snr)},\n        "type": ${pythonString(type)}\n    }`,
  );
  return braces(entries, "");
}

/** The original's `snr_results_{slug}_sorted.json`, byte for byte: within a type in descending order, ties as they came. */
export function formatSorted(scores: OriginalScores): string {
  const types = [...rankedByType(scores)].map(([type, names]) => {
    const entries = names.map(
      (name) => `        ${pythonString(name)}: ${pythonFloat(scores.get(name)?.snr ?? Number.NaN)}`,
    );
    return `    ${pythonString(type)}: ${braces(entries, "    ")}`;
  });
  return braces(types, "");
}

/**
 * Module names by type, types as they first come, names in descending order of their scores, ties as they came.
 * NaN comes last; the original leaves the place of NaN, and of what stands beside it, to chance.
 */
export function rankedByType(scores: OriginalScores): ReadonlyMap<string, readonly string[]> {
  const byType = new Map<string, { name: string; snr: number }[]>();
  for (const [name, { snr, type }] of scores) {
    const modules = byType.get(type) ?? [];
    modules.push({ name, snr: Number.isNaN(snr) ? Number.NEGATIVE_INFINITY : snr });
    byType.set(type, modules);
  }
  const ranked = new Map<string, string[]>();
  for (const [type, modules] of byType) {
    modules.sort((a, b) => (a.snr === b.snr ? 0 : a.snr > b.snr ? -1 : 1));
    ranked.set(
      type,
      modules.map((module) => module.name),
    );
  }
  return ranked;
}

/** The original's name for a model in its file names. */
export function originalSlug(modelId: string): string {
  return modelId.replace(/[/\\_]/g, "-");
}

/** Scan results made of the original's scores. What it did not record is null or absent; `id` is the model's. */
export function resultsFromOriginal(scores: OriginalScores, id: string): ScanResults {
  return {
    schemaVersion: 1,
    model: { id, revision: null, files: [], parameters: null },
    tool: { name: "spectrum.py", version: "unknown" },
    backend: { name: "torch", version: "unknown", precision: "fast" },
    modules: [...scores].map(([name, score]) => importedModule(name, score)),
  };
}

function importedModule(name: string, { snr, type }: OriginalScore): ModuleResult {
  const number = name.split(".").find((part) => /^[0-9]+$/.test(part));
  const last = name.slice(name.lastIndexOf(".") + 1);
  return {
    name,
    tensor: `${name}.weight`,
    type,
    layer: number === undefined ? null : Number(number),
    part: HEADS.has(last) ? "head" : EMBEDDINGS.has(last) ? "embedding" : "body",
    shape: null,
    dtype: null,
    snr: { spectrum: Number.isNaN(snr) ? null : snr, calibrated: null },
    unscored: {
      ...(Number.isNaN(snr) ? { spectrum: "the original tool gave NaN" } : {}),
      calibrated: "the original tool has no such score",
    },
    ...(NORM.test(last) ? { skipped: "a norm: the original gives all of them the same score" } : {}),
  };
}

// Its files tell neither shapes nor parts: the last part of the name does.
const HEADS: ReadonlySet<string> = new Set(["lm_head", "embed_out"]);
const EMBEDDINGS: ReadonlySet<string> = new Set([
  "embed_tokens",
  "embed_positions",
  "embed_in",
  "word_embeddings",
  "wte",
  "wpe",
  "tok_embeddings",
]);
const NORM = /norm|^ln_|^ln[0-9]*$/i;

function braces(entries: readonly string[], indent: string): string {
  return entries.length === 0 ? "{}" : `{\n${entries.join(",\n")}\n${indent}}`;
}
