// Records from the shapes in which datasets are published: messages, sharegpt, prompt and completion, alpaca, text,
// tokens.
import { IGNORED_LABEL } from "./batch.ts";
import type { ChatRecord, ConversationRecord, Message } from "./conversation.ts";
import { MAX_TOKEN_ID } from "./pack.ts";

type Fields = Readonly<Record<string, unknown>>;

/** Roles that a chat template knows, by what datasets call them. */
const ROLES: ReadonlyMap<string, string> = new Map([
  ...["system", "developer", "user", "assistant", "tool", "function"].map((role) => [role, role] as const),
  ["human", "user"],
  ["prompter", "user"],
  ["gpt", "assistant"],
  ["chatgpt", "assistant"],
  ["bot", "assistant"],
  ["model", "assistant"],
  ["function_call", "assistant"],
  ["observation", "tool"],
  ["function_response", "tool"],
  ["tool_response", "tool"],
  ["ipython", "tool"],
]);

const SHAPES =
  "messages; conversations; prompt and completion; instruction and output; text; or input_ids (and labels)";

/**
 * One record of a dataset. Fields that are null count as absent, other columns are left aside; a column of lists may
 * hold them as JSON text, as CSV files do.
 *
 * @throws TypeError when it is malformed; the message says what is wrong, and not where.
 */
export function recordFrom(value: unknown): ChatRecord {
  if (!isFields(value)) throw new TypeError(`expected an object, got ${kindOf(value)}`);
  const fields = withoutNulls(value);
  if ("messages" in fields) return conversation(list(fields, "messages"), fields);
  if ("conversations" in fields) return conversation(list(fields, "conversations"), fields);
  if ("prompt" in fields && "completion" in fields) return completion(fields);
  if ("instruction" in fields && "output" in fields) return alpaca(fields);
  if ("text" in fields) return { kind: "text", text: text(fields, "text") };
  if ("input_ids" in fields) return tokens(fields);
  const columns = Object.keys(fields).slice(0, 8).join(", ");
  throw new TypeError(`expected ${SHAPES}; got ${columns === "" ? "no column" : columns}`);
}

/** Turns as `{role, content}`, or as sharegpt's `{from, value}`. */
function conversation(turns: readonly unknown[], fields: Fields): ConversationRecord {
  const messages = turns.map(message);
  if ("system" in fields && text(fields, "system") !== "" && messages[0]?.role !== "system")
    messages.unshift({ role: "system", content: text(fields, "system") });
  if (messages.length === 0) throw new TypeError("the conversation is empty");
  const tools = "tools" in fields ? list(fields, "tools") : [];
  return { kind: "conversation", messages, ...(tools.length > 0 && { tools }) };
}

function message(turn: unknown, index: number): Message {
  if (!isFields(turn)) throw new TypeError(`message ${index + 1}: expected an object, got ${kindOf(turn)}`);
  const { from, value, ...rest } = withoutNulls(turn);
  const { role: given = from, content: body = value, ...others } = rest;
  const role = typeof given === "string" ? ROLES.get(given) : undefined;
  if (role === undefined)
    throw new TypeError(
      `message ${index + 1}: expected the role system, developer, user, assistant, tool or function, got ${JSON.stringify(given) ?? "none"}`,
    );
  if (body === undefined) {
    if (role === "assistant" && "tool_calls" in others) return { role, ...others };
    throw new TypeError(`message ${index + 1} (${role}) has no content`);
  }
  return { role, content: contentText(body, index), ...others };
}

/** A text, or a list of parts of which each is a text. */
function contentText(body: unknown, index: number): string {
  const parts = Array.isArray(body) ? body : [body];
  return parts
    .map((part) => {
      const inner = isFields(part) && part.type === "text" ? part.text : part;
      if (typeof inner === "string") return wellFormed(inner, `message ${index + 1}`);
      const got = isFields(part) && typeof part.type === "string" ? part.type : kindOf(part);
      throw new TypeError(`message ${index + 1}: expected text as content, got ${got}`);
    })
    .join("");
}

/** Two texts; or messages and the messages that answer them. */
function completion(fields: Fields): ChatRecord {
  if (typeof fields.prompt === "string" && typeof fields.completion === "string")
    return { kind: "completion", prompt: text(fields, "prompt"), completion: text(fields, "completion") };
  return conversation([...list(fields, "prompt"), ...list(fields, "completion")], fields);
}

/** Stanford Alpaca's columns, and the `system` and `history` that LLaMA-Factory adds. */
function alpaca(fields: Fields): ConversationRecord {
  const instruction = text(fields, "instruction");
  const input = "input" in fields ? text(fields, "input") : "";
  const history = "history" in fields ? list(fields, "history") : [];
  const earlier = history.flatMap((pair) => {
    const [question, answer] = Array.isArray(pair) ? pair : [];
    return [
      { role: "user", content: question },
      { role: "assistant", content: answer },
    ];
  });
  const turns = [
    ...earlier,
    { role: "user", content: input === "" ? instruction : `${instruction}\n\n${input}` },
    { role: "assistant", content: text(fields, "output") },
  ];
  return conversation(turns, fields);
}

/** Token ids and, where given, their labels: the same id, or -100. */
function tokens(fields: Fields): ChatRecord {
  const inputIds = list(fields, "input_ids").map((id, at) => {
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id > MAX_TOKEN_ID)
      throw new TypeError(`input_ids: expected token ids, got ${String(id)} at ${at}`);
    return id;
  });
  const given = "labels" in fields ? list(fields, "labels") : inputIds;
  if (given.length !== inputIds.length)
    throw new TypeError(`expected as many labels as input_ids, ${inputIds.length}, got ${given.length}`);
  const labels = inputIds.map((id, at) => {
    const label = given[at];
    if (label === id || label === IGNORED_LABEL) return label;
    throw new TypeError(`labels: expected ${id} or -100 at ${at}, got ${String(label)}`);
  });
  return { kind: "tokens", inputIds, labels };
}

function text(fields: Fields, column: string): string {
  const value = fields[column];
  if (typeof value !== "string") throw new TypeError(`${column}: expected text, got ${kindOf(value)}`);
  return wellFormed(value, column);
}

function wellFormed(value: string, where: string): string {
  if (/\p{Surrogate}/u.test(value))
    throw new TypeError(`${where}: half of a surrogate pair, which is no text`);
  return value;
}

function list(fields: Fields, column: string): readonly unknown[] {
  const value = fields[column];
  const parsed = typeof value === "string" ? parseJson(value, column) : value;
  if (parsed === null) return [];
  if (!Array.isArray(parsed)) throw new TypeError(`${column}: expected a list, got ${kindOf(parsed)}`);
  return parsed;
}

function parseJson(value: string, column: string): unknown {
  if (value.trim() === "") return [];
  try {
    return JSON.parse(value);
  } catch (cause) {
    throw new TypeError(`${column}: expected a list, got text that is no JSON`, { cause });
  }
}

function withoutNulls(fields: Fields): Fields {
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== null && value !== undefined),
  );
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return "nothing";
  return Array.isArray(value) ? "a list" : `a ${typeof value}`;
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
