// The records of a dataset, whatever shape they had in its files.

/** One turn. Other fields (name, tool_calls, reasoning_content) go to the template as they are; none is null. */
export interface Message {
  readonly role: string;
  /** Absent where a turn only calls tools. */
  readonly content?: string;
  readonly [field: string]: unknown;
}

/** Turns, for a chat template to render. */
export interface ConversationRecord {
  readonly kind: "conversation";
  readonly messages: readonly Message[];
  /** Schemas of the tools that the assistant may call. */
  readonly tools?: readonly unknown[];
}

/** A prompt and its answer: two turns under a chat template, one text without. */
export interface CompletionRecord {
  readonly kind: "completion";
  readonly prompt: string;
  readonly completion: string;
}

/** Plain text, every token of it a target. */
export interface TextRecord {
  readonly kind: "text";
  readonly text: string;
}

/** Tokens and labels, as they are. */
export interface TokensRecord {
  readonly kind: "tokens";
  readonly inputIds: readonly number[];
  /** The id again, or -100 where the token is no target. */
  readonly labels: readonly number[];
}

export type ChatRecord = ConversationRecord | CompletionRecord | TextRecord | TokensRecord;
