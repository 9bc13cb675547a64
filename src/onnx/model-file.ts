// A graph as an ONNX file: nodes that nothing needs are left out, and the rest stand in the order that runs with the
// least memory.
import { create, toBinary } from "@bufbuild/protobuf";
import type { Dim } from "./dim.ts";
import { typeCode } from "./element-type.ts";
import type { Attribute, Graph, Initializer, Node, Value } from "./graph.ts";
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  type GraphProto,
  GraphProtoSchema,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  StringStringEntryProtoSchema,
  type TensorProto,
  TensorProto_DataLocation,
  TensorProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "./onnx.pb.ts";
import { IR_VERSIONS, isStandard, type Opset, RUNTIME_DOMAIN } from "./operators/table.ts";

/** Who wrote a file, and under what name. */
export interface ModelFileOptions {
  readonly name: string;
  readonly producer: { readonly name: string; readonly version: string };
}

/** The bytes of an ONNX file. @throws RangeError when the graph has no outputs. */
export function modelFile(g: Graph, { name, producer }: ModelFileOptions): Uint8Array {
  if (g.outputs.size === 0) throw new RangeError(`Cannot write ${name}: it has no outputs`);
  const nodes = orderedNodes(g);
  const rename = publicNames(g);
  const read = new Set(nodes.flatMap(({ inputs }) => inputs));
  const given = new Set([...g.outputs.values()].map(({ name }) => name));
  const graph = create(GraphProtoSchema, {
    name,
    node: nodes.map((node, at) => nodeProto(node, { at, rename })),
    initializer: g.initializers.filter(({ value }) => read.has(value)).map(tensorProto),
    input: g.inputs.map((value) => valueProto(value.name, value)),
    output: [...g.outputs].map(([output, value]) => valueProto(output, value)),
    // ONNX Runtime reuses a buffer only for a shape of the same dimensions, and cannot infer those of chunks by itself.
    // Without them, buffers that nobody can reuse pile up in its planner, whose time grows with the square of their number.
    valueInfo: nodes
      .map(({ output }) => valueProto(output.name, output))
      .filter(({ name }) => !given.has(name)),
  });
  const usesRuntime = nodes.some(({ op }) => !isStandard(op));
  return modelBytes(graph, { opset: g.opset, usesRuntime, producer });
}

/** What a file states besides its graph. */
interface ModelOptions {
  readonly opset: Opset;
  /** Whether nodes are of ONNX Runtime's own domain. */
  readonly usesRuntime: boolean;
  readonly producer: ModelFileOptions["producer"];
}

/** The bytes of an ONNX file with that graph. */
export function modelBytes(graph: GraphProto, { opset, usesRuntime, producer }: ModelOptions): Uint8Array {
  const domains = [{ domain: "", version: BigInt(opset) }];
  const model = create(ModelProtoSchema, {
    irVersion: BigInt(IR_VERSIONS[opset]),
    producerName: producer.name,
    producerVersion: producer.version,
    graph,
    opsetImport: usesRuntime ? [...domains, { domain: RUNTIME_DOMAIN, version: 1n }] : domains,
  });
  return toBinary(ModelProtoSchema, model);
}

/**
 * The nodes that some output needs. Forward, recomputed and backward nodes follow one another, and nodes that nothing
 * reads come last, the first made last of all: ONNX Runtime walks from the last of these towards the inputs, at each node
 * along the input with the highest index, and so finishes a layer's gradients before those of the layer below.
 */
export function orderedNodes(g: Graph): readonly Node[] {
  const needed = neededNodes(g);
  const read = new Set(needed.flatMap(({ inputs }) => inputs));
  const inner = needed.filter(({ output }) => read.has(output));
  const leaves = needed.filter(({ output }) => !read.has(output));
  const stages = ["forward", "recompute", "backward"] as const;
  return [
    ...stages.flatMap((stage) => inner.filter((node) => node.stage === stage)),
    ...leaves.filter(({ stage }) => stage !== "backward"),
    ...leaves.filter(({ stage }) => stage === "backward").reverse(),
  ];
}

function neededNodes(g: Graph): readonly Node[] {
  const needed = new Set<Value | null>(g.outputs.values());
  return g.nodes
    .toReversed()
    .filter(({ inputs, output }) => {
      if (!needed.has(output)) return false;
      for (const input of inputs) needed.add(input);
      return true;
    })
    .reverse();
}

/** Outputs go by their public name wherever they are read. */
function publicNames({ outputs }: Graph): (value: Value) => string {
  const names = new Map([...outputs].map(([name, value]) => [value, name]));
  return (value) => names.get(value) ?? value.name;
}

function nodeProto(
  { op, inputs, output, attributes, stage }: Node,
  { at, rename }: { at: number; rename: (value: Value) => string },
): NodeProto {
  return create(NodeProtoSchema, {
    name: `${stage}.${op}.${at}`,
    opType: op,
    domain: isStandard(op) ? "" : RUNTIME_DOMAIN,
    input: inputs.map((value) => (value === null ? "" : rename(value))),
    output: [rename(output)],
    attribute: Object.entries(attributes).map(([name, attribute]) => attributeProto(name, attribute)),
  });
}

/** An attribute of a node. */
export function attributeProto(name: string, attribute: Attribute): AttributeProto {
  const { INT, INTS, FLOAT, STRING } = AttributeProto_AttributeType;
  switch (attribute.kind) {
    case "int":
      return create(AttributeProtoSchema, { name, type: INT, i: BigInt(attribute.value) });
    case "ints":
      return create(AttributeProtoSchema, { name, type: INTS, ints: attribute.value.map(BigInt) });
    case "float":
      return create(AttributeProtoSchema, { name, type: FLOAT, f: attribute.value });
    case "string":
      return create(AttributeProtoSchema, {
        name,
        type: STRING,
        s: new TextEncoder().encode(attribute.value),
      });
    default:
      return attribute satisfies never;
  }
}

function tensorProto({ value, content }: Initializer): TensorProto {
  const shared = {
    name: value.name,
    dataType: typeCode(value.type),
    dims: value.shape.map((dim) => BigInt(dim)),
  };
  if (content instanceof Uint8Array) return create(TensorProtoSchema, { ...shared, rawData: content });
  return create(TensorProtoSchema, {
    ...shared,
    dataLocation: TensorProto_DataLocation.EXTERNAL,
    externalData: Object.entries(content).map(([key, entry]) =>
      create(StringStringEntryProtoSchema, { key, value: String(entry) }),
    ),
  });
}

/** An input or output of a graph. */
export function valueProto(name: string, { type, shape }: Pick<Value, "type" | "shape">): ValueInfoProto {
  return create(ValueInfoProtoSchema, {
    name,
    type: {
      value: {
        case: "tensorType",
        value: { elemType: typeCode(type), shape: { dim: shape.map((dim) => ({ value: dimProto(dim) })) } },
      },
    },
  });
}

function dimProto(dim: Dim) {
  return typeof dim === "number"
    ? ({ case: "dimValue", value: BigInt(dim) } as const)
    : ({ case: "dimParam", value: dim } as const);
}
