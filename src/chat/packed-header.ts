// header.json of a packed dataset: what was packed, and which file holds it.
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";

/** Version of header.json and of the rows. */
export const SCHEMA_VERSION = 1;

/** The longest header that is read. */
const MAX_HEADER_BYTES = 2 ** 20;

/** header.json: what was packed. */
export interface PackedHeader {
  readonly schemaVersion: typeof SCHEMA_VERSION;
  /** SHA-256 of everything that the rows depend on: files, tokenizer, template, options. */
  readonly fingerprint: string;
  /** The file of rows, in the same folder; its name holds the beginning of its SHA-256. */
  readonly rowsFile: string;
  /** Positions of a row. */
  readonly sequence: number;
  readonly rows: number;
  /** Records that are in the rows. */
  readonly records: number;
  readonly tokens: number;
  /** Tokens that are targets, in one epoch. */
  readonly targets: number;
  /** One more than the largest token id. */
  readonly vocabularySize: number;
  /** Records that were cut to `sequence` tokens, and how many tokens they lost. */
  readonly truncatedRecords: number;
  readonly truncatedTokens: number;
  /** Records of which no target was left when they were cut; they are not in the rows. */
  readonly droppedRecords: number;
  /** Records that could not be used. */
  readonly skippedRecords: number;
}

/** What files of rows are called: the beginning of their SHA-256. */
export const ROWS_FILE = /^rows-[0-9a-f]{16}\.bin$/;

/**
 * The header in a folder, null when there is none.
 *
 * @throws SyntaxError when it, or the file of rows that it names, is damaged.
 */
export async function readHeader(folder: string): Promise<PackedHeader | null> {
  const path = join(folder, "header.json");
  let text: string;
  try {
    const { size } = await stat(path);
    if (size > MAX_HEADER_BYTES) throw new SyntaxError(`Cannot read ${path}: it has ${size} bytes`);
    text = await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  }
  const header = parseHeader(text, path);
  const rowsPath = join(folder, header.rowsFile);
  const expected = header.rows * header.sequence * 4;
  const { size } = await stat(rowsPath);
  if (size !== expected)
    throw new SyntaxError(
      `Cannot read ${rowsPath}: expected ${expected} bytes, got ${size}; remove ${folder} and pack again`,
    );
  return header;
}

const COUNTS = [
  "sequence",
  "rows",
  "records",
  "tokens",
  "targets",
  "vocabularySize",
  "truncatedRecords",
  "truncatedTokens",
  "droppedRecords",
  "skippedRecords",
] as const;

function parseHeader(text: string, path: string): PackedHeader {
  const document: unknown = JSON.parse(text);
  if (!isPackedHeader(document))
    throw new SyntaxError(
      `Cannot read ${path}: it is no header of a packed dataset of schema version ${SCHEMA_VERSION}`,
    );
  return document;
}

function isPackedHeader(document: unknown): document is PackedHeader {
  if (typeof document !== "object" || document === null) return false;
  const fields: Readonly<Record<string, unknown>> = { ...document };
  return (
    fields.schemaVersion === SCHEMA_VERSION &&
    typeof fields.fingerprint === "string" &&
    typeof fields.rowsFile === "string" &&
    ROWS_FILE.test(fields.rowsFile) &&
    COUNTS.every((name) => Number.isSafeInteger(fields[name]) && Number(fields[name]) >= 0)
  );
}
