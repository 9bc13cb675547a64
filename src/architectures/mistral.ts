// Mistral: Llama with a sliding window in every layer.
import type { Config } from "./config.ts";
import type { DecoderConfig } from "./decoder.ts";
import { commonConfig, slidingWindow } from "./family.ts";

/** @throws UsageError naming a field that cannot be computed. */
export function mistral(config: Config): DecoderConfig {
  const common = commonConfig(config, { keyHeads: 8, headSize: null, maxPositions: 131072 });
  const window = slidingWindow(config, 4096);
  return { ...common, windows: common.windows.map(() => window) };
}
