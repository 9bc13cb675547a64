// Weights of 8-bit floats in an ONNX file: not every backend decodes them.
import { fromBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema, TensorProto_DataType } from "./onnx.pb.ts";

const FLOAT8: readonly number[] = [TensorProto_DataType.FLOAT8E4M3FN, TensorProto_DataType.FLOAT8E5M2];

/** Name of a weight that the graph in an ONNX file holds in 8-bit floats; null where it holds none. */
export function float8Weight(file: Uint8Array): string | null {
  const { graph } = fromBinary(ModelProtoSchema, file);
  return graph?.initializer.find(({ dataType }) => FLOAT8.includes(dataType))?.name ?? null;
}
