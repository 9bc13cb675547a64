// Which parameters of a model train and which stay.
import { type DecoderConfig, EMBEDDING, HEAD } from "../architectures/decoder.ts";
import { decoderParameters } from "../architectures/parameters.ts";
import { UsageError } from "../errors.ts";
import type { Model, ModelTensor } from "../hub/model.ts";
import { elementTypeOf } from "../onnx/element-type.ts";
import { parameterNaming } from "../select/parameter-names.ts";
import type { Locate } from "./frozen-weights.ts";
import type { FrozenWeight, GraphSource, InputWeight } from "./graphs.ts";

/** The parameters that the graphs of a model read, each as the checkpoint has it. */
export interface DividedWeights {
  /** In the model's order, by the name that transformers gives them. */
  readonly tensors: ReadonlyMap<string, ModelTensor>;
  /** Those of them that train. */
  readonly trained: ReadonlySet<ModelTensor>;
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
    checkTensor(model, tensor, shape);
    tensors.set(name, tensor);
  }
  const readable = new Set(tensors.values());
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
  return { tensors, trained: new Set(chosen) };
}

function checkTensor(model: Model, { name, dtype, shape }: ModelTensor, expected: readonly number[]): void {
  if (shape.join() !== expected.join()) {
    throw new UsageError(
      `Cannot export ${model.id}: config.json gives ${name} the shape [${expected.join(", ")}], the checkpoint [${shape.join(", ")}]`,
    );
  }
  if (elementTypeOf(dtype) === null) {
    throw new UsageError(
      `Cannot export ${model.id}: ${name} has dtype ${dtype}, of which graphs read only F64, F32, F16 and BF16; use the model before it was quantised`,
    );
  }
}

/** The parameters as the graphs take them: trained ones as inputs, the rest from where `locate` says. */
export function graphWeights({ tensors, trained }: DividedWeights, locate: Locate): GraphSource["weights"] {
  const weights = new Map<string, InputWeight | FrozenWeight>();
  for (const [parameter, tensor] of tensors) {
    const { name, shape, dtype } = tensor;
    const type = elementTypeOf(dtype);
    if (trained.has(tensor)) weights.set(parameter, { kind: "trained", name, shape });
    else if (type !== null)
      weights.set(parameter, { kind: "frozen", name, type, shape, bytes: locate(tensor) });
  }
  return weights;
}
