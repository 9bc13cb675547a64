// results.json: reading it (ours, and what the original tool wrote) and writing it. The schema is in results.ts.
import { open } from "node:fs/promises";
import { basename } from "node:path";
import { UsageError } from "../errors.ts";
import { replaceFile } from "../files.ts";
import { readOriginalScores, resultsFromOriginal } from "./original-results.ts";
import { isObject, parsePythonJson } from "./python-json.ts";
import type { ModuleResult, ScanResults } from "./results.ts";
import { parseDocument } from "./results-schema.ts";

/** The largest results file that is read: a thousand times the largest known. */
const MAX_BYTES = 256 * 2 ** 20;

/**
 * Reads a results file: ours, or either JSON shape of the original tool (scores may then be Infinity).
 *
 * @throws UsageError when the file is no results file, or of another schema version.
 */
export async function readResults(path: string): Promise<ScanResults> {
  const file = await open(path);
  try {
    const found = await file.stat();
    if (found.isDirectory())
      throw new UsageError(
        `Cannot read the results in ${path}: it is a folder; name the file that a scan wrote`,
      );
    const { size } = found;
    if (size > MAX_BYTES)
      throw new UsageError(`Cannot read ${path}: it has ${size} bytes, results have at most ${MAX_BYTES}`);
    return parseResults(await file.readFile("utf8"), path);
  } finally {
    await file.close();
  }
}

/**
 * Parses the text of a results file; `where` names it in errors, and names the model of an imported one.
 *
 * @throws UsageError saying what is wrong, and where.
 */
export function parseResults(text: string, where: string): ScanResults {
  try {
    if (text.length > MAX_BYTES) throw new SyntaxError(`more than ${MAX_BYTES} characters`);
    const document = parsePythonJson(text);
    if (isObject(document) && document.has("schemaVersion")) return parseDocument(document);
    const scores = readOriginalScores(document);
    if (scores !== null) return resultsFromOriginal(scores, importedModelId(where));
    throw new Error('expected a document with "schemaVersion", or the JSON of the original tool');
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new UsageError(`Cannot read the results in ${where}: ${reason}`, { cause });
  }
}

/** The original names its files after the model, with `/` and `_` turned into `-`; that cannot be turned back. */
function importedModelId(where: string): string {
  const name = basename(where).replace(/\.json$/, "");
  return /^snr_results_(.+?)(?:_sorted)?$/.exec(name)?.[1] ?? name;
}

/**
 * Writes results as strict JSON, in one step: keys in the order of the schema, two spaces, a newline at the end.
 *
 * @throws RangeError naming the module when a number is not finite.
 */
export async function writeResults(path: string, results: ScanResults): Promise<void> {
  await replaceFile(path, formatResults(results));
}

/** The text that {@link writeResults} writes. */
export function formatResults(results: ScanResults): string {
  const { model } = results;
  const ordered: ScanResults = {
    schemaVersion: results.schemaVersion,
    model: {
      id: model.id,
      revision: model.revision,
      files: model.files.map((file) => pick(file, FILE_KEYS)),
      parameters: model.parameters,
    },
    tool: pick(results.tool, ["name", "version"]),
    backend: pick(results.backend, ["name", "version", "precision"]),
    modules: results.modules.map(orderedModule),
  };
  return `${JSON.stringify(ordered, null, 2)}\n`;
}

function orderedModule(module: ModuleResult): ModuleResult {
  const ordered = pick(module, MODULE_KEYS);
  const numbers: [string, unknown][] = [
    ...NUMBER_KEYS.map((key): [string, unknown] => [key, module[key]]),
    ...Object.entries(module.quantiles ?? {}),
    ...Object.entries(module.snr ?? {}).map(([key, x]): [string, unknown] => [`snr.${key}`, x]),
  ];
  for (const [key, x] of numbers)
    if (typeof x === "number" && !Number.isFinite(x))
      throw new RangeError(`Cannot write the results: ${key} of module ${module.name} is ${x}`);
  return {
    ...ordered,
    ...(module.quantiles ? { quantiles: pick(module.quantiles, ["q25", "q50", "q75"]) } : {}),
    ...(module.snr ? { snr: pick(module.snr, ESTIMATORS) } : {}),
    ...(module.unscored ? { unscored: pick(module.unscored, ESTIMATORS) } : {}),
  };
}

/** The same object with its keys in the order given; what is undefined is left out. */
function pick<T extends object, K extends keyof T>(from: T, keys: readonly K[]): Pick<T, K> {
  const entries = keys.flatMap((key) => (from[key] === undefined ? [] : [[key, from[key]]]));
  return Object.fromEntries(entries);
}

const ESTIMATORS = ["spectrum", "calibrated"] as const;
const FILE_KEYS = ["name", "sha256", "etag"] as const;
const NUMBER_KEYS = [
  "sigmaMax",
  "sigmaMin",
  "threshold",
  "signalValues",
  "noiseSigma",
  "edge",
  "spikes",
  "stableRank",
  "effectiveRank",
  "layer",
  "expert",
  "biasParameters",
] as const;
const MODULE_KEYS = [
  "name",
  "tensor",
  "type",
  "layer",
  "part",
  "shape",
  "dtype",
  "expert",
  "bias",
  "biasParameters",
  "tiedTo",
  "sigmaMax",
  "sigmaMin",
  "quantiles",
  "threshold",
  "signalValues",
  "noiseSigma",
  "edge",
  "spikes",
  "stableRank",
  "effectiveRank",
  "snr",
  "unscored",
  "skipped",
] as const satisfies readonly (keyof ModuleResult)[];
