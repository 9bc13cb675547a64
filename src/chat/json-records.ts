// Cuts a file of JSON into its records without holding more than one: JSON Lines, or one array of objects.
import { MAX_RECORD_BYTES, type RawRecord } from "./raw-record.ts";

const LINE_FEED = 0x0a;
const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

type Chunks = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/**
 * Records of a file that is an array when its first character is `[`, else JSON Lines. A record that is no JSON is
 * given with the reason, and the next is looked for.
 */
export async function* jsonRecords(chunks: Chunks): AsyncGenerator<RawRecord> {
  let splitter: Splitter | null = null;
  let line = 1;
  for await (let chunk of chunks) {
    if (splitter === null) {
      const first = chunk.findIndex((byte) => !isBlank(byte) && !BYTE_ORDER_MARK.has(byte));
      for (const byte of first === -1 ? chunk : chunk.subarray(0, first)) if (byte === LINE_FEED) line += 1;
      if (first === -1) continue;
      chunk = chunk.subarray(first);
      splitter = chunk[0] === OPEN_LIST ? new ArraySplitter(line) : new LineSplitter(line);
    }
    yield* splitter.take(chunk);
  }
  if (splitter !== null) yield* splitter.end();
}

/** Records of a file of JSON Lines. Empty lines are passed over. */
export async function* jsonLines(chunks: Chunks): AsyncGenerator<RawRecord> {
  const splitter = new LineSplitter(1);
  for await (const chunk of chunks) yield* splitter.take(chunk);
  yield* splitter.end();
}

interface Splitter {
  take(chunk: Uint8Array): Generator<RawRecord>;
  end(): Generator<RawRecord>;
}

/** Bytes of one record, across chunks, up to the bound; what is longer is counted only. */
class Gathered {
  private pieces: Uint8Array[] = [];
  length = 0;

  add(piece: Uint8Array): void {
    this.length += piece.length;
    if (this.length <= MAX_RECORD_BYTES) this.pieces.push(piece);
    else this.pieces = [];
  }

  /** The record, or null when there is nothing but blanks. */
  parse(line: number): RawRecord | null {
    if (this.length > MAX_RECORD_BYTES) return { line, reason: `longer than ${MAX_RECORD_BYTES} bytes` };
    const all = new Uint8Array(this.length);
    let at = 0;
    for (const piece of this.pieces) {
      all.set(piece, at);
      at += piece.length;
    }
    return parseRecord(all, line);
  }
}

function parseRecord(bytes: Uint8Array, line: number): RawRecord | null {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return { line, reason: "not UTF-8" };
  }
  if (text.trim() === "") return null;
  try {
    return { line, value: JSON.parse(text), reason: null };
  } catch (error) {
    return { line, reason: `not JSON: ${error instanceof Error ? error.message : error}` };
  }
}

class LineSplitter implements Splitter {
  private gathered = new Gathered();
  private line: number;

  constructor(line: number) {
    this.line = line;
  }

  *take(chunk: Uint8Array): Generator<RawRecord> {
    for (let at = 0; at < chunk.length; ) {
      const feed = chunk.indexOf(LINE_FEED, at);
      if (feed === -1) {
        this.gathered.add(chunk.subarray(at));
        return;
      }
      this.gathered.add(chunk.subarray(at, feed));
      yield* this.end();
      at = feed + 1;
    }
  }

  *end(): Generator<RawRecord> {
    const record = this.gathered.parse(this.line);
    this.gathered = new Gathered();
    this.line += 1;
    if (record !== null) yield record;
  }
}

/** Cuts an array at the commas that stand outside of strings, lists and objects. */
class ArraySplitter implements Splitter {
  private gathered = new Gathered();
  private line: number;
  /** Line of the record's first character; null before it. */
  private start: number | null = null;
  /** Lists and objects that are open; the file's own array is the first. */
  private depth = 0;
  private inString = false;
  private escaped = false;
  private cutAny = false;
  private failed = false;

  constructor(line: number) {
    this.line = line;
  }

  *take(chunk: Uint8Array): Generator<RawRecord> {
    let from = 0;
    for (let at = 0; at < chunk.length && !this.failed; at += 1) {
      const byte = chunk[at] ?? 0;
      if (byte === LINE_FEED) this.line += 1;
      if (this.inString) {
        if (this.escaped) this.escaped = false;
        else if (byte === BACKSLASH) this.escaped = true;
        else if (byte === QUOTE) this.inString = false;
        continue;
      }
      if (isBlank(byte)) continue;
      if (this.depth === 0) {
        // The bracket that opens the array; or behind it, where nothing may stand.
        if (byte === OPEN_LIST && !this.cutAny && this.start === null) {
          this.depth = 1;
          from = at + 1;
        } else if (this.cutAny) yield this.fail("expected the end of the file after the array");
        continue;
      }
      const closesFile = this.depth === 1 && byte === CLOSE_LIST;
      if (closesFile || (this.depth === 1 && byte === COMMA)) {
        this.gathered.add(chunk.subarray(from, at));
        from = at + 1;
        yield* this.cut(closesFile);
        if (closesFile) this.depth = 0;
        continue;
      }
      this.start ??= this.line;
      if (byte === QUOTE) this.inString = true;
      else if (byte === OPEN_LIST || byte === OPEN_OBJECT) this.depth += 1;
      else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) {
        this.depth -= 1;
        if (this.depth === 0) yield this.fail("more is closed than was opened");
      }
    }
    if (this.depth > 0) this.gathered.add(chunk.subarray(from));
  }

  *end(): Generator<RawRecord> {
    if (this.depth > 0 && !this.failed) yield this.fail("the file ends inside the array");
  }

  private *cut(isLast: boolean): Generator<RawRecord> {
    const { start, gathered, cutAny } = this;
    this.gathered = new Gathered();
    this.start = null;
    this.cutAny = true;
    if (start !== null) {
      const record = gathered.parse(start);
      if (record !== null) yield record;
    } else if (!isLast || cutAny)
      yield { line: this.line, reason: "not JSON: a comma with no record beside it" };
  }

  private fail(reason: string): RawRecord {
    this.failed = true;
    return { line: this.start ?? this.line, reason: `not JSON: ${reason}` };
  }
}

const BYTE_ORDER_MARK: ReadonlySet<number> = new Set([0xef, 0xbb, 0xbf]);

function isBlank(byte: number): boolean {
  return byte === 0x20 || byte === 0x09 || byte === 0x0d || byte === LINE_FEED;
}
