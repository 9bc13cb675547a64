// Random numbers that are the same everywhere: for the matrix that backends are timed on, and for those of benches and tests.

/** Uniform in [0, 1), from a 32-bit seed. The generator mulberry32 by Tommy Ettinger, in the public domain. */
export function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
