// results.json, schema version 1: what a scan found. Reading and writing are in results-file.ts.

/** Version of the schema below. */
export const SCHEMA_VERSION = 1;

/** Which estimate of the SNR ranks the modules. `spectrum` is the published rule, `calibrated` the corrected one. */
export type Estimator = "spectrum" | "calibrated";

/** What the singular values of one module say. All numbers are finite. */
export interface SpectrumStatistics {
  readonly sigmaMax: number;
  readonly sigmaMin: number;
  /** Quantiles of the singular values, linear interpolation. */
  readonly quantiles: { readonly q25: number; readonly q50: number; readonly q75: number };
  /** The published rule's threshold between noise and signal, in units of the singular values. */
  readonly threshold: number;
  /** Singular values strictly above `threshold`. */
  readonly signalValues: number;
  /** Noise level per entry, and the Marchenko-Pastur edge with its Tracy-Widom margin; null when the bulk is zero. */
  readonly noiseSigma: number | null;
  readonly edge: number | null;
  /** Singular values above `edge`; null when there is none to compare with. */
  readonly spikes: number | null;
  /** ||W||_F^2 / sigma_1^2. */
  readonly stableRank: number;
  /** exp of the entropy of the normalised singular values (Roy & Vetterli 2007). */
  readonly effectiveRank: number;
  /** The two estimates; null where an estimator does not apply, and `skipped` or `unscored` says why. */
  readonly snr: { readonly spectrum: number | null; readonly calibrated: number | null };
  /** Reason per estimator that gave null; absent when both gave a number. */
  readonly unscored?: { readonly spectrum?: string; readonly calibrated?: string };
}

/** One module of a scan. */
export interface ModuleResult extends Partial<SpectrumStatistics> {
  readonly name: string;
  readonly tensor: string;
  readonly type: string;
  readonly layer: number | null;
  readonly part: "body" | "embedding" | "head";
  /** Shape of the module's weight; null only in results imported from the original tool. */
  readonly shape: readonly number[] | null;
  /** Element type in the checkpoint; null only in results imported from the original tool. */
  readonly dtype: string | null;
  readonly expert?: number;
  readonly bias?: string;
  /** Number of elements of `bias`. */
  readonly biasParameters?: number;
  readonly tiedTo?: string;
  /** Why it has no score: a norm, a bias, a matrix of zeros, a dtype that holds no numbers. */
  readonly skipped?: string;
}

/** A weights file as the scan saw it. */
export interface ResultsFile {
  readonly name: string;
  readonly sha256?: string;
  readonly etag?: string;
}

/** The document `results.json`. */
export interface ScanResults {
  readonly schemaVersion: typeof SCHEMA_VERSION;
  readonly model: {
    readonly id: string;
    readonly revision: string | null;
    readonly files: readonly ResultsFile[];
    /** Parameters of the whole checkpoint, tied ones once; null only in imported results. */
    readonly parameters: number | null;
  };
  readonly tool: { readonly name: string; readonly version: string };
  readonly backend: { readonly name: string; readonly version: string; readonly precision: "exact" | "fast" };
  readonly modules: readonly ModuleResult[];
}
