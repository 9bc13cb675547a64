// Calibrations on disk: one small file for each machine, runtime and question, so that `auto` takes the same backend every time.
// What cannot be read is not there; what cannot be written is timed again the next time.
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { availableParallelism, cpus } from "node:os";
import { join } from "node:path";
import type { Precision } from "../../src/backend.ts";
import { replaceFile } from "../../src/files.ts";
import { TOOL } from "../../src/tool.ts";
import type { Calibration, Failure, Timing } from "./choice.ts";

/** Counts up whenever the file or the way of timing changes; older files are then not looked at. */
const VERSION = 3;

/** Everything that a calibration holds for. The versions of backends are those of the tool's version. */
export interface CalibrationKey {
  readonly version: number;
  readonly tool: string;
  readonly platform: string;
  readonly arch: string;
  readonly processor: string;
  readonly processors: number;
  readonly runtime: { readonly node?: string; readonly bun?: string; readonly deno?: string };
  readonly precision: Precision;
  /** Names, in the order of the table. */
  readonly backends: readonly string[];
}

/** A place for one calibration. */
export interface CalibrationFile {
  readonly path: string;
  /** What is stored there; null when nothing is, or not for this key, or it cannot be read or trusted. */
  read(): Promise<Calibration | null>;
  /** @throws Error when the file system refuses. */
  write(calibration: Calibration): Promise<void>;
}

/** What a calibration of these backends on this machine holds for. */
export function calibrationKey(backends: readonly string[], precision: Precision): CalibrationKey {
  const { node, bun, deno } = process.versions;
  return {
    version: VERSION,
    tool: TOOL.version,
    platform: process.platform,
    arch: process.arch,
    processor: cpus()[0]?.model ?? "unknown",
    processors: availableParallelism(),
    runtime: { node, ...(bun !== undefined && { bun }), ...(deno !== undefined && { deno }) },
    precision,
    backends,
  };
}

/** The file of a key in a folder; both are made when the calibration is written. Several processes may share it. */
export function calibrationFile(folder: string, key: CalibrationKey): CalibrationFile {
  const keyText = JSON.stringify(key);
  const digest = createHash("sha256").update(keyText).digest("hex");
  const path = join(folder, `${digest.slice(0, 32)}.json`);
  return {
    path,
    async read() {
      const stored = parse(await readFile(path, "utf8").catch(() => ""));
      return isStored(stored, key) && JSON.stringify(stored.key) === keyText ? stored.calibration : null;
    },
    write: (calibration) => replaceFile(path, `${JSON.stringify({ key, calibration }, null, 2)}\n`),
  };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

function isStored(
  stored: unknown,
  key: CalibrationKey,
): stored is { key: unknown; calibration: Calibration } {
  if (!isRecord(stored) || !isRecord(stored.calibration)) return false;
  const { date, timings, failures } = stored.calibration;
  if (typeof date !== "string" || !/^\d{4}-\d\d-\d\d$/.test(date)) return false;
  if (!Array.isArray(timings) || timings.length === 0 || !Array.isArray(failures)) return false;
  return (
    [...timings, ...failures].every(
      (one) => isRecord(one) && key.backends.some((name) => name === one.name),
    ) &&
    timings.every(isTiming) &&
    failures.every(isFailure)
  );
}

function isTiming(timing: Record<keyof Timing, unknown>): boolean {
  const { version, matricesPerSecond: rate } = timing;
  return typeof version === "string" && typeof rate === "number" && Number.isFinite(rate) && rate > 0;
}

function isFailure({ reason }: Record<keyof Failure, unknown>): boolean {
  return typeof reason === "string";
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
