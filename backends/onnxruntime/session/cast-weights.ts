// The casts of frozen 16-bit weights in a graph for a provider that does not cast them while it runs: ONNX Runtime folds
// them at load, each into a tensor of its own. So each weight is cast once, before anything is looked up in it.
import { create } from "@bufbuild/protobuf";
import type { FoldedWeights } from "../../../src/backend.ts";
import {
  type GraphProto,
  type NodeProto,
  NodeProtoSchema,
  type TensorProto,
  TensorProto_DataType,
} from "../../../src/onnx/onnx.pb.ts";

type FloatName = FoldedWeights["dtype"];

const FLOATS: ReadonlyMap<number, { readonly name: FloatName; readonly bytes: number }> = new Map([
  [TensorProto_DataType.FLOAT, { name: "float32", bytes: 4 }],
  [TensorProto_DataType.FLOAT16, { name: "float16", bytes: 2 }],
  [TensorProto_DataType.BFLOAT16, { name: "bfloat16", bytes: 2 }],
]);

/** Changes the graph so that each weight of 16 bits is cast once to a dtype, and says what these casts become at load. */
export function castWeightsOnce(graph: GraphProto): readonly FoldedWeights[] {
  const weights = new Map(
    graph.initializer.filter(({ dataType }) => isHalf(dataType)).map((tensor) => [tensor.name, tensor]),
  );
  castBeforePicking(graph, weights);
  return totals(shareCasts(graph, weights), weights);
}

function isHalf(dataType: number): boolean {
  return dataType === TensorProto_DataType.BFLOAT16 || dataType === TensorProto_DataType.FLOAT16;
}

type Weights = ReadonlyMap<string, TensorProto>;

/** Gather or Slice of a weight, then Cast, becomes Cast first: the cast of a constant is folded at load. */
function castBeforePicking(graph: GraphProto, weights: Weights): void {
  const castOf = ({ opType, input: [weight = ""], output: [picked = ""] }: NodeProto): NodeProto | null => {
    if ((opType !== "Gather" && opType !== "Slice") || !weights.has(weight)) return null;
    const readers = graph.node.filter(({ input }) => input.includes(picked));
    return readers.length === 1 && readers[0]?.opType === "Cast" ? readers[0] : null;
  };
  const replaced = new Set<NodeProto>();
  graph.node = graph.node
    .flatMap((node) => {
      const cast = castOf(node);
      if (cast === null) return [node];
      replaced.add(cast);
      const [weight = "", ...places] = node.input;
      const name = `${node.output[0]}.weight`;
      return [
        create(NodeProtoSchema, { ...cast, name, input: [weight], output: [name] }),
        create(NodeProtoSchema, { ...node, input: [name, ...places], output: cast.output }),
      ];
    })
    .filter((node) => !replaced.has(node));
}

/** Leaves one cast of each weight to each dtype, and returns them. */
function shareCasts(graph: GraphProto, weights: Weights): readonly NodeProto[] {
  const kept = new Map<string, NodeProto>();
  const dropped = new Set<NodeProto>();
  const renamed = new Map<string, string>();
  const outputs = new Set(graph.output.map(({ name }) => name));
  for (const node of graph.node) {
    const [weight = "", output = ""] = [node.input[0], node.output[0]];
    if (node.opType !== "Cast" || !weights.has(weight) || outputs.has(output)) continue;
    const key = `${weight} ${castType(node)}`;
    const first = kept.get(key);
    if (first === undefined) kept.set(key, node);
    else {
      dropped.add(node);
      renamed.set(output, first.output[0] ?? "");
    }
  }
  graph.node = graph.node.filter((node) => !dropped.has(node));
  for (const node of graph.node) node.input = node.input.map((name) => renamed.get(name) ?? name);
  return [...kept.values()];
}

/** The code of the dtype that a Cast makes. */
export function castType({ attribute }: NodeProto): number {
  return Number(attribute.find(({ name }) => name === "to")?.i);
}

/** Bytes before and after by dtypes. */
function totals(casts: readonly NodeProto[], weights: Weights): readonly FoldedWeights[] {
  const sums = new Map<string, FoldedWeights>();
  for (const cast of casts) {
    const tensor = weights.get(cast.input[0] ?? "");
    const [from, to] = [FLOATS.get(tensor?.dataType ?? 0), FLOATS.get(castType(cast))];
    if (tensor === undefined || from === undefined || to === undefined) continue;
    const size = Number(tensor.dims.reduce((product, side) => product * side, 1n));
    const { sizeBytes = 0, castBytes = 0 } = sums.get(`${from.name} ${to.name}`) ?? {};
    sums.set(`${from.name} ${to.name}`, {
      dtype: from.name,
      sizeBytes: sizeBytes + size * from.bytes,
      castDtype: to.name,
      castBytes: castBytes + size * to.bytes,
    });
  }
  return [...sums.values()];
}
