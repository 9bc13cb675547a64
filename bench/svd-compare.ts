// Two reports of svd.bench.ts side by side: which rows differ by more than noise.
import { readFile } from "node:fs/promises";
import { UsageError } from "../src/errors.ts";
import { SCHEMA_VERSION, type SvdReport, type SvdRow } from "./svd-report.ts";

/** Least change of the medians that counts, whatever the runs say, and where there are fewer than three runs. */
const LEAST_CHANGE = 0.05;
const LEAST_CHANGE_OF_FEW = 0.25;
const FEW_RUNS = 3;

/** A row that both reports have. */
export interface Change {
  readonly row: SvdRow;
  readonly old: SvdRow;
  /** Old median over new: above 1 is faster now. */
  readonly ratio: number;
  readonly verdict: "faster" | "slower" | "noise";
}

/** The rule of {@link compareReports}, for a person to read. */
export const NOISE_RULE =
  `A row is flagged when its medians differ by more than ${100 * LEAST_CHANGE} % (${100 * LEAST_CHANGE_OF_FEW} % of fewer than ` +
  `${FEW_RUNS} runs) and the slower one's least time is above the faster one's median.`;

/** The rows that both have, in the order of the new one. {@link NOISE_RULE} is the rule. */
export function compareReports(report: Pick<SvdReport, "rows">, old: Pick<SvdReport, "rows">): Change[] {
  return report.rows.flatMap((row) => {
    const before = old.rows.find((other) => keyOf(other) === keyOf(row));
    if (!before) return [];
    const ratio = before.seconds.median / row.seconds.median;
    return [{ row, old: before, ratio, verdict: verdictOf(row, before) }];
  });
}

function verdictOf(now: SvdRow, before: SvdRow): Change["verdict"] {
  const few = Math.min(now.runs, before.runs) < FEW_RUNS;
  const least = 1 + (few ? LEAST_CHANGE_OF_FEW : LEAST_CHANGE);
  const isAbove = ({ seconds: slow }: SvdRow, { seconds: fast }: SvdRow) =>
    slow.median > least * fast.median && slow.min > fast.median;
  if (isAbove(before, now)) return "faster";
  return isAbove(now, before) ? "slower" : "noise";
}

function keyOf({ shape, backend, precision, mode }: SvdRow): string {
  return [shape, backend, precision, mode].join(" ");
}

/** The tables, for people. */
export function printComparison(report: SvdReport, old: SvdReport): void {
  const changes = compareReports(report, old);
  console.log(`\nBeside the older report. ${NOISE_RULE}`);
  for (const key of ["hardware", "runtime", "threads"] as const) {
    if (report[key] !== old[key])
      console.log(`The ${key} is another one: ${report[key]}; it was ${old[key]}`);
  }
  console.table(
    changes.map(({ row, old: before, ratio, verdict }) => ({
      shape: row.shape,
      by: `${row.backend} ${row.precision}`,
      mode: row.mode,
      "old median s": Number(before.seconds.median.toPrecision(3)),
      "new median s": Number(row.seconds.median.toPrecision(3)),
      "old / new": Number(ratio.toFixed(2)),
      "": verdict === "noise" ? "" : verdict,
    })),
  );
  const [onlyNew, onlyOld] = [report.rows.length - changes.length, old.rows.length - changes.length];
  if (onlyNew + onlyOld > 0)
    console.log(`Not compared: ${onlyNew} rows are new, ${onlyOld} are not measured now`);
}

/**
 * Reads a report from a file: the JSON that --json wrote, or the last line of the output.
 *
 * @throws UsageError when there is none, or one of another schema version.
 */
export async function readReport(path: string): Promise<SvdReport> {
  const text = await readFile(path, "utf8").catch((cause: Error) => {
    throw new UsageError(`Cannot compare with ${path}: ${cause.message}`, { cause });
  });
  return parseReport(text, path);
}

/** The same from its text. */
export function parseReport(text: string, path: string): SvdReport {
  const report = parseLine(text.trim().split("\n").at(-1) ?? "");
  if (report?.bench === "svd" && report.schemaVersion === SCHEMA_VERSION) return report;
  throw new UsageError(
    `Cannot compare with ${path}: expected a report of the benchmark svd, schema version ${SCHEMA_VERSION}, ` +
      `got ${report === null ? "no JSON" : `${report.bench}, version ${report.schemaVersion}`}`,
  );
}

function parseLine(line: string): SvdReport | null {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}
