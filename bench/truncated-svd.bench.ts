// svd(matrix, rank) of the wasm backend, beside scipy's svds and torch's svd_lowrank where Python has them. The values are
// compared with all singular values of the same matrix, and have to be within their bounds, before timing counts.
//
//   npm run bench -- truncated-svd [ROUNDS]
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openBackend } from "../backends/index.ts";
import type { TruncatedSvd } from "../src/backend-svd.ts";
import { hardware } from "./machine.ts";

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

/** What one contender took, and came to. */
interface Run {
  readonly seconds: number[];
  readonly values: readonly number[];
  /** The largest of |A v - s u| and |A^T u - s v| over the largest singular value. */
  readonly residual: number;
}

const rounds = Number(process.argv[2] ?? 3);
const threads = availableParallelism();
const folder = await mkdtemp(join(tmpdir(), "spectrum-svd-"));
try {
  await main();
} finally {
  await rm(folder, { recursive: true, force: true });
}

async function main(): Promise<void> {
  console.log(`Leading singular triplets, ${rounds} runs, ${threads} threads, on ${hardware()}`);
  const { backend } = await openBackend("wasm", { precision: "exact", threads, capability: "svd" });
  const summaries = [];
  for (const each of CASES) {
    const elements = drawMatrix(each);
    const ours = await measure(backend, elements, each);
    const runs = new Map<string, Run>([["spectrum-tune svd, float64", ours], ...peers(elements, each)]);
    for (const [name, { seconds, values, residual }] of runs) {
      const sorted = seconds.toSorted((a, b) => a - b);
      const error =
        Math.max(...values.map((value, i) => Math.abs(value - (ours.values[i] ?? NaN)))) / largest(ours);
      summaries.push({ ...each, name, min: sorted[0], median: sorted[sorted.length >> 1], residual, error });
    }
  }
  await backend.close();
  console.table(
    summaries.map(({ rows, columns, rank, signal, name, min, median, residual, error }) => ({
      matrix: `${rows} x ${columns}, ${signal === 0 ? "flat" : `${signal} above noise`}`,
      rank,
      by: name,
      "min s": Number(min?.toFixed(3)),
      "median s": Number(median?.toFixed(3)),
      residual: residual.toExponential(1),
      "values off ours by": error.toExponential(1),
    })),
  );
  console.log(JSON.stringify({ hardware: hardware(), threads, rounds, summaries }));
}

function largest({ values }: Run): number {
  return values[0] ?? 1;
}

type Opened = Awaited<ReturnType<typeof openBackend>>["backend"];

async function measure(backend: Opened, elements: Float32Array, { rows, columns, rank }: Case): Promise<Run> {
  const bytes = new Uint8Array(elements.buffer);
  const source = { shape: [rows, columns], dtype: "F32", rows: [bytes], rereadable: true } as const;
  if (!backend.svd || !backend.singularValues) throw new Error("The wasm backend lacks a capability");
  verify(await backend.svd(source, rank), await backend.singularValues(source));
  const seconds: number[] = [];
  for (;;) {
    const begin = performance.now();
    const { s, residuals } = await backend.svd(source, rank);
    seconds.push((performance.now() - begin) / 1000);
    if (seconds.length < rounds) continue;
    return { seconds, values: [...s], residual: Math.max(...residuals) / (s[0] ?? 1) };
  }
}

function verify({ s, bounds, converged }: TruncatedSvd, truth: Float64Array): void {
  const wrong = s.findIndex((value, i) => !(Math.abs(value - (truth[i] ?? NaN)) <= (bounds[i] ?? NaN)));
  if (wrong >= 0) throw new Error(`Value ${wrong} is not within its bound: nothing was timed`);
  if (!converged) throw new Error("The triplets did not converge: nothing was timed");
}

/** Runs peers/truncated-svd.py; nothing, with the reason on stderr, where Python lacks what it needs. */
function peers(elements: Float32Array, { rows, columns, rank }: Case): [string, Run][] {
  const file = join(folder, "matrix.f32");
  const script = fileURLToPath(new URL("../../bench/peers/truncated-svd.py", import.meta.url));
  const sizes = [rows, columns, rank, rounds, threads].map(String);
  writeFileSync(file, elements);
  const python = spawnSync(process.env.PYTHON ?? "python3", [script, file, ...sizes], { encoding: "utf8" });
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
