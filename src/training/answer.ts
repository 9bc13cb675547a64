// What a model answers to a conversation: for a look at it before and after training, not for serving.

import type { Message } from "../chat/conversation.ts";
import { renderPrompt } from "../chat/render.ts";
import { chatTemplate } from "../chat/template.ts";
import { encodeText } from "../chat/tokenizer.ts";
import { UsageError } from "../errors.ts";
import { type ArtifactsFolder, folderOf } from "./artifacts-folder.ts";
import { tokenizerOf } from "./data.ts";
import { type EvaluationModelOptions, openEvaluationModel } from "./evaluation-model.ts";
import type { GenerateOptions } from "./generate.ts";
import { readManifest } from "./read-manifest.ts";

/** Options of {@link answer}. */
export interface AnswerOptions extends EvaluationModelOptions, Omit<GenerateOptions, "stopIds"> {
  /** One conversation or several; each ends with the turn to be answered. */
  readonly conversations: readonly (readonly Message[])[];
}

/**
 * The assistant's next turn of each conversation, as artifacts or a checkpoint trained from them write it. It ends
 * where the template's turn does, or the text, or at `maxTokens`.
 *
 * @throws UsageError when the artifacts have no chat template; as the tokenizer and the template throw.
 */
export async function answer(artifacts: ArtifactsFolder, options: AnswerOptions): Promise<readonly string[]> {
  const folder = folderOf(artifacts);
  const manifest = await readManifest(folder);
  const tokenizer = await tokenizerOf(folder, manifest);
  const template = chatTemplate(manifest.chatTemplate, tokenizer?.tokenizerConfig ?? {});
  if (tokenizer === null || template === null)
    throw new UsageError(`Cannot answer with ${folder}: it was exported without a chat template`);
  const { specialTokens, endOfTextId, library } = tokenizer;
  const stopIds = [library.token_to_id("<|im_end|>"), endOfTextId].filter((id) => typeof id === "number");
  const answers: string[] = [];
  await using model = await openEvaluationModel(folder, options);
  for (const messages of options.conversations) {
    const text = renderPrompt(template, { kind: "conversation", messages }, { specialTokens });
    const ids: number[] = [];
    const { ids: prompt } = encodeText(tokenizer, text);
    for await (const id of model.generate(prompt, { ...options, stopIds })) ids.push(id);
    answers.push(ids.length === 0 ? "" : library.decode(ids, { skip_special_tokens: true }).trim());
  }
  return answers;
}
