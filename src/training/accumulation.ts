// Cuts a run's batches into steps: the batches whose gradients are added up for one update.
import type { TokenBatch } from "../chat/batch.ts";
import type { BatchSource, EpochPosition } from "./batch-source.ts";

/** The batches of one update. */
export interface StepBatches {
  readonly batches: readonly TokenBatch[];
  /** Where the first of them stands. */
  readonly at: EpochPosition;
  /** Where the first one after them stands. */
  readonly next: EpochPosition;
  /** Target tokens of all of them: the divisor of the loss. */
  readonly targets: number;
}

/** Updates in an epoch: the last may have fewer batches than `accumulation`. */
export function stepsPerEpoch({ sequences, batchSize }: BatchSource, accumulation: number): number {
  return Math.ceil(Math.ceil(sequences / batchSize) / accumulation);
}

/**
 * The steps from a place on, epoch after epoch without end.
 *
 * @throws RangeError when an epoch has no batch, or not as many sequences as the source says.
 */
export async function* stepBatches(
  source: BatchSource,
  from: EpochPosition,
  accumulation: number,
): AsyncGenerator<StepBatches> {
  for (let at = from; ; at = { epoch: at.epoch + 1, skip: 0 }) {
    let skip = at.skip;
    let first = skip;
    let batches: TokenBatch[] = [];
    const step = (): StepBatches => ({
      batches,
      at: { epoch: at.epoch, skip: first },
      next: skip < source.sequences ? { epoch: at.epoch, skip } : { epoch: at.epoch + 1, skip: 0 },
      targets: batches.reduce((sum, { targets }) => sum + targets, 0),
    });
    for await (const batch of source.batches(at)) {
      batches.push(batch);
      skip += batch.batch;
      if (batches.length < accumulation) continue;
      yield step();
      first = skip;
      batches = [];
    }
    if (skip !== source.sequences || skip === 0) {
      throw new RangeError(
        `Cannot train on epoch ${at.epoch + 1}: its batches hold ${skip} sequences, expected ${Math.max(1, source.sequences)}`,
      );
    }
    if (batches.length > 0) yield step();
  }
}
