// Generated weights: seeded noise with a decaying low-rank part, so that singular values look like a trained model's.
import { mulberry32 } from "../backends/calibration/mulberry32.ts";

const RANK = 8;
const NOISE = 0.02;

/** bfloat16 bytes of one tensor, a block of rows at a time; a vector is ones. The same seed gives the same bytes. */
export function* bfloat16Blocks([rows = 1, columns]: readonly number[], seed: number): Generator<Uint8Array> {
  if (columns === undefined) {
    yield new Uint8Array(new Uint16Array(rows).fill(0x3f80).buffer);
    return;
  }
  const normal = normals(seed + 1);
  const right = Float32Array.from({ length: RANK * columns }, normal);
  // Singular values of the low-rank part: 3 times the noise's edge, then decaying.
  const edge = NOISE * (Math.sqrt(rows) + Math.sqrt(columns));
  const left = new Float32Array(RANK);
  const bits = new Uint32Array(1);
  const value = new Float32Array(bits.buffer);
  for (let begin = 0; begin < rows; begin += 512) {
    const count = Math.min(512, rows - begin);
    const block = new Uint16Array(count * columns);
    for (let i = 0; i < count; i++) {
      for (let k = 0; k < RANK; k++) {
        left[k] = ((3 * edge) / Math.sqrt(rows * columns)) * (k + 1) ** -0.6 * normal();
      }
      for (let j = 0; j < columns; j++) {
        let entry = NOISE * normal();
        for (let k = 0; k < RANK; k++) entry += (left[k] ?? 0) * (right[k * columns + j] ?? 0);
        value[0] = entry;
        const word = bits[0] ?? 0;
        block[i * columns + j] = (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
      }
    }
    yield new Uint8Array(block.buffer);
  }
}

/** Standard normal numbers from a seed, by Box & Muller. */
function normals(seed: number): () => number {
  const uniform = mulberry32(seed);
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}
