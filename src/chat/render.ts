// A conversation as text, and which of its characters the assistant wrote.
import { renderBounded, TemplateTimeout } from "./bounded-jinja.ts";
import type { ConversationRecord } from "./conversation.ts";
import { type ChatTemplate, GENERATION_BEGIN, GENERATION_END } from "./template.ts";

/** Characters [start, end) of a text, in UTF-16 units. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** How to render. */
export interface RenderOptions {
  /** Texts of bos_token, eos_token and the like, for templates that write them. */
  readonly specialTokens?: Readonly<Record<string, string>>;
  /** What `strftime_now` says; the default is the time of the call. */
  readonly now?: Date;
}

/** A rendered conversation. */
export interface RenderedConversation {
  readonly text: string;
  /** The assistant's turns, in order, apart from each other. */
  readonly assistant: readonly Span[];
}

/**
 * Renders a conversation, and finds the assistant's turns in the text: by the template's generation tags, or else by
 * rendering its beginnings.
 *
 * @throws Error when the template fails or leaves its bounds, or the turns cannot be told apart.
 */
export function renderConversation(
  template: ChatTemplate,
  conversation: ConversationRecord,
  options: RenderOptions = {},
): RenderedConversation {
  const text = render(template, conversation, options);
  const assistant = template.marksGeneration
    ? markedSpans(text, { template, conversation, options })
    : prefixSpans(text, { template, conversation, options });
  return { text, assistant };
}

/**
 * The text up to where the assistant is to answer.
 *
 * @throws Error when the template fails or leaves its bounds.
 */
export function renderPrompt(
  template: ChatTemplate,
  conversation: ConversationRecord,
  options: RenderOptions = {},
): string {
  return render(template, conversation, { ...options, addGenerationPrompt: true });
}

interface InnerOptions extends RenderOptions {
  readonly addGenerationPrompt?: boolean;
  readonly sentinels?: readonly [begin: string, end: string];
}

function render(template: ChatTemplate, conversation: ConversationRecord, options: InnerOptions): string {
  const [begin, end] = options.sentinels ?? ["", ""];
  const now = options.now ?? new Date();
  try {
    return renderBounded(template.program, {
      messages: conversation.messages,
      tools: conversation.tools ?? null,
      documents: null,
      add_generation_prompt: options.addGenerationPrompt ?? false,
      strftime_now: (format: unknown) => strftime(now, String(format)),
      ...options.specialTokens,
      [GENERATION_BEGIN]: begin,
      [GENERATION_END]: end,
    });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    const message = `Cannot render with the chat template of ${template.name}: ${why}`;
    throw cause instanceof TemplateTimeout
      ? new TemplateTimeout(message, { cause })
      : new Error(message, { cause });
  }
}

interface SpanSearch {
  readonly template: ChatTemplate;
  readonly conversation: ConversationRecord;
  readonly options: RenderOptions;
}

/** Renders once more with sentinels; what stands between them is the assistant's. */
function markedSpans(text: string, { template, conversation, options }: SpanSearch): Span[] {
  const sentinels = unusedSentinels(template.source + JSON.stringify(conversation) + text, template.name);
  const marked = render(template, conversation, { ...options, sentinels });
  const spans: Span[] = [];
  let plain = "";
  let start: number | null = null;
  for (const piece of marked.split(new RegExp(`([${sentinels.join("")}])`))) {
    if (piece === sentinels[0]) {
      if (start !== null) throw new Error(nesting(template));
      start = plain.length;
    } else if (piece === sentinels[1]) {
      if (start === null) throw new Error(nesting(template));
      if (plain.length > start) spans.push({ start, end: plain.length });
      start = null;
    } else plain += piece;
  }
  if (start !== null) throw new Error(nesting(template));
  if (plain !== text)
    throw new Error(
      `Cannot tell the assistant's text under the chat template of ${template.name}: it works on the text of its generation tags after writing it`,
    );
  return spans;
}

function nesting(template: ChatTemplate): string {
  return `Cannot tell the assistant's text under the chat template of ${template.name}: its generation tags do not come in pairs`;
}

/** Two of Unicode's 32 noncharacters for internal use that stand nowhere in what is rendered. */
function unusedSentinels(used: string, name: string): readonly [string, string] {
  const unused: string[] = [];
  for (let code = 0xfdd0; code <= 0xfdef && unused.length < 2; code += 1) {
    const sentinel = String.fromCharCode(code);
    if (!used.includes(sentinel)) unused.push(sentinel);
  }
  const [begin, end] = unused;
  if (begin === undefined || end === undefined)
    throw new Error(
      `Cannot tell the assistant's text under the chat template of ${name}: the conversation holds the noncharacters U+FDD0 to U+FDEF`,
    );
  return [begin, end];
}

/** A turn begins where the prompt before it ends, and ends where the conversation that ends with it ends. */
function prefixSpans(text: string, search: SpanSearch): Span[] {
  const { messages } = search.conversation;
  const spans: Span[] = [];
  for (const [index, { role }] of messages.entries()) {
    if (role !== "assistant") continue;
    const start = prefixLength(text, { ...search, count: index, addGenerationPrompt: true });
    const end = prefixLength(text, { ...search, count: index + 1, addGenerationPrompt: false });
    if (end > start) spans.push({ start, end });
  }
  return spans;
}

interface PrefixSearch extends SpanSearch {
  /** How many messages the beginning has. */
  readonly count: number;
  readonly addGenerationPrompt: boolean;
}

function prefixLength(text: string, search: PrefixSearch): number {
  const { template, conversation, options, count, addGenerationPrompt } = search;
  const beginning = { ...conversation, messages: conversation.messages.slice(0, count) };
  const prefix = render(template, beginning, { ...options, addGenerationPrompt });
  if (!text.startsWith(prefix))
    throw new Error(
      `Cannot tell the assistant's text under the chat template of ${template.name}: the first ${count} of ${conversation.messages.length} messages ` +
        `do not render to the beginning of the whole; use chatml, a template with generation tags, or train on all tokens`,
    );
  return prefix.length;
}

const TWO_DIGITS = { minimumIntegerDigits: 2, useGrouping: false };

/** The fields of strftime that chat templates use, in English and local time. */
function strftime(date: Date, format: string): string {
  const two = (value: number) => value.toLocaleString("en-US", TWO_DIGITS);
  const word = (options: Intl.DateTimeFormatOptions) => date.toLocaleString("en-US", options);
  const fields: Readonly<Record<string, () => string>> = {
    Y: () => String(date.getFullYear()),
    m: () => two(date.getMonth() + 1),
    d: () => two(date.getDate()),
    b: () => word({ month: "short" }),
    B: () => word({ month: "long" }),
    a: () => word({ weekday: "short" }),
    A: () => word({ weekday: "long" }),
    H: () => two(date.getHours()),
    M: () => two(date.getMinutes()),
    S: () => two(date.getSeconds()),
    "%": () => "%",
  };
  return format.replace(/%([YmdbBaAHMS%])/g, (all, field: string) => fields[field]?.() ?? all);
}
