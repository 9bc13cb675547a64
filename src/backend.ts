// The backend contract: what a backend can do, and whether it can do it here. Implementations are in ../backends,
// one folder each; the table of them is ../backends/index.ts.
import type { SvdOptions, TruncatedSvd } from "./backend-svd.ts";
import type { MatrixDType } from "./tensor/dtype.ts";

/** Whether a backend can run on this machine; when not, `reason` says why and `fix` what to install or set. */
export type Availability =
  | { readonly ok: true }
  | { readonly ok: false; readonly reason: string; readonly fix: string };

/**
 * `exact`: every squared singular value within 1e-13 sigma_1^2 of a float64 LAPACK's.
 * `fast`: may use float32 products where the score `spectrum` stays within 1e-6 relative (1e-4 where sigma_min < 1e-6
 * sigma_1; on `webgpu`, which has floats alone, 1e-4 throughout), but for a value that lies on the threshold between
 * signal and noise as nearly as it is known.
 */
export type Precision = "exact" | "fast";

/** A row-major matrix whose bytes have not been decoded, delivered in blocks. */
export interface MatrixSource {
  /** [rows, columns], both at least 1. */
  readonly shape: readonly [rows: number, columns: number];
  readonly dtype: MatrixDType;
  /**
   * Little-endian elements in row-major order, in blocks that each hold whole rows and together hold all of them.
   * A block is valid until the next one is asked for.
   */
  readonly rows: Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
  /**
   * True when iterating `rows` again starts over and gives the same bytes. A backend does so for the rare matrix that
   * needs a second or a third look; of a matrix that can be read only once it has to hold the bytes for that case.
   */
  readonly rereadable?: boolean;
}

/** Element type of the activations and matrix products in a graph. */
export type ComputeDType = "float32" | "float16" | "bfloat16";

/** What a backend may be able to do: the optional methods of {@link Backend}. */
export type Capability = "singularValues" | "svd" | "session";

/** An ONNX graph to run. */
export interface GraphSource {
  /** The .onnx file. */
  readonly path: string;
  /** Real folder that the locations of external data are relative to; null: the graph's own. */
  readonly weightsFolder: string | null;
}

/** Element types of a graph's inputs and outputs. */
export type GraphDType = "float32" | "int64" | "int32";

/** An input or output of a graph: elements in row-major order. */
export type GraphTensor =
  | {
      readonly dtype: "float32";
      readonly shape: readonly number[];
      readonly values: Float32Array<ArrayBuffer>;
    }
  | {
      readonly dtype: "int64";
      readonly shape: readonly number[];
      readonly values: BigInt64Array<ArrayBuffer>;
    }
  | { readonly dtype: "int32"; readonly shape: readonly number[]; readonly values: Int32Array<ArrayBuffer> };

/** What {@link GraphSession.run} gives back. */
export interface GraphRun {
  readonly outputs: ReadonlyMap<string, GraphTensor>;
  /** The feeds, in the memory in which they came. */
  readonly feeds: ReadonlyMap<string, GraphTensor>;
}

/** Frozen weights that a backend converts at load, and holds so: it cannot convert them while it runs. */
export interface FoldedWeights {
  /** In the checkpoint, of `sizeBytes` in all. */
  readonly dtype: ComputeDType;
  readonly sizeBytes: number;
  /** In memory, of `castBytes` in all. */
  readonly castDtype: ComputeDType;
  readonly castBytes: number;
}

/** A loaded graph. It owns a thread, and memory on a device, until closed. */
export interface GraphSession extends AsyncDisposable {
  /** Element type of each input: an `int64` of the file may be an `int32` here. */
  readonly inputs: ReadonlyMap<string, GraphDType>;
  readonly outputs: ReadonlyMap<string, GraphDType>;
  /** By pairs of dtypes; empty where the backend reads weights as they are. */
  readonly foldedWeights?: readonly FoldedWeights[];
  /**
   * Runs the graph and computes the outputs of these names. The feeds' buffers are handed over, which detaches the
   * caller's arrays, and come back with the outputs; after a run that failed they are gone. Runs wait for each other.
   *
   * @throws Error naming the graph, with what the runtime says.
   */
  run(feeds: ReadonlyMap<string, GraphTensor>, outputs: readonly string[]): Promise<GraphRun>;
  /** Frees everything, once the run in progress has ended; calls in flight reject. */
  close(): Promise<void>;
}

/** Options of {@link BackendEntry.open}. */
export interface BackendOptions {
  readonly precision: Precision;
  /** Threads the backend may use in all; default: the processors this process may use. */
  readonly threads?: number;
}

/** An open backend. It owns threads or device memory until closed. */
export interface Backend extends AsyncDisposable {
  readonly name: string;
  /** In what the graphs that it runs may compute; without `session` left out. */
  readonly computeDtypes?: readonly ComputeDType[];
  /** Whether the graphs that it runs may hold weights of 8-bit floats. Default false. */
  readonly float8Weights?: boolean;
  /** Version of the numerics: changes whenever a result may change in any bit. Part of the cache key of scores. */
  readonly version: string;
  readonly precision: Precision;
  /** How many calls of `singularValues` keep it busy; more are queued. */
  readonly concurrency: number;
  /**
   * All singular values of one matrix.
   *
   * @returns min(rows, columns) values, descending, none negative.
   * @throws MatrixError when the matrix holds NaN or Infinity, or is larger than the backend can take; RangeError when
   * its rows do not add up to its shape; Error when an iteration does not converge.
   */
  singularValues?(matrix: MatrixSource): Promise<Float64Array>;
  /**
   * The leading singular triplets of one matrix, with bounds on their errors. The same seed gives the same bits,
   * whatever the number of threads.
   *
   * @param rank - how many triplets: 1 to min(rows, columns).
   * @example
   * const { backend } = await openBackend("auto", { precision: "exact", capability: "svd" });
   * const elements = Float32Array.of(3, 0, 0, 4, 0, 0); // 3 x 2
   * const bytes = new Uint8Array(elements.buffer);
   * const top = await backend.svd?.({ shape: [3, 2], dtype: "F32", rows: [bytes], rereadable: true }, 1, { seed: 1 });
   * console.log(top?.s, top?.bounds, top?.converged); // 4, within 1e-14, true
   * await backend.close();
   *
   * @throws UsageError when the rank or an option is out of range; MatrixError when the matrix holds NaN or Infinity,
   * or is larger than the backend can take; RangeError when its rows do not add up to its shape.
   */
  svd?(matrix: MatrixSource, rank: number, options?: SvdOptions): Promise<TruncatedSvd>;
  /**
   * Loads a graph.
   *
   * @throws Error naming the graph when the runtime refuses it.
   */
  session?(graph: GraphSource): Promise<GraphSession>;
  /** Frees everything. Calls in flight reject. */
  close(): Promise<void>;
}

/** What a backend's module exports: it costs nothing to import, and loads its native parts in `open`. */
export interface BackendEntry {
  readonly name: string;
  readonly capabilities: readonly Capability[];
  /** In what the graphs that it runs may compute; without `session` left out. */
  readonly computeDtypes?: readonly ComputeDType[];
  /** Whether the graphs that it runs may hold weights of 8-bit floats. Default false. */
  readonly float8Weights?: boolean;
  /** False where singular values are never `exact`: then `auto` does not take it for those. Default true. */
  readonly exact?: boolean;
  /** True for one that is correct and slow: `auto` takes it for singular values only where nothing else can run. */
  readonly lastResort?: boolean;
  availability(): Promise<Availability>;
  /** @throws BackendUnavailableError where `availability` is not ok. */
  open(options: BackendOptions): Promise<Backend>;
}
