// Help, written from the tables that commands declare.
import type { OptionSpec } from "./arguments.ts";
import type { Command } from "./command.ts";

/** What `spectrum --help` prints. */
export function renderHelp(commands: readonly Command[]): string {
  const width = Math.max(...commands.map((command) => command.name.length));
  return [
    "Finds the modules of a language model that carry signal, and trains only those.",
    "",
    "Usage: spectrum COMMAND [ARGUMENTS] [OPTIONS]",
    "",
    "Commands:",
    ...commands.map((command) => `  ${command.name.padEnd(width)}  ${command.summary}`),
    "",
    "Start here:",
    "  spectrum scan HuggingFaceTB/SmolLM2-135M --out results.json",
    "  spectrum select results.json --top-percent 25 --out selection.yaml",
    "",
    "spectrum COMMAND --help says more. spectrum --version prints the version.",
    "",
  ].join("\n");
}

/** What `spectrum COMMAND --help` prints. */
export function renderCommandHelp(command: Command): string {
  const options = Object.entries(command.options).map(([name, spec]) => [usageOf(name, spec), spec] as const);
  options.push(["-h, --help", { kind: "flag", help: "Print this help" }]);
  return [
    `${command.summary}.`,
    "",
    `Usage: ${["spectrum", command.name, ...command.positionals, "[OPTIONS]"].join(" ")}`,
    "",
    "Options:",
    ...options.flatMap(([usage, spec]) => describe(usage, spec)),
    "",
    "Examples:",
    ...command.examples.map((example) => `  ${example}`),
    "",
  ].join("\n");
}

function usageOf(name: string, spec: OptionSpec): string {
  const short = spec.short === undefined ? "    " : `-${spec.short}, `;
  switch (spec.kind) {
    case "flag":
      return `${short}--${name}`;
    case "choice":
      return `${short}--${name} NAME`;
    default:
      return `${short}--${name} ${spec.value}`;
  }
}

function describe(usage: string, spec: OptionSpec): string[] {
  const lines = [`  ${usage.padEnd(28)}  ${spec.help}`];
  const more = " ".repeat(32);
  if (spec.kind === "choice") lines.push(`${more}one of ${spec.choices.join(", ")}`);
  if (spec.kind === "list") lines.push(`${more}may be given more than once`);
  return lines;
}
