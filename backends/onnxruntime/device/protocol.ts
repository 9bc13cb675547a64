// What a thread that reduces matrices and the thread that owns a device say to each other, on a port for each of the
// former. Buffers are handed over, never shared: ONNX Runtime refuses tensors in shared memory.

/** What the rows or columns of a matrix are when they go to a device: codes of 16 bits, or floats. */
export type Elements = "codes" | "float32" | "float64";

/** A matrix whose Gram matrix a device is to make, in block columns as kernels/blocks.c has them. */
export interface DeviceMatrix {
  readonly elements: Elements;
  /** Smaller side, and that padded with zeros. */
  readonly n: number;
  readonly order: number;
  /** Of the block columns. */
  readonly width: number;
  readonly wide: boolean;
}

/** Rows of a tall matrix, depth x n, or columns of a wide one, n x depth: row-major. */
export interface Chunk {
  /** Even; what was missing are zeros. */
  readonly depth: number;
  readonly bytes: ArrayBuffer;
  /** For codes: what each of the 65,536 stands for. */
  readonly table: Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer> | null;
}

/** Numbers in memory that can be handed over. */
export type Numbers = Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer>;

/** Parts of a Gram matrix, to be added to others: as graphs.ts makes them. */
export type Sums = readonly Numbers[];

/** The update of a panel, row-major, 2b columns each for the half-bandwidth b: A + left right^T. */
export interface PanelUpdate {
  readonly rows: number;
  readonly left: Float32Array<ArrayBuffer>;
  readonly right: Float32Array<ArrayBuffer>;
}

/**
 * To the device. A matrix is `begin`, then `add` for each chunk, then `take`; `begin` drops what was there. Its reduction
 * is `load`, then `step` for each panel, then `rest`. All but `begin` are answered, in order.
 */
export type DeviceRequest =
  | { readonly kind: "begin"; readonly matrix: DeviceMatrix }
  | { readonly kind: "add"; readonly chunk: Chunk }
  /** Asks for what the device has kept of the chunks so far, and clears it. */
  | { readonly kind: "take" }
  /** A symmetric matrix, both halves. */
  | { readonly kind: "load"; readonly square: Float32Array<ArrayBuffer> }
  /**
   * Drops the first b rows and columns, adds the update to what is left, and asks for its product with v, of b
   * columns, and for its first b columns.
   */
  | { readonly kind: "step"; readonly update: PanelUpdate; readonly v: Float32Array<ArrayBuffer> }
  /** Adds the update and asks for all that is left; the device then has nothing. */
  | { readonly kind: "rest"; readonly update: PanelUpdate };

/** From the device; what `add` is answered with is what the device does not keep. */
export type DeviceReply =
  | { readonly kind: "numbers"; readonly numbers: readonly Numbers[] }
  | { readonly kind: "failed"; readonly message: string };
