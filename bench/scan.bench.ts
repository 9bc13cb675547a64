// The whole command `spectrum scan`, process start to files written, on the shapes of SmolLM-135M, beside the original
// spectrum.py where Python has torch and SPECTRUM_PY names it. The scores of both are compared before timing counts.
//
//   npm run bench -- scan                                       ours alone, 5 rounds
//   npm run bench -- scan --rounds 9
//   npm run bench -- scan --quick                               6 layers, 2 rounds
//   SPECTRUM_PY=path/to/spectrum.py npm run bench -- scan       beside the original
import { spawnSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Bench } from "tinybench";
import { SMOLLM_135M, writeCheckpoint } from "./checkpoint.ts";
import { hardware, runtime } from "./machine.ts";
import { readFlags, runPart, temporaryFolder } from "./part.ts";
import { type Spread, spreadOf } from "./spread.ts";
import { type Command, type CommandCost, ourCommand, runCommand } from "./whole-command.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Seconds and bytes of one contender: least and median. */
interface Summary {
  readonly name: string;
  readonly seconds: Spread;
  readonly peakBytes: Spread;
}

const flags = readFlags({
  quick: { kind: "flag" },
  rounds: { kind: "number", value: "N", least: 1, whole: true },
});
const rounds = flags.rounds ?? (flags.quick ? 2 : 5);
const folder = temporaryFolder();
await runPart(main);

async function main(): Promise<void> {
  const model = join(folder, "smollm-135m");
  const shape = flags.quick ? { ...SMOLLM_135M, layers: 6, vocabulary: 4096 } : SMOLLM_135M;
  console.error(`Generating a checkpoint with the shapes of SmolLM-135M, ${shape.layers} layers ...`);
  const parameters = await writeCheckpoint(model, shape);
  const commands = new Map([["spectrum scan", ours(model)]]);
  const original = originalCommand(model);
  if (original) commands.set("original spectrum.py", original);

  for (const command of commands.values()) await runCommand(command);
  const difference = original ? await largestDifference(model) : null;
  const costs = await measure(commands);
  const summaries = [...costs].map(([name, runs]) => summarize(name, runs));
  print(summaries, parameters, difference);
}

/** Our command, with the cache off: every matrix is computed in every run. */
function ours(model: string): Command {
  const args = ["scan", model, "--out", join(folder, "results.json"), "--no-cache"];
  return ourCommand("dist/src/cli.js", args, folder, join(folder, "ours.cost"));
}

/** The original's command, where it can run; null, with the reason on stderr, where it cannot. */
function originalCommand(model: string): Command | null {
  const script = process.env.SPECTRUM_PY;
  const python = process.env.PYTHON ?? "python3";
  if (!script) {
    console.error(
      "The original is not measured: set SPECTRUM_PY to its spectrum.py (needs Python with torch).",
    );
    return null;
  }
  const check = spawnSync(python, ["-c", "import torch, transformers, prompt_toolkit, tqdm"], {
    encoding: "utf8",
  });
  if (check.status !== 0) {
    console.error(
      `The original is not measured: ${check.stderr?.trim().split("\n").at(-1) ?? `no ${python}`}`,
    );
    return null;
  }
  const driver = join(root, "bench/peers/original.py");
  return {
    file: python,
    args: [driver, resolve(script), model],
    cwd: folder,
    costFile: join(folder, "original.cost"),
  };
}

/** Largest relative difference between our scores and the original's float32 ones. */
async function largestDifference(model: string): Promise<number> {
  const slug = model.split("/").at(-1)?.replaceAll("_", "-");
  const theirs = JSON.parse(
    await readFile(join(folder, `model_snr_results/snr_results_${slug}.json`), "utf8"),
  ) as Record<string, { snr: number }>;
  const results = JSON.parse(await readFile(join(folder, "results.json"), "utf8")) as {
    modules: { name: string; snr?: { spectrum: number | null } }[];
  };
  let largest = 0;
  for (const { name, snr } of results.modules) {
    if (!snr || snr.spectrum === null) continue;
    const reference = theirs[name]?.snr;
    if (reference === undefined) throw new Error(`The original has no score of ${name}`);
    largest = Math.max(largest, Math.abs(snr.spectrum / reference - 1));
  }
  if (largest > 1e-3) throw new Error(`Scores differ from the original's by ${largest}: nothing was timed`);
  return largest;
}

/** Runs the commands in turn, round after round, so that a change in the machine's speed meets them all. */
async function measure(commands: ReadonlyMap<string, Command>): Promise<Map<string, CommandCost[]>> {
  const costs = new Map<string, CommandCost[]>();
  const bench = new Bench({ iterations: 1, time: 0, warmup: false, throws: true });
  for (const [name, command] of commands) {
    const runs: CommandCost[] = [];
    costs.set(name, runs);
    bench.add(name, async () => {
      runs.push(await runCommand(command));
    });
  }
  for (let round = 0; round < rounds; round++) {
    bench.reset();
    await bench.run();
  }
  return costs;
}

function summarize(name: string, runs: readonly CommandCost[]): Summary {
  return {
    name,
    seconds: spreadOf(runs.map(({ seconds }) => seconds)),
    peakBytes: spreadOf(runs.map(({ peakBytes }) => peakBytes)),
  };
}

function print(summaries: readonly Summary[], parameters: number, difference: number | null): void {
  const [first, second] = summaries;
  console.log(
    `Scan of ${(parameters / 1e6).toFixed(1)} M parameters, whole command, ${rounds} runs, on ${hardware()}, ${runtime()}`,
  );
  console.table(
    summaries.map(({ name, seconds, peakBytes }) => ({
      command: name,
      "min s": Number(seconds.min.toFixed(2)),
      "median s": Number(seconds.median.toFixed(2)),
      "peak MB": Math.round(peakBytes.median / 1e6),
    })),
  );
  const ratios =
    first && second
      ? {
          timesFaster: second.seconds.median / first.seconds.median,
          memoryShare: first.peakBytes.median / second.peakBytes.median,
          largestDifference: difference,
        }
      : {};
  if (first && second) {
    console.log(
      `${(second.seconds.median / first.seconds.median).toFixed(2)} times as fast, ` +
        `${((100 * first.peakBytes.median) / second.peakBytes.median).toFixed(0)} % of the memory, ` +
        `scores within ${difference?.toExponential(1)} of the original's float32`,
    );
  }
  const machine = { hardware: hardware(), runtime: runtime() };
  console.log(JSON.stringify({ bench: "scan", ...machine, parameters, summaries, ...ratios }));
}
