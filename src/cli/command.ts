// What a command is: its grammar, what help says about it, and what it does.
import { type Arguments, type Grammar, type OptionTable, parseArguments } from "./arguments.ts";
import type { Terminal } from "./terminal.ts";

/** Exit codes of the command line. */
export const EXIT = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** What a command runs with. */
export interface CommandContext {
  readonly terminal: Terminal;
  /** Aborted by the first Ctrl-C. */
  readonly signal: AbortSignal;
  /** The command line as it was typed, to be repeated: `spectrum scan ./model`. */
  readonly commandLine: string;
}

/** A command as its file declares it. */
export interface CommandSpec<Names extends readonly string[], Table extends OptionTable>
  extends Grammar<Names, Table> {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  readonly examples: readonly string[];
  /** Returns the exit code. */
  run(given: Arguments<Names, Table>, context: CommandContext): Promise<number>;
}

/** A command as the program calls it. */
export interface Command extends Omit<CommandSpec<readonly string[], OptionTable>, "run"> {
  /** @throws UsageError when `argv` does not fit the command's grammar. */
  run(argv: readonly string[], context: CommandContext): Promise<number>;
}

/** Ties a command's grammar to the types of what its `run` gets. */
export function defineCommand<const Names extends readonly string[], const Table extends OptionTable>(
  spec: CommandSpec<Names, Table>,
): Command {
  return { ...spec, run: (argv, context) => spec.run(parseArguments(spec, argv), context) };
}

/** An argument as a POSIX shell reads it back. */
export function quote(argument: string): string {
  return /^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`;
}
