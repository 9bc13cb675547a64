// Weights of 8-bit floats, which only some providers decode.
import { fromBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema, TensorProto_DataType } from "../../src/onnx/onnx.pb.ts";
import type { ProviderName } from "./providers.ts";

const FLOAT8: readonly number[] = [TensorProto_DataType.FLOAT8E4M3FN, TensorProto_DataType.FLOAT8E5M2];

/** @throws Error saying what else to do when the graph in an ONNX file holds weights of 8-bit floats. */
export function checkNoFloat8(file: Uint8Array, provider: ProviderName): void {
  const { graph } = fromBinary(ModelProtoSchema, file);
  const weight = graph?.initializer.find(({ dataType }) => FLOAT8.includes(dataType));
  if (weight === undefined) return;
  throw new Error(
    `the weight ${weight.name} is in 8-bit floats, which ${provider} does not decode; choose onnxruntime-cpu, or train the model before it was quantised`,
  );
}
