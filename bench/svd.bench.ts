// All singular values of weight matrices: every backend here, in each precision it has, one matrix on all threads
// (latency) and as many at once as it takes (throughput), beside numpy, scipy and torch in float32 on the same matrices
// and as many threads, one matrix after another. Answers are verified before anything is timed, and while it is. Ours
// decode bfloat16 in their time; the peers' matrices are float32 before the clock starts, and on the GPU for torch-cuda.
//
//   npm run bench -- svd                                   every shape that fits; the largest take many minutes each
//   npm run bench -- svd --quick                           shapes of SmolLM-135M, few runs, goals not judged
//   npm run bench -- svd --shape 2048x8192 --shape llama-3-8b --backend wasm --rounds 3 --threads 2
//   npm run bench -- svd --json new.json --compare old.json --chart docs/svd.svg
//   PYTHON=path/to/python npm run bench -- svd             beside the numpy, scipy and torch of that Python
import { rm, writeFile } from "node:fs/promises";
import { availableParallelism, freemem } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { Bench } from "tinybench";
import { MatrixError } from "../src/errors.ts";
import { TOOL } from "../src/tool.ts";
import { hardware, runtime } from "./machine.ts";
import { readFlags, runPart, temporaryFolder } from "./part.ts";
import { PeerProcess } from "./peer-process.ts";
import { spreadOf } from "./spread.ts";
import { drawChart } from "./svd-chart.ts";
import { type Accuracy, checkAnswer, checkNorm, nameOf, type Truth } from "./svd-checks.ts";
import { printComparison, readReport } from "./svd-compare.ts";
import { type Contender, type Mode, ourContender, ourContenders, peerContenders } from "./svd-contenders.ts";
import { type BenchMatrix, generateMatrices, matrixBytes } from "./svd-matrices.ts";
import { goalsOf, printReport, ratiosOf, SCHEMA_VERSION, type SvdReport, type SvdRow } from "./svd-report.ts";
import { type BenchShape, chooseShapes, operations, QUICK_SHAPES } from "./svd-shapes.ts";

const MODES: readonly Mode[] = ["latency", "throughput"];
/** The slow backend, which is asked for the truth up to so many operations, and then timed by that one run. */
const ORACLE = "reference";
const ORACLE_OPERATIONS = 5e8;
const QUICK_ORACLE_OPERATIONS = 5e7;
/** The truth of larger matrices, itself held against their norms and against the peers. */
const LARGE_ORACLE = "wasm";
/** Threads of somebody else's that wait spinning for more work have given up by then. */
const PAUSE_MS = 50;
/** Backends stay open for all rounds where that takes less of the memory: they have one matrix in flight per thread. */
const OPEN_SHARE_OF_MEMORY = 0.5;

/** How much is measured of shapes up to so many operations. */
interface Effort {
  readonly upTo: number;
  readonly rounds: number;
  /** Least milliseconds of a contender in a round. */
  readonly timeMs: number;
  readonly matricesPerLane: number;
}
const EFFORTS: readonly Effort[] = [
  { upTo: 2e9, rounds: 7, timeMs: 200, matricesPerLane: 4 },
  { upTo: 1e11, rounds: 5, timeMs: 0, matricesPerLane: 2 },
  { upTo: 1e12, rounds: 3, timeMs: 0, matricesPerLane: 1 },
  { upTo: Number.POSITIVE_INFINITY, rounds: 1, timeMs: 0, matricesPerLane: 1 },
];

const flags = readFlags({
  shape: { kind: "list", value: "ROWSxCOLUMNS" },
  backend: { kind: "list", value: "NAME" },
  threads: { kind: "number", value: "N", least: 1, whole: true },
  rounds: { kind: "number", value: "N", least: 1, whole: true },
  quick: { kind: "flag" },
  json: { kind: "text", value: "FILE" },
  compare: { kind: "text", value: "FILE" },
  chart: { kind: "text", value: "FILE" },
});
const { threads = availableParallelism() } = flags;
const folder = temporaryFolder();
await runPart(main);

async function main(): Promise<void> {
  const shapes = chooseShapes(flags.quick && flags.shape.length === 0 ? QUICK_SHAPES : flags.shape);
  const old = flags.compare === undefined ? null : await readReport(flags.compare);
  const ours = await ourContenders(threads, flags.backend);
  const peers = await startPeers();
  const rows: SvdRow[] = [];
  try {
    const timed = [...ours, ...(peers ? peerContenders(peers) : [])];
    for (const shape of shapes) {
      rows.push(...(await measureShape(shape, timed, peers !== null)));
      // The largest shapes take long: what is measured is kept if they are interrupted.
      await keep(reportOf(rows, peers?.versions ?? {}));
    }
  } finally {
    await peers?.close();
  }
  finish(reportOf(rows, peers?.versions ?? {}), old);
}

async function startPeers(): Promise<PeerProcess | null> {
  const peers = await PeerProcess.start(threads).catch((error: Error) => {
    console.error(`numpy, scipy and torch are not measured: ${error.message}`);
    return null;
  });
  if (peers && peers.missing.length > 0) console.error(`Not measured: ${peers.missing.join("; ")}`);
  return peers;
}

function reportOf(rows: readonly SvdRow[], peerVersions: Readonly<Record<string, string>>): SvdReport {
  const ratios = ratiosOf(rows);
  return {
    bench: "svd",
    schemaVersion: SCHEMA_VERSION,
    hardware: hardware(),
    runtime: runtime(),
    threads,
    versions: { [TOOL.name]: TOOL.version, v8: process.versions.v8, ...peerVersions },
    rows,
    ratios,
    goals: flags.quick ? [] : goalsOf(ratios), // few runs, of threads that have just been started
  };
}

function finish(report: SvdReport, old: SvdReport | null): void {
  console.log(
    `Singular values of bfloat16 matrices, ${threads} threads, on ${report.hardware}, ${report.runtime}`,
  );
  printReport(report);
  if (old !== null) printComparison(report, old);
  console.log(JSON.stringify(report));
}

async function keep(report: SvdReport): Promise<void> {
  if (flags.json !== undefined) await writeFile(flags.json, `${JSON.stringify(report)}\n`);
  if (flags.chart !== undefined) await writeFile(flags.chart, drawChart(report));
}

/** All rows of one shape: generated, verified, timed. */
async function measureShape(
  shape: BenchShape,
  all: readonly Contender[],
  withFiles: boolean,
): Promise<SvdRow[]> {
  if (matrixBytes(shape) > 0.8 * freemem()) {
    console.error(`${shape.label} is not measured: its matrices do not fit into the memory that is free`);
    return [];
  }
  console.error(`${shape.label}: generating`);
  const matrices = await generateMatrices(shape, withFiles ? folder : null);
  const contenders = all.filter(({ backend }) => backend !== ORACLE);
  for (const contender of contenders) await contender.load(matrices);
  console.error(`${shape.label}: verifying`);
  const { truth, seconds } = await findTruth(shape, matrices, contenders);
  const accuracies = await verify(shape, { matrices, contenders, truth });
  const lists = await time(shape, matrices, [...accuracies.keys()]);
  for (const contender of contenders) await contender.rest();
  for (const { file } of matrices) if (file !== null) await rm(file);
  const oracle = all.find(({ backend }) => backend === ORACLE);
  const oracleRows =
    oracle && seconds !== null ? [rowOf(shape, { contender: oracle, mode: "latency" }, [seconds], null)] : [];
  return [
    ...oracleRows,
    ...lists.map(({ samples, ...who }) => rowOf(shape, who, samples, accuracies.get(who.contender) ?? null)),
  ];
}

/** The first matrix's singular values, by the reference (and its seconds) where that is quick, else by exact wasm. */
async function findTruth(
  shape: BenchShape,
  matrices: readonly BenchMatrix[],
  contenders: readonly Contender[],
): Promise<{ truth: Truth; seconds: number | null }> {
  const small = operations(shape) <= (flags.quick ? QUICK_ORACLE_OPERATIONS : ORACLE_OPERATIONS);
  const name = small ? ORACLE : LARGE_ORACLE;
  const here = contenders.find(({ backend, precision }) => backend === name && precision === "exact");
  const oracle = here ?? (await ourContender(name, "exact", threads));
  await oracle.load(matrices);
  const begin = performance.now();
  const values = await oracle.values();
  const seconds = (performance.now() - begin) / 1000;
  if (oracle !== here) await oracle.rest();
  const squaredNorm = matrices[0]?.squaredNorm ?? Number.NaN;
  checkNorm(oracle, shape, { values, squaredNorm });
  return { truth: { values, by: nameOf(oracle), contender: here ?? null }, seconds: small ? seconds : null };
}

/** Every contender that can take the shape, with how accurate it is; null of the one that computed the truth. */
async function verify(
  shape: BenchShape,
  {
    matrices,
    contenders,
    truth,
  }: { matrices: readonly BenchMatrix[]; contenders: readonly Contender[]; truth: Truth },
): Promise<Map<Contender, Accuracy | null>> {
  const accuracies = new Map<Contender, Accuracy | null>();
  const squaredNorm = matrices[0]?.squaredNorm ?? Number.NaN;
  for (const contender of contenders) {
    if (contender === truth.contender) {
      accuracies.set(contender, null);
      continue;
    }
    const values = await contender.values().catch((error: unknown) => {
      if (!(error instanceof MatrixError)) throw error;
      console.error(`${nameOf(contender)} is not measured on ${shape.label}: ${error.message}`);
      return null;
    });
    if (values !== null)
      accuracies.set(contender, checkAnswer(contender, shape, { values, truth, squaredNorm }));
  }
  return accuracies;
}

/** Seconds of one matrix, run by run, of each contender in each mode. */
async function time(shape: BenchShape, matrices: readonly BenchMatrix[], contenders: readonly Contender[]) {
  const { rounds, timeMs, matricesPerLane } = effortOf(shape);
  const open = keepOpen(shape, contenders);
  const bench = new Bench({ iterations: 1, time: timeMs, warmup: false, throws: true, retainSamples: true });
  const lists = contenders.flatMap((contender) =>
    MODES.map((mode) => ({ contender, mode, samples: [] as number[] })),
  );
  for (const { contender, mode } of lists) {
    const run = async () => {
      const timing = await contender.time(mode, matricesPerLane);
      for (const { matrix, values } of timing.answers) {
        const squaredNorm = matrices[matrix]?.squaredNorm ?? Number.NaN;
        checkNorm(contender, shape, { values, squaredNorm });
      }
      const { milliseconds } = timing;
      return { overriddenDuration: milliseconds / timing.matrices, overriddenIterationCost: milliseconds };
    };
    bench.add(`${nameOf(contender)} ${mode}`, run, {
      beforeAll: async () => {
        await sleep(PAUSE_MS);
        if (open && timeMs > 0) await contender.time(mode, 1); // a warm-up of every thread
      },
      afterAll: () => (open ? undefined : contender.rest()),
    });
  }
  for (let round = 0; round < rounds; round++) {
    console.error(`${shape.label}: round ${round + 1} of ${rounds}`);
    bench.reset();
    await bench.run();
    for (const [index, { result }] of bench.tasks.entries()) {
      if (result.state !== "completed")
        throw new Error(`${bench.tasks[index]?.name} ended as ${result.state}`);
      lists[index]?.samples.push(...(result.latency.samples ?? []).map((ms) => ms / 1000));
    }
  }
  return lists;
}

/** Rounds are runs of everybody in turn, so that a change in the machine's speed meets them all. */
function effortOf(shape: BenchShape): Effort {
  const cost = operations(shape);
  const row = EFFORTS.find(({ upTo }) => cost <= upTo);
  if (!row) throw new Error(`There is no effort for ${cost} operations`);
  const quick = flags.quick ? { rounds: 2, timeMs: 50, matricesPerLane: 2 } : {};
  return { ...row, ...quick, ...(flags.rounds !== undefined && { rounds: flags.rounds }) };
}

/** Whether all backends may keep their threads and memory between rounds. */
function keepOpen({ rows, columns }: BenchShape, contenders: readonly Contender[]): boolean {
  const perMatrix = 3 * 8 * Math.min(rows, columns) ** 2;
  const inFlight = contenders.reduce((sum, { peer, concurrency }) => sum + (peer ? 0 : concurrency), 0);
  return inFlight * perMatrix < OPEN_SHARE_OF_MEMORY * freemem();
}

function rowOf(
  { label, model }: BenchShape,
  { contender, mode }: { contender: Contender; mode: Mode },
  samples: readonly number[],
  accuracy: Accuracy | null,
): SvdRow {
  const { backend, precision, version, concurrency } = contender;
  return {
    shape: label,
    model,
    backend,
    precision,
    version,
    mode,
    concurrency: mode === "latency" ? 1 : concurrency,
    runs: samples.length,
    seconds: spreadOf(samples),
    relativeError: accuracy?.valueError ?? null,
    snrError: accuracy?.snrError ?? null,
  };
}
