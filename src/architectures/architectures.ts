// The model families, by the `model_type` of config.json.
import { UsageError } from "../errors.ts";
import type { Config } from "./config.ts";
import type { DecoderConfig } from "./decoder.ts";
import { llama } from "./llama.ts";
import { mistral } from "./mistral.ts";
import { qwen2 } from "./qwen2.ts";
import { qwen3 } from "./qwen3.ts";

const FAMILIES: ReadonlyMap<unknown, (config: Config) => DecoderConfig> = new Map([
  ["llama", llama],
  ["mistral", mistral],
  ["qwen2", qwen2],
  ["qwen3", qwen3],
]);

/**
 * What a config.json says of the graph.
 *
 * @throws UsageError when no family has its `model_type`, or a field cannot be computed.
 */
export function decoderConfig(config: Config): DecoderConfig {
  const family = FAMILIES.get(config.model_type);
  if (family) return family(config);
  const families = [...FAMILIES.keys()].join(", ");
  if (config.model_type === undefined)
    throw new UsageError(
      `Cannot build the model: there is no config.json, or no model_type in it; expected one of ${families}`,
    );
  throw new UsageError(
    `Cannot build the model: config.json has model_type ${JSON.stringify(config.model_type)}, of which only ${families} are supported`,
  );
}
