// Seeded orders: the same seed and epoch give the same order everywhere.

/** What an order depends on. */
export interface ShuffleOptions {
  readonly seed: number;
  readonly epoch: number;
}

/** A permutation of 0 .. count-1, each equally likely (Fisher and Yates). */
export function shuffledOrder(count: number, { seed, epoch }: ShuffleOptions): Uint32Array {
  const random = generator(seed, epoch);
  const order = Uint32Array.from({ length: count }, (_, index) => index);
  for (let last = count - 1; last > 0; last -= 1) {
    const other = below(last + 1, random);
    const kept = order[last] ?? 0;
    order[last] = order[other] ?? 0;
    order[other] = kept;
  }
  return order;
}

/** A number in [0, bound), without the bias of a remainder. */
function below(bound: number, random: () => number): number {
  const limit = 2 ** 32 - (2 ** 32 % bound);
  let drawn = random();
  while (drawn >= limit) drawn = random();
  return drawn % bound;
}

/** 32 random bits a call: sfc32 of PractRand, its state filled from both numbers and mixed by twenty calls. */
function generator(seed: number, epoch: number): () => number {
  let a = seed >>> 0;
  let b = Math.floor(seed / 2 ** 32) >>> 0;
  let c = epoch >>> 0;
  let counter = 1;
  const next = () => {
    const sum = (a + b + counter) >>> 0;
    counter = (counter + 1) >>> 0;
    a = (b ^ (b >>> 9)) >>> 0;
    b = (c + (c << 3)) >>> 0;
    c = (((c << 21) | (c >>> 11)) + sum) >>> 0;
    return sum;
  };
  for (let round = 0; round < 20; round += 1) next();
  return next;
}
