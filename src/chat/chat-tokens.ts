// Tokens that chatml needs and a tokenizer may lack.
import { CHATML } from "./template.ts";
import type { JsonObject, TokenizerDocuments } from "./tokenizer.ts";

/** The tokens around a turn of chatml. */
export const CHATML_TOKENS = ["<|im_start|>", "<|im_end|>"] as const;

/** A tokenizer's documents with new tokens, and which these are. */
export interface ExtendedTokenizer extends TokenizerDocuments {
  readonly addedTokens: readonly { readonly content: string; readonly id: number }[];
}

/**
 * The documents with the tokens that they lack added as special ones, each with the next free id, and with chatml as
 * their template. A token that is an ordinary entry of the vocabulary keeps its id and becomes a special one.
 *
 * @throws TypeError when the vocabulary cannot be read.
 */
export function addChatTokens(
  { tokenizerJson, tokenizerConfig }: TokenizerDocuments,
  contents: readonly string[] = CHATML_TOKENS,
): ExtendedTokenizer {
  const rows = Array.isArray(tokenizerJson.added_tokens) ? tokenizerJson.added_tokens.filter(isObject) : [];
  const ids = vocabulary(tokenizerJson);
  const known = new Set<string>();
  for (const { content, id } of rows) {
    if (typeof content !== "string" || typeof id !== "number")
      throw new TypeError("Cannot read tokenizer.json: expected a content and an id in each of added_tokens");
    ids.set(content, id);
    known.add(content);
  }
  let next = 0;
  for (const id of ids.values()) next = Math.max(next, id + 1);

  const newRows: JsonObject[] = [];
  const addedTokens: { content: string; id: number }[] = [];
  for (const content of contents) {
    if (known.has(content)) continue;
    const id = ids.get(content) ?? next++;
    if (!ids.has(content)) addedTokens.push({ content, id });
    newRows.push({ id, content, ...RULE });
  }
  return {
    tokenizerJson: { ...tokenizerJson, added_tokens: [...rows, ...newRows] },
    tokenizerConfig: { ...tokenizerConfig, ...decoderRows(tokenizerConfig, newRows), chat_template: CHATML },
    addedTokens,
  };
}

const RULE = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };

/** Older configs repeat the added tokens by id; where one does, it has to know the new ones too. */
function decoderRows(config: JsonObject, rows: readonly JsonObject[]): JsonObject {
  const decoder = config.added_tokens_decoder;
  if (!isObject(decoder) || rows.length === 0) return {};
  const added = rows.map(({ id, content }) => [String(id), { content, ...RULE }]);
  return { added_tokens_decoder: { ...decoder, ...Object.fromEntries(added) } };
}

/** Ids by token: an object for BPE and WordPiece, a list of [token, score] for Unigram. */
function vocabulary({ model }: JsonObject): Map<string, number> {
  const vocab = isObject(model) ? model.vocab : undefined;
  const entries: [unknown, unknown][] = Array.isArray(vocab)
    ? vocab.map((row, id) => [Array.isArray(row) ? row[0] : row, id])
    : Object.entries(isObject(vocab) ? vocab : {});
  const ids = new Map<string, number>();
  for (const [token, id] of entries) {
    if (typeof token !== "string" || typeof id !== "number")
      throw new TypeError("Cannot read tokenizer.json: expected a vocabulary of tokens and ids");
    ids.set(token, id);
  }
  if (ids.size === 0) throw new TypeError("Cannot read tokenizer.json: expected a vocabulary, got none");
  return ids;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
