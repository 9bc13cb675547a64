// The values that trainable parameters begin with: the checkpoint's own, as float32, and for new rows the mean of the
// rows that are there.
import type { Model, ModelTensor } from "../hub/model.ts";
import { matrixScale } from "../modules/scale.ts";
import type { TensorToWrite } from "../safetensors/writer.ts";
import { decode } from "../tensor/decode.ts";
import { dtypeBits, type FloatDType, isFloatDType } from "../tensor/dtype.ts";
import { type BlockScale, dequantizeRows } from "../tensor/scale.ts";
import type { ExportPlan } from "./export-plan.ts";
import { newRowsOf } from "./graphs.ts";

/** How much of a matrix with scales is read at once, in bytes; rounded to whole rows. */
const BLOCK_BYTES = 4 << 20;

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

/** A tensor's elements as float32, times their scales where it has any, in blocks of whole elements and bounded size. */
export async function* float32Blocks(model: Model, tensor: ModelTensor): AsyncGenerator<Float32Array> {
  const dtype = floatDTypeOf(tensor);
  const scale = await readScale(model, tensor);
  if (scale !== null) return yield* scaledBlocks(model, tensor, { dtype, ...scale });
  for await (const block of model.readFile(tensor.file, { begin: tensor.begin, end: tensor.end })) {
    yield decode(block, dtype, new Float32Array((block.length * 8) / dtypeBits(dtype)));
  }
}

async function readScale(model: Model, tensor: ModelTensor): Promise<BlockScale | null> {
  const layout = matrixScale(model, tensor);
  if (layout === null) return null;
  const values = await wholeFloat32(model, layout.tensor);
  return { ...layout, values, valuesPerRow: layout.tensor.shape[1] ?? 1 };
}

async function* scaledBlocks(
  model: Model,
  { file, begin, end, shape }: ModelTensor,
  { dtype, ...scale }: BlockScale & { readonly dtype: FloatDType },
): AsyncGenerator<Float32Array> {
  const columns = shape[1] ?? 1;
  const rowBytes = (columns * dtypeBits(dtype)) / 8;
  const blockBytes = Math.max(1, Math.floor(BLOCK_BYTES / rowBytes)) * rowBytes;
  let firstRow = 0;
  for await (const block of model.readFile(file, { begin, end, blockBytes })) {
    yield new Float32Array(dequantizeRows(block, dtype, { ...scale, firstRow, columns }).buffer);
    firstRow += block.length / rowBytes;
  }
}

/** A whole tensor's elements as float32, times their scales. */
export async function wholeFloat32(model: Model, tensor: ModelTensor): Promise<Float32Array> {
  const whole = new Float32Array(tensor.shape.reduce((size, side) => size * side, 1));
  let at = 0;
  for await (const block of float32Blocks(model, tensor)) {
    whole.set(block, at);
    at += block.length;
  }
  return whole;
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
