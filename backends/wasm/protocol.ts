// What the pool and its workers say to each other. Bytes travel in a shared staging area: the word that closes the
// backend, then SLOTS blocks that the pool fills and the worker hands back.
import type { Precision } from "../../src/backend.ts";
import type { MatrixHeader } from "./layout.ts";
import type { SvdAnswer, SvdStep } from "./svd-worker.ts";

export const SLOTS = 2;
export const SLOT_BYTES = 2 ** 20;
/** Index of the word that is 1 once the backend is closed. */
export const CLOSED_WORD = 0;
const SLOTS_AT = 64;
export const STAGING_BYTES = SLOTS_AT + SLOTS * SLOT_BYTES;

/** What a worker is started with. */
export interface WorkerStart {
  readonly staging: SharedArrayBuffer;
  readonly precision: Precision;
}

/** The bytes of one slot. */
export function slotBytes(staging: SharedArrayBuffer, slot: number): Uint8Array {
  return new Uint8Array(staging, SLOTS_AT + slot * SLOT_BYTES, SLOT_BYTES);
}

/**
 * To a worker. Each matrix is `begin`, `bytes` .., `finish`; `bytes` .., `finish` once more each time it says `again`. A
 * new `begin` drops what was in progress.
 */
export type Request =
  | { readonly kind: "begin"; readonly job: number; readonly header: MatrixHeader }
  | { readonly kind: "bytes"; readonly slot: number; readonly sizeBytes: number }
  | { readonly kind: "finish" }
  /** A step of a truncated SVD; each is answered by `svd` or `svdFailed` with the same number. */
  | { readonly kind: "svd"; readonly call: number; readonly step: SvdStep }
  | { readonly kind: "stop" };

/** From a worker. Each `bytes` is answered by `free`; each `finish` by `done` or, twice at most, `again`. */
export type Reply =
  | { readonly kind: "free"; readonly slot: number }
  | { readonly kind: "again"; readonly job: number }
  | { readonly kind: "done"; readonly job: number; readonly values: Float64Array<ArrayBuffer> }
  /** A MatrixError, whose class a message between threads would not keep. */
  | { readonly kind: "refused"; readonly job: number; readonly message: string }
  | { readonly kind: "failed"; readonly job: number; readonly error: unknown }
  | { readonly kind: "svd"; readonly call: number; readonly answer: SvdAnswer }
  | { readonly kind: "svdFailed"; readonly call: number; readonly error: unknown };
