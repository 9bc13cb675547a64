// AdamW as ONNX Runtime's training builds take it: one node, which updates sequences of tensors in place. The runtime
// feeds the parameters in an order of its own and takes no second node: decay is for all of them, or for none.
import { create } from "@bufbuild/protobuf";
import { typeCode } from "../../onnx/element-type.ts";
import { float, int } from "../../onnx/graph.ts";
import { attributeProto, modelBytes, valueProto } from "../../onnx/model-file.ts";
import {
  GraphProtoSchema,
  NodeProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "../../onnx/onnx.pb.ts";
import { RUNTIME_DOMAIN, TRAINING_OPSET } from "../../onnx/operators/table.ts";
import { TOOL } from "../../tool.ts";
import type { AdamWConstants, GraphValue } from "../manifest.ts";

const SEQUENCES = ["params", "gradients", "first_order_moments", "second_order_moments"] as const;

/** The inputs that the runtime asks for, in its order. */
export const OPTIMIZER_INPUTS: readonly GraphValue[] = [
  { name: "learning_rate", dtype: "float32", shape: [1] },
  { name: "step", dtype: "int64", shape: [1] },
  ...SEQUENCES.map((name) => ({ name, dtype: "sequence(float32)", shape: ["parameters"] }) as const),
];

/** Whether the update was made. */
export const OPTIMIZER_OUTPUTS: readonly GraphValue[] = [{ name: "updated", dtype: "bool", shape: [1] }];

/** The bytes of the optimizer's ONNX file. Its `adam_mode` 0 is torch's order of operations. */
export function optimizerModel({ beta1, beta2, epsilon, weightDecay }: AdamWConstants): Uint8Array {
  const attributes = {
    alpha: float(beta1),
    beta: float(beta2),
    epsilon: float(epsilon),
    weight_decay: float(weightDecay),
    adam_mode: int(0),
    correct_bias: int(1),
  };
  const node = create(NodeProtoSchema, {
    name: "AdamWOptimizer",
    opType: "AdamWOptimizer",
    domain: RUNTIME_DOMAIN,
    input: OPTIMIZER_INPUTS.map(({ name }) => name),
    output: OPTIMIZER_OUTPUTS.map(({ name }) => name),
    attribute: Object.entries(attributes).map(([name, attribute]) => attributeProto(name, attribute)),
  });
  const graph = create(GraphProtoSchema, {
    name: "optimizer_model",
    node: [node],
    input: [
      valueProto("learning_rate", { type: "float32", shape: [1] }),
      valueProto("step", { type: "int64", shape: [1] }),
      ...SEQUENCES.map(sequenceProto),
    ],
    output: [valueProto("updated", { type: "bool", shape: [1] })],
  });
  return modelBytes(graph, { opset: TRAINING_OPSET, usesRuntime: true, producer: TOOL });
}

/** Tensors of any shape. */
function sequenceProto(name: string): ValueInfoProto {
  const elemType = { value: { case: "tensorType", value: { elemType: typeCode("float32") } } } as const;
  return create(ValueInfoProtoSchema, {
    name,
    type: { value: { case: "sequenceType", value: { elemType } } },
  });
}
