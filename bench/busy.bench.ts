// How busy a scan keeps the processors, reading included: processor time over wall time and threads, of the whole
// command `spectrum scan` with the cache off, on generated distinct layers of the shape of Llama-3-8B. The whole model is
// 14 GB on disk, so some of its 32 layers stand for it; the fewer, the more the last matrix weighs, which others cannot
// run beside. A thread that waits spinning counts as busy.
//
//   npm run bench -- busy                       2 layers (872 MB)
//   npm run bench -- busy --layers 8            3.5 GB
//   npm run bench -- busy --backend wasm        of another backend than auto takes
//   npm run bench -- busy --precision fast --rounds 3
//   npm run bench -- busy --quick               12 layers of the shape of SmolLM-135M
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { Bench } from "tinybench";
import { checkBackend } from "../backends/index.ts";
import { LLAMA_3_8B_LAYERS, SMOLLM_135M, writeCheckpoint } from "./checkpoint.ts";
import { hardware, runtime } from "./machine.ts";
import { readFlags, runPart, temporaryFolder } from "./part.ts";
import { type CommandCost, ourCommand, runCommand } from "./whole-command.ts";

const GOAL = 0.9;
const flags = readFlags({
  layers: { kind: "number", value: "N", least: 1, whole: true },
  rounds: { kind: "number", value: "N", least: 1, whole: true },
  backend: { kind: "text", value: "NAME" },
  precision: { kind: "choice", choices: ["exact", "fast"] },
  quick: { kind: "flag" },
});
const { backend = "auto", precision = "exact", rounds = 1 } = flags;
const layers = flags.layers ?? (flags.quick ? 12 : 2);
const folder = temporaryFolder();
await runPart(main);

async function main(): Promise<void> {
  await checkBackend(backend, { capability: "singularValues" });
  const [name, shape] = flags.quick ? ["SmolLM-135M", SMOLLM_135M] : ["Llama-3-8B", LLAMA_3_8B_LAYERS];
  const model = join(folder, "layers");
  console.error(`Generating ${layers} layers of the shape of ${name} ...`);
  const parameters = await writeCheckpoint(model, { ...shape, layers, embedding: false });
  const costs = await measure(model);
  const threads = availableParallelism();
  const shares = costs.map(({ seconds, cpuSeconds }) => cpuSeconds / (seconds * threads));
  console.log(
    `Scan of ${layers} layers of the shape of ${name}, ${(parameters / 1e6).toFixed(0)} M parameters, ` +
      `${backend}, ${precision}, on ${hardware()}, ${runtime()}`,
  );
  console.table(
    costs.map(({ seconds, cpuSeconds, peakBytes }, round) => ({
      "wall s": Number(seconds.toFixed(2)),
      "processor s": Number(cpuSeconds.toFixed(2)),
      threads,
      "busy %": Number((100 * (shares[round] ?? Number.NaN)).toFixed(1)),
      "peak MB": Math.round(peakBytes / 1e6),
    })),
  );
  const best = Math.max(...shares);
  const verdict = flags.quick ? "" : `: ${best > GOAL ? "met" : "missed"}`;
  console.log(
    `Busy ${(100 * best).toFixed(1)} %, goal of the Llama-3-8B shape above ${100 * GOAL} %${verdict}`,
  );
  const what = {
    shape: name,
    layers,
    parameters,
    backend,
    precision,
    threads,
  };
  const machine = { hardware: hardware(), runtime: runtime() };
  console.log(JSON.stringify({ bench: "busy", ...machine, ...what, costs, shares }));
}

/** Runs the command round after round. */
async function measure(model: string): Promise<CommandCost[]> {
  const results = join(folder, "results.json");
  const args = [
    "scan",
    model,
    "--out",
    results,
    "--no-cache",
    "--backend",
    backend,
    "--precision",
    precision,
  ];
  const command = ourCommand("dist/src/cli.js", args, folder, join(folder, "scan.cost"));
  const costs: CommandCost[] = [];
  const bench = new Bench({ iterations: rounds, time: 0, warmup: false, throws: true });
  bench.add("spectrum scan", async () => {
    costs.push(await runCommand(command));
  });
  await bench.run();
  return costs;
}
