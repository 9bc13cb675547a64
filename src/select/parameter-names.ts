// The names that transformers gives the parameters of a language model, from the names in its checkpoint. They differ where
// the checkpoint was saved from the bare model, without its head (GPT-2's `h.0.` is `transformer.h.0.`), and where a
// model of text and images was rearranged since (transformers 4.52).
import type { ScanResults } from "../snr/results.ts";

/** A way from checkpoint names to the names of transformers. */
export type ParameterNaming = (tensor: string) => string;

/** How tensors of a bare model's checkpoint begin, embedding or blocks, and the prefix its parameters get. */
const BARE_MODELS: readonly (readonly [tensor: RegExp, prefix: string])[] = [
  [/^(?:wte|word_embeddings)\.weight$|^h\.\d+\./, "transformer."],
  [/^(?:decoder\.)?embed_tokens\.weight$|^layers\.\d+\.self_attn\./, "model."],
  [/^embed_in\.weight$|^layers\.\d+\.attention\.query_key_value\./, "gpt_neox."],
];

/** Heads belong to the whole model: they never get a prefix. */
const HEAD = /^(?:lm_head|embed_out)\./;

/** The naming of the checkpoint that has these tensors; most checkpoints need none, and it changes nothing. */
export function parameterNaming(tensors: Iterable<string>): ParameterNaming {
  const names = [...tensors];
  const rename = renaming(names);
  return (tensor) => (HEAD.test(tensor) ? tensor : rename(tensor));
}

function renaming(names: readonly string[]): ParameterNaming {
  const starts = (prefix: string) => names.some((name) => name.startsWith(prefix));
  if (starts("language_model.model.")) return withinLanguageModel;
  if (starts("visual.") && starts("model.layers.")) return besideVisual;
  const bare = BARE_MODELS.find(([tensor]) => names.some((name) => tensor.test(name)));
  // Encoder-decoders are named either way; nothing in the names tells which.
  if (bare === undefined || starts("encoder.")) return (tensor) => tensor;
  return (tensor) => bare[1] + tensor;
}

/** LLaVA and its kin: `language_model.model.layers.0` is `model.language_model.layers.0`. */
function withinLanguageModel(tensor: string): string {
  const [, head] = /^language_model\.(lm_head\..*)$/.exec(tensor) ?? [];
  return head ?? `model.${tensor.replace(/^language_model\.model\./, "language_model.")}`;
}

/** Qwen2-VL: `model.layers.0` is `model.language_model.layers.0`, `visual.blocks.0` is `model.visual.blocks.0`. */
function besideVisual(tensor: string): string {
  return tensor.startsWith("model.")
    ? `model.language_model.${tensor.slice("model.".length)}`
    : `model.${tensor}`;
}

/** Every parameter that the results know of, by its checkpoint name: weights, biases, and other names of tied ones. */
export function tensorNames(results: ScanResults): ReadonlySet<string> {
  return new Set(
    results.modules.flatMap(({ tensor, bias, tiedTo }) =>
      [tensor, bias, tiedTo].filter((name) => name !== undefined),
    ),
  );
}
