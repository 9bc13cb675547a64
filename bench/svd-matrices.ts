// The matrices of one shape: generated bfloat16 weights in memory, and in files where somebody else reads them too.
import { join } from "node:path";
import type { MatrixSource } from "../src/backend.ts";
import { writeSafetensors } from "../src/safetensors/writer.ts";
import { decode } from "../src/tensor/decode.ts";
import { bfloat16Blocks } from "./generated-weights.ts";
import type { BenchShape } from "./svd-shapes.ts";

/** Distinct matrices of a shape, which are computed in turn. */
const MATRICES = 2;
const BLOCK_BYTES = 8 * 2 ** 20;

/** A matrix to measure. */
export interface BenchMatrix {
  readonly source: MatrixSource;
  /** Sum of the squared elements in float64, which the squared singular values must add up to. */
  readonly squaredNorm: number;
  /** Safetensors file with this one tensor; null: not written. */
  readonly file: string | null;
}

/** Bytes that the matrices of a shape take, and a Python process with a copy in float32 and LAPACK's own of one. */
export function matrixBytes({ rows, columns }: BenchShape): number {
  return rows * columns * (2 * MATRICES + 4 * MATRICES + 8);
}

/** Generates the matrices of a shape, into files of that folder where it is given. */
export async function generateMatrices(shape: BenchShape, folder: string | null): Promise<BenchMatrix[]> {
  const matrices: BenchMatrix[] = [];
  for (let seed = 0; seed < MATRICES; seed++) {
    const blocks = rowsOf(shape, generate(shape, seed));
    const file = folder === null ? null : join(folder, `${shape.label}-${seed}.safetensors`);
    if (file !== null) {
      const { rows, columns } = shape;
      await writeSafetensors(file, [{ name: "weight", dtype: "BF16", shape: [rows, columns], blocks }]);
    }
    matrices.push({ source: sourceOf(shape, blocks), squaredNorm: squaredNormOf(blocks), file });
  }
  return matrices;
}

/** All bytes of one matrix. */
function generate({ rows, columns }: BenchShape, seed: number): Uint8Array {
  const bytes = new Uint8Array(2 * rows * columns);
  let at = 0;
  for (const block of bfloat16Blocks([rows, columns], seed)) {
    bytes.set(block, at);
    at += block.length;
  }
  return bytes;
}

/** Blocks of whole rows of about 8 MiB, as a scan reads them. */
function rowsOf({ columns }: BenchShape, bytes: Uint8Array): Uint8Array[] {
  const rowBytes = 2 * columns;
  const blockBytes = Math.max(1, Math.floor(BLOCK_BYTES / rowBytes)) * rowBytes;
  return Array.from({ length: Math.ceil(bytes.length / blockBytes) }, (_, index) =>
    bytes.subarray(index * blockBytes, (index + 1) * blockBytes),
  );
}

function sourceOf({ rows, columns }: BenchShape, blocks: readonly Uint8Array[]): MatrixSource {
  return { shape: [rows, columns], dtype: "BF16", rows: blocks, rereadable: true };
}

function squaredNormOf(blocks: readonly Uint8Array[]): number {
  let norm = 0;
  for (const block of blocks) {
    let part = 0;
    for (const value of decode(block, "BF16", new Float32Array(block.length / 2))) part += value * value;
    norm += part;
  }
  return norm;
}
