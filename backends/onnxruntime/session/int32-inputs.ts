// Rewrites a graph for providers that do not compute on int64: an int64 input that only casts to int32 read becomes an
// int32 input, and the casts go.
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  type GraphProto,
  ModelProtoSchema,
  type NodeProto,
  TensorProto_DataType,
  type TypeProto_Tensor,
  type ValueInfoProto,
} from "../../../src/onnx/onnx.pb.ts";
import { castType } from "./cast-weights.ts";

/**
 * The ONNX file with such inputs changed; other int64 inputs are left as they are.
 *
 * @throws Error when the bytes are no ONNX file.
 */
export function withInt32Inputs(model: Uint8Array): Uint8Array {
  const proto = fromBinary(ModelProtoSchema, model);
  const { graph } = proto;
  if (graph === undefined) throw new Error("Cannot read the ONNX file: it holds no graph");
  const dropped = new Set<NodeProto>();
  const renamed = new Map<string, string>();
  for (const input of graph.input) {
    const type = int64Type(input);
    const casts = graph.node.filter((node) => node.input.includes(input.name));
    if (type === null || !casts.every((node) => isRemovableCast(node, graph))) continue;
    type.elemType = TensorProto_DataType.INT32;
    for (const cast of casts) {
      dropped.add(cast);
      for (const output of cast.output) renamed.set(output, input.name);
    }
  }
  graph.node = graph.node.filter((node) => !dropped.has(node));
  for (const node of graph.node) node.input = node.input.map((name) => renamed.get(name) ?? name);
  return toBinary(ModelProtoSchema, proto);
}

function int64Type({ type }: ValueInfoProto): TypeProto_Tensor | null {
  const tensor = type?.value.case === "tensorType" ? type.value.value : null;
  return tensor?.elemType === TensorProto_DataType.INT64 ? tensor : null;
}

/** A cast to int32 whose result is no output of the graph, since an input cannot take its name. */
function isRemovableCast(node: NodeProto, graph: GraphProto): boolean {
  return (
    node.opType === "Cast" &&
    castType(node) === TensorProto_DataType.INT32 &&
    !graph.output.some(({ name }) => node.output.includes(name))
  );
}
