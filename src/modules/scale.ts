// The scales of a quantised weight: which tensor they are, and which part of the weight each is for.
import { UsageError } from "../errors.ts";
import type { Model, ModelTensor } from "../hub/model.ts";
import { isFloat8, isFloatDType } from "../tensor/dtype.ts";
import { type BlockLayout, blockLayout } from "../tensor/scale.ts";
import { scaleOf } from "./companions.ts";

/** Scales of a matrix. */
export interface MatrixScale extends BlockLayout {
  readonly tensor: ModelTensor;
}

/**
 * The scales of an 8-bit matrix; null where it has none.
 *
 * @throws UsageError when they are no real numbers, or their shape does not fit the matrix.
 */
export function matrixScale(model: Model, { name, dtype, shape }: ModelTensor): MatrixScale | null {
  const scale = scaleOf(name, model.tensors);
  const tensor = scale === null ? undefined : model.tensors.get(scale);
  const [rows, columns] = shape;
  if (!isFloat8(dtype) || tensor === undefined || rows === undefined || columns === undefined) return null;
  if (!isFloatDType(tensor.dtype))
    throw new UsageError(
      `Cannot decode "${name}" of ${model.id}: its scales "${tensor.name}" are ${tensor.dtype}, expected F64, F32, F16 or BF16`,
    );
  const blockSize = blockSizeOf(model.config);
  try {
    return { tensor, ...blockLayout({ shape: [rows, columns], scaleShape: tensor.shape, blockSize }) };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new UsageError(`Cannot decode "${name}" of ${model.id} by "${tensor.name}": ${reason}`, { cause });
  }
}

/** `quantization_config.weight_block_size` of a config; undefined where it states none. */
export function blockSizeOf(config: Model["config"]): readonly [number, number] | undefined {
  const quantization = config.quantization_config;
  if (typeof quantization !== "object" || quantization === null) return undefined;
  const size: unknown = "weight_block_size" in quantization ? quantization.weight_block_size : undefined;
  if (!Array.isArray(size)) return undefined;
  const [rows, columns]: unknown[] = size;
  return typeof rows === "number" && typeof columns === "number" ? [rows, columns] : undefined;
}
