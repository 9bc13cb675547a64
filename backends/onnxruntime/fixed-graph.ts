// Rewrites a graph for providers that compute neither on int64 nor on bfloat16, as WebGPU: int32 inputs; every dimension
// a number, so that what is computed from shapes is computed at load; tables cast before rows are looked up in them.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { GraphDType } from "../../src/backend.ts";
import {
  type GraphProto,
  type ModelProto,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  TensorProto_DataType,
  type TypeProto_Tensor,
  type ValueInfoProto,
} from "../../src/onnx/onnx.pb.ts";
import { withInt32Inputs } from "./int32-inputs.ts";
import type { NamedTensors, NamedTypes } from "./protocol.ts";

/** A graph whose dimensions are still to be fixed. */
export interface UnfixedGraph {
  readonly inputs: NamedTypes;
  readonly outputs: NamedTypes;
  /** The ONNX file with the dimensions that these feeds have. */
  fixedFor(feeds: NamedTensors): Uint8Array;
}

/**
 * Reads an ONNX file.
 *
 * @throws Error when the bytes are no ONNX file, or an input or output is neither float32, int64 nor int32.
 */
export function unfixedGraph(file: Uint8Array): UnfixedGraph {
  const model = withInt32Inputs(file);
  const { graph } = parse(model);
  castTables(graph);
  return {
    inputs: graph.input.map(typeOf),
    outputs: graph.output.map(typeOf),
    fixedFor(feeds) {
      const { proto, graph: fixed } = parse(model);
      castTables(fixed);
      fixDimensions(fixed, feeds);
      return toBinary(ModelProtoSchema, proto);
    },
  };
}

function parse(model: Uint8Array): { readonly proto: ModelProto; readonly graph: GraphProto } {
  const proto = fromBinary(ModelProtoSchema, model);
  if (proto.graph === undefined) throw new Error("Cannot read the ONNX file: it holds no graph");
  return { proto, graph: proto.graph };
}

function tensorType({ name, type }: ValueInfoProto): TypeProto_Tensor {
  if (type?.value.case === "tensorType") return type.value.value;
  throw new TypeError(`${name} is no tensor`);
}

function typeOf(value: ValueInfoProto): readonly [name: string, dtype: GraphDType] {
  const { elemType } = tensorType(value);
  switch (elemType) {
    case TensorProto_DataType.FLOAT:
      return [value.name, "float32"];
    case TensorProto_DataType.INT64:
      return [value.name, "int64"];
    case TensorProto_DataType.INT32:
      return [value.name, "int32"];
    default:
      throw new TypeError(`${value.name} has element type ${elemType}, expected float32, int64 or int32`);
  }
}

/** Gather(bfloat16 table) then Cast becomes Cast then Gather: the cast of a constant is folded at load. */
function castTables(graph: GraphProto): void {
  const bfloat16 = graph.initializer.filter(({ dataType }) => dataType === TensorProto_DataType.BFLOAT16);
  const tables = new Set(bfloat16.map(({ name }) => name));
  const castOf = (gather: NodeProto): NodeProto | null => {
    if (gather.opType !== "Gather" || !tables.has(gather.input[0] ?? "")) return null;
    const readers = graph.node.filter(({ input }) => input.includes(gather.output[0] ?? ""));
    return readers.length === 1 && readers[0]?.opType === "Cast" ? readers[0] : null;
  };
  const replaced = new Set<NodeProto>();
  graph.node = graph.node
    .flatMap((node) => {
      const cast = castOf(node);
      if (cast === null) return [node];
      replaced.add(cast);
      const [table = "", ...indices] = node.input;
      const name = `${node.output[0]}.table`;
      return [
        create(NodeProtoSchema, { ...cast, name, input: [table], output: [name] }),
        create(NodeProtoSchema, { ...node, input: [name, ...indices], output: cast.output }),
      ];
    })
    .filter((node) => !replaced.has(node));
}

function fixDimensions(graph: GraphProto, feeds: NamedTensors): void {
  const shapes = new Map(feeds.map(([name, { shape }]) => [name, shape]));
  for (const input of graph.input) {
    for (const [axis, dimension] of (tensorType(input).shape?.dim ?? []).entries()) {
      const size = shapes.get(input.name)?.[axis];
      if (dimension.value.case === "dimParam" && size !== undefined)
        dimension.value = { case: "dimValue", value: BigInt(size) };
    }
  }
  // What follows from the inputs' dimensions, the runtime infers.
  graph.valueInfo = [];
  for (const output of graph.output) {
    const type = tensorType(output);
    if (type.shape?.dim.some(({ value }) => value.case === "dimParam")) delete type.shape;
  }
}
