// What the data side hands to the trainer: packed sequences, and batches of them.

/** Label of a position that is nobody's target. */
export const IGNORED_LABEL = -100;

/** `batch` sequences of `sequence` positions, row-major; padding stands on the right. */
export interface TokenBatch {
  readonly batch: number;
  readonly sequence: number;
  readonly inputIds: Int32Array;
  /** Same positions as `inputIds` (the graph shifts); {@link IGNORED_LABEL} where a token is no target. */
  readonly labels: Int32Array;
  /** A 0 begins a packed segment, which attends only to itself; continued through padding. */
  readonly positionIds: Int32Array;
  /** Target tokens: labels that are not ignored and do not stand at position 0. */
  readonly targets: number;
}
