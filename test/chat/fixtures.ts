// What transformers made of conversations (scripts/fixtures/chat.py), and the tokenizer that it used.
import { readFileSync } from "node:fs";
import { addChatTokens } from "../../src/chat/chat-tokens.ts";
import type { Message } from "../../src/chat/conversation.ts";
import { readTokenizer } from "../../src/chat/load-tokenizer.ts";
import { createTokenizer, type JsonObject } from "../../src/chat/tokenizer.ts";

export const MODEL_FOLDER = "examples/wordnet-llama-2m";

/** A conversation, and its text, ids and mask of the assistant's tokens by transformers. */
export interface ExpectedConversation {
  readonly messages: readonly Message[];
  readonly tools?: readonly unknown[];
  readonly text: string;
  readonly ids: readonly number[];
  /** A "1" where the token is the assistant's. */
  readonly mask: string;
}

export const chatmlCases: readonly ExpectedConversation[] = readFileSync(
  "test/fixtures/chat/chatml.jsonl",
  "utf8",
)
  .trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line));

export const otherTemplates: Readonly<
  Record<string, { readonly template: string; readonly cases: readonly ExpectedConversation[] }>
> = JSON.parse(readFileSync("test/fixtures/chat/templates.json", "utf8"));

/** Small tokenizers of the kinds that published models have, and a template whose turns touch each other. */
export const smallTokenizers: {
  readonly template: string;
  readonly tokenizers: Readonly<
    Record<string, { readonly tokenizer: JsonObject; readonly cases: readonly ExpectedConversation[] }>
  >;
} = JSON.parse(readFileSync("test/fixtures/chat/tokenizers.json", "utf8"));

/** The embedded model's tokenizer with the tokens of chatml. */
export async function chatmlTokenizer() {
  return createTokenizer(addChatTokens(await readTokenizer(MODEL_FOLDER)));
}

/** Labels as transformers' mask gives them. */
export function labelsOf({ ids, mask }: ExpectedConversation): number[] {
  return ids.map((id, at) => (mask[at] === "1" ? id : -100));
}

/** Everything that an iterable yields. */
export async function collect<T>(values: AsyncIterable<T>): Promise<T[]> {
  const collected: T[] = [];
  for await (const value of values) collected.push(value);
  return collected;
}
