// spectrum doctor: what this machine has for the tool's work, and what to install where something is missing.
import { availableParallelism, totalmem } from "node:os";
import {
  defaultCalibrationFolder,
  defaultScoreCacheFolder,
  type FastestBackend,
  fastestBackend,
  hubSettings,
  type ListedBackend,
  listBackends,
  TOOL,
} from "../index.ts";
import { defineCommand, EXIT } from "./command.ts";

/** The command `doctor`. */
export const doctorCommand = defineCommand({
  name: "doctor",
  summary: "Show which backends can run here, and what to install for the others",
  positionals: [],
  options: {
    calibrate: { kind: "flag", help: "Time the backends anew, for auto" },
    json: { kind: "flag", help: "Print the findings on stdout as JSON" },
  },
  examples: ["spectrum doctor", "spectrum doctor --calibrate", "spectrum doctor --json"],
  async run({ options }, { terminal }) {
    const findings = await examine(options.calibrate);
    terminal.print(describe(findings));
    if (options.json) await terminal.printDocument(findings);
    return findings.backends.some(({ availability }) => availability.ok) ? EXIT.done : EXIT.failed;
  },
});

/** The document that `doctor --json` prints; with `calibrate` after timing the backends. */
async function examine(calibrate: boolean) {
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
    // One after the other: timings at the same time would disturb each other.
    fastest: {
      exact: await fastestBackend({ precision: "exact", calibrate }),
      fast: await fastestBackend({ precision: "fast", calibrate }),
    },
    folders: {
      models: cacheFolder,
      scores: defaultScoreCacheFolder(),
      calibrations: defaultCalibrationFolder(),
    },
    // Whether there is a token; its value never leaves hub/.
    hub: { endpoint, offline, token: token !== null },
  };
}

function describeUse({ capabilities, computeDtypes }: ListedBackend): string {
  const uses = capabilities.includes("singularValues") ? ["scans"] : [];
  if (computeDtypes.length > 0) uses.push(`trains in ${computeDtypes.join(" or ")}`);
  return uses.join(", ");
}

function describeFastest({ backend, candidates, why }: FastestBackend): string {
  const [first] = candidates;
  const small = first === backend ? "" : `; for models below some 350 M parameters ${first}`;
  return `${backend ?? candidates.join(" or ")}: ${why}${small}`;
}

function runtimeName(): "bun" | "deno" | "node" {
  return process.versions.bun !== undefined ? "bun" : process.versions.deno !== undefined ? "deno" : "node";
}

function describe({
  tool,
  runtime,
  system,
  backends,
  fastest,
  folders,
  hub,
}: Awaited<ReturnType<typeof examine>>): string {
  const widest = Math.max(...backends.map(({ name }) => name.length));
  const memory = `${(system.memoryBytes / 2 ** 30).toFixed(1)} GiB of memory`;
  return [
    `${tool.name} ${tool.version}, ${runtime.name} ${runtime.version}, ${system.platform} ${system.arch}`,
    `${system.processors} processors, ${memory}`,
    "",
    "Backends; auto trains with the first of them that can, and scans with the fastest:",
    ...backends.flatMap((backend) => {
      const { name, availability } = backend;
      return availability.ok
        ? [`  ${name.padEnd(widest)}  ready, ${describeUse(backend)}`]
        : [
            `  ${name.padEnd(widest)}  not here: ${availability.reason}`,
            `  ${" ".repeat(widest)}  to use it: ${availability.fix}`,
          ];
    }),
    "",
    "What auto scans with:",
    ...Object.entries(fastest).map(
      ([precision, found]) => `  ${precision.padEnd(5)}  ${describeFastest(found)}`,
    ),
    "",
    `Hub: ${hub.endpoint}, ${hub.offline ? "offline" : "online"}, ${hub.token ? "with a token" : "no token (set HF_TOKEN for gated models)"}`,
    `Models are kept in ${folders.models}`,
    `Scores are kept in ${folders.scores}`,
    `Calibrations are kept in ${folders.calibrations}`,
  ].join("\n");
}
