// svd(matrix, rank) of the wasm backend, beside scipy's svds and torch's svd_lowrank where Python has them, on one thread
// and on all. The values are compared with all singular values of the same matrix, and have to be within their bounds,
// before timing counts; residuals are measured on what was returned. Seconds of the processor count what every thread
// took, those that wait in a loop included.
//
//   npm run bench -- truncated-svd               5 rounds
//   npm run bench -- truncated-svd --rounds 1
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openBackend } from "../backends/index.ts";
import type { TruncatedSvd } from "../src/backend-svd.ts";
import { hardware } from "./machine.ts";
import { readFlags, runPart, temporaryFolder } from "./part.ts";

interface Case {
  readonly rows: number;
  readonly columns: number;
  readonly rank: number;
  /** How many directions stand above the noise; none: a flat spectrum. */
  readonly signal: number;
}

const CASES: readonly Case[] = [
  { rows: 1536, columns: 576, rank: 16, signal: 32 },
  { rows: 1536, columns: 576, rank: 16, signal: 0 },
  { rows: 4096, columns: 1024, rank: 32, signal: 64 },
  { rows: 4096, columns: 4096, rank: 32, signal: 64 },
];

const TOLERANCES = [1e-8, 1e-12];

/** What one contender took, and came to. */
interface Run {
  readonly seconds: number[];
  readonly processor: number[];
  readonly values: readonly number[];
  /** The largest of |A v - s u| and |A^T u - s v| over the largest singular value. */
  readonly residual: number;
}

const { rounds = 5 } = readFlags({ rounds: { kind: "number", value: "N", least: 1, whole: true } });
const folder = temporaryFolder();
await runPart(main);

async function main(): Promise<void> {
  console.log(`Leading singular triplets, ${rounds} runs, on ${hardware()}`);
  const summaries = [];
  for (const threads of new Set([1, availableParallelism()])) {
    const { backend } = await openBackend("wasm", { precision: "exact", threads, capability: "svd" });
    for (const each of CASES) {
      const elements = drawMatrix(each);
      const runs = new Map<string, Run>();
      const truth = await allValues(backend, elements, each);
      for (const tolerance of TOLERANCES) {
        const run = await measure(backend, elements, { ...each, tolerance, truth });
        runs.set(`svd(), float64, ${tolerance}`, run);
      }
      for (const [name, run] of peers(elements, each, threads)) runs.set(name, run);
      for (const [name, run] of runs) summaries.push({ ...each, threads, name, ...summarize(run) });
    }
    await backend.close();
  }
  console.table(
    summaries.map(({ rows, columns, rank, signal, threads, name, residual, ...times }) => ({
      matrix: `${rows} x ${columns}, ${signal === 0 ? "flat" : `${signal} above noise`}, rank ${rank}`,
      threads,
      by: name,
      "min s": Number(times.least.toFixed(3)),
      "median s": Number(times.median.toFixed(3)),
      "min processor s": Number(times.leastProcessor.toFixed(3)),
      residual: residual.toExponential(1),
    })),
  );
  console.log(JSON.stringify({ hardware: hardware(), rounds, summaries }));
}

function summarize({ seconds, processor, residual }: Run) {
  const sorted = seconds.toSorted((a, b) => a - b);
  const median = sorted[sorted.length >> 1] ?? NaN;
  return { least: sorted[0] ?? NaN, median, leastProcessor: Math.min(...processor), residual };
}

type Opened = Awaited<ReturnType<typeof openBackend>>["backend"];

function sourceOf(elements: Float32Array, { rows, columns }: Case) {
  const bytes = new Uint8Array(elements.buffer);
  return { shape: [rows, columns], dtype: "F32", rows: [bytes], rereadable: true } as const;
}

async function allValues(backend: Opened, elements: Float32Array, each: Case): Promise<Float64Array> {
  if (!backend.singularValues) throw new Error("The wasm backend lacks a capability");
  return backend.singularValues(sourceOf(elements, each));
}

interface Measured extends Case {
  readonly tolerance: number;
  readonly truth: Float64Array;
}

async function measure(backend: Opened, elements: Float32Array, each: Measured): Promise<Run> {
  if (!backend.svd) throw new Error("The wasm backend lacks a capability");
  const { rank, tolerance } = each;
  const source = sourceOf(elements, each);
  const result = await backend.svd(source, rank, { tolerance });
  verify(result, each.truth);
  for (let warm = 0; warm < rounds; warm++) await backend.svd(source, rank, { tolerance });
  const [seconds, processor]: [number[], number[]] = [[], []];
  while (seconds.length < rounds) {
    const [begin, usage] = [performance.now(), process.cpuUsage()];
    await backend.svd(source, rank, { tolerance });
    const { user, system } = process.cpuUsage(usage);
    seconds.push((performance.now() - begin) / 1000);
    processor.push((user + system) / 1e6);
  }
  return { seconds, processor, values: [...result.s], residual: residualOf(elements, result) };
}

function verify({ s, bounds, converged }: TruncatedSvd, truth: Float64Array): void {
  const wrong = s.findIndex((value, i) => !(Math.abs(value - (truth[i] ?? NaN)) <= (bounds[i] ?? NaN)));
  if (wrong >= 0) throw new Error(`Value ${wrong} is not within its bound: nothing was timed`);
  if (!converged) throw new Error("The triplets did not converge: nothing was timed");
}

/** The largest of |A v - s u| and |A^T u - s v| over the largest singular value. */
function residualOf(elements: Float32Array, { rank, u, s, vt }: TruncatedSvd): number {
  const [rows, columns] = [u.length / rank, vt.length / rank];
  let most = 0;
  for (let k = 0; k < rank; k++) {
    const v = vt.subarray(k * columns, (k + 1) * columns);
    const value = s[k] ?? NaN;
    const back = v.map((x) => -value * x);
    let square = 0;
    for (let i = 0; i < rows; i++) {
      const x = u[i * rank + k] ?? NaN;
      let across = -value * x;
      for (let j = 0; j < columns; j++) {
        const element = elements[i * columns + j] ?? NaN;
        across += element * (v[j] ?? NaN);
        back[j] = (back[j] ?? NaN) + element * x;
      }
      square += across ** 2;
    }
    most = Math.max(most, Math.sqrt(square), Math.hypot(...back));
  }
  return most / (s[0] ?? NaN);
}

/** Runs peers/truncated-svd.py; nothing, with the reason on stderr, where Python lacks what it needs. */
function peers(elements: Float32Array, { rows, columns, rank }: Case, threads: number): [string, Run][] {
  const file = join(folder, "matrix.f32");
  const script = fileURLToPath(new URL("../../bench/peers/truncated-svd.py", import.meta.url));
  const sizes = [rows, columns, rank, rounds, threads].map(String);
  writeFileSync(file, elements);
  const python = spawnSync(process.env.PYTHON ?? "python3", [script, file, ...sizes], {
    encoding: "utf8",
    env: { ...process.env, OPENBLAS_NUM_THREADS: String(threads) },
  });
  if (python.status !== 0) {
    console.error(`No peers: ${python.stderr?.trim().split("\n").at(-1) ?? "no python3"}`);
    return [];
  }
  const found: Record<string, Run> = JSON.parse(python.stdout);
  return Object.entries(found);
}

/** Uniform noise, and rank-one parts above it whose sizes fall as 1, 1/2, 1/3 .. */
function drawMatrix({ rows, columns, signal }: Case): Float32Array {
  let x = 1;
  const draw = () => {
    x = (Math.imul(1664525, x) + 1013904223) >>> 0;
    return x / 2 ** 31 - 1;
  };
  const elements = Float32Array.from({ length: rows * columns }, () => 0.05 * draw());
  for (let part = 1; part <= signal; part++) {
    const across = Float64Array.from({ length: columns }, draw);
    for (let i = 0; i < rows; i++) {
      const scale = draw() / part;
      for (let j = 0; j < columns; j++) {
        const at = i * columns + j;
        elements[at] = (elements[at] ?? 0) + scale * (across[j] ?? 0);
      }
    }
  }
  return elements;
}
