// The names that transformers gives the parameters of a causal language model, from the names in its checkpoint.
// They differ where the checkpoint was saved from the bare model, without its head: GPT-2's `h.0.` is `transformer.h.0.`.
import type { ScanResults } from "../snr/results.ts";

/** What tells a bare model's checkpoint (a tensor every such checkpoint has), and the prefix its parameters get. */
const BARE_MODELS: readonly (readonly [tensor: string, prefix: string])[] = [
  ["wte.weight", "transformer."],
  ["word_embeddings.weight", "transformer."],
  ["embed_tokens.weight", "model."],
  ["decoder.embed_tokens.weight", "model."],
  ["embed_in.weight", "gpt_neox."],
];

/** Tensors that belong to the whole model and never get the prefix. */
const OUTSIDE = /^(?:lm_head|embed_out)\./;

/** A way from checkpoint names to the names of transformers. */
export type ParameterNaming = (tensor: string) => string;

/** The naming of the checkpoint that has these tensors; it changes nothing unless the checkpoint is of a bare model. */
export function parameterNaming(tensors: Iterable<string>): ParameterNaming {
  const names = new Set(tensors);
  const bare = BARE_MODELS.find(([tensor]) => names.has(tensor));
  if (!bare || (bare[0].startsWith("decoder.") && [...names].some((name) => name.startsWith("encoder."))))
    return (tensor) => tensor;
  return (tensor) => (OUTSIDE.test(tensor) ? tensor : bare[1] + tensor);
}

/** Every parameter that the results know of, by its checkpoint name: weights, biases, and other names of tied ones. */
export function tensorNames(results: ScanResults): ReadonlySet<string> {
  return new Set(
    results.modules.flatMap(({ tensor, bias, tiedTo }) =>
      [tensor, bias, tiedTo].filter((name) => name !== undefined),
    ),
  );
}
