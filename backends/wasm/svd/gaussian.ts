// Independent standard normal numbers from a seed: xoshiro128** (Blackman and Vigna, 2018) and Box and Muller.

/** Fills `out` with the next numbers of the stream. */
export type Gaussian = (out: Float64Array) => void;

/** The stream of that seed, a whole number below 2^32. */
export function gaussian(seed: number): Gaussian {
  const next = xoshiro(seed);
  const uniform = () => (next() >>> 0) / 2 ** 32;
  return (out) => {
    for (let i = 0; i < out.length; i += 2) {
      const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
      const angle = 2 * Math.PI * uniform();
      out[i] = radius * Math.cos(angle);
      if (i + 1 < out.length) out[i + 1] = radius * Math.sin(angle);
    }
  };
}

/** 32 random bits a call; the state is drawn from the seed by splitmix32. */
function xoshiro(seed: number): () => number {
  let mixed = seed;
  const split = () => {
    mixed = (mixed + 0x9e3779b9) | 0;
    let z = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return z ^ (z >>> 15);
  };
  let [a, b, c, d] = [split(), split(), split(), split()];
  const rotate = (x: number, by: number) => (x << by) | (x >>> (32 - by));
  return () => {
    const result = Math.imul(rotate(Math.imul(b, 5), 7), 9);
    const shifted = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= shifted;
    d = rotate(d, 11);
    return result;
  };
}
