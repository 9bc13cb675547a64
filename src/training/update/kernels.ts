// The kernels of an update over arrays of any length: block by block through the module's scratch memory, so that arrays
// stay where they are. Copying costs about as much as computing; both together are bound by the machine's memory.
import type { AdamWFactors } from "./adamw.ts";
import { KERNELS_BASE64 } from "./kernels.wasm.ts";

/** The functions that the module exports; see kernels/update.c. */
interface Exports {
  scratchAddress(): number;
  blockLength(): number;
  sumOfSquares(n: number): number;
  add(n: number): void;
  adamw(n: number, ...factors: AdamWFactors): void;
}

const FUNCTIONS = [
  "scratchAddress",
  "blockLength",
  "sumOfSquares",
  "add",
  "adamw",
] as const satisfies readonly (keyof Exports)[];

/** Pages of 64 KiB for the module's stack, constants and scratch. */
const PAGES = 4;

/** Values whose squares are summed at once: a block that stays in the first level of the cache. */
const SQUARES_LENGTH = 1024;

/** What {@link Kernels.adamw} updates in place, and the gradient by which: all of one length. */
export interface AdamWTensors {
  readonly parameter: Float32Array;
  readonly gradient: Float32Array;
  readonly expAvg: Float32Array;
  readonly expAvgSq: Float32Array;
}

/** The kernels on this thread. */
export interface Kernels {
  /** Sum of squares, accumulated in float64. */
  sumOfSquares(values: Float32Array): number;
  /** values += addend, in float32. */
  add(values: Float32Array, addend: Float32Array): void;
  /** One update in float32, within 1e-6 of torch.optim.AdamW over 50 steps. */
  adamw(tensors: AdamWTensors, factors: AdamWFactors): void;
}

/** Instantiates the kernels. Their results are the same bits on every thread and in every engine. */
export function openKernels(): Kernels {
  const memory = new WebAssembly.Memory({ initial: PAGES, maximum: PAGES });
  const module = new WebAssembly.Module(Buffer.from(KERNELS_BASE64, "base64"));
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  if (!areKernels(exports))
    throw new Error("The embedded WebAssembly module lacks a kernel; rebuild the package");
  const block = exports.blockLength();
  const row = (index: number) =>
    new Float32Array(memory.buffer, exports.scratchAddress() + 4 * block * index, block);
  const [first, second, third, fourth] = [row(0), row(1), row(2), row(3)];

  /** Copies values[at ..] into a row, as far as they go, and returns how many. */
  function load(row: Float32Array, values: Float32Array, at: number, most: number): number {
    const end = Math.min(values.length, at + most);
    row.set(values.subarray(at, end));
    return end - at;
  }

  return {
    sumOfSquares(values) {
      let sum = 0;
      for (let at = 0; at < values.length; at += SQUARES_LENGTH) {
        const length = load(first, values, at, SQUARES_LENGTH);
        const whole = roundUp(length, 8);
        first.fill(0, length, whole);
        sum += exports.sumOfSquares(whole);
      }
      return sum;
    },

    add(values, addend) {
      for (let at = 0; at < values.length; at += block) {
        const length = load(first, values, at, block);
        load(second, addend, at, block);
        exports.add(roundUp(length, 4));
        values.set(begin(first, length), at);
      }
    },

    adamw({ parameter, gradient, expAvg, expAvgSq }, factors) {
      for (let at = 0; at < parameter.length; at += block) {
        const length = load(first, parameter, at, block);
        load(second, gradient, at, block);
        load(third, expAvg, at, block);
        load(fourth, expAvgSq, at, block);
        exports.adamw(roundUp(length, 4), ...factors);
        parameter.set(begin(first, length), at);
        expAvg.set(begin(third, length), at);
        expAvgSq.set(begin(fourth, length), at);
      }
    },
  };
}

function areKernels(exports: object): exports is Exports {
  return FUNCTIONS.every((name) => typeof Reflect.get(exports, name) === "function");
}

function roundUp(length: number, multiple: number): number {
  return Math.ceil(length / multiple) * multiple;
}

/** The first values of a row; of a whole row without a new view, which takes a tenth of a microsecond. */
function begin(row: Float32Array, length: number): Float32Array {
  return length === row.length ? row : row.subarray(0, length);
}
