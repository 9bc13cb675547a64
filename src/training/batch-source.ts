// Where a trainer's batches come from: an epoch of packed sequences that can be entered anywhere.
import type { TokenBatch } from "../chat/batch.ts";
import type { RunSettings } from "./checkpoint.ts";

/** A place in the training data. */
export interface EpochPosition {
  /** From 0. Each epoch may have its own order. */
  readonly epoch: number;
  /** Sequences of the epoch to leave out from its start. */
  readonly skip: number;
}

/** Packed sequences, in the same order whenever they are asked for. */
export interface BatchSource {
  /** Sequences of an epoch. */
  readonly sequences: number;
  /** Sequences of each batch, but for the last of an epoch, which may have fewer. */
  readonly batchSize: number;
  /** What else decides which batches come, for a run that goes on to compare: a digest of the data, the seed. */
  readonly settings?: RunSettings;
  /** The batches from there to the end of the epoch. */
  batches(from: EpochPosition): AsyncIterable<TokenBatch>;
}
