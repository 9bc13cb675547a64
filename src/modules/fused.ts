// Which 3-D tensors hold one matrix per expert, as opposed to convolutions.
import { isExpertList } from "./path.ts";

const EXPERT_COUNTS = ["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"];

/** Numbers of experts that a config states, at its top or for its text model. */
export function expertCounts(config: Readonly<Record<string, unknown>>): ReadonlySet<number> {
  const text = config.text_config;
  const configs = [config, typeof text === "object" && text !== null ? text : {}];
  const counts = configs.flatMap((each) =>
    Object.entries(each)
      .filter(([key]) => EXPERT_COUNTS.includes(key))
      .map(([, value]) => value),
  );
  return new Set(counts.filter((count) => typeof count === "number"));
}

/**
 * Says whether a tensor is [experts, rows, columns]: three axes, and either under a list of experts
 * (`mlp.experts.gate_up_proj`) or with as many entries as the config has experts (`moe.input_linear.weight`).
 * Either order of rows and columns has the same singular values.
 */
export function isFusedExperts(
  segments: readonly string[],
  shape: readonly number[],
  counts: ReadonlySet<number>,
): boolean {
  if (shape.length !== 3 || segments.some((segment) => /conv|patch/.test(segment))) return false;
  return segments.some(isExpertList) || counts.has(shape[0] ?? 0);
}
