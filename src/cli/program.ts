// The program: finds the command, runs it, and turns what it throws into a sentence and an exit code.
import { TOOL, UsageError } from "../index.ts";
import { nearest } from "./arguments.ts";
import { type Command, EXIT, quote } from "./command.ts";
import { doctorCommand } from "./doctor.ts";
import { evaluateCommand } from "./evaluate.ts";
import { exportCommand } from "./export.ts";
import { renderCommandHelp, renderHelp } from "./help.ts";
import { scanCommand } from "./scan.ts";
import { selectCommand } from "./select.ts";
import { Terminal } from "./terminal.ts";
import { trainCommand } from "./train.ts";

const COMMANDS: readonly Command[] = [
  scanCommand,
  selectCommand,
  exportCommand,
  trainCommand,
  evaluateCommand,
  doctorCommand,
];

/** Commands of the design that this version does not have. */
const NOT_YET = ["plan", "report"];

/** Runs a command line (without the program's name) on this process's streams and returns the exit code. */
export async function runProgram(argv: readonly string[]): Promise<number> {
  const { stdout, stderr, env } = process;
  const terminal = new Terminal(stdout, stderr, env);
  const interruption = new AbortController();
  // Once: the second Ctrl-C finds no listener and ends the process at once.
  const interrupt = () => {
    terminal.print("Stopping; press Ctrl-C again to stop at once.");
    interruption.abort();
  };
  process.once("SIGINT", interrupt);
  try {
    return await dispatch(argv, terminal, interruption.signal);
  } catch (error) {
    if (interruption.signal.aborted) {
      terminal.print("Interrupted.");
      return EXIT.interrupted;
    }
    terminal.printError(describeError(error, env.SPECTRUM_DEBUG === "1"));
    return error instanceof UsageError ? EXIT.usage : EXIT.failed;
  } finally {
    process.off("SIGINT", interrupt);
  }
}

async function dispatch(argv: readonly string[], terminal: Terminal, signal: AbortSignal): Promise<number> {
  const [first, ...rest] = argv;
  if (first === undefined) {
    terminal.print(renderHelp(COMMANDS));
    return EXIT.usage;
  }
  if (first === "--version" || first === "-v") return printOutput(`${TOOL.version}\n`, terminal);
  if (first === "--help" || first === "-h") return printOutput(renderHelp(COMMANDS), terminal);
  if (first === "help") {
    const [name] = rest;
    return printOutput(
      name === undefined ? renderHelp(COMMANDS) : renderCommandHelp(findCommand(name)),
      terminal,
    );
  }
  const command = findCommand(first);
  if (asksForHelp(rest)) return printOutput(renderCommandHelp(command), terminal);
  return command.run(rest, { terminal, signal, commandLine: ["spectrum", ...argv].map(quote).join(" ") });
}

function findCommand(name: string): Command {
  const command = COMMANDS.find((candidate) => candidate.name === name);
  if (command) return command;
  if (NOT_YET.includes(name))
    throw new UsageError(`spectrum ${name} is planned, but spectrum-tune ${TOOL.version} does not have it`);
  const names = COMMANDS.map((candidate) => candidate.name);
  const isOption = name.startsWith("-");
  const near = nearest(name, isOption ? ["--help", "--version"] : [...names, "help"]);
  const hint = near === null ? `the commands are ${names.join(", ")}` : `did you mean ${near}?`;
  throw new UsageError(`Unknown ${isOption ? "option before the command" : "command"} ${name}; ${hint}`);
}

function asksForHelp(rest: readonly string[]): boolean {
  const end = rest.indexOf("--");
  const options = end < 0 ? rest : rest.slice(0, end);
  return options.includes("--help") || options.includes("-h");
}

async function printOutput(text: string, terminal: Terminal): Promise<number> {
  await terminal.printOutput(text);
  return EXIT.done;
}

/** The message, and the cause where it says more; with `debug` the stacks. */
function describeError(error: unknown, debug: boolean): string {
  if (!(error instanceof Error)) return String(error);
  if (debug)
    return `${error.stack ?? error.message}${causeOf(error, (cause) => `\ncaused by ${cause.stack}`)}`;
  const message = describeSystemError(error) ?? error.message;
  return message + causeOf(error, (cause) => (message.includes(cause.message) ? "" : `: ${cause.message}`));
}

/** What the operating system refused, in words; null for any other error. */
function describeSystemError(error: NodeJS.ErrnoException): string | null {
  const { code, path } = error;
  if (path === undefined) return null;
  if (code === "ENOENT") return `There is no file or folder ${path}`;
  if (code === "EACCES" || code === "EPERM") return `The system permits no access to ${path}`;
  if (code === "EISDIR") return `Expected a file, got the folder ${path}`;
  if (code === "ENOTDIR") return `A part of the path ${path} is no folder`;
  return null;
}

function causeOf(error: Error, describe: (cause: Error) => string): string {
  return error.cause instanceof Error ? describe(error.cause) : "";
}
