// A tokenizer from its documents, and which characters each of its tokens stands for: the library does not say, and
// labels need it to the token.
import { Tokenizer } from "@huggingface/tokenizers";
import type { Span } from "./render.ts";

/** A parsed JSON object. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** The two files that make a tokenizer. */
export interface TokenizerDocuments {
  /** tokenizer.json. */
  readonly tokenizerJson: JsonObject;
  /** tokenizer_config.json, its `chat_template` included where it has one. */
  readonly tokenizerConfig: JsonObject;
}

/** What is used of the library. Its own types do not resolve in a project with `nodenext`, so they stay inside. */
export interface TokenizerLibrary {
  readonly normalizer: ((text: string) => string) | null;
  encode(
    text: string,
    options?: { readonly add_special_tokens: boolean },
  ): { readonly ids: readonly number[]; readonly tokens: readonly string[] };
  decode(ids: number[], options?: { readonly skip_special_tokens: boolean }): string;
  token_to_id(token: string): number | undefined;
}

/** A tokenizer, and what of it the chat stage asks for. */
export interface ChatTokenizer extends TokenizerDocuments {
  readonly library: TokenizerLibrary;
  /** One more than the largest id. */
  readonly vocabularySize: number;
  /** Ids of tokens that are recognised in the text before anything else, by content. */
  readonly addedTokens: ReadonlyMap<string, AddedTokenRule>;
  /** bos_token, eos_token and the like, as templates read them. */
  readonly specialTokens: Readonly<Record<string, string>>;
  readonly endOfTextId: number | null;
  /** Ids that stand before and after a plain text. */
  readonly before: readonly number[];
  readonly after: readonly number[];
  /** How a token's text spells characters: GPT-2's bytes, or SentencePiece's. */
  readonly spelling: "bytes" | "pieces";
  /** Splits a text at its added tokens; null when there is none. */
  readonly addedPattern: RegExp | null;
}

/** An added token, and whether it takes the blanks beside it. */
export interface AddedTokenRule {
  readonly id: number;
  readonly special: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
}

/** A text's tokens, and where each of them stands in it. */
export interface EncodedText {
  readonly ids: readonly number[];
  /** Whether token t covers a character of one of the spans; a token across a span's border does. */
  covers(spans: readonly Span[]): Uint8Array;
}

/**
 * Makes a tokenizer of its documents.
 *
 * @throws TypeError when they are no tokenizer that can be run.
 */
export function createTokenizer({ tokenizerJson, tokenizerConfig }: TokenizerDocuments): ChatTokenizer {
  let library: Tokenizer;
  try {
    library = new Tokenizer({ added_tokens: [], ...tokenizerJson }, tokenizerConfig);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new TypeError(`Cannot read tokenizer.json: ${why}`, { cause });
  }
  const addedTokens = new Map<string, AddedTokenRule>();
  const matchedFirst: string[] = [];
  for (const [id, token] of library.get_added_tokens_decoder()) {
    const { special, lstrip, rstrip, content, normalized } = token;
    addedTokens.set(content, { id, special, lstrip, rstrip });
    if (!normalized || library.normalizer === null) matchedFirst.push(content);
  }
  const specialTokens = readSpecialTokens(tokenizerConfig);
  const bare = library.encode("a", { add_special_tokens: false }).ids;
  const dressed = library.encode("a").ids;
  const before = Math.max(0, dressed.indexOf(bare[0] ?? -1));
  return {
    tokenizerJson,
    tokenizerConfig,
    library,
    vocabularySize: largestId(library) + 1,
    addedTokens,
    specialTokens,
    endOfTextId: library.token_to_id(specialTokens.eos_token ?? "") ?? null,
    before: dressed.slice(0, before),
    after: dressed.slice(before + bare.length),
    spelling:
      hasType(tokenizerJson.pre_tokenizer, "ByteLevel") || hasType(tokenizerJson.decoder, "ByteLevel")
        ? "bytes"
        : "pieces",
    addedPattern: alternatives(matchedFirst),
  };
}

/**
 * The longest text that is encoded, in UTF-16 units: some 250,000 tokens. One word without end, the worst case, takes
 * about ten seconds and half a gigabyte at this length.
 */
export const MAX_TEXT_LENGTH = 2 ** 20;

/**
 * Ids of a text; added tokens written in it count as such, nothing is put before or after it.
 *
 * @throws RangeError when the text is too long, or a character has no token.
 */
export function encodeText(tokenizer: ChatTokenizer, text: string): EncodedText {
  if (text.length > MAX_TEXT_LENGTH)
    throw new RangeError(
      `the text has ${text.length} characters, expected at most ${MAX_TEXT_LENGTH}: cut it into several records`,
    );
  const { ids, tokens } = tokenizer.library.encode(text, { add_special_tokens: false });
  for (const [at, id] of ids.entries()) {
    if (!Number.isInteger(id))
      throw new RangeError(
        `The tokenizer has no token for ${JSON.stringify(tokens[at])}, and no unknown token`,
      );
  }
  return { ids, covers: (spans) => covers(align(tokenizer, text, tokens), spans) };
}

/** A stretch of a text between two added tokens, or one of these, and its tokens. */
interface Section {
  /** UTF-16 units of the text. */
  readonly start: number;
  readonly end: number;
  readonly content: string;
  /** The content as the tokenizer's model sees it, blanks as blanks. */
  readonly normalized: string;
  /** Where each token's last byte ends in `normalized`, in UTF-8 bytes; tokens follow each other. */
  readonly ends: readonly number[];
  readonly normalize: (text: string) => string;
}

function covers(sections: readonly Section[], spans: readonly Span[]): Uint8Array {
  const covered: number[] = [];
  for (const section of sections) {
    const first = covered.length;
    for (const _ of section.ends) covered.push(0);
    for (const span of spans) {
      if (span.end <= section.start || span.start >= section.end || span.end <= span.start) continue;
      const start = byteOffset(section, { at: span.start, side: "start" });
      const end = byteOffset(section, { at: span.end, side: "end" });
      let tokenStart = 0;
      for (const [index, tokenEnd] of section.ends.entries()) {
        if (tokenStart < end && tokenEnd > start) covered[first + index] = 1;
        tokenStart = tokenEnd;
      }
    }
  }
  return Uint8Array.from(covered);
}

/**
 * A place of the text as bytes of the section's normalized content, -1 before the section. A character composed across
 * the place counts to both sides.
 */
function byteOffset(section: Section, { at, side }: { at: number; side: "start" | "end" }): number {
  if (at < section.start) return -1;
  const length = Math.min(Math.max(at - section.start, 0), section.content.length);
  if (length === 0) return 0;
  if (length === section.content.length) return utf8Length(section.normalized);
  const prefix = section.normalize(section.content.slice(0, length));
  const common = commonPrefix(prefix, section.normalized);
  const isComposed = common < prefix.length && side === "end";
  const next = isComposed ? String.fromCodePoint(section.normalized.codePointAt(common) ?? 0).length : 0;
  return utf8Length(section.normalized.slice(0, common + next));
}

/** @throws Error when the tokens do not spell the text. */
function align(tokenizer: ChatTokenizer, text: string, tokens: readonly string[]): Section[] {
  const { library, spelling } = tokenizer;
  const { normalizer } = library;
  const normalize = (content: string) => {
    const normalized = normalizer === null ? content : String(normalizer(content));
    return spelling === "bytes" ? normalized : normalized.replaceAll(BLANK_MARK, " ");
  };
  const sections: Section[] = [];
  let at = 0;
  for (const { start, end, added } of splitAtAdded(tokenizer, text)) {
    const content = text.slice(start, end);
    if (added) {
      if (tokens[at] !== content) throw misaligned(content, tokens[at]);
      const ends = [utf8Length(content)];
      sections.push({ start, end, content, normalized: content, ends, normalize: (same) => same });
      at += 1;
      continue;
    }
    const normalized = normalize(content);
    const ends = spell(tokenizer, normalized, { tokens, from: at });
    at += ends.length;
    sections.push({ start, end, content, normalized, ends, normalize });
  }
  if (at !== tokens.length) throw misaligned("", tokens[at]);
  return sections;
}

interface Piece extends Span {
  readonly added: boolean;
}

/** The text cut at its added tokens, longest first, as the library cuts it; blanks that an added token takes are left out. */
function splitAtAdded({ addedPattern, addedTokens }: ChatTokenizer, text: string): Piece[] {
  const pieces: { start: number; end: number; added: boolean }[] = [];
  let at = 0;
  for (const match of addedPattern === null ? [] : text.matchAll(addedPattern)) {
    if (match.index > at) pieces.push({ start: at, end: match.index, added: false });
    at = match.index + match[0].length;
    pieces.push({ start: match.index, end: at, added: true });
  }
  if (at < text.length) pieces.push({ start: at, end: text.length, added: false });
  for (const [index, { start, end, added }] of pieces.entries()) {
    const rule = added ? addedTokens.get(text.slice(start, end)) : undefined;
    const [left, right] = [pieces[index - 1], pieces[index + 1]];
    if (rule?.lstrip && left && !left.added)
      left.end = left.start + text.slice(left.start, left.end).trimEnd().length;
    if (rule?.rstrip && right && !right.added)
      right.start = right.end - text.slice(right.start, right.end).trimStart().length;
  }
  return pieces.filter(({ start, end }) => end > start);
}

const UTF8 = new TextEncoder();

/** What SentencePiece writes for a blank. */
const BLANK_MARK = "\u2581";

/** Ends, in bytes of `text`, of the tokens that spell it. */
function spell(
  tokenizer: ChatTokenizer,
  text: string,
  { tokens, from }: { readonly tokens: readonly string[]; readonly from: number },
): number[] {
  const bytes = UTF8.encode(text);
  const ends: number[] = [];
  let at = 0;
  for (let index = from; at < bytes.length; index += 1) {
    const token = tokens[index];
    if (token === undefined) throw misaligned(text, token);
    let spelled = tokenBytes(tokenizer, token);
    // A blank that the tokenizer puts before a text.
    if (at === 0 && spelled[0] === 0x20 && bytes[0] !== 0x20) spelled = spelled.subarray(1);
    for (const byte of spelled) {
      if (bytes[at] !== byte) throw misaligned(text, token);
      at += 1;
    }
    ends.push(at);
  }
  return ends;
}

function tokenBytes({ spelling, addedTokens }: ChatTokenizer, token: string): Uint8Array {
  if (addedTokens.has(token)) return UTF8.encode(token);
  if (spelling === "bytes") return Uint8Array.from(token, (character) => BYTE_OF.get(character) ?? 0);
  const byte = /^<0x([0-9A-F]{2})>$/.exec(token)?.[1];
  if (byte !== undefined) return Uint8Array.of(Number.parseInt(byte, 16));
  return UTF8.encode(token.replaceAll(BLANK_MARK, " "));
}

function misaligned(text: string, token: string | undefined): Error {
  return new Error(
    `Cannot tell which characters the tokens stand for: ${JSON.stringify(token ?? "the end")} does not spell ${JSON.stringify(text.slice(0, 60))}; ` +
      "this version reads byte-level and SentencePiece tokenizers that keep the text",
  );
}

/** The printable character by which GPT-2 writes each byte: itself where it is printable, else the next from U+0100 on. */
const BYTE_OF: ReadonlyMap<string, number> = (() => {
  const characters = new Map<string, number>();
  let next = 0x100;
  for (let byte = 0; byte < 256; byte += 1) {
    const isPrintable =
      (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
    characters.set(String.fromCharCode(isPrintable ? byte : next++), byte);
  }
  return characters;
})();

function readSpecialTokens(config: JsonObject): Record<string, string> {
  const tokens: Record<string, string> = {};
  for (const [name, value] of Object.entries(config)) {
    if (!name.endsWith("_token")) continue;
    const content = isObject(value) ? value.content : value;
    if (typeof content === "string") tokens[name] = content;
  }
  return tokens;
}

function largestId(library: Tokenizer): number {
  let largest = -1;
  for (const id of library.get_vocab().values()) largest = Math.max(largest, id);
  return largest;
}

/** Whether a pre-tokenizer or decoder, or one of its parts, is of a type. */
function hasType(part: unknown, type: string): boolean {
  if (!isObject(part)) return false;
  const parts = part.pretokenizers ?? part.decoders;
  return part.type === type || (Array.isArray(parts) && parts.some((inner) => hasType(inner, type)));
}

function alternatives(contents: readonly string[]): RegExp | null {
  const longestFirst = contents.filter((content) => content !== "").sort((a, b) => b.length - a.length);
  if (longestFirst.length === 0) return null;
  return new RegExp(
    longestFirst.map((content) => content.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&")).join("|"),
    "g",
  );
}

function commonPrefix(a: string, b: string): number {
  let length = 0;
  while (length < a.length && length < b.length && a.charCodeAt(length) === b.charCodeAt(length)) length += 1;
  return length;
}

function utf8Length(text: string): number {
  return UTF8.encode(text).length;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
