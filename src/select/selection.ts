// What `select` returns: the modules that are to train, and what share of the model they are.
import type { Estimator } from "../snr/results.ts";

/** How modules compete. `per-type`: within each type. `global`: all together. `parameter-share`: all together, until the share of parameters is reached. */
export type Strategy = "per-type" | "global" | "parameter-share";

/** A module that is to train. */
export interface SelectedModule {
  readonly name: string;
  /** The checkpoint's tensor, and the bias that trains with it where there is one. */
  readonly tensor: string;
  readonly bias: string | null;
  readonly type: string;
  readonly layer: number | null;
  readonly expert: number | null;
  /** The score it was chosen by; null when a policy chose it (embeddings `always`). */
  readonly snr: number | null;
  /** Elements that train, bias included; null when the results do not know shapes. */
  readonly parameters: number | null;
}

/** The selection: plain data, what the dialects and the export write out. */
export interface Selection {
  readonly model: { readonly id: string; readonly revision: string | null };
  readonly estimator: Estimator;
  readonly strategy: Strategy;
  readonly topPercent: number;
  /** In the order of the results. */
  readonly modules: readonly SelectedModule[];
  /** Every parameter name that trains, biases included; exact names, in the order of the modules. */
  readonly parameterNames: readonly string[];
  readonly parameters: {
    readonly trainable: number | null;
    readonly total: number | null;
    /** trainable / total, 0 to 1. */
    readonly share: number | null;
  };
}
