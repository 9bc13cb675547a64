// The checkpoint that ONNX Runtime's training builds read: every parameter of the model, those that train and those that
// do not (schema: orttraining's checkpoint.fbs, version 2). Moments are left out: the runtime begins with 0.
import { elementTypeOf, typeCode } from "../../onnx/element-type.ts";
import { tensorBytes } from "../../safetensors/header.ts";
import type { TensorToWrite } from "../../safetensors/writer.ts";
import { type FlatbufferLayout, layOut, type Table } from "./flatbuffer.ts";

const IDENTIFIER = "ODTC";
const VERSION = 2;

/** The parameters of a model. */
export interface CheckpointParameters {
  readonly trained: readonly TensorToWrite[];
  readonly frozen: readonly TensorToWrite[];
}

/** Lays out a checkpoint. */
export function checkpointLayout({ trained, frozen }: CheckpointParameters): FlatbufferLayout {
  const tensors = (list: readonly TensorToWrite[]) => ({
    kind: "tables" as const,
    tables: list.map(tensorTable),
  });
  const moduleState: Table = { kind: "table", fields: [tensors(trained), tensors(frozen)] };
  return layOut({ kind: "table", fields: [VERSION, moduleState] }, IDENTIFIER);
}

/** `onnxruntime.fbs.Tensor`: name, doc_string, dims, data_type, raw_data. */
function tensorTable({ name, dtype, shape, blocks }: TensorToWrite): Table {
  const type = elementTypeOf(dtype);
  const length = tensorBytes(dtype, shape);
  if (type === null || length === null)
    throw new TypeError(`Cannot put ${name} into a checkpoint: its dtype is ${dtype}`);
  return {
    kind: "table",
    fields: [
      { kind: "text", text: name },
      null,
      { kind: "int64s", values: shape },
      typeCode(type),
      { kind: "bytes", length, blocks },
    ],
  };
}
