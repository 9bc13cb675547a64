// The values that trainable parameters begin with: the checkpoint's own, as float32, and for new rows the mean of the
// rows that are there.
import type { Model, ModelTensor } from "../hub/model.ts";
import type { TensorToWrite } from "../safetensors/writer.ts";
import { decode } from "../tensor/decode.ts";
import { dtypeBits, type FloatDType, isFloatDType } from "../tensor/dtype.ts";
import type { ExportPlan } from "./export-plan.ts";
import { newRowsOf } from "./graphs.ts";

/** The trainable parameters in the order of the graphs' inputs, float32; read when they are written. */
export function initialTensors({ model, divided, newRows }: ExportPlan): readonly TensorToWrite[] {
  const whole = [...divided.tensors.values()]
    .filter((tensor) => divided.trained.has(tensor))
    .map((tensor) => float32Tensor(model, tensor));
  const rows = newRows.map(({ tensor, count }) => ({
    name: newRowsOf(tensor.name),
    dtype: "F32" as const,
    shape: [count, ...tensor.shape.slice(1)],
    blocks: meanRowsBytes(model, tensor, count),
  }));
  return [...whole, ...rows];
}

/** A tensor of the model as float32; read when it is written. */
export function float32Tensor(model: Model, tensor: ModelTensor): TensorToWrite {
  const { name, shape } = tensor;
  return { name, dtype: "F32", shape, blocks: float32Bytes(model, tensor) };
}

async function* float32Bytes(model: Model, tensor: ModelTensor): AsyncGenerator<Uint8Array> {
  for await (const block of float32Blocks(model, tensor)) yield bytesOf(block);
}

async function* meanRowsBytes(model: Model, tensor: ModelTensor, rows: number): AsyncGenerator<Uint8Array> {
  yield bytesOf(await meanRows(model, tensor, rows));
}

/** A tensor's elements as float32, in blocks of whole elements and bounded size. */
export async function* float32Blocks(model: Model, tensor: ModelTensor): AsyncGenerator<Float32Array> {
  const dtype = floatDTypeOf(tensor);
  for await (const block of model.readFile(tensor.file, { begin: tensor.begin, end: tensor.end })) {
    yield decode(block, dtype, new Float32Array((block.length * 8) / dtypeBits(dtype)));
  }
}

function floatDTypeOf({ name, dtype }: ModelTensor): FloatDType {
  if (isFloatDType(dtype)) return dtype;
  throw new TypeError(`Cannot train "${name}": its dtype is ${dtype}`);
}

/** The mean of a matrix's rows, repeated `rows` times, row-major; sums are float64. */
export async function meanRows(model: Model, tensor: ModelTensor, rows: number): Promise<Float32Array> {
  const [count = 0, size = 0] = tensor.shape;
  const sums = new Float64Array(size);
  let column = 0;
  for await (const block of float32Blocks(model, tensor)) {
    for (let i = 0; i < block.length; i++) {
      sums[column] = (sums[column] as number) + (block[i] as number);
      column = column + 1 === size ? 0 : column + 1;
    }
  }
  const mean = Float32Array.from(sums, (sum) => sum / count);
  const all = new Float32Array(rows * size);
  for (let row = 0; row < rows; row++) all.set(mean, row * size);
  return all;
}

/** The bytes of float32 elements. */
export function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
