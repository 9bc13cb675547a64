// The exports of kernels/*.c, typed. Addresses are byte offsets into the memory given at instantiation; shapes and
// layouts are stated at the C functions.
import type { MatrixDType } from "../../src/tensor/dtype.ts";

/** The numbers by which the kernels know the element types. */
export const DTYPE_NUMBER = { F64: 0, F32: 1, F16: 2, BF16: 3 } as const satisfies Record<
  MatrixDType,
  number
>;

/** The functions that the module exports. */
export interface Kernels {
  maxAbs(at: number, count: number, dtype: number): number;
  packRows(at: number, dtype: number, n: number, k: number, factor: number, packed: number): void;
  packColumns(
    at: number,
    dtype: number,
    n: number,
    m: number,
    k0: number,
    k: number,
    factor: number,
    packed: number,
  ): void;
  gramAdd(packed: number, n: number, k: number, gram: number, ld: number, block: number): void;
  packRowsFloats(at: number, dtype: number, n: number, k: number, factor: number, packed: number): void;
  packColumnsFloats(
    at: number,
    dtype: number,
    n: number,
    m: number,
    k0: number,
    k: number,
    factor: number,
    packed: number,
  ): void;
  gramAddFloats(packed: number, n: number, k: number, gram: number, ld: number, block: number): void;
  probeSigns(n: number, signs: number): void;
  probeAdd(
    packed: number,
    n: number,
    k: number,
    signs: number,
    scratch: number,
    product: number,
    lengths: number,
  ): void;
  setDiagonal(gram: number, n: number, ld: number, lengths: number): void;
  probeResidual(gram: number, n: number, ld: number, signs: number, product: number): void;
  gramMirror(gram: number, n: number, ld: number): void;
  gramMax(gram: number, n: number, ld: number): number;
  scale(at: number, count: number, factor: number): void;
  clear(at: number, count: number): void;
  bandWorkspace(order: number): number;
  sharesAt(order: number): number;
  reducePanel(gram: number, ld: number, order: number, j: number, band: number, workspace: number): void;
  rowBlock(): number;
  bandShares(order: number): number;
  updateColumns(gram: number, ld: number, order: number, j: number, workspace: number, block: number): void;
  factorPanel(gram: number, ld: number, order: number, j: number, band: number, workspace: number): void;
  multiplyPanel(gram: number, ld: number, order: number, j: number, workspace: number, share: number): void;
  addShares(order: number, j: number, workspace: number, block: number): void;
  projectPanel(order: number, j: number, workspace: number, eighth: number): void;
  smallMatrices(workspace: number): void;
  formRows(order: number, j: number, workspace: number, block: number): void;
  chaseBulges(band: number, n: number, s0: number): void;
  /** 1 when the group of sweeps is done, else 0. */
  chaseSegment(band: number, n: number, s0: number, segment: number, sweeps: number): number;
  sweepBytes(): number;
  sweepGroup(): number;
  bandWidth(): number;
  bandLd(): number;
  bandDoubles(order: number): number;
  roundsOnce(e: number): number;
  tridiagonalWidth(): number;
  tridiagonalWorkspace(ld: number): number;
  panelsToLower(gram: number, ldGram: number, order: number, factor: number, lower: number, ld: number): void;
  roundLower(lower: number, ld: number, order: number, j: number): void;
  tridiagonalize(
    lower: number,
    floats: number,
    ld: number,
    order: number,
    n: number,
    j: number,
    diagonal: number,
    below: number,
    signs: number,
    product: number,
    workspace: number,
  ): void;
  ql(n: number, diagonal: number, below: number): number;
  qrAdd(packed: number, n: number, k: number, r: number, order: number, columns: number): void;
  bidiagonalize(
    a: number,
    ld: number,
    n: number,
    i0: number,
    i1: number,
    diagonal: number,
    above: number,
    work: number,
  ): void;
  bidiagonalValues(n: number, diagonal: number, above: number, work: number): number;
  sketch(
    at: number,
    dtype: number,
    n: number,
    rows: number,
    factor: number,
    basis: number,
    ldBasis: number,
    vectors: number,
    more: number,
    images: number,
    sums: number,
    ldSums: number,
    decoded: number,
  ): void;
  columnsToPanels(x: number, ld: number, rows: number, count: number, panels: number): void;
  panelsToColumns(panels: number, rows: number, count: number, x: number, ld: number): void;
  innerProducts(
    v: number,
    ld: number,
    count: number,
    x: number,
    ldx: number,
    xs: number,
    n: number,
    out: number,
    ldOut: number,
  ): void;
  subtractProducts(
    v: number,
    ld: number,
    count: number,
    x: number,
    ldx: number,
    xs: number,
    n: number,
    coefficients: number,
    ldCoefficients: number,
  ): void;
  columnNorm(x: number, n: number): number;
  dot(x: number, y: number, n: number): number;
  combine(a: number, x: number, b: number, y: number, c: number, z: number, n: number): void;
  orthonormalize(x: number, ld: number, rows: number, n: number, column: number, r: number): void;
  symmetricEigen(a: number, n: number, ld: number, values: number, vectors: number, work: number): number;
  jacobiSweep(g: number, rotation: number, order: number, ld: number, squares: number): number;
  decodeTransposed(at: number, dtype: number, n: number, k: number, factor: number, out: number): void;
  decode(at: number, dtype: number, count: number, factor: number, out: number): void;
  factorBlocks(
    blocks: number,
    floats: number,
    order: number,
    w: number,
    j: number,
    pending: number,
    band: number,
    workspace: number,
    reflectors: number,
  ): void;
  formUpdate(
    workspace: number,
    k: number,
    y: number,
    yFloats: number,
    left: number,
    right: number,
    floats: number,
  ): void;
  blocksToPanels(
    blocks: number,
    floats: number,
    order: number,
    w: number,
    o: number,
    gram: number,
    ld: number,
  ): void;
  blocksToLower(blocks: number, order: number, w: number, lower: number, ld: number): void;
  reflect(workspace: number, k: number, x: number): void;
  blocksResidual(blocks: number, order: number, w: number, signs: number, product: number): void;
  decodeTransposedFloats(at: number, dtype: number, n: number, k: number, factor: number, out: number): void;
  decodeFloats(at: number, dtype: number, count: number, factor: number, out: number): void;
  addFloats(x: number, count: number, sums: number): void;
  roundToFloats(x: number, count: number, out: number): void;
  probeAddRows(
    rows: number,
    n: number,
    k: number,
    signs: number,
    scratch: number,
    product: number,
    lengths: number,
  ): void;
  readonly __heap_base: WebAssembly.Global;
  /** Where the stack of this instance ends that grows downwards; instances in one memory need one each. */
  readonly __stack_pointer: WebAssembly.Global;
}

const FUNCTIONS = [
  "maxAbs",
  "packRows",
  "packColumns",
  "gramAdd",
  "packRowsFloats",
  "packColumnsFloats",
  "gramAddFloats",
  "probeSigns",
  "probeAdd",
  "setDiagonal",
  "probeResidual",
  "gramMirror",
  "gramMax",
  "scale",
  "clear",
  "bandWorkspace",
  "sharesAt",
  "reducePanel",
  "rowBlock",
  "bandShares",
  "updateColumns",
  "factorPanel",
  "multiplyPanel",
  "addShares",
  "projectPanel",
  "smallMatrices",
  "formRows",
  "chaseBulges",
  "chaseSegment",
  "sweepBytes",
  "sweepGroup",
  "bandWidth",
  "bandLd",
  "bandDoubles",
  "roundsOnce",
  "tridiagonalWidth",
  "tridiagonalWorkspace",
  "panelsToLower",
  "roundLower",
  "tridiagonalize",
  "ql",
  "qrAdd",
  "bidiagonalize",
  "bidiagonalValues",
  "sketch",
  "columnsToPanels",
  "panelsToColumns",
  "innerProducts",
  "subtractProducts",
  "columnNorm",
  "dot",
  "combine",
  "orthonormalize",
  "symmetricEigen",
  "jacobiSweep",
  "decodeTransposed",
  "decode",
  "factorBlocks",
  "formUpdate",
  "blocksToPanels",
  "blocksToLower",
  "reflect",
  "blocksResidual",
  "decodeTransposedFloats",
  "decodeFloats",
  "addFloats",
  "roundToFloats",
  "probeAddRows",
] as const satisfies readonly (keyof Kernels)[];

function areKernels(exports: object): exports is Kernels {
  return FUNCTIONS.every((name) => typeof Reflect.get(exports, name) === "function");
}

/** Instantiates the kernels over one memory; throws an Error when the module is not the one that this file describes. */
export function instantiateKernels(
  module: WebAssembly.Module,
  memory: WebAssembly.Memory<ArrayBufferLike>,
): Kernels {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  if (!areKernels(exports))
    throw new Error("The embedded WebAssembly module lacks a kernel; rebuild the package");
  return exports;
}
