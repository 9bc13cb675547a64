// The scan: reads, decodes and scores every matrix of a model, several at once, and keeps each score as it comes.
import { setMaxListeners } from "node:events";
import { openBackend } from "../../backends/index.ts";
import type { Backend, Precision } from "../backend.ts";
import { MatrixError, UsageError } from "../errors.ts";
import type { Model } from "../hub/model.ts";
import { findModules } from "../modules/find-modules.ts";
import { checkPatterns, matchesAny } from "../modules/globs.ts";
import type { ModelModule } from "../modules/module.ts";
import { TOOL } from "../tool.ts";
import { singularValueFlops } from "./flops.ts";
import {
  hashFile,
  identityOf,
  type MatrixModule,
  type ModuleIdentity,
  matrixOf,
  storedBytes,
} from "./module-bytes.ts";
import {
  type ModuleResult,
  type ResultsFile,
  SCHEMA_VERSION,
  type ScanResults,
  type SpectrumStatistics,
} from "./results.ts";
import { countProgress, type ScanProgress, type ScanTask } from "./scan-progress.ts";
import { defaultScoreCacheFolder, openScoreCache, type ScoreKey } from "./score-cache.ts";

/** Options of {@link scan}. */
export interface ScanOptions {
  /** Name of a backend, `auto` (default) for the fastest that is available here, or an open one, which stays open. */
  readonly backend?: string | Backend;
  /** Default `exact`. */
  readonly precision?: Precision;
  /** Threads for the backend; default: the processors this process may use. */
  readonly threads?: number;
  /** Globs on a module's name, tensor or type: only these are scanned. `*` is any run of characters. */
  readonly include?: readonly string[];
  /** Globs of modules to leave out. */
  readonly exclude?: readonly string[];
  /** Folder of known scores, or false for none; then an interrupted scan starts again. Default: the user's cache. */
  readonly cache?: string | false;
  readonly onProgress?: (progress: ScanProgress) => void;
  /** What the caller may want to know and did not ask for: which backend `auto` took, and why. */
  readonly onNote?: (note: string) => void;
  /** Stops the scan; what is done stays in the cache. */
  readonly signal?: AbortSignal;
}

/**
 * Scores every weight matrix of a model by the signal-to-noise ratio of its singular values.
 *
 * Scores are kept in the cache as they come: a scan that was interrupted, even killed, goes on where it stopped, and
 * gives the same results. Modules that cannot be scored (norms, biases, matrices of zeros, values that are not
 * finite) are listed with the reason in `skipped`.
 *
 * @throws UsageError for an unknown backend, or a glob that matches nothing; BackendUnavailableError; the signal's
 * reason when aborted; whatever reading the model throws.
 *
 * @example
 * const model = await openModel("HuggingFaceTB/SmolLM2-135M");
 * const results = await scan(model, { onProgress: ({ modulesDone }) => console.error(modulesDone) });
 */
export async function scan(model: Model, options: ScanOptions = {}): Promise<ScanResults> {
  const all = findModules(model.tensors, model.config);
  const wanted = filterModules(all, options);
  const { backend, close } = await takeBackend(options, all);
  try {
    const [scores, files] = await Promise.all([
      scoreAll(model, wanted.filter(isMatrix), backend, options),
      describeFiles(model, options.signal),
    ]);
    const { name, version, precision } = backend;
    return {
      schemaVersion: SCHEMA_VERSION,
      model: {
        id: model.id,
        revision: model.revision,
        files,
        parameters: countParameters(model, all),
      },
      tool: TOOL,
      backend: { name, version, precision },
      modules: wanted.map((module) => describeModule(model, module, scores.get(module.name))),
    };
  } finally {
    await close();
  }
}

function filterModules(modules: readonly ModelModule[], options: ScanOptions): readonly ModelModule[] {
  const { include = [], exclude = [] } = options;
  checkPatterns([...include, ...exclude], modules);
  return modules.filter(
    (module) => (include.length === 0 || matchesAny(include, module)) && !matchesAny(exclude, module),
  );
}

/**
 * The backend to use, and how to give it back: one that came open is the caller's to close. What `auto` takes depends on
 * the whole model, not on what is scanned of it: scores of one part are then known when all of it is scanned.
 */
async function takeBackend(
  options: ScanOptions,
  all: readonly ModelModule[],
): Promise<{ backend: Backend; close: () => Promise<void> }> {
  const { backend: choice = "auto", precision = "exact", threads } = options;
  if (typeof choice !== "string") return { backend: choice, close: async () => {} };
  const { backend, notes } = await openBackend(choice, {
    precision,
    flops: all.reduce((sum, { matrix }) => sum + (matrix === null ? 0 : singularValueFlops(matrix)), 0),
    ...(threads !== undefined && { threads }),
  });
  for (const note of notes) options.onNote?.(note);
  return { backend, close: () => backend.close() };
}

/** Scores by module name; a string is the reason why there is none. */
type Scores = ReadonlyMap<string, SpectrumStatistics | string>;

/** Scores all matrices, as many at once as keep the backend busy while the next ones are read. */
async function scoreAll(
  model: Model,
  modules: readonly MatrixModule[],
  backend: Backend,
  options: ScanOptions,
): Promise<Scores> {
  const scores = new Map<string, SpectrumStatistics | string>();
  const queue = inFileOrder(model, modules).map((module) => ({ module, task: taskOf(model, module) }));
  const counter = countProgress(
    queue.map(({ task }) => task),
    () => performance.now(),
  );
  options.onProgress?.(counter.start());
  const score = await moduleScorer(model, backend, options);
  const next = queue.values();
  const failure = new AbortController();
  const signals = [failure.signal, ...(options.signal ? [options.signal] : [])];
  const signal = AbortSignal.any(signals);
  // One for each matrix at work, of which a large machine has more than the ten that Node takes for a leak.
  setMaxListeners(0, signal);
  const work = async () => {
    for (const { module, task } of next) {
      signal.throwIfAborted();
      const { statistics, cached } = await abortable(score(module, signal), signal);
      scores.set(module.name, statistics);
      options.onProgress?.(counter.done(task, cached));
    }
  };
  try {
    await Promise.all(Array.from({ length: backend.concurrency + 1 }, work));
  } catch (error) {
    failure.abort(error);
    throw error;
  }
  return scores;
}

type ScoreModule = (
  module: MatrixModule,
  signal: AbortSignal,
) => Promise<{ readonly statistics: SpectrumStatistics | string; readonly cached: boolean }>;

/** A function that takes a module's score from the cache, or computes and keeps it. */
async function moduleScorer(model: Model, backend: Backend, options: ScanOptions): Promise<ScoreModule> {
  // Loaded here because mathjs takes a while, which the backend's threads use to start.
  const { ESTIMATOR_VERSION, spectrumStatistics } = await import("./estimators.ts");
  const cache = options.cache === false ? null : openScoreCache(options.cache ?? defaultScoreCacheFolder());
  const { name, version, precision } = backend;
  const singularValues = backend.singularValues?.bind(backend);
  if (!singularValues) throw new UsageError(`Cannot scan with backend "${name}": it has no singular values`);
  const keyOf = async (module: MatrixModule, signal: AbortSignal): Promise<ScoreKey> => ({
    ...(await identityOf(model, module, signal)),
    dtype: module.dtype,
    matrix: module.matrix,
    backend: { name, version, precision },
    estimatorVersion: `${TOOL.version}/${ESTIMATOR_VERSION}`,
  });
  const compute = async (module: MatrixModule, identity: ModuleIdentity | null, signal: AbortSignal) => {
    try {
      const matrix = await matrixOf(model, module, { identity, signal });
      return spectrumStatistics(await singularValues(matrix), module.matrix);
    } catch (error) {
      if (error instanceof MatrixError) return error.message;
      throw new Error(`Cannot score "${module.name}": ${messageOf(error)}`, { cause: error });
    }
  };
  return async (module, signal) => {
    const key = cache && (await keyOf(module, signal));
    const known = key && (await cache.get(key));
    if (known) return { statistics: known, cached: true };
    const statistics = await compute(module, key, signal);
    if (key && typeof statistics !== "string") await cache.put(key, statistics);
    return { statistics, cached: false };
  };
}

/** Rejects with the signal's reason as soon as it is aborted, whatever the promise does later. */
async function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let stop = () => {};
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

function describeModule(
  model: Model,
  module: ModelModule,
  score: SpectrumStatistics | string | undefined,
): ModuleResult {
  const { name, tensor, type, layer, part, shape, dtype, expert, bias, tiedTo, kind, reason } = module;
  const biasShape = bias === null ? undefined : model.tensors.get(bias)?.shape;
  return {
    name,
    tensor,
    type,
    layer,
    part,
    shape,
    dtype,
    ...(expert !== null && { expert }),
    ...(bias !== null && biasShape && { bias, biasParameters: elements(biasShape) }),
    ...(tiedTo !== null && { tiedTo }),
    ...(kind === "vector" && { skipped: "a vector has a single singular value, which says nothing" }),
    ...(reason !== null && { skipped: reason }),
    ...(typeof score === "string" ? { skipped: score } : score),
    ...(typeof score === "object" && score.sigmaMax === 0 && { skipped: "every entry is zero" }),
  };
}

/** The weights files with their hashes: the Hub's where it states them, else computed here. */
async function describeFiles(model: Model, signal?: AbortSignal): Promise<readonly ResultsFile[]> {
  const files: ResultsFile[] = [];
  for (const file of model.files) {
    const { name, sha256, etag } = file;
    if (sha256 === null && etag !== null) files.push({ name, etag });
    else files.push({ name, sha256: sha256 ?? (await hashFile(model, file, signal)) });
  }
  return files;
}

/** Parameters of the checkpoint: every module and bias once. */
function countParameters(model: Model, modules: readonly ModelModule[]): number {
  return modules.reduce(
    (sum, { shape, bias }) => sum + elements(shape) + elements(model.tensors.get(bias ?? "")?.shape ?? [0]),
    0,
  );
}

function inFileOrder(model: Model, modules: readonly MatrixModule[]): readonly MatrixModule[] {
  const order = new Map([...model.tensors.keys()].map((tensor, index) => [tensor, index]));
  const place = (module: MatrixModule) => order.get(module.tensor) ?? 0;
  return modules.toSorted((a, b) => place(a) - place(b) || (a.expert ?? 0) - (b.expert ?? 0));
}

function taskOf(model: Model, module: MatrixModule): ScanTask {
  return { name: module.name, matrix: module.matrix, bytes: storedBytes(model, module) };
}

function isMatrix(module: ModelModule): module is MatrixModule {
  return module.matrix !== null;
}

function elements(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
