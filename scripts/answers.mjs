// What this project makes of a saved model, for check-saved-model.py: of every conversation of a dataset its text,
// tokens, targets and their log probabilities; of the first ones' prompts the logits and the greedy answer. Needs a build.
// node scripts/answers.mjs MODEL DATA.jsonl ANSWERS > answers.json
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeRecord } from "../dist/src/chat/encode.js";
import { readDataset } from "../dist/src/chat/read-dataset.js";
import { renderConversation, renderPrompt } from "../dist/src/chat/render.js";
import { chatTemplate } from "../dist/src/chat/template.js";
import { encodeText } from "../dist/src/chat/tokenizer.js";
import { exportArtifacts, openEvaluationModel, openModel, readManifest } from "../dist/src/index.js";
import { floatsOf, openArtifactGraph, takeBackend } from "../dist/src/training/artifact-graph.js";
import { readCheckpoint } from "../dist/src/training/checkpoint.js";
import { tokenizerOf } from "../dist/src/training/data.js";

const BACKEND = { backend: "onnxruntime-cpu" };
const MAX_TOKENS = 32;

const [folder, data, count] = process.argv.slice(2);
if (folder === undefined || data === undefined || !(Number(count) > 0))
  throw new Error("Expected a model's folder, a dataset and how many of its prompts are to be answered");
const work = mkdtempSync(join(tmpdir(), "spectrum-answers-"));
try {
  const artifacts = join(work, "artifacts");
  const model = await openModel(folder);
  // Something has to train; it keeps its values, and which it is makes no difference.
  await exportArtifacts(
    model,
    { parameterNames: ["model.norm.weight"] },
    { out: artifacts, chatTemplate: "model" },
  );
  await model.close();
  process.stdout.write(JSON.stringify(await answersOf(artifacts, data, Number(count))));
} finally {
  rmSync(work, { recursive: true, force: true });
}

/** @param {string} artifacts @param {string} data @param {number} count */
async function answersOf(artifacts, data, count) {
  const manifest = await readManifest(artifacts);
  const tokenizer = await tokenizerOf(artifacts, manifest);
  const template = chatTemplate(manifest.chatTemplate, tokenizer?.tokenizerConfig ?? {});
  if (tokenizer === null || template === null) throw new Error(`${folder} has no chat template`);
  const { specialTokens, library } = tokenizer;
  const stopIds = [library.token_to_id("<|im_end|>"), tokenizer.endOfTextId].filter(Number.isInteger);
  const { parameters } = await readCheckpoint(join(artifacts, manifest.checkpoint), manifest.parameters);
  const { backend, release } = await takeBackend(BACKEND);
  const graph = await openArtifactGraph(backend, { folder: artifacts, manifest, parameters }, "evaluation");
  const writer = await openEvaluationModel(artifacts, BACKEND);
  const conversations = [];
  const answers = [];
  for await (const { record } of readDataset(data)) {
    if (record.kind !== "conversation") throw new Error(`${data} holds a record of kind ${record.kind}`);
    const { text } = renderConversation(template, record, { specialTokens });
    const { inputIds, labels } = encodeRecord(record, { template, tokenizer, trainOn: "assistant" });
    const outputs = await run(inputIds, labels, ["loss", "token_logprobs"]);
    const logprobs = [...floatsOf(outputs, "token_logprobs")];
    conversations.push({ messages: record.messages, text, inputIds, labels, logprobs });
    if (answers.length === count) continue;
    const messages = record.messages.slice(0, -1);
    const prompt = renderPrompt(template, { kind: "conversation", messages }, { specialTokens });
    const { ids } = encodeText(tokenizer, prompt);
    const logits = floatsOf(await run(ids, ids, ["last_logits"]), "last_logits");
    const written = [];
    for await (const id of writer.generate(ids, { maxTokens: MAX_TOKENS, stopIds })) written.push(id);
    const answer = library.decode(written, { skip_special_tokens: true });
    answers.push({ messages, prompt, inputIds: ids, logits: [...logits], outputIds: written, answer });
  }
  await writer.close();
  await graph.close();
  await release();
  return { maxTokens: MAX_TOKENS, stopIds, conversations, answers };

  /** @param {readonly number[]} ids @param {readonly number[]} labels @param {string[]} outputs */
  function run(ids, labels, outputs) {
    const targets = labels.filter((label, at) => at > 0 && label >= 0).length;
    const batch = {
      batch: 1,
      sequence: ids.length,
      inputIds: Int32Array.from(ids),
      labels: Int32Array.from(labels),
      positionIds: Int32Array.from(ids.keys()),
      targets,
    };
    return graph.run({ batch, items: targets, outputs });
  }
}
