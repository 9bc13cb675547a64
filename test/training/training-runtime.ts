/// <reference path="../../node_modules/onnxruntime-web/types.d.ts" />
// onnxruntime-web 1.19.2, the last runtime with kernels for training, over a folder of the form ort-training.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Tensor, TrainingSession } from "onnxruntime-web/training";
import type { TokenBatch } from "../../src/chat/batch.ts";

// By path: for Node its package names no entry.
const RUNTIME = new URL("../../node_modules/onnxruntime-web/dist/ort.training.wasm.min.mjs", import.meta.url);
const runtime: typeof import("onnxruntime-web/training") = await import(/* @vite-ignore */ RUNTIME.href);
runtime.env.wasm.numThreads = 1;

/** The learning rate of the runtime's optimizer, which its JavaScript API cannot change. */
export const LEARNING_RATE = 1e-3;

/** Opens artifacts. */
export async function openTrainingSession(folder: string): Promise<TrainingSession> {
  const read = async (file: string) => new Uint8Array(await readFile(join(folder, file)));
  return runtime.TrainingSession.create({
    checkpointState: await read("checkpoint"),
    trainModel: await read("training_model.onnx"),
    evalModel: await read("eval_model.onnx"),
    optimizerModel: await read("optimizer_model.onnx"),
  });
}

/** One update by the batches' gradients, as the runtime's own kernels make it; the loss before it. */
export async function makeUpdate(session: TrainingSession, batches: readonly TokenBatch[]): Promise<number> {
  const items = batches.reduce((sum, { targets }) => sum + targets, 0);
  let loss = 0;
  for (const batch of batches) loss += lossOf(await session.runTrainStep(feedsOf(batch, items)));
  await session.runOptimizerStep();
  await session.lazyResetGrad();
  return loss;
}

/** The loss of a batch by the evaluation graph. */
export async function evaluationLoss(session: TrainingSession, batch: TokenBatch): Promise<number> {
  return lossOf(await session.runEvalStep(feedsOf(batch, batch.targets)));
}

/** Parameters one after the other in the order of the graph's inputs. */
export async function parametersOf(
  session: TrainingSession,
  which: "trained" | "all",
): Promise<Float32Array> {
  const data: unknown = (await session.getContiguousParameters(which === "trained")).data;
  if (data instanceof Float32Array) return data;
  throw new TypeError("expected float32 parameters");
}

function feedsOf({ batch, sequence, ...tokens }: TokenBatch, items: number): Record<string, Tensor> {
  const integers = (values: Int32Array) =>
    new runtime.Tensor("int64", BigInt64Array.from(values, BigInt), [batch, sequence]);
  return {
    input_ids: integers(tokens.inputIds),
    labels: integers(tokens.labels),
    position_ids: integers(tokens.positionIds),
    num_items: new runtime.Tensor("float32", Float32Array.of(items), []),
  };
}

function lossOf({ loss }: Readonly<Record<string, { readonly data?: unknown }>>): number {
  if (loss?.data instanceof Float32Array && loss.data[0] !== undefined) return loss.data[0];
  throw new TypeError("expected a float32 loss");
}
