// Loss, perplexity and token accuracy on packed sequences, by the evaluation graph.
import type { TokenBatch } from "../chat/batch.ts";
import { IGNORED_LABEL } from "../chat/batch.ts";
import { type ArtifactGraph, floatsOf, type GraphOutputs } from "./artifact-graph.ts";
import type { BatchSource } from "./batch-source.ts";

/** What {@link evaluateGraph} finds. */
export interface Evaluation {
  /** Mean negative log-likelihood of the target tokens, in nats. */
  readonly loss: number;
  /** exp(loss). */
  readonly perplexity: number;
  /** Share of the target tokens that are the likeliest ones. */
  readonly tokenAccuracy: number;
  /** Target tokens. */
  readonly targets: number;
}

/** Options of {@link evaluateGraph}. */
export interface EvaluateGraphOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: { readonly sequencesDone: number; readonly sequences: number }) => void;
}

/**
 * Evaluates one epoch of a source, summed in float64.
 *
 * @throws RangeError when it has no target token; the signal's reason when aborted.
 */
export async function evaluateGraph(
  graph: ArtifactGraph,
  source: BatchSource,
  { signal, onProgress }: EvaluateGraphOptions = {},
): Promise<Evaluation> {
  let sum = 0;
  let targets = 0;
  let right = 0;
  let sequencesDone = 0;
  for await (const batch of source.batches({ epoch: 0, skip: 0 })) {
    signal?.throwIfAborted();
    const outputs = await graph.run({
      batch,
      items: batch.targets,
      outputs: ["token_logprobs", "predictions"],
    });
    for (const logprob of floatsOf(outputs, "token_logprobs")) sum -= logprob;
    targets += batch.targets;
    right += countRight(batch, predictionsOf(outputs));
    sequencesDone += batch.batch;
    onProgress?.({ sequencesDone, sequences: source.sequences });
  }
  if (targets === 0) throw new RangeError("Cannot evaluate: the data holds no target token");
  const loss = sum / targets;
  return { loss, perplexity: Math.exp(loss), tokenAccuracy: right / targets, targets };
}

/** [batch, sequence]: the likeliest next token at each position. */
function predictionsOf(outputs: GraphOutputs): Int32Array | BigInt64Array {
  const tensor = outputs.get("predictions");
  if (tensor !== undefined && tensor.dtype !== "float32") return tensor.values;
  throw new TypeError(`Cannot read "predictions" of a graph: expected integers, got ${tensor?.dtype}`);
}

function countRight(
  { sequence, labels, positionIds }: TokenBatch,
  predictions: Int32Array | BigInt64Array,
): number {
  let right = 0;
  for (let i = 1; i < labels.length; i++) {
    // The first token of a row or a packed segment is nobody's target.
    if (i % sequence === 0 || positionIds[i] === 0 || labels[i] === IGNORED_LABEL) continue;
    if (Number(predictions[i - 1]) === labels[i]) right++;
  }
  return right;
}
