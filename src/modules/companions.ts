// Tensors that belong to another tensor's module: its bias, and the scales and tables of a quantised weight.
import type { NamedTensor } from "./kind.ts";

type Tensors = ReadonlyMap<string, NamedTensor>;

const WEIGHT = /([._])weight$/;
const SCALES = ["_scale_inv", "_scale"];

/** The name of the module that a tensor is the weight of: the tensor's without `.weight`. */
export function moduleName(tensor: string): string {
  return tensor.replace(/\.weight$/, "");
}

/** The bias that trains with a weight (`q_proj.bias`, `in_proj_bias`); null when there is none. */
export function biasOf(tensor: string, tensors: Tensors): string | null {
  const bias = tensor.replace(WEIGHT, "$1bias");
  return bias !== tensor && tensors.has(bias) ? bias : null;
}

/** The scales that decoding a weight needs (`q_proj.weight_scale_inv`); null when there are none. */
export function scaleOf(tensor: string, tensors: Tensors): string | null {
  const suffix = SCALES.find((each) => tensors.has(tensor + each));
  return suffix === undefined ? null : tensor + suffix;
}

/** Says whether a tensor is the bias or the scales of a weight that the checkpoint holds. */
export function isCompanion(tensor: string, tensors: Tensors): boolean {
  const weight = tensor.replace(/([._])bias$/, "$1weight");
  if (weight !== tensor && tensors.has(weight)) return true;
  return SCALES.some((suffix) => tensor.endsWith(suffix) && tensors.has(tensor.slice(0, -suffix.length)));
}

/**
 * Says whether a tensor is a part of a quantised weight that stands for no matrix by itself: GPTQ and AWQ's scales
 * beside `qweight`, bitsandbytes' tables (`weight.absmax`), scales of packed weights and of activations.
 */
export function isQuantisationState(tensor: string, tensors: Tensors): boolean {
  const parent = tensor.slice(0, tensor.lastIndexOf(".") + 1);
  if (tensors.has(`${parent}qweight`) && !tensor.endsWith(".bias")) return true;
  if (/\.(?:weight\.[^.]+(?:\.[^.]+)?|SCB|input_scale|output_scale|[kv]_scale)$/.test(tensor)) return true;
  return /(?:weight|_proj)_(?:scale|scale_inv|scale_2|global_scale|zero_point|packed|shape)$/.test(tensor);
}
