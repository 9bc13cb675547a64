// Llama, and what publishes itself as Llama: SmolLM, TinyLlama.
import { type Config, flag } from "./config.ts";
import type { DecoderConfig } from "./decoder.ts";
import { commonConfig } from "./family.ts";

/** @throws UsageError naming a field that cannot be computed. */
export function llama(config: Config): DecoderConfig {
  const bias = flag(config, "attention_bias", false);
  return {
    ...commonConfig(config, { keyHeads: null, headSize: null, maxPositions: 2048 }),
    attentionBias: { inputs: bias, output: bias },
    mlpBias: flag(config, "mlp_bias", false),
  };
}
