// What the parts of the benchmark have in common: flags read as the command line reads its own, a folder for what they
// write, and a sentence instead of a stack for what somebody asked for and cannot be had.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type OptionValues, parseArguments, type SyntaxTable } from "../src/cli/arguments.ts";
import { EXIT } from "../src/cli/command.ts";
import { BackendUnavailableError, UsageError } from "../src/errors.ts";

/** The flags of this process; ends it with a sentence where they are wrong. */
export function readFlags<const Table extends SyntaxTable>(options: Table): OptionValues<Table> {
  return readOrExit(() => parseArguments({ positionals: [], options }, process.argv.slice(2)).options);
}

/** What `read` makes of the command line; ends the process with a sentence where that is wrong. */
export function readOrExit<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    process.exit(complain(error));
  }
}

/** Runs a part. Its usage errors, and backends that are not to be had here, are a sentence and an exit code. */
export async function runPart(part: () => Promise<void>): Promise<void> {
  try {
    await part();
  } catch (error) {
    process.exitCode = complain(error);
  }
}

/** A new folder that is removed when the process ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "spectrum-bench-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** The exit code of an error whose message says all; throws any other again. */
function complain(error: unknown): number {
  if (!(error instanceof UsageError || error instanceof BackendUnavailableError)) throw error;
  console.error(error.message);
  return error instanceof UsageError ? EXIT.usage : EXIT.failed;
}
