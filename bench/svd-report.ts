// What svd.bench.ts found, as a document for machines, and what follows from its rows: ratios and goals.
import type { Precision } from "../src/backend.ts";
import type { Spread } from "./spread.ts";
import type { Mode } from "./svd-contenders.ts";
import { GOALS, type Goal } from "./svd-shapes.ts";

/** Of {@link SvdReport}; a reader refuses others. */
export const SCHEMA_VERSION = 1;

/** One contender on one shape in one mode. */
export interface SvdRow {
  /** rows x columns. */
  readonly shape: string;
  readonly model: string;
  readonly backend: string;
  readonly precision: Precision | "float32";
  readonly version: string;
  readonly mode: Mode;
  /** Matrices at once. */
  readonly concurrency: number;
  readonly runs: number;
  /** Of one matrix. */
  readonly seconds: Spread;
  /** Largest difference of squared singular values to the truth's, relative to the largest; null: it is the truth. */
  readonly relativeError: number | null;
  /** Relative difference of the SNR to the truth's; null: it is the truth. */
  readonly snrError: number | null;
}

/** How many times as fast a row of ours is as the peers in the same mode, by least times. */
export interface SvdRatio {
  readonly shape: string;
  readonly backend: string;
  readonly precision: Precision | "float32";
  readonly mode: Mode;
  /** The faster of torch and scipy. */
  readonly peer: string;
  readonly timesFaster: number;
  /** The same beside torch on a CUDA device; null without one. */
  readonly timesFasterThanCuda: number | null;
}

/** A goal, and what was measured. */
export interface SvdGoal extends Goal {
  /** `exact` where the backend has no `fast`. */
  readonly precision: Precision | "float32";
  readonly measured: number;
  readonly met: boolean;
}

/** The whole document. */
export interface SvdReport {
  readonly bench: "svd";
  readonly schemaVersion: typeof SCHEMA_VERSION;
  readonly hardware: string;
  readonly runtime: string;
  readonly threads: number;
  readonly versions: Readonly<Record<string, string>>;
  readonly rows: readonly SvdRow[];
  readonly ratios: readonly SvdRatio[];
  readonly goals: readonly SvdGoal[];
}

const CPU_PEERS = ["torch", "scipy"];
const PEERS = [...CPU_PEERS, "numpy", "torch-cuda"];

/** Whether a row is somebody else's. */
export function isPeer({ backend }: Pick<SvdRow, "backend">): boolean {
  return PEERS.includes(backend);
}

/** Ratios of all rows of ours that have a peer. */
export function ratiosOf(rows: readonly SvdRow[]): SvdRatio[] {
  return rows
    .filter((row) => !isPeer(row))
    .flatMap((row) => {
      const { shape, backend, precision, mode, seconds } = row;
      const same = rows.filter((other) => other.shape === shape && other.mode === mode);
      const peer = fastest(same.filter((other) => CPU_PEERS.includes(other.backend)));
      if (!peer) return [];
      const cuda = same.find((other) => other.backend === "torch-cuda");
      const timesFasterThanCuda = cuda ? cuda.seconds.min / seconds.min : null;
      const timesFaster = peer.seconds.min / seconds.min;
      return [{ shape, backend, precision, mode, peer: peer.backend, timesFaster, timesFasterThanCuda }];
    });
}

function fastest(rows: readonly SvdRow[]): SvdRow | undefined {
  return rows.toSorted((a, b) => a.seconds.min - b.seconds.min)[0];
}

/** The goals that were measured, in throughput; `fast`, where a backend has it. */
export function goalsOf(ratios: readonly SvdRatio[]): SvdGoal[] {
  return GOALS.flatMap((goal) => {
    const fits = ratios.filter(
      ({ shape, backend, mode }) => shape === goal.shape && backend === goal.backend && mode === "throughput",
    );
    const ratio = fits.find(({ precision }) => precision === "fast") ?? fits[0];
    if (!ratio) return [];
    const { precision, timesFaster: measured } = ratio;
    return [{ ...goal, precision, measured, met: measured >= goal.timesFaster }];
  });
}

/** The tables, for people. */
export function printReport({ rows, ratios, goals }: SvdReport): void {
  console.table(
    rows.map((row) => {
      const ratio = ratios.find(
        ({ shape, backend, precision, mode }) =>
          shape === row.shape && backend === row.backend && precision === row.precision && mode === row.mode,
      );
      return {
        shape: row.shape,
        by: `${row.backend} ${row.precision}`,
        mode: row.mode === "latency" ? "latency" : `throughput, ${row.concurrency} at once`,
        "min s": Number(row.seconds.min.toPrecision(3)),
        "median s": Number(row.seconds.median.toPrecision(3)),
        runs: row.runs,
        "relative error": row.relativeError?.toExponential(1) ?? "the truth",
        "of SNR": row.snrError?.toExponential(1) ?? "",
        "times as fast": ratio ? `${ratio.timesFaster.toFixed(2)} of ${ratio.peer}` : "",
        ...(ratio?.timesFasterThanCuda != null && { "of torch-cuda": ratio.timesFasterThanCuda.toFixed(2) }),
      };
    }),
  );
  if (goals.length === 0) return;
  console.log("Goals: throughput, times as fast as the faster of torch and scipy in float32, by least times");
  console.table(
    goals.map(({ shape, backend, precision, timesFaster, measured, met }) => ({
      shape,
      backend: `${backend} ${precision}`,
      goal: timesFaster,
      measured: Number(measured.toFixed(2)),
      "": met ? "met" : "missed",
    })),
  );
}
