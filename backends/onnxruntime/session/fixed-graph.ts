// Rewrites a graph for providers that compute neither on int64 nor on bfloat16, as WebGPU: int32 inputs; every dimension
// a number but that of target rows, so that what is computed from shapes is computed at load; weights cast once, before rows
// are looked up in them.
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import type { FoldedWeights, GraphDType } from "../../../src/backend.ts";
import {
  type GraphProto,
  type ModelProto,
  ModelProtoSchema,
  TensorProto_DataType,
  type TypeProto_Tensor,
  type ValueInfoProto,
} from "../../../src/onnx/onnx.pb.ts";
import { castWeightsOnce } from "./cast-weights.ts";
import { usesFloat16 } from "./float16.ts";
import { withInt32Inputs } from "./int32-inputs.ts";
import type { NamedTensors, NamedTypes } from "./protocol.ts";

/** A graph whose dimensions are still to be fixed. */
export interface UnfixedGraph {
  readonly inputs: NamedTypes;
  readonly outputs: NamedTypes;
  /** Weights that are cast at load. */
  readonly folded: readonly FoldedWeights[];
  readonly usesFloat16: boolean;
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
  return {
    inputs: graph.input.map(typeOf),
    outputs: graph.output.map(typeOf),
    folded: castWeightsOnce(graph),
    usesFloat16: usesFloat16(graph),
    fixedFor(feeds) {
      const { proto, graph: fixed } = parse(model);
      castWeightsOnce(fixed);
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
