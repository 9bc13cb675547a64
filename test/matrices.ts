// Seeded matrices with known properties, for tests.
import { mulberry32 } from "../backends/calibration/mulberry32.ts";

/** m x n independent normal entries of variance 1, row-major (Box & Muller). */
export function gaussianMatrix(m: number, n: number, seed: number): Float64Array {
  const next = mulberry32(seed);
  return Float64Array.from({ length: m * n }, () => {
    const radius = Math.sqrt(-2 * Math.log(1 - next()));
    return radius * Math.cos(2 * Math.PI * next());
  });
}

/** Unit-variance noise plus `rank` equal orthogonal-in-expectation directions whose energy is snr * m * n in all. */
export function plantedMatrix(
  m: number,
  n: number,
  options: { readonly rank: number; readonly snr: number; readonly seed: number },
): Float64Array {
  const { rank, snr, seed } = options;
  const matrix = gaussianMatrix(m, n, seed);
  const left = gaussianMatrix(m, rank, seed + 1);
  const right = gaussianMatrix(n, rank, seed + 2);
  const scale = Math.sqrt(snr / rank);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let signal = 0;
      for (let k = 0; k < rank; k++) signal += (left[i * rank + k] ?? 0) * (right[j * rank + k] ?? 0);
      matrix[i * n + j] = (matrix[i * n + j] ?? 0) + scale * signal;
    }
  }
  return matrix;
}
