// The form of artifacts that any ONNX Runtime runs: operators of the standard, parameters and gradients as inputs and
// outputs, the initial parameters as safetensors.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { OPSET } from "../onnx/operators/table.ts";
import { writeSafetensors } from "../safetensors/writer.ts";
import { CHECKPOINT_FILES, INITIAL_STATE } from "./checkpoint.ts";
import { type ExportPlan, frozenScales, frozenTensors, graphSource, parametersOf } from "./export-plan.ts";
import { copyWeights, referenceWeights } from "./frozen-weights.ts";
import { GRAPH_FILES, writeGraph } from "./graph-file.ts";
import { evaluationGraph, trainingGraph } from "./graphs.ts";
import { initialTensors } from "./initial-values.ts";
import type { ManifestForm } from "./manifest.ts";
import { graphWeights } from "./model-weights.ts";
import { optimizerGraph } from "./optimizer-graph.ts";

const CHECKPOINT = "checkpoint";

/** Writes graphs, checkpoint and, where they are to be copied, frozen weights into a folder. */
export async function writeStandardForm(folder: string, plan: ExportPlan): Promise<ManifestForm> {
  const { model, divided, adamw } = plan;
  const isCopy = plan.options.weights === "copy";
  const referenced = isCopy ? null : await referenceWeights(model, plan.modelFolder);
  const copied = [...frozenTensors(plan), ...frozenScales(plan)];
  const locate = referenced?.locate ?? (await copyWeights(model, copied, folder));
  const parameters = parametersOf(plan);
  const source = graphSource(plan, graphWeights(divided, locate));
  const form: ManifestForm = {
    form: "standard",
    opset: OPSET,
    weights: isCopy ? "copy" : "reference",
    weightsFolder: referenced?.folder ?? null,
    parameters,
    training: await writeGraph(folder, GRAPH_FILES.training, trainingGraph(source)),
    evaluation: await writeGraph(folder, GRAPH_FILES.evaluation, evaluationGraph(source)),
    optimizer: {
      ...(await writeGraph(folder, GRAPH_FILES.optimizer, optimizerGraph(parameters, adamw))),
      ...adamw,
    },
    checkpoint: CHECKPOINT,
  };
  await writeCheckpoint(join(folder, CHECKPOINT), plan);
  return form;
}

/** The values that training begins with. The moments are 0 and have no file. */
async function writeCheckpoint(folder: string, plan: ExportPlan): Promise<void> {
  await mkdir(folder);
  await writeSafetensors(join(folder, CHECKPOINT_FILES.parameters), initialTensors(plan));
  await writeFile(join(folder, CHECKPOINT_FILES.state), `${JSON.stringify(INITIAL_STATE, null, 2)}\n`);
}
