// What becomes of a base model in 8 bits: what trained is saved in 16 bits without scales, and the config says so. Nothing
// that loads 8-bit models takes float32 beside them, so that in float32 the whole model is saved decoded.
import { HEAD } from "../architectures/decoder.ts";
import type { Model, ModelTensor } from "../hub/model.ts";
import { moduleName } from "../modules/companions.ts";
import { matrixScale } from "../modules/scale.ts";
import { parameterNaming } from "../select/parameter-names.ts";
import { isFloat8 } from "../tensor/dtype.ts";
import type { Manifest } from "./manifest.ts";

/** The 8-bit tensors that are saved decoded: those that trained, in float32 all. */
export function decodedTensors(
  { tensors }: Model,
  { parameters }: Manifest,
  dtype: "base" | "float32",
): ReadonlySet<ModelTensor> {
  const trained = new Set(parameters.map(({ tensor }) => tensor));
  const all = [...tensors.values()].filter((tensor) => isFloat8(tensor.dtype));
  return new Set(dtype === "float32" ? all : all.filter(({ name }) => trained.has(name)));
}

/** The names of the scales of these tensors. */
export function scaleNames(model: Model, tensors: ReadonlySet<ModelTensor>): ReadonlySet<string> {
  const scales = [...tensors].map((tensor) => matrixScale(model, tensor)?.tensor.name);
  return new Set(scales.filter((name) => name !== undefined));
}

/**
 * `quantization_config` as it is where these tensors are no longer quantised; undefined where none is left. By default
 * transformers leaves out the head alone, which a list has to name itself.
 */
export function quantisationWithout({ config, tensors }: Model, decoded: ReadonlySet<ModelTensor>): unknown {
  const { quantization_config: quantisation } = config;
  const isAll = [...tensors.values()].every((tensor) => !isFloat8(tensor.dtype) || decoded.has(tensor));
  if (isAll || typeof quantisation !== "object" || quantisation === null) return undefined;
  const stated = "modules_to_not_convert" in quantisation ? quantisation.modules_to_not_convert : null;
  const naming = parameterNaming(tensors.keys());
  const modules = [...decoded].map(({ name }) => moduleName(naming(name)));
  const before: readonly unknown[] = Array.isArray(stated) ? stated : [moduleName(HEAD)];
  return { ...quantisation, modules_to_not_convert: [...new Set([...before, ...modules])] };
}
