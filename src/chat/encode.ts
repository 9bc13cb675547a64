// Records as tokens and labels.
import { UsageError } from "../errors.ts";
import { IGNORED_LABEL } from "./batch.ts";
import type { ChatRecord, CompletionRecord, ConversationRecord } from "./conversation.ts";
import { type RenderOptions, renderConversation, type Span } from "./render.ts";
import type { ChatTemplate } from "./template.ts";
import { type ChatTokenizer, encodeText } from "./tokenizer.ts";

/** Which tokens are targets: the assistant's turns, only the last of them, or all. Plain text is a target as a whole. */
export type TrainOn = "assistant" | "last" | "all";

/** What encoding takes besides the record. */
export interface EncodeOptions {
  /** Null for none: text, prompt and completion, and tokens only. */
  readonly template: ChatTemplate | null;
  /** Null when every record holds tokens. */
  readonly tokenizer: ChatTokenizer | null;
  readonly trainOn: TrainOn;
  /** What `strftime_now` says in a template; the default is the time of the call. */
  readonly now?: Date;
}

/** Tokens of one record, and their labels: the id again, or -100 where the token is no target. */
export interface EncodedRecord {
  readonly inputIds: readonly number[];
  readonly labels: readonly number[];
}

/**
 * Encodes a record. A token that stands on the border of an assistant's turn is a target: it holds some of its text.
 *
 * @throws UsageError when the record needs a template or tokenizer that is not there; Error when it cannot be rendered
 *   or nothing of it is a target.
 */
export function encodeRecord(record: ChatRecord, options: EncodeOptions): EncodedRecord {
  const encoded = encodeKind(record, options);
  if (countTargets(encoded.labels) === 0)
    throw new Error(
      record.kind === "conversation"
        ? "no token to train on: the conversation has no turn of the assistant with any text"
        : "no token to train on",
    );
  return encoded;
}

/** Tokens that are targets: the first of a text is nobody's. */
export function countTargets(labels: readonly number[]): number {
  let targets = 0;
  for (let at = 1; at < labels.length; at += 1) if (labels[at] !== IGNORED_LABEL) targets += 1;
  return targets;
}

function encodeKind(record: ChatRecord, options: EncodeOptions): EncodedRecord {
  switch (record.kind) {
    case "conversation":
      return encodeTurns(record, options);
    case "completion":
      return options.template === null
        ? encodePlain(
            { text: record.prompt + record.completion, from: promptLength(record, options) },
            options,
          )
        : encodeTurns(turns(record), options);
    case "text":
      return encodePlain({ text: record.text, from: 0 }, options);
    case "tokens":
      return record;
    default:
      return record satisfies never;
  }
}

function encodeTurns(conversation: ConversationRecord, options: EncodeOptions): EncodedRecord {
  const { template, trainOn, now } = options;
  if (template === null)
    throw new UsageError(
      "The data holds conversations, and --chat-template none takes text, prompt and completion, or input_ids only: choose chatml or model",
    );
  const tokenizer = need(options.tokenizer);
  const renderOptions: RenderOptions = {
    specialTokens: tokenizer.specialTokens,
    ...(now !== undefined && { now }),
  };
  const { text, assistant } = renderConversation(template, conversation, renderOptions);
  const encoded = encodeText(tokenizer, text);
  if (trainOn === "all") return { inputIds: encoded.ids, labels: encoded.ids };
  const spans = trainOn === "last" ? assistant.slice(-1) : assistant;
  const ends = template.marksGeneration
    ? spans
    : spans.map((span) => withoutBlanksAfter(span, text, tokenizer));
  return labelled(encoded.ids, encoded.covers(ends));
}

/**
 * Where a turn was found by rendering beginnings, and closes with a special token, the blanks behind that belong to the
 * format: the model has stopped by then.
 */
function withoutBlanksAfter(span: Span, text: string, { addedTokens }: ChatTokenizer): Span {
  const turn = text.slice(span.start, span.end).trimEnd();
  for (const [content, { special }] of addedTokens) {
    if (special && turn.endsWith(content)) return { start: span.start, end: span.start + turn.length };
  }
  return span;
}

function turns({ prompt, completion }: CompletionRecord): ConversationRecord {
  return {
    kind: "conversation",
    messages: [
      { role: "user", content: prompt },
      { role: "assistant", content: completion },
    ],
  };
}

function promptLength({ prompt }: CompletionRecord, { trainOn }: EncodeOptions): number {
  return trainOn === "all" ? 0 : prompt.length;
}

/** A text as the tokenizer frames it, closed by the end-of-text token; targets begin at character `from`. */
function encodePlain({ text, from }: { text: string; from: number }, options: EncodeOptions): EncodedRecord {
  const tokenizer = need(options.tokenizer);
  const { ids, covers } = encodeText(tokenizer, text);
  const { before, endOfTextId } = tokenizer;
  const hasEnd = tokenizer.after.length > 0 || endOfTextId === null || ids.at(-1) === endOfTextId;
  const after = hasEnd ? tokenizer.after : [endOfTextId];
  const inputIds = [...before, ...ids, ...after];
  const body = from === 0 ? new Uint8Array(ids.length).fill(1) : covers([{ start: from, end: text.length }]);
  const targets = new Uint8Array(inputIds.length).fill(1).fill(0, 0, before.length);
  targets.set(body, before.length);
  return labelled(inputIds, targets);
}

function labelled(inputIds: readonly number[], targets: Uint8Array): EncodedRecord {
  return { inputIds, labels: inputIds.map((id, at) => (targets[at] === 1 ? id : IGNORED_LABEL)) };
}

function need(tokenizer: ChatTokenizer | null): ChatTokenizer {
  if (tokenizer === null)
    throw new UsageError(
      "The data holds text, and there is no tokenizer.json beside the model: give input_ids",
    );
  return tokenizer;
}
