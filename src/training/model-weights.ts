// Which parameters of a model train and which stay, and where the bytes of those that stay are.
import { realpath } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type DecoderConfig, EMBEDDING, HEAD } from "../architectures/decoder.ts";
import { decoderParameters } from "../architectures/parameters.ts";
import { UsageError } from "../errors.ts";
import type { Model, ModelTensor } from "../hub/model.ts";
import { elementTypeOf } from "../onnx/element-type.ts";
import { parameterNaming } from "../select/parameter-names.ts";
import { isFloatDType } from "../tensor/dtype.ts";
import type { FrozenWeight, TrainedWeight } from "./graphs.ts";

/** The real places of a model's weights files: one folder, and each file's name in it. */
export interface WeightsFolder {
  readonly folder: string;
  /** Name in the folder by the model's own name of the file. */
  readonly files: ReadonlyMap<string, string>;
}

/**
 * Follows links: the Hub's cache keeps files under their hashes in a folder beside the snapshot.
 *
 * @throws UsageError when the model is streamed, or its files are in several folders.
 */
export async function weightsFolder(model: Model): Promise<WeightsFolder> {
  const { folder } = model;
  if (folder === null) {
    throw new UsageError(
      `Cannot export ${model.id}: its weights are streamed, and the artifacts need them on this machine; open the model without streaming`,
    );
  }
  const paths = await Promise.all(
    model.files.map(async ({ name }) => [name, await realpath(join(folder, name))] as const),
  );
  const folders = new Set(paths.map(([, path]) => dirname(path)));
  const [only] = folders;
  if (only === undefined || folders.size !== 1) {
    throw new UsageError(
      `Cannot export ${model.id} by reference: its weights files are in ${folders.size} folders, ${[...folders].join(", ")}; put them into one, or export with weights "copy"`,
    );
  }
  return { folder: only, files: new Map(paths.map(([name, path]) => [name, basename(path)])) };
}

/** A model's parameters for the graph, by the names that transformers gives them. */
export type Weights = ReadonlyMap<string, TrainedWeight | FrozenWeight>;

/**
 * Divides the parameters of a model.
 *
 * @param trained checkpoint names of the parameters that train; a tied head stands for the embedding.
 * @param locate where the bytes of a frozen tensor will be.
 * @throws UsageError when one is no parameter of the model, or a tensor is missing, has another shape than config.json says, or a
 * dtype that graphs do not read.
 */
export function divideWeights(
  model: Model,
  config: DecoderConfig,
  { trained, locate }: { trained: readonly string[]; locate: (tensor: ModelTensor) => FrozenWeight["bytes"] },
): Weights {
  const naming = parameterNaming(model.tensors.keys());
  const byParameter = new Map([...model.tensors.values()].map((tensor) => [naming(tensor.name), tensor]));
  const chosen = chosenTensors(model, config, { trained, byParameter });
  const weights = new Map<string, TrainedWeight | FrozenWeight>();
  for (const [name, shape] of decoderParameters(config)) {
    const tensor = byParameter.get(name);
    if (tensor === undefined)
      throw new UsageError(`Cannot export ${model.id}: its checkpoint has no ${name}`);
    checkTensor(model, tensor, shape);
    weights.set(
      name,
      chosen.delete(tensor.name)
        ? { kind: "trained", name: tensor.name, shape }
        : frozenWeight(model, tensor, locate),
    );
  }
  const [unread] = chosen;
  if (unread === undefined) return weights;
  throw new UsageError(
    `Cannot train ${unread} of ${model.id}: a ${String(model.config.model_type)} model does not read it`,
  );
}

/** Checkpoint names of the parameters that train. */
function chosenTensors(
  model: Model,
  config: DecoderConfig,
  { trained, byParameter }: { trained: readonly string[]; byParameter: ReadonlyMap<string, ModelTensor> },
): Set<string> {
  if (trained.length === 0) throw new UsageError(`Cannot export ${model.id}: no parameter is selected`);
  return new Set(
    trained.map((name) => {
      const parameter = config.tied && name === HEAD ? EMBEDDING : name;
      const tensor = model.tensors.get(parameter) ?? byParameter.get(parameter);
      if (tensor !== undefined) return tensor.name;
      throw new UsageError(
        `Cannot train ${JSON.stringify(name)}: ${model.id} has no such parameter; was it selected for another model or revision?`,
      );
    }),
  );
}

function checkTensor(model: Model, { name, dtype, shape }: ModelTensor, expected: readonly number[]): void {
  if (shape.join() !== expected.join()) {
    throw new UsageError(
      `Cannot export ${model.id}: config.json gives ${name} the shape [${expected.join(", ")}], the checkpoint [${shape.join(", ")}]`,
    );
  }
  if (!isFloatDType(dtype) || elementTypeOf(dtype) === null) {
    throw new UsageError(
      `Cannot export ${model.id}: ${name} has dtype ${dtype}, of which graphs read only F64, F32, F16 and BF16; use the model before it was quantised`,
    );
  }
}

function frozenWeight(
  model: Model,
  tensor: ModelTensor,
  locate: (tensor: ModelTensor) => FrozenWeight["bytes"],
): FrozenWeight {
  const type = elementTypeOf(tensor.dtype);
  if (type === null)
    throw new UsageError(`Cannot export ${model.id}: ${tensor.name} has dtype ${tensor.dtype}`);
  return { kind: "frozen", name: tensor.name, type, shape: tensor.shape, bytes: locate(tensor) };
}
