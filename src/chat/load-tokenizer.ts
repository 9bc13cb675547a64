// Reads a tokenizer's files from a folder.
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { UsageError } from "../errors.ts";
import {
  type ChatTokenizer,
  createTokenizer,
  type JsonObject,
  type TokenizerDocuments,
} from "./tokenizer.ts";

/** The largest file that is read; published tokenizers have up to 35 MB. */
const MAX_TOKENIZER_BYTES = 256 * 2 ** 20;

/**
 * Makes a tokenizer of the files in a folder, or of their parsed content.
 *
 * @throws UsageError when the folder has no tokenizer.json; Error when a file cannot be read or is too large.
 */
export async function loadTokenizer(source: string | TokenizerDocuments): Promise<ChatTokenizer> {
  return createTokenizer(typeof source === "string" ? await readTokenizer(source) : source);
}

/** The documents of the tokenizer in a folder; chat_template.jinja, where there is one, is its template. */
export async function readTokenizer(folder: string): Promise<TokenizerDocuments> {
  const tokenizerJson = await readJson(join(folder, "tokenizer.json"));
  if (tokenizerJson === null)
    throw new UsageError(
      `${folder} holds no tokenizer.json: only tokenizers in that format are read; convert it with transformers, or give data with input_ids and choose the chat template none`,
    );
  const config = (await readJson(join(folder, "tokenizer_config.json"))) ?? {};
  const template = await readText(join(folder, "chat_template.jinja"));
  return {
    tokenizerJson,
    tokenizerConfig: template === null ? config : { ...config, chat_template: template },
  };
}

async function readJson(path: string): Promise<JsonObject | null> {
  const text = await readText(path);
  if (text === null) return null;
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (cause) {
    throw new SyntaxError(`Cannot read ${path}: ${cause instanceof Error ? cause.message : cause}`, {
      cause,
    });
  }
  if (!isObject(document)) throw new SyntaxError(`Cannot read ${path}: expected a JSON object`);
  return document;
}

/** The text of a file, null when there is none. */
async function readText(path: string): Promise<string | null> {
  try {
    const { size } = await stat(path);
    if (size > MAX_TOKENIZER_BYTES)
      throw new RangeError(
        `Cannot read ${path}: it has ${size} bytes, expected at most ${MAX_TOKENIZER_BYTES}`,
      );
    return await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  }
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
