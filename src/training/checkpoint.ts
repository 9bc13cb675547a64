// Checkpoints of a run: a folder with parameters, moments and where the run stands. A folder of that name is always
// whole: it is written aside, synced and renamed, and the one before it goes only then.
import { randomBytes } from "node:crypto";
import { mkdir, open, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { UsageError } from "../errors.ts";
import { type TensorToWrite, writeSafetensors } from "../safetensors/writer.ts";
import type { TrainableParameter } from "./manifest.ts";
import { type NamedArrays, readTensorSlices, readTensors } from "./tensor-file.ts";
import type { Moments } from "./update/adamw.ts";
import { SLICE_LENGTH } from "./update/slices.ts";

/** Files of a checkpoint. One without an optimizer file has moments of 0. */
export const CHECKPOINT_FILES = {
  parameters: "parameters.safetensors",
  optimizer: "optimizer.safetensors",
  state: "trainer_state.json",
} as const;

/** Version of `trainer_state.json`. */
export const STATE_VERSION = 1;

/** What decides how a run goes on: continuing with other values would not be the same run. */
export type RunSettings = Readonly<Record<string, string | number | boolean | null>>;

/** Where a run stands. */
export interface TrainerState {
  readonly schemaVersion: typeof STATE_VERSION;
  /** Updates made. */
  readonly step: number;
  /** Epoch of the next batch, and how many of its sequences are done. */
  readonly epoch: number;
  readonly sequences: number;
  /** Target tokens trained on, in all. */
  readonly targets: number;
  readonly settings: RunSettings;
}

/** A run at one moment. */
export interface Checkpoint {
  readonly parameters: NamedArrays;
  /** Of each slice of each parameter; null before the first update. */
  readonly moments: ReadonlyMap<string, readonly Moments[]> | null;
  readonly state: TrainerState;
}

/** State of a run that has not begun. */
export const INITIAL_STATE: TrainerState = {
  schemaVersion: STATE_VERSION,
  step: 0,
  epoch: 0,
  sequences: 0,
  targets: 0,
  settings: {},
};

type Shapes = readonly Pick<TrainableParameter, "name" | "shape">[];

/**
 * Writes the files of a checkpoint into a folder that exists, and syncs them.
 *
 * @param shapes shape of each parameter.
 */
export async function writeCheckpointFiles(
  folder: string,
  { parameters, moments, state }: Checkpoint,
  shapes: Shapes,
): Promise<void> {
  const paths = {
    parameters: join(folder, CHECKPOINT_FILES.parameters),
    optimizer: join(folder, CHECKPOINT_FILES.optimizer),
    state: join(folder, CHECKPOINT_FILES.state),
  };
  const parameterTensors = shapes.map(({ name, shape }) => {
    const values = parameters.get(name);
    return tensorOf(name, shape, values && [values]);
  });
  await writeSafetensors(paths.parameters, parameterTensors);
  if (moments !== null) {
    const momentTensors = shapes.flatMap(({ name, shape }) => [
      tensorOf(
        `${name}.exp_avg`,
        shape,
        moments.get(name)?.map(({ expAvg }) => expAvg),
      ),
      tensorOf(
        `${name}.exp_avg_sq`,
        shape,
        moments.get(name)?.map(({ expAvgSq }) => expAvgSq),
      ),
    ]);
    await writeSafetensors(paths.optimizer, momentTensors);
    await sync(paths.optimizer);
  }
  await writeFile(paths.state, `${JSON.stringify(state, null, 2)}\n`);
  for (const path of [paths.parameters, paths.state, folder]) await sync(path);
}

function tensorOf(
  name: string,
  shape: readonly number[],
  slices: readonly Float32Array[] | undefined,
): TensorToWrite {
  if (slices === undefined) throw new Error(`Cannot write a checkpoint: it lacks "${name}"`);
  const blocks = slices.map(
    ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength),
  );
  return { name, dtype: "F32", shape, blocks };
}

async function sync(path: string): Promise<void> {
  const file = await open(path, "r");
  try {
    await file.sync();
  } catch (error) {
    // Windows and some network file systems know no sync of a folder, or of a file opened for reading.
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code !== "EPERM" && code !== "EINVAL" && code !== "EISDIR") throw error;
  } finally {
    await file.close();
  }
}

const COMPLETE = /^checkpoint-([0-9]{1,15})$/;
const ASIDE = /^\.checkpoint-[0-9]+\.[0-9a-f]{12}$/;

/**
 * Writes a checkpoint as `checkpoint-<step>` in a run's folder, then removes the ones before it and what runs that were
 * killed left aside. At every moment the folder holds a whole checkpoint, if it ever did.
 *
 * @returns the path of the checkpoint.
 * @throws Error when the run has a checkpoint of that step; it is left as it is.
 */
export async function saveCheckpoint(run: string, checkpoint: Checkpoint, shapes: Shapes): Promise<string> {
  const name = `checkpoint-${checkpoint.state.step}`;
  const path = join(run, name);
  const older = (await entries(run)).filter((entry) => entry !== name);
  const aside = asideOf(run, name);
  await mkdir(aside, { recursive: true });
  try {
    await writeCheckpointFiles(aside, checkpoint, shapes);
    await rename(aside, path);
  } catch (error) {
    await rm(aside, { recursive: true, force: true });
    if (!(await exists(path))) throw error;
    throw new Error(
      `Cannot write ${path}: it is there already; does another process train in ${run} at the same time? End one of them, and resume`,
      { cause: error },
    );
  }
  await sync(run);
  for (const entry of older) {
    if (COMPLETE.test(entry)) await moveAway(run, entry);
  }
  for (const entry of await entries(run)) {
    if (ASIDE.test(entry)) await rm(join(run, entry), { recursive: true, force: true });
  }
  return path;
}

function asideOf(run: string, name: string): string {
  return join(run, `.${name}.${randomBytes(6).toString("hex")}`);
}

/** Takes the name from a checkpoint before it is removed, so that no part of one ever bears it. */
async function moveAway(run: string, name: string): Promise<void> {
  try {
    await rename(join(run, name), asideOf(run, name));
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}

async function entries(run: string): Promise<readonly string[]> {
  try {
    return await readdir(run);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
}

/** Path of the newest checkpoint of a run's folder; null when there is none. */
export async function latestCheckpoint(run: string): Promise<string | null> {
  const steps = (await entries(run)).map((entry) => Number(COMPLETE.exec(entry)?.[1] ?? -1));
  const latest = Math.max(-1, ...steps);
  return latest < 0 ? null : join(run, `checkpoint-${latest}`);
}

/**
 * The folder of a checkpoint, for a run's folder of its newest one.
 *
 * @throws UsageError when there is none.
 */
export async function checkpointFolder(path: string): Promise<string> {
  const latest = await latestCheckpoint(path);
  if (latest !== null) return latest;
  if (await exists(join(path, CHECKPOINT_FILES.state))) return path;
  const inside = join(path, "training");
  const nearby = (await latestCheckpoint(inside)) === null ? "" : `; there is one in ${inside}`;
  throw new UsageError(
    `Cannot use the checkpoint ${path}: expected a folder that holds ${CHECKPOINT_FILES.state} or checkpoint-<step>${nearby}`,
  );
}

/**
 * Reads a checkpoint.
 *
 * @throws Error naming the file that is missing, cut short or of another shape.
 */
export async function readCheckpoint(folder: string, shapes: Shapes): Promise<Checkpoint> {
  const state = await readTrainerState(join(folder, CHECKPOINT_FILES.state));
  const parameters = await readTensors(join(folder, CHECKPOINT_FILES.parameters), shapes);
  const path = join(folder, CHECKPOINT_FILES.optimizer);
  if (state.step === 0 && !(await exists(path))) return { parameters, moments: null, state };
  const slices = await readTensorSlices(
    path,
    shapes.flatMap(({ name, shape }) => [
      { name: `${name}.exp_avg`, shape },
      { name: `${name}.exp_avg_sq`, shape },
    ]),
    SLICE_LENGTH,
  );
  const moments = new Map<string, readonly Moments[]>();
  for (const { name } of shapes) {
    const squares = slices.get(`${name}.exp_avg_sq`) ?? [];
    const means = slices.get(`${name}.exp_avg`) ?? [];
    const pairs = means.flatMap((expAvg, index) => {
      const expAvgSq = squares[index];
      return expAvgSq === undefined ? [] : [{ expAvg, expAvgSq }];
    });
    moments.set(name, pairs);
  }
  return { parameters, moments, state };
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

const MAX_STATE_BYTES = 2 ** 20;

/** Reads `trainer_state.json`. */
export async function readTrainerState(path: string): Promise<TrainerState> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    if (size > MAX_STATE_BYTES)
      throw new RangeError(`Cannot read ${path}: it has ${size} bytes, expected at most ${MAX_STATE_BYTES}`);
    return parseState(await file.readFile("utf8"), path);
  } finally {
    await file.close();
  }
}

function parseState(text: string, where: string): TrainerState {
  const document: unknown = JSON.parse(text);
  if (isState(document)) return document;
  throw new SyntaxError(
    `Cannot read ${where}: expected version ${STATE_VERSION} with step, epoch, sequences, targets and settings`,
  );
}

function isState(document: unknown): document is TrainerState {
  if (typeof document !== "object" || document === null) return false;
  const fields: Readonly<Record<string, unknown>> = { ...document };
  const counts = ["step", "epoch", "sequences", "targets"].map((name) => fields[name]);
  return (
    fields.schemaVersion === STATE_VERSION &&
    counts.every((count) => Number.isSafeInteger(count) && Number(count) >= 0) &&
    typeof fields.settings === "object" &&
    fields.settings !== null
  );
}
