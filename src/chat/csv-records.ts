// Reads a file of comma-separated values (RFC 4180): the first row names the columns; a quoted value may hold line
// feeds, commas and doubled quotes.
import { MAX_RECORD_BYTES, type RawRecord } from "./raw-record.ts";

/**
 * Records of a CSV file: every value is text. A row with another number of values than columns is given with the
 * reason.
 *
 * @throws TypeError when the file is not UTF-8.
 */
export async function* csvRecords(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): AsyncGenerator<RawRecord> {
  const rows = new RowReader();
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let columns: readonly string[] | null = null;
  const records = function* (text: string | null): Generator<RawRecord> {
    for (const row of text === null ? rows.end() : rows.take(text)) {
      if (columns === null) columns = row.values;
      else yield recordOf(row, columns);
    }
  };
  for await (const chunk of chunks) yield* records(decoder.decode(chunk, { stream: true }));
  yield* records(decoder.decode());
  yield* records(null);
}

interface Row {
  readonly line: number;
  readonly values: readonly string[];
  readonly reason: string | null;
}

function recordOf({ line, values, reason }: Row, columns: readonly string[]): RawRecord {
  if (reason !== null) return { line, reason };
  if (values.length !== columns.length)
    return { line, reason: `expected ${columns.length} values, one for each column, got ${values.length}` };
  return { line, value: Object.fromEntries(columns.map((column, at) => [column, values[at]])), reason: null };
}

class RowReader {
  private line = 1;
  private start = 1;
  private values: string[] = [];
  private value = "";
  private length = 0;
  private state: "begin" | "bare" | "quoted" | "closed" = "begin";
  private reason: string | null = null;

  *take(text: string): Generator<Row> {
    for (const character of text) {
      if (character === "\n") this.line += 1;
      this.length += 1;
      if (this.length > MAX_RECORD_BYTES) this.reason ??= `longer than ${MAX_RECORD_BYTES} characters`;
      if (this.state === "quoted") {
        if (character === '"') this.state = "closed";
        else this.append(character);
      } else if (character === '"' && this.state !== "bare") {
        // A quote that opens a value; or the second of a doubled one.
        if (this.state === "closed") this.append(character);
        this.state = "quoted";
      } else if (character === ",") this.endValue();
      else if (character === "\n") yield* this.endRow();
      else if (character !== "\r") {
        if (this.state === "closed") this.reason ??= "a character after the quote that closes a value";
        this.state = "bare";
        this.append(character);
      }
    }
  }

  *end(): Generator<Row> {
    if (this.state === "quoted") this.reason ??= "the file ends inside a quoted value";
    yield* this.endRow();
  }

  private append(character: string): void {
    if (this.length <= MAX_RECORD_BYTES) this.value += character;
  }

  private endValue(): void {
    this.values.push(this.value);
    this.value = "";
    this.state = "begin";
  }

  private *endRow(): Generator<Row> {
    const isEmpty = this.values.length === 0 && this.value === "" && this.state === "begin";
    this.endValue();
    const { start: line, values, reason } = this;
    this.values = [];
    this.reason = null;
    this.length = 0;
    this.start = this.line;
    if (!isEmpty || reason !== null) yield { line, values, reason };
  }
}
