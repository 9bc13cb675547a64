// Qwen2 and 2.5: Llama with biases on queries, keys and values, and a sliding window in some layers.
import type { Config } from "./config.ts";
import type { DecoderConfig } from "./decoder.ts";
import { commonConfig, windowsByLayer } from "./family.ts";

/** @throws UsageError naming a field that cannot be computed. */
export function qwen2(config: Config): DecoderConfig {
  const common = commonConfig(config, { keyHeads: 32, headSize: null, maxPositions: 32768 });
  return {
    ...common,
    attentionBias: { inputs: true, output: false },
    windows: windowsByLayer(config, common.windows.length),
  };
}
