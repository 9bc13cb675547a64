// Chat templates: chatml, or the model's own. Parsed once; {% generation %} spans become sentinels, because the Jinja
// renderer drops these tags.
import { parse, tokenize } from "@huggingface/jinja";
import { UsageError } from "../errors.ts";
import type { Program } from "./bounded-jinja.ts";

/** Which template renders conversations: `none` takes plain text and tokens only. */
export type TemplateKind = "chatml" | "model" | "none";

/** A parsed chat template. */
export interface ChatTemplate {
  readonly kind: "chatml" | "model";
  /** For messages: whose template this is. */
  readonly name: string;
  readonly source: string;
  readonly program: Program;
  /** Whether it marks the assistant's text with {% generation %}. */
  readonly marksGeneration: boolean;
}

/** Names under which a template with generation tags reads its sentinels. */
export const GENERATION_BEGIN = "__generation_begin__";
export const GENERATION_END = "__generation_end__";

/** The longest template that is read: published ones have up to 40,000 characters. */
export const MAX_TEMPLATE_LENGTH = 256 * 1024;

/** The renderer's own expressions take the square of a run of white space. */
const MAX_WHITESPACE = 1000;

/**
 * chatml, with the assistant's content and `<|im_end|>` marked as its own. Tools and tool calls are written as Qwen 2.5
 * and Hermes write them.
 */
export const CHATML = `{%- macro render_tool_calls(message) -%}
{%- for call in message['tool_calls'] or [] -%}
{%- set function = call['function'] or call -%}
{{- '\\n' if message['content'] or not loop.first else '' }}{{ '<tool_call>\\n{"name": ' + (function['name'] | tojson) + ', "arguments": ' }}
{%- if function['arguments'] is string -%}{{ function['arguments'] }}{%- else -%}{{ function['arguments'] | tojson }}{%- endif -%}
{{ '}\\n</tool_call>' }}
{%- endfor -%}
{%- endmacro -%}
{%- if tools -%}
{%- set tool_text = namespace(value='# Tools\\n\\nYou may call one or more functions to assist with the user query.\\n\\nYou are provided with function signatures within <tools></tools> XML tags:\\n<tools>') -%}
{%- for tool in tools -%}{%- set tool_text.value = tool_text.value + '\\n' + (tool | tojson) -%}{%- endfor -%}
{%- set tool_text.value = tool_text.value + '\\n</tools>\\n\\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\\n<tool_call>\\n{"name": <function-name>, "arguments": <args-json-object>}\\n</tool_call>' -%}
{%- if messages and messages[0]['role'] == 'system' -%}
{{ '<|im_start|>system\\n' + messages[0]['content'] + '\\n\\n' + tool_text.value + '<|im_end|>\\n' }}
{%- else -%}
{{ '<|im_start|>system\\n' + tool_text.value + '<|im_end|>\\n' }}
{%- endif -%}
{%- endif -%}
{%- for message in messages -%}
{%- if not (tools and loop.first and message['role'] == 'system') -%}
{{ '<|im_start|>' + message['role'] + '\\n' }}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}{{ message['content'] or '' }}{{ render_tool_calls(message) }}{{ '<|im_end|>' }}{%- endgeneration -%}
{%- else -%}
{{ (message['content'] or '') + '<|im_end|>' }}
{%- endif -%}
{{ '\\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}`;

/**
 * The template of a kind, parsed; null for `none`.
 *
 * @param tokenizerConfig tokenizer_config.json, which holds the model's own template.
 * @throws UsageError when the model has no template of its own, SyntaxError when it cannot be parsed.
 */
export function chatTemplate(
  kind: TemplateKind,
  tokenizerConfig: Readonly<Record<string, unknown>>,
): ChatTemplate | null {
  switch (kind) {
    case "none":
      return null;
    case "chatml":
      return parseTemplate(CHATML, { kind, name: "chatml" });
    case "model":
      return parseTemplate(modelTemplate(tokenizerConfig), { kind, name: "the model" });
    default:
      return kind satisfies never;
  }
}

/** Where a template comes from. */
export interface TemplateOrigin {
  readonly kind: "chatml" | "model";
  readonly name: string;
}

/**
 * Parses a template.
 *
 * @throws RangeError when it is too long, SyntaxError when it is no template.
 */
export function parseTemplate(source: string, { kind, name }: TemplateOrigin): ChatTemplate {
  if (source.length > MAX_TEMPLATE_LENGTH)
    throw new RangeError(
      `Cannot read the chat template of ${name}: it has ${source.length} characters, expected at most ${MAX_TEMPLATE_LENGTH}`,
    );
  if (longestWhitespace(source) > MAX_WHITESPACE)
    throw new RangeError(
      `Cannot read the chat template of ${name}: it holds more than ${MAX_WHITESPACE} blanks in a row`,
    );
  const { text, tags } = withSentinels(source);
  try {
    // A line feed at the end, which the lexer drops, stands for the one that was dropped here already.
    return { kind, name, source, program: parse(tokenize(`${text}\n`)), marksGeneration: tags > 0 };
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new SyntaxError(`Cannot read the chat template of ${name}: ${why}`, { cause });
  }
}

/** The template of tokenizer_config.json: a text, or a list of named ones, of which `default` is for chats. */
function modelTemplate(config: Readonly<Record<string, unknown>>): string {
  const template = config.chat_template;
  if (typeof template === "string") return template;
  for (const named of Array.isArray(template) ? template : []) {
    if (named?.name === "default" && typeof named.template === "string") return named.template;
  }
  throw new UsageError(
    "The model has no chat template of its own in tokenizer_config.json or chat_template.jinja: choose chatml",
  );
}

/**
 * What Jinja does with blanks around tags (lstrip_blocks, trim_blocks, `-`, as transformers sets them), and each
 * generation tag as an expression that yields its sentinel.
 */
function withSentinels(source: string): { text: string; tags: number } {
  const text = (source.endsWith("\n") ? source.slice(0, -1) : source)
    .replace(/^[ \t]*(\{[#%])/gm, "$1")
    .replace(/([#%]\})\n/g, "$1");
  let made = "";
  let at = 0;
  let tags = 0;
  let trimNext = false;
  for (const tag of text.matchAll(/\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}/g)) {
    const between = text.slice(at, tag.index);
    made += trimmed(between, { start: trimNext, end: tag[1] === "-" });
    made += `{{ ${tag[2] ? GENERATION_END : GENERATION_BEGIN} }}`;
    trimNext = tag[3] === "-";
    at = tag.index + tag[0].length;
    tags += 1;
  }
  return { text: made + trimmed(text.slice(at), { start: trimNext, end: false }), tags };
}

function trimmed(text: string, { start, end }: { start: boolean; end: boolean }): string {
  const rest = start ? text.trimStart() : text;
  return end ? rest.trimEnd() : rest;
}

function longestWhitespace(text: string): number {
  let longest = 0;
  for (const [run] of text.matchAll(/\s+/g)) longest = Math.max(longest, run.length);
  return longest;
}
