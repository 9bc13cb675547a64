// The large steps of a matrix, each cut into chunks that several threads can take in any order. The cut depends on the
// shape alone and each sum is taken within one chunk, so that the bits are the same whoever takes which.
import type { Kernels } from "../kernels.ts";
import type { Layout } from "./layout.ts";

/** What a chunk's kernel is called with, as the step says; the rest 0. */
export type Arguments = readonly [number, number, number, number, number];

/** A step that has been cut. */
export interface Step {
  readonly name: StepName;
  readonly chunks: number;
  readonly args: Arguments;
  /** Floating-point operations, those that wait for the memory counted 16 times: how long it takes. */
  readonly flops: number;
}

type Chunk = (kernels: Kernels, chunk: number, args: Arguments) => void;

const CHUNKS = {
  // The longest rows first: the last chunk to end is then a short one.
  gram: (kernels, chunk, [packed, n, depth, square, ld]) =>
    kernels.gramAdd(packed, n, depth, square, ld, rowBlocks(kernels, n) - 1 - chunk),
  gramFloats: (kernels, chunk, [packed, n, depth, square, ld]) =>
    kernels.gramAddFloats(packed, n, depth, square, ld, rowBlocks(kernels, n) - 1 - chunk),
  updateColumns: (kernels, chunk, [square, ld, order, j, workspace]) =>
    kernels.updateColumns(square, ld, order, j, workspace, chunk),
  multiplyPanel: (kernels, chunk, [square, ld, order, j, workspace]) =>
    kernels.multiplyPanel(square, ld, order, j, workspace, chunk),
  addShares: (kernels, chunk, [order, j, workspace]) => kernels.addShares(order, j, workspace, chunk),
  projectPanel: (kernels, chunk, [order, j, workspace]) => kernels.projectPanel(order, j, workspace, chunk),
  formRows: (kernels, chunk, [order, j, workspace]) => kernels.formRows(order, j, workspace, chunk),
} as const satisfies Record<string, Chunk>;

export type StepName = keyof typeof CHUNKS;

/** Does one chunk of a step. */
export function doChunk(kernels: Kernels, { name, args }: Pick<Step, "name" | "args">, chunk: number): void {
  CHUNKS[name](kernels, chunk, args);
}

function rowBlocks(kernels: Kernels, rows: number): number {
  return Math.ceil(rows / kernels.rowBlock());
}

/** Operations of `depth` rows or columns in a Gram matrix of order `n`; products of floats run twice as fast. */
export function gramFlops(n: number, depth: number, floats: boolean): number {
  return (floats ? 0.5 : 1) * depth * n * n;
}

/** Adds the product of `depth` packed rows to the Gram matrix. */
export function gramStep(
  name: "gram" | "gramFloats",
  { n, packed, square, ld }: Layout,
  { depth, kernels }: { depth: number; kernels: Kernels },
): Step {
  return {
    name,
    chunks: rowBlocks(kernels, n),
    args: [packed, n, depth, square, ld],
    flops: gramFlops(n, depth, name === "gramFloats"),
  };
}

/** The steps of stage one for the panel at column `j`, in the order of reduce_panel in kernels/band.c. */
export function panelSteps(layout: Layout, j: number, kernels: Kernels) {
  const { square, ld, order, workspace } = layout;
  const b = kernels.bandWidth();
  const k = order - j - b;
  const rows = rowBlocks(kernels, k);
  const shares = kernels.bandShares(order);
  const whole: Arguments = [square, ld, order, j, workspace];
  const beside: Arguments = [order, j, workspace, 0, 0];
  const flops = 4 * b * b * k;
  return {
    updateColumns: { name: "updateColumns", chunks: rowBlocks(kernels, k + b), args: whole, flops },
    multiplyPanel: { name: "multiplyPanel", chunks: shares, args: whole, flops: 4 * b * k * k },
    addShares: { name: "addShares", chunks: rows, args: beside, flops: 16 * shares * b * k },
    projectPanel: { name: "projectPanel", chunks: 8, args: beside, flops: 3 * b * b * k },
    formRows: { name: "formRows", chunks: rows, args: beside, flops },
  } as const satisfies Record<string, Step>;
}
