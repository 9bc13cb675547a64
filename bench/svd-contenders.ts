// Who is measured: every backend here that computes singular values, in each precision that it has, and the peers that
// Python has. All of them compute the same matrices, through one interface.
import { listBackends, openBackend } from "../backends/index.ts";
import type { Backend, MatrixSource, Precision } from "../src/backend.ts";
import { UsageError } from "../src/errors.ts";
import type { PeerProcess } from "./peer-process.ts";
import type { BenchMatrix } from "./svd-matrices.ts";

/** One matrix on all threads, or as many matrices at once as a contender takes. */
export type Mode = "latency" | "throughput";

/** What one measurement took. */
export interface Timing {
  readonly milliseconds: number;
  readonly matrices: number;
  /** Singular values by index of the matrix, as far as they were kept. */
  readonly answers: readonly { readonly matrix: number; readonly values: Float64Array }[];
}

/** Somebody who computes singular values. */
export interface Contender {
  readonly backend: string;
  readonly precision: Precision | "float32";
  /** Of the numerics: of a peer, of its package. */
  readonly version: string;
  /** Matrices at once in throughput. */
  readonly concurrency: number;
  /** True: not one of ours. */
  readonly peer: boolean;
  /** Makes these the matrices of the calls that follow. */
  load(matrices: readonly BenchMatrix[]): Promise<void>;
  /** Singular values of the first matrix. */
  values(): Promise<Float64Array>;
  /** Computes matrices in turn: one, or each of `concurrency` lanes so many one after another. */
  time(mode: Mode, matricesPerLane: number): Promise<Timing>;
  /** Gives threads and memory back until the next call. */
  rest(): Promise<void>;
}

/** Our backends that can run here, exact before fast; one that has a single precision stands here once. */
export async function ourContenders(threads: number, chosen: readonly string[]): Promise<Contender[]> {
  const listed = await listBackends();
  const capable = listed.filter(({ capabilities }) => capabilities.some((name) => name === "singularValues"));
  const unknown = chosen.find((word) => !capable.some(({ name }) => name === word));
  if (unknown !== undefined) {
    const names = capable.map(({ name }) => name).join(", ");
    throw new UsageError(`Cannot measure the backend "${unknown}": expected one of ${names}`);
  }
  const contenders: Contender[] = [];
  for (const { name, availability } of capable) {
    if (chosen.length > 0 && !chosen.includes(name)) continue;
    if (!availability.ok) {
      console.error(`${name} is not measured: ${availability.reason}; ${availability.fix}`);
      continue;
    }
    for (const precision of ["exact", "fast"] as const) {
      const contender = await ourContender(name, precision, threads);
      const same = (other: Contender) => other.backend === name && other.precision === contender.precision;
      if (!contenders.some(same)) contenders.push(contender);
    }
  }
  return contenders;
}

/** A backend of ours that is opened by its first call. */
export async function ourContender(name: string, precision: Precision, threads: number): Promise<Contender> {
  const open = async () => (await openBackend(name, { precision, threads })).backend;
  let backend: Backend | null = await open();
  let matrices: readonly BenchMatrix[] = [];
  const compute = async (index: number): Promise<Float64Array> => {
    backend ??= await open();
    if (!backend.singularValues) throw new Error(`The backend ${name} computes no singular values`);
    return backend.singularValues(sourceAt(matrices, index));
  };
  const rest = async () => {
    await backend?.close();
    backend = null;
  };
  const { version, precision: computed, concurrency } = backend;
  await rest();
  return {
    backend: name,
    precision: computed,
    version,
    concurrency,
    peer: false,
    async load(next) {
      matrices = next;
    },
    values: () => compute(0),
    async time(mode, matricesPerLane) {
      backend ??= await open();
      const lanes = mode === "latency" ? 1 : concurrency;
      return timeLanes(lanes, mode === "latency" ? 1 : matricesPerLane, async (call) => {
        const matrix = call % matrices.length;
        return { matrix, values: await compute(matrix) };
      });
    },
    rest,
  };
}

/** `lanes` of calls at once, each of which makes its next call as soon as its last one is answered. */
async function timeLanes(
  lanes: number,
  callsPerLane: number,
  compute: (call: number) => Promise<Timing["answers"][number]>,
): Promise<Timing> {
  const answers: Timing["answers"][number][] = [];
  let next = 0;
  const lane = async () => {
    for (let i = 0; i < callsPerLane; i++) answers.push(await compute(next++));
  };
  const begin = performance.now();
  await Promise.all(Array.from({ length: lanes }, lane));
  return { milliseconds: performance.now() - begin, matrices: lanes * callsPerLane, answers };
}

function sourceAt(matrices: readonly BenchMatrix[], index: number): MatrixSource {
  const matrix = matrices[index];
  if (!matrix) throw new Error(`There is no matrix ${index}: ${matrices.length} are loaded`);
  return matrix.source;
}

/** Those of a Python process: they run one matrix after another, each on all threads. */
export function peerContenders(process: PeerProcess): Contender[] {
  let loaded: readonly BenchMatrix[] = [];
  return process.peers.map(
    (peer): Contender => ({
      backend: peer,
      precision: "float32",
      version: process.versions[peer === "torch-cuda" ? "torch" : peer] ?? "",
      concurrency: 1,
      peer: true,
      async load(matrices) {
        if (loaded === matrices) return; // one process, several peers
        loaded = matrices;
        await process.load(matrices.flatMap(({ file }) => (file === null ? [] : [file])));
      },
      values: () => process.values(peer),
      async time(mode, matricesPerLane) {
        const matrices = mode === "latency" ? 1 : Math.max(loaded.length, matricesPerLane);
        const seconds = await process.time(peer, matrices);
        return { milliseconds: 1000 * seconds, matrices, answers: [] };
      },
      rest: async () => {},
    }),
  );
}
