// A packed dataset as the trainer's source of batches.
import type { PackedDataset } from "../chat/packed-dataset.ts";
import type { BatchSource } from "./batch-source.ts";

/** Options of {@link packedBatches}. */
export interface PackedBatchesOptions {
  /** Sequences of a batch. */
  readonly batchSize: number;
  /** Shuffles the sequences, in each epoch anew; null keeps their order. */
  readonly seed: number | null;
}

/** The batches of a packed dataset, which stays the caller's. */
export function packedBatches(
  dataset: PackedDataset,
  { batchSize, seed }: PackedBatchesOptions,
): BatchSource {
  return {
    sequences: dataset.header.rows,
    batchSize,
    settings: { seed, data: dataset.header.fingerprint },
    batches({ epoch, skip }) {
      if (skip % batchSize !== 0)
        throw new RangeError(`Cannot skip ${skip} sequences: batches have ${batchSize} each`);
      return dataset.batches({ batch: batchSize, seed, epoch, skip: skip / batchSize });
    },
  };
}
