// The words that a thread with a matrix shares with its helpers: which step is open, which of its chunks are taken, who is
// at it. Nobody spins for long: a thread that waits sleeps until it is woken, and looks around every WAIT_MS.
import type { Arguments, StepName } from "../singular-values/steps.ts";

/** Helpers of one matrix, at most. */
export const MAX_HELPERS = 15;

/** Odd while a step is open. */
const PHASE = 0;
/** The next chunk to take, and how many there are. */
const NEXT = 1;
const CHUNKS = 2;
/** The step's number in {@link STEPS}. */
const STEP = 3;
/** Helpers that may be at a chunk. */
const ACTIVE = 4;
/** Counts what helpers should look at: an opened step, a dismissal. */
const BELL = 5;
/** Helpers that are there. */
const PRESENT = 6;
/** 1 once the thread with the matrix is gone. */
const ABANDONED = 7;
/** Millions of floating-point operations done. */
const DONE = 8;
/** 1 where the Gram matrix is of float products. */
const FLOATS = 9;
/** 1 for a helper that is to leave; the words from here on, by helper from 1. */
const DISMISSED = 10;
const WORDS = DISMISSED + MAX_HELPERS + 1;
const ARGUMENTS = 5;
const ARGUMENTS_AT = Math.ceil(WORDS / 2) * 8;
/** Groups of sweeps of the largest matrix that 4 GiB hold: order 23170, four sweeps to a group. */
const GROUPS = 5793;
const PROGRESS_AT = ARGUMENTS_AT + 8 * ARGUMENTS;

export const CREW_BYTES = PROGRESS_AT + 4 * GROUPS;

const STEPS: readonly (StepName | "chaseBulges")[] = [
  "gram",
  "gramFloats",
  "updateColumns",
  "multiplyPanel",
  "addShares",
  "projectPanel",
  "formRows",
  "chaseBulges",
];

/** What helpers find: a step whose chunks they take. */
export interface OpenStep {
  readonly name: StepName | "chaseBulges";
  readonly chunks: number;
  readonly args: Arguments;
}

const WAIT_MS = 100;
/** Looks at a word before sleeping: some ten microseconds, less than it takes to be woken. */
const LOOKS = 2000;

/** Returns once the word is another than `seen`, or after a while. */
export function waitWhile(words: Int32Array, index: number, seen: number): void {
  for (let look = 0; look < LOOKS; look++) if (Atomics.load(words, index) !== seen) return;
  Atomics.wait(words, index, seen, WAIT_MS);
}

/** The words, on any of the threads that share them. */
export class CrewControl {
  readonly #words: Int32Array;
  readonly #arguments: Float64Array;
  /** How far each group of sweeps is: see bulge-chase.ts. */
  readonly progress: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.progress = new Int32Array(buffer, PROGRESS_AT, GROUPS);
    this.#words = new Int32Array(buffer, 0, WORDS);
    this.#arguments = new Float64Array(buffer, ARGUMENTS_AT, ARGUMENTS);
  }

  /** Helpers that would take a chunk. */
  get present(): number {
    return Atomics.load(this.#words, PRESENT);
  }

  get doneMflops(): number {
    return Atomics.load(this.#words, DONE);
  }

  set doneMflops(mflops: number) {
    Atomics.store(this.#words, DONE, mflops);
  }

  /** Whether the Gram matrix is of float products. */
  get floats(): boolean {
    return Atomics.load(this.#words, FLOATS) === 1;
  }

  /** A new matrix, or one whose float products were refused: nothing of it is done. */
  begin(floats: boolean): void {
    this.doneMflops = 0;
    Atomics.store(this.#words, FLOATS, floats ? 1 : 0);
  }

  /**
   * Has all chunks of a step done, by `take` here and by the helpers; returns once nobody is at one any more.
   *
   * @param check - called often; throws to end the wait for a helper that is gone.
   */
  share(step: OpenStep, take: (chunk: number) => void, check: () => void): void {
    const words = this.#words;
    this.#arguments.set(step.args);
    Atomics.store(words, STEP, STEPS.indexOf(step.name));
    Atomics.store(words, CHUNKS, step.chunks);
    Atomics.store(words, NEXT, 0);
    Atomics.add(words, PHASE, 1);
    this.#ring();
    try {
      for (let chunk = this.#next(); chunk < step.chunks; chunk = this.#next()) {
        check();
        take(chunk);
      }
    } finally {
      Atomics.store(words, NEXT, step.chunks); // nobody begins another chunk of a step that failed
      Atomics.add(words, PHASE, 1);
      for (let active = Atomics.load(words, ACTIVE); active > 0; active = Atomics.load(words, ACTIVE)) {
        check();
        waitWhile(words, ACTIVE, active);
      }
    }
  }

  #next(): number {
    return Atomics.add(this.#words, NEXT, 1);
  }

  /**
   * A helper's side: takes chunks of the steps as they open, until it is to leave.
   *
   * A helper that dies at a chunk, or whose `take` throws, stays counted as active: the step never ends, and the pool,
   * which sees the thread stop, ends it.
   */
  attend(helper: number, take: (step: OpenStep, chunk: number) => void, isClosed: () => boolean): void {
    const words = this.#words;
    const leaves = () => this.#isDismissed(helper) || isClosed();
    Atomics.add(words, PRESENT, 1);
    for (;;) {
      const bell = Atomics.load(words, BELL);
      if (leaves()) break;
      // Counted before it looks at the phase: the words of the step do not change as long as it is.
      Atomics.add(words, ACTIVE, 1);
      if (Atomics.load(words, PHASE) % 2 !== 0) {
        const step = this.#read();
        while (!leaves()) {
          const chunk = this.#next();
          if (chunk >= step.chunks) break;
          take(step, chunk);
        }
      }
      if (Atomics.sub(words, ACTIVE, 1) === 1) Atomics.notify(words, ACTIVE);
      waitWhile(words, BELL, bell);
    }
    Atomics.sub(words, PRESENT, 1);
  }

  #read(): OpenStep {
    const name = STEPS[Atomics.load(this.#words, STEP)];
    if (name === undefined) throw new Error("A step of another version was opened");
    const [a = 0, b = 0, c = 0, d = 0, e = 0] = this.#arguments;
    return { name, chunks: Atomics.load(this.#words, CHUNKS), args: [a, b, c, d, e] };
  }

  #isDismissed(helper: number): boolean {
    return Atomics.load(this.#words, DISMISSED + helper - 1) === 1 || this.isAbandoned;
  }

  get isAbandoned(): boolean {
    return Atomics.load(this.#words, ABANDONED) === 1;
  }

  /** Lets a helper come. */
  admit(helper: number): void {
    Atomics.store(this.#words, DISMISSED + helper - 1, 0);
  }

  /** Sends a helper away, after the chunk that it is at. */
  dismiss(helper: number): void {
    Atomics.store(this.#words, DISMISSED + helper - 1, 1);
    this.#ring();
  }

  /** Sends all helpers away at once: the thread with the matrix is gone. */
  abandon(): void {
    Atomics.store(this.#words, ABANDONED, 1);
    this.#ring();
  }

  #ring(): void {
    Atomics.add(this.#words, BELL, 1);
    Atomics.notify(this.#words, BELL);
  }
}
