// The form of artifacts that ONNX Runtime's training builds train by themselves: onnxruntime-training up to 1.19.2, and the
// training part of onnxruntime-web up to 1.19.2. Everything is in the folder, all parameters in one checkpoint.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { UsageError } from "../../errors.ts";
import { TRAINING_OPSET } from "../../onnx/operators/table.ts";
import { type ExportPlan, frozenTensors, graphSource, parametersOf } from "../export-plan.ts";
import { GRAPH_FILES, writeGraph } from "../graph-file.ts";
import { evaluationGraph, type GraphSource } from "../graphs.ts";
import { float32Tensor, initialTensors } from "../initial-values.ts";
import type { ManifestForm } from "../manifest.ts";
import type { DividedWeights } from "../model-weights.ts";
import { accumulationGraph } from "./accumulation-graph.ts";
import { checkpointLayout } from "./checkpoint.ts";
import { MAX_FLATBUFFER_BYTES, writeFlatbuffer } from "./flatbuffer.ts";
import { OPTIMIZER_INPUTS, OPTIMIZER_OUTPUTS, optimizerModel } from "./optimizer-model.ts";

/** A file in this form. */
const CHECKPOINT = "checkpoint";

/**
 * Writes graphs and checkpoint into a folder.
 *
 * @throws UsageError when the parameters do not fit into one checkpoint.
 */
export async function writeOrtTrainingForm(folder: string, plan: ExportPlan): Promise<ManifestForm> {
  const { model, divided, adamw } = plan;
  const layout = checkpointLayout({
    trained: initialTensors(plan),
    frozen: frozenTensors(plan).map((tensor) => float32Tensor(model, tensor)),
  });
  if (layout.sizeBytes > MAX_FLATBUFFER_BYTES) {
    throw new UsageError(
      `Cannot export ${model.id} in the form ort-training: its checkpoint would have ${layout.sizeBytes} bytes, and that form allows ${MAX_FLATBUFFER_BYTES}; export the form standard`,
    );
  }
  const source = { ...graphSource(plan, inputWeights(divided)), opset: TRAINING_OPSET } as const;
  const form: ManifestForm = {
    form: "ort-training",
    opset: TRAINING_OPSET,
    weights: "copy",
    weightsFolder: null,
    parameters: parametersOf(plan).map((parameter) => ({ ...parameter, decay: true })),
    training: await writeGraph(folder, GRAPH_FILES.training, accumulationGraph(source)),
    evaluation: await writeGraph(folder, GRAPH_FILES.evaluation, evaluationGraph(source)),
    optimizer: {
      file: GRAPH_FILES.optimizer,
      inputs: OPTIMIZER_INPUTS,
      outputs: OPTIMIZER_OUTPUTS,
      ...adamw,
    },
    checkpoint: CHECKPOINT,
  };
  await writeFile(join(folder, GRAPH_FILES.optimizer), optimizerModel(adamw));
  await writeFlatbuffer(join(folder, CHECKPOINT), layout);
  return form;
}

function inputWeights({ tensors, trained }: DividedWeights): GraphSource["weights"] {
  return new Map(
    [...tensors].map(([parameter, tensor]) => {
      const { name, shape } = tensor;
      return [parameter, { kind: trained.has(tensor) ? "trained" : "given", name, shape }];
    }),
  );
}
