// Which parameters of a model train and which stay.
import { type DecoderConfig, EMBEDDING, HEAD } from "../architectures/decoder.ts";
import { decoderParameters } from "../architectures/parameters.ts";
import { UsageError } from "../errors.ts";
import type { Model, ModelTensor } from "../hub/model.ts";
import { type MatrixScale, matrixScale } from "../modules/scale.ts";
import { elementTypeOf } from "../onnx/element-type.ts";
import { parameterNaming } from "../select/parameter-names.ts";
import { isFloat8 } from "../tensor/dtype.ts";
import type { Locate } from "./frozen-weights.ts";
import type { FrozenWeight, GraphSource, InputWeight } from "./graphs.ts";

/** The parameters that the graphs of a model read, each as the checkpoint has it. */
export interface DividedWeights {
  /** In the model's order, by the name that transformers gives them. */
  readonly tensors: ReadonlyMap<string, ModelTensor>;
  /** Those of them that train. */
  readonly trained: ReadonlySet<ModelTensor>;
  /** What the 8-bit ones among them are multiplied with. */
  readonly scales: ReadonlyMap<ModelTensor, MatrixScale>;
}

/**
 * Divides the parameters of a model into those that train and those that stay.
 *
 * @param trained names of the parameters that train, the checkpoint's or those of transformers; a tied head stands for the
 * embedding.
 * @throws UsageError when one is no parameter of the model, or a tensor is missing, has another shape than config.json
 * says, or a dtype that graphs do not read.
 */
export function divideWeights(
  model: Model,
  config: DecoderConfig,
  trained: readonly string[],
): DividedWeights {
  if (trained.length === 0) throw new UsageError(`Cannot export ${model.id}: no parameter is selected`);
  const naming = parameterNaming(model.tensors.keys());
  const byParameter = new Map([...model.tensors.values()].map((tensor) => [naming(tensor.name), tensor]));
  const tensors = new Map<string, ModelTensor>();
  for (const [name, shape] of decoderParameters(config)) {
    const tensor = byParameter.get(name);
    if (tensor === undefined)
      throw new UsageError(`Cannot export ${model.id}: its checkpoint has no ${name}`);
    checkTensor(model, tensor, { parameter: name, shape });
    tensors.set(name, tensor);
  }
  const readable = new Set(tensors.values());
  const scales = new Map<ModelTensor, MatrixScale>();
  for (const tensor of readable) {
    const scale = matrixScale(model, tensor);
    if (scale !== null) scales.set(tensor, scale);
  }
  const chosen = trained.map((name) => {
    const parameter = config.tied && name === HEAD ? EMBEDDING : name;
    const tensor = model.tensors.get(parameter) ?? byParameter.get(parameter);
    if (tensor !== undefined && readable.has(tensor)) return tensor;
    throw new UsageError(
      `Cannot train ${JSON.stringify(name)}: ${
        tensor === undefined
          ? `${model.id} has no such parameter; was it selected for another model or revision?`
          : `a model of the type ${String(model.config.model_type)} does not read it`
      }`,
    );
  });
  return { tensors, trained: new Set(chosen), scales };
}

interface Expected {
  readonly parameter: string;
  readonly shape: readonly number[];
}

function checkTensor(model: Model, { name, dtype, shape }: ModelTensor, expected: Expected): void {
  if (shape.join() !== expected.shape.join()) {
    throw new UsageError(
      `Cannot export ${model.id}: config.json gives ${name} the shape [${expected.shape.join(", ")}], the checkpoint [${shape.join(", ")}]`,
    );
  }
  // Gather takes no 8-bit floats, and of norms and biases no checkpoint has them.
  const isLinear = shape.length === 2 && expected.parameter !== EMBEDDING;
  if (elementTypeOf(dtype) === null || (isFloat8(dtype) && !isLinear)) {
    throw new UsageError(
      `Cannot export ${model.id}: ${name} has dtype ${dtype}, of which graphs read only F64, F32, F16 and BF16, and in linear layers F8_E4M3 and F8_E5M2; use the model before it was quantised`,
    );
  }
}

/** The parameters as the graphs take them: trained ones as inputs, the rest from where `locate` says. */
export function graphWeights(
  { tensors, trained, scales }: DividedWeights,
  locate: Locate,
): GraphSource["weights"] {
  const weights = new Map<string, InputWeight | FrozenWeight>();
  for (const [parameter, tensor] of tensors) {
    const { name, shape } = tensor;
    const scale = scales.get(tensor);
    if (trained.has(tensor)) weights.set(parameter, { kind: "trained", name, shape });
    else
      weights.set(parameter, {
        kind: "frozen",
        ...stored(tensor, locate),
        scale: scale === undefined ? null : { ...scale, ...stored(scale.tensor, locate) },
      });
  }
  return weights;
}

/** A tensor of the checkpoint as a graph names and finds it. @throws TypeError when graphs do not read its dtype. */
function stored(tensor: ModelTensor, locate: Locate) {
  const { name, dtype, shape } = tensor;
  const type = elementTypeOf(dtype);
  if (type === null) throw new TypeError(`Cannot read "${name}" in a graph: its dtype is ${dtype}`);
  return { name, type, shape, bytes: locate(tensor) };
}
