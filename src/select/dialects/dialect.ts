// What an output dialect is: it turns a selection into the text of one or more files. The table is in index.ts.
import type { ScanResults } from "../../snr/results.ts";
import type { SelectOptions } from "../select.ts";
import type { Selection } from "../selection.ts";

/** A file to write. */
export interface DialectFile {
  /** Relative, with forward slashes: its name when the dialect writes a folder, or a default name for its one file. */
  readonly path: string;
  readonly content: string;
}

/** What a dialect makes of a selection. */
export interface DialectOutput {
  readonly files: readonly DialectFile[];
  /** What a person should know before using the files. */
  readonly warnings: readonly string[];
}

/** An output dialect. */
export interface Dialect {
  readonly name: string;
  /** One line for help texts: who reads it. */
  readonly summary: string;
  /** `folder` when it writes several files. */
  readonly output: "file" | "folder";
  /**
   * What its file is to train: `select`, but for a dialect that has rules of its own.
   *
   * @throws UsageError as `select`, or when the dialect cannot express an option.
   */
  select(results: ScanResults, options: SelectOptions): Selection;
  /** @throws UsageError when it cannot express the selection, or a name would match more or less than meant. */
  emit(selection: Selection, results: ScanResults): DialectOutput;
}
