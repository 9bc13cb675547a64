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
  /** A multiple of 32; what was missing are zeros. */
  readonly depth: number;
  readonly bytes: ArrayBuffer;
  /** For codes: what each of the 65,536 stands for. */
  readonly table: Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer> | null;
}

/** Parts of a Gram matrix, to be added to others: as device-graphs.ts makes them. */
export type Sums = readonly (Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer>)[];

/**
 * To the device. A matrix is `begin`, then `add` for each chunk, then `take`; `begin` drops what was there. Each `add` and
 * `take` is answered, in order.
 */
export type DeviceRequest =
  | { readonly kind: "begin"; readonly matrix: DeviceMatrix }
  | { readonly kind: "add"; readonly chunk: Chunk }
  /** Asks for what the device has kept of the chunks so far, and clears it. */
  | { readonly kind: "take" };

/** From the device; what `add` is answered with is what the device does not keep. */
export type DeviceReply =
  | { readonly kind: "sums"; readonly sums: Sums }
  | { readonly kind: "failed"; readonly message: string };
