// Generates tokens with the evaluation graph: the whole sequence anew for each, hence for samples, not for serving.

import { IGNORED_LABEL, type TokenBatch } from "../chat/batch.ts";
import { UsageError } from "../errors.ts";
import { type ArtifactGraph, floatsOf } from "./artifact-graph.ts";
import type { Manifest } from "./manifest.ts";

/** Options of {@link generateTokens}. */
export interface GenerateOptions {
  /** Tokens to generate at most; default 64. Fewer where the model's positions end. */
  readonly maxTokens?: number;
  /** 0 (default) takes the likeliest token; above it, tokens are drawn from softmax(logits / temperature). */
  readonly temperature?: number;
  /** Of the drawing; default 0. */
  readonly seed?: number;
  /** Tokens that end the text; they are not part of it. */
  readonly stopIds?: readonly number[];
  readonly signal?: AbortSignal;
}

/** What goes on, and within what bounds. */
export interface Prompt {
  readonly manifest: Pick<Manifest, "maxSequence" | "vocabularySize">;
  readonly promptIds: readonly number[];
}

/**
 * Token ids that go on from a prompt. The same seed gives the same tokens.
 *
 * @throws UsageError when the prompt is empty or longer than the model's positions, or holds an id outside the vocabulary.
 */
export async function* generateTokens(
  graph: ArtifactGraph,
  { manifest, promptIds }: Prompt,
  options: GenerateOptions = {},
): AsyncGenerator<number, void> {
  const { maxTokens = 64, temperature = 0, seed = 0, stopIds = [], signal } = options;
  checkPrompt(promptIds, manifest);
  if (!(temperature >= 0))
    throw new UsageError(`Cannot generate with temperature ${temperature}: expected a number from 0`);
  const random = splitmix32(seed);
  const ids = [...promptIds];
  for (let count = 0; count < maxTokens && ids.length < manifest.maxSequence; count++) {
    signal?.throwIfAborted();
    const outputs = await graph.run({ batch: rowOf(ids), items: 0, outputs: ["last_logits"] });
    const logits = floatsOf(outputs, "last_logits");
    const next = temperature === 0 ? likeliest(logits) : draw(logits, temperature, random());
    if (stopIds.includes(next)) return;
    ids.push(next);
    yield next;
  }
}

function checkPrompt(
  ids: readonly number[],
  { maxSequence, vocabularySize }: Pick<Manifest, "maxSequence" | "vocabularySize">,
): void {
  if (ids.length < 1 || ids.length > maxSequence) {
    throw new UsageError(
      `Cannot generate from ${ids.length} tokens: expected 1 to ${maxSequence}, the positions of the model`,
    );
  }
  const outside = ids.find((id) => !Number.isSafeInteger(id) || id < 0 || id >= vocabularySize);
  if (outside !== undefined)
    throw new UsageError(
      `Cannot generate from the token ${outside}: the vocabulary has ${vocabularySize} tokens`,
    );
}

/** One row without targets. */
function rowOf(ids: readonly number[]): TokenBatch {
  return {
    batch: 1,
    sequence: ids.length,
    inputIds: Int32Array.from(ids),
    labels: new Int32Array(ids.length).fill(IGNORED_LABEL),
    positionIds: Int32Array.from(ids, (_, position) => position),
    targets: 0,
  };
}

/** Index of the largest logit, the first of equals. */
function likeliest(logits: Float32Array): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if ((logits[i] as number) > (logits[best] as number)) best = i;
  return best;
}

/** Index at which the cumulated probabilities pass `uniform`, which is in [0, 1). */
function draw(logits: Float32Array, temperature: number, uniform: number): number {
  const highest = logits[likeliest(logits)] as number;
  const weights = Float64Array.from(logits, (logit) => Math.exp((logit - highest) / temperature));
  let left = uniform * weights.reduce((sum, weight) => sum + weight, 0);
  for (const [index, weight] of weights.entries()) {
    left -= weight;
    if (left < 0) return index;
  }
  return likeliest(logits);
}

/** Uniform numbers in [0, 1). Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators" (2014). */
function splitmix32(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let z = state ^ (state >>> 16);
    z = Math.imul(z, 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return ((z ^ (z >>> 15)) >>> 0) / 2 ** 32;
  };
}
