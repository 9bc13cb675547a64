// Where things lie in the WebAssembly memory of a hybrid solver while it works on one matrix. Plain arithmetic.
import { MatrixError } from "../../../src/errors.ts";
import { floatDTypeBytes } from "../../../src/tensor/dtype.ts";
import type { Kernels } from "../../wasm/kernels.ts";
import {
  type DirectLayout,
  directBytes,
  FLOATS_ORDER,
  placeDirect,
} from "../../wasm/singular-values/direct.ts";
import { type MatrixHeader, stackEnd } from "../../wasm/singular-values/layout.ts";
import { PAIR } from "../device/graphs.ts";
import type { Upload } from "../device/upload.ts";
import { blocksElements } from "./blocks.ts";
import type { FloatPlan } from "./float-plan.ts";

/** Rows (tall) or columns (wide) that are decoded and multiplied at once; never all of them, which would take as much memory. */
const DEPTH = 1024;
const LEAST_BLOCKS = 2;
/** Of F64, whose undecoded rows take as much memory as the decoded ones. */
const F64_DEPTH = 512;
const F64_LEAST_BLOCKS = 4;
/** The same where products are of floats, which add up that many of them: part of the numerics. */
const FLOAT_DEPTH = 512;
/** Where small errors matter, to 10 % smaller ones, in 1 to 3 % more time at 2048, 10 % at 4096. */
const CAREFUL_FLOAT_DEPTH = 128;
/** Rows of a block column that are multiplied at once: they stay in the cache from one product to the next. */
export const ROWS = 1024;
/** Widest block column; a multiple of every half-bandwidth. */
const BLOCK = 256;
/** Trailing matrices up to this order go to panel format: WebAssembly's own products take less than the calls. */
const SMALL_ORDER = 640;

const WASM_BYTES = 2 ** 32;

/** Those that are laid out here. */
const PLANS: readonly FloatPlan[] = ["none", "gram", "updates", "all"];

/** Sizes of one matrix and the byte addresses of its parts. */
export interface HybridLayout extends DirectLayout {
  /** Smaller side: the order of the Gram matrix, and the number of singular values. */
  readonly n: number;
  /** Larger side. */
  readonly m: number;
  readonly wide: boolean;
  /** `n` padded with zeros to a multiple of the half-bandwidth. */
  readonly order: number;
  /** Rows of a tall matrix, columns of a wide one, that are folded in at once. */
  readonly depth: number;
  /** Width of the block columns; see kernels/blocks.c. */
  readonly width: number;
  /** Order from which on the trailing matrix is in panel format, and its leading dimension. */
  readonly smallOrder: number;
  readonly smallLd: number;
  /** All undecoded bytes, where wasm's layout has them too; null where they are not to be held, or have no room here. */
  readonly held: number | null;
  /** Undecoded bytes that are folded in next. */
  readonly raw: number;
  /** Doubles, or floats; nothing where a device multiplies doubles. */
  readonly decoded: number;
  /** A product of floats on its way into a matrix of doubles. */
  readonly tile: number;
  /** The Gram matrix, doubles. */
  readonly blocks: number;
  readonly blocksDoubles: number;
  /** The Gram matrix rounded to floats, for the plan `all`, in the place of `raw`, `decoded` and `tile`. */
  readonly rounded: number;
  /** The trailing matrix in panel format, in the same place. */
  readonly panels: number;
  readonly band: number;
  readonly bandDoubles: number;
  readonly workspace: number;
  /** Row-major, one row for each of `order`: V and Y of half-bandwidth columns, [V | X] and [-X | -V] of twice as many. */
  readonly reflectors: number;
  readonly products: number;
  readonly left: number;
  readonly right: number;
  readonly diagonal: number;
  readonly beside: number;
  /**
   * `order` doubles each, for products of floats: the Gram matrix's diagonal; the probe's vector of signs and what the
   * matrix makes of it; both of them as stage one turns them. Then `depth` doubles of scratch.
   */
  readonly lengths: number;
  readonly signs: number;
  readonly image: number;
  readonly turnedSigns: number;
  readonly turnedImage: number;
  readonly scratch: number;
  readonly sizeBytes: number;
}

function depthOf({ dtype }: MatrixHeader, plan: FloatPlan, upload: Upload | null): number {
  if (upload !== null) return upload.depth;
  if (plan === "none") return dtype === "F64" ? F64_DEPTH : DEPTH;
  return plan === "updates" ? CAREFUL_FLOAT_DEPTH : FLOAT_DEPTH;
}

/** Whether rows that come once are needed again: each product of a wide matrix takes part of all, and a second look all of them. */
export function isHeld({ shape, rereadable }: MatrixHeader): boolean {
  return shape[0] < shape[1] || !rereadable;
}

/** Whether the kernels reduce the Gram matrix directly: by calls it would take more. */
export function reducesDirectly(plan: FloatPlan, order: number): boolean {
  return (plan === "gram" && order <= FLOATS_ORDER) || (plan === "none" && order <= SMALL_ORDER);
}

/**
 * Lays one matrix out.
 *
 * @param plan - what of it is products of floats, by the processor.
 * @param upload - how it goes to a device, which makes the Gram matrix; null: the processor does.
 * @throws MatrixError when it needs more than the 4 GiB that WebAssembly addresses.
 */
export function layOutHybrid(
  header: MatrixHeader,
  kernels: Kernels,
  plan: FloatPlan,
  upload: Upload | null = null,
): HybridLayout {
  // By all plans: a second look, after another plan, finds the bytes where they were.
  const fits = (each: FloatPlan) =>
    place(header, kernels, { plan: each, upload, holds: true }).sizeBytes <= WASM_BYTES;
  const layout = place(header, kernels, { plan, upload, holds: isHeld(header) && PLANS.every(fits) });
  if (layout.sizeBytes <= WASM_BYTES) return layout;
  const gib = (layout.sizeBytes / 2 ** 30).toFixed(1);
  throw new MatrixError(
    `Cannot compute the singular values of a ${header.shape.join(" x ")} matrix of ${header.dtype}: its Gram matrix and what ` +
      `belongs to it need ${gib} GiB, and WebAssembly addresses 4 GiB; exclude this module or choose another backend`,
  );
}

interface Placing {
  readonly plan: FloatPlan;
  readonly upload: Upload | null;
  /** Whether all undecoded bytes have a place. */
  readonly holds: boolean;
}

function place(header: MatrixHeader, kernels: Kernels, { plan, upload, holds }: Placing): HybridLayout {
  const floats = plan !== "none";
  const { shape, dtype } = header;
  const n = Math.min(...shape);
  const m = Math.max(...shape);
  const half = kernels.bandWidth();
  const order = Math.ceil(n / half) * half;
  const leastBlocks = dtype === "F64" ? F64_LEAST_BLOCKS : LEAST_BLOCKS;
  const least = Math.ceil(m / Math.max(leastBlocks, Math.ceil(m / depthOf(header, plan, upload))));
  const depth = upload === null ? least : PAIR * Math.ceil(least / PAIR);
  const width = Math.min(order, BLOCK);
  const smallOrder = Math.min(order, SMALL_ORDER);
  const isSmall = reducesDirectly(plan, order);
  const smallLd = smallOrder + 8; // no power of two, else all panels fall into the same cache sets
  const blocksDoubles = blocksElements(order, width);
  const bandDoubles = kernels.bandDoubles(order);

  let end = stackEnd(kernels, 0);
  const take = (bytes: number): number => {
    const at = Math.ceil(end / 64) * 64;
    end = at + bytes;
    return at;
  };
  const held = holds ? take(floatDTypeBytes(dtype) * n * m) : null;
  const raw = take(floatDTypeBytes(dtype) * n * depth);
  const isDecoded = upload === null || floats;
  const decoded = take(isDecoded ? (floats ? 4 : 8) * (order * depth + 4) : 0);
  const tile = floats ? take(4 * Math.max(ROWS * width, order * half)) : 0;
  const direct = placeDirect(raw, order);
  const rounded = Math.ceil((raw + 8 * smallLd * smallOrder) / 64) * 64;
  const reducedEnd = isSmall ? raw + directBytes(kernels, order) : rounded;
  take(Math.max(0, reducedEnd + (plan === "all" ? 4 * blocksDoubles : 0) - end));
  // What a reduction by way of a band has beside the matrix.
  const ofBand = (bytes: number) => take(isSmall ? 0 : bytes);
  const vector = () => take(floats ? 8 * order : 0);
  const layout = {
    n,
    m,
    wide: shape[0] < shape[1],
    order,
    depth,
    width,
    smallOrder,
    smallLd,
    held,
    raw,
    decoded,
    tile,
    blocks: take(8 * blocksDoubles),
    blocksDoubles,
    panels: raw,
    ...direct,
    rounded,
    band: ofBand(8 * bandDoubles),
    bandDoubles,
    workspace: ofBand(8 * Math.max(kernels.sharesAt(order), kernels.bandWorkspace(smallOrder))),
    reflectors: ofBand(8 * order * half),
    products: ofBand(8 * order * half),
    left: ofBand(16 * order * half),
    right: ofBand(16 * order * half),
    diagonal: take(8 * n),
    beside: take(8 * n),
    lengths: vector(),
    signs: vector(),
    image: vector(),
    turnedSigns: vector(),
    turnedImage: vector(),
    scratch: take(floats ? 8 * depth : 0),
  };
  return { ...layout, sizeBytes: take(64) };
}
