// Qwen3: queries and keys are normalised by head, and heads have a size of their own.
import { type Config, flag } from "./config.ts";
import type { DecoderConfig } from "./decoder.ts";
import { commonConfig, windowsByLayer } from "./family.ts";

/** @throws UsageError naming a field that cannot be computed. */
export function qwen3(config: Config): DecoderConfig {
  const common = commonConfig(config, { keyHeads: 32, headSize: 128, maxPositions: 32768 });
  const bias = flag(config, "attention_bias", false);
  return {
    ...common,
    attentionBias: { inputs: bias, output: bias },
    headNorms: true,
    windows: windowsByLayer(config, common.windows.length),
  };
}
