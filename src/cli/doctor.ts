// spectrum doctor: what this machine has for the tool's work, and what to install where something is missing.
import { availableParallelism, totalmem } from "node:os";
import { defaultScoreCacheFolder, hubSettings, listBackends, TOOL } from "../index.ts";
import { defineCommand, EXIT } from "./command.ts";

/** The command `doctor`. */
export const doctorCommand = defineCommand({
  name: "doctor",
  summary: "Show which backends can run here, and what to install for the others",
  positionals: [],
  options: { json: { kind: "flag", help: "Print the findings on stdout as JSON" } },
  examples: ["spectrum doctor", "spectrum doctor --json"],
  async run({ options }, { terminal }) {
    const findings = await examine();
    terminal.print(describe(findings));
    if (options.json) await terminal.printDocument(findings);
    return findings.backends.some(({ availability }) => availability.ok) ? EXIT.done : EXIT.failed;
  },
});

/** The document that `doctor --json` prints. */
async function examine() {
  const { endpoint, cacheFolder, token, offline } = await hubSettings();
  const constrained = process.constrainedMemory();
  // Without a limit it is 0, or more than there is.
  const memoryBytes = constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
  return {
    tool: TOOL,
    runtime: { name: runtimeName(), version: process.versions[runtimeName()] ?? process.version },
    system: {
      platform: process.platform,
      arch: process.arch,
      processors: availableParallelism(),
      memoryBytes,
    },
    backends: await listBackends(),
    folders: { models: cacheFolder, scores: defaultScoreCacheFolder() },
    // Whether there is a token; its value never leaves hub/.
    hub: { endpoint, offline, token: token !== null },
  };
}

function describeUse(computeDtypes: readonly string[]): string {
  return computeDtypes.length === 0 ? "scans" : `trains in ${computeDtypes.join(" or ")}`;
}

function runtimeName(): "bun" | "deno" | "node" {
  return process.versions.bun !== undefined ? "bun" : process.versions.deno !== undefined ? "deno" : "node";
}

function describe({
  tool,
  runtime,
  system,
  backends,
  folders,
  hub,
}: Awaited<ReturnType<typeof examine>>): string {
  const widest = Math.max(...backends.map(({ name }) => name.length));
  const memory = `${(system.memoryBytes / 2 ** 30).toFixed(1)} GiB of memory`;
  return [
    `${tool.name} ${tool.version}, ${runtime.name} ${runtime.version}, ${system.platform} ${system.arch}`,
    `${system.processors} processors, ${memory}`,
    "",
    "Backends, in the order in which auto tries them:",
    ...backends.flatMap(({ name, computeDtypes, availability }) =>
      availability.ok
        ? [`  ${name.padEnd(widest)}  ready, ${describeUse(computeDtypes)}`]
        : [
            `  ${name.padEnd(widest)}  not here: ${availability.reason}`,
            `  ${" ".repeat(widest)}  to use it: ${availability.fix}`,
          ],
    ),
    "",
    `Hub: ${hub.endpoint}, ${hub.offline ? "offline" : "online"}, ${hub.token ? "with a token" : "no token (set HF_TOKEN for gated models)"}`,
    `Models are kept in ${folders.models}`,
    `Scores are kept in ${folders.scores}`,
  ].join("\n");
}
