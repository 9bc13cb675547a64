// What the pool and its workers say to each other. Bytes travel in a shared staging area: the word that closes the
// backend, then SLOTS blocks that the pool fills and the worker hands back.
import type { MessagePort } from "node:worker_threads";
import type { Precision } from "../../src/backend.ts";
import type { Call } from "./crew/helper.ts";
import type { MatrixHeader } from "./singular-values/layout.ts";
import type { SvdAnswer, SvdStep } from "./svd/worker.ts";

export const SLOTS = 2;
export const SLOT_BYTES = 2 ** 19;
/** Index of the word that is 1 once the backend is closed. */
export const CLOSED_WORD = 0;
const SLOTS_AT = 64;
export const STAGING_BYTES = SLOTS_AT + SLOTS * SLOT_BYTES;

/** What a worker is started with. */
export interface WorkerStart {
  readonly staging: SharedArrayBuffer;
  readonly precision: Precision;
  /** Null where no other thread can help this one with a matrix. */
  readonly crew: CrewStart | null;
}

/** How others help a worker with a matrix. */
export interface CrewStart {
  /** The words of crew/control.ts. */
  readonly control: SharedArrayBuffer;
  /** Where each {@link Invitation} arrives: read between two steps of a matrix, when no event is. */
  readonly invitations: MessagePort;
  /** How many, at most. */
  readonly helpers: number;
}

/** Somebody who waits at the other end of `port` for the memory. */
export interface Invitation {
  readonly port: MessagePort;
}

/** The bytes of one slot. */
export function slotBytes(staging: SharedArrayBuffer, slot: number): Uint8Array {
  return new Uint8Array(staging, SLOTS_AT + slot * SLOT_BYTES, SLOT_BYTES);
}

/**
 * To a worker that computes singular values. Each matrix is `begin`, `bytes` .., `finish`; `bytes` .., `finish` once more
 * each time it says `again`. A new `begin` drops what was in progress.
 */
export type MatrixRequest =
  | { readonly kind: "begin"; readonly job: number; readonly header: MatrixHeader }
  | { readonly kind: "bytes"; readonly slot: number; readonly sizeBytes: number }
  | { readonly kind: "finish" }
  | { readonly kind: "stop" };

/** To a worker of this backend. */
export type Request =
  | MatrixRequest
  /** A step of a truncated SVD; each is answered by `svd` or `svdFailed` with the same number. */
  | { readonly kind: "svd"; readonly call: number; readonly step: SvdStep }
  /** To help another thread until it is dismissed there, or by `leave`, should its memory not have come. Answered by `left`. */
  | { readonly kind: "help"; readonly call: Call }
  | { readonly kind: "leave" };

/** From a worker. Each `bytes` is answered by `free`; each `finish` by `done` or, twice at most, `again`. */
export type Reply =
  | { readonly kind: "free"; readonly slot: number }
  | { readonly kind: "again"; readonly job: number }
  /** More is left of the matrix at work than there was: others may be sent to help. */
  | { readonly kind: "restarted" }
  | { readonly kind: "done"; readonly job: number; readonly values: Float64Array<ArrayBuffer> }
  /** A MatrixError, whose class a message between threads would not keep. */
  | { readonly kind: "refused"; readonly job: number; readonly message: string }
  | { readonly kind: "failed"; readonly job: number; readonly error: unknown }
  | { readonly kind: "svd"; readonly call: number; readonly answer: SvdAnswer }
  | { readonly kind: "svdFailed"; readonly call: number; readonly error: unknown }
  | { readonly kind: "left" };
