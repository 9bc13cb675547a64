// The fields that all families read alike.
import { UsageError } from "../errors.ts";
import { type Config, flag, only, positive, size, wrong } from "./config.ts";
import type { DecoderConfig } from "./decoder.ts";
import { ropeOf } from "./rope.ts";

/** Defaults that differ between families, from transformers' configuration classes. */
export interface FamilyDefaults {
  /** null: as many as heads. */
  readonly keyHeads: number | null;
  /** null: the hidden size divided among the heads. */
  readonly headSize: number | null;
  readonly maxPositions: number;
}

/** What the fields common to all families say; without biases, norms by head and windows. */
export function commonConfig(config: Config, defaults: FamilyDefaults): DecoderConfig {
  only(config, "hidden_act", ["silu", "swish"]);
  only(config, "pretraining_tp", [1, null]);
  checkQuantisation(config);
  const hiddenSize = size(config, "hidden_size");
  const heads = size(config, "num_attention_heads");
  const keyHeads = size(config, "num_key_value_heads", defaults.keyHeads ?? heads);
  const headSize = size(config, "head_dim", defaults.headSize ?? Math.floor(hiddenSize / heads));
  if (heads % keyHeads !== 0) throw wrong("num_key_value_heads", `a divisor of ${heads}`, keyHeads);
  if (headSize % 2 !== 0) throw wrong("head_dim", "even", headSize);
  return {
    vocabularySize: size(config, "vocab_size"),
    hiddenSize,
    intermediateSize: size(config, "intermediate_size"),
    heads,
    keyHeads,
    headSize,
    epsilon: positive(config, "rms_norm_eps", 1e-6),
    maxPositions: size(config, "max_position_embeddings", defaults.maxPositions),
    tied: flag(config, "tie_word_embeddings", false),
    rope: ropeOf(config, headSize),
    attentionBias: { inputs: false, output: false },
    mlpBias: false,
    headNorms: false,
    windows: Array<null>(size(config, "num_hidden_layers")).fill(null),
  };
}

/** 8-bit floats are decoded by what their tensors say; other quantisations pack theirs in ways of their own. */
function checkQuantisation({ quantization_config: quantisation }: Config): void {
  if (quantisation === null || quantisation === undefined) return;
  const field = "quantization_config.quant_method";
  const isObject = typeof quantisation === "object" && "quant_method" in quantisation;
  only({ [field]: isObject ? quantisation.quant_method : null }, field, ["fp8"]);
}

/** The windows of a family that states `layer_types`, or `use_sliding_window` and `max_window_layers`. */
export function windowsByLayer(config: Config, layers: number): readonly (number | null)[] {
  const window = flag(config, "use_sliding_window", false) ? slidingWindow(config, 4096) : null;
  const types = config.layer_types ?? null;
  if (types === null) {
    const from = config.max_window_layers === 0 ? 0 : size(config, "max_window_layers", 28);
    return Array.from({ length: layers }, (_, at) => (at >= from ? window : null));
  }
  if (!Array.isArray(types) || types.length !== layers)
    throw wrong("layer_types", `a list of ${layers}`, types);
  return types.map((type: unknown, at) => {
    if (type === "full_attention") return null;
    if (type === "sliding_attention" && window !== null) return window;
    throw new UsageError(
      `Cannot build the model: expected layer_types[${at}] in config.json to be full_attention${window === null ? "" : " or sliding_attention"}, got ${JSON.stringify(type)}${window === null ? " while use_sliding_window is off" : ""}`,
    );
  });
}

/** `sliding_window`; null where the config says so. */
export function slidingWindow(config: Config, fallback: number): number | null {
  return config.sliding_window === null ? null : size(config, "sliding_window", fallback);
}
