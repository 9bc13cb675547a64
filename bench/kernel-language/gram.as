// The Gram micro-kernel and its blocking in AssemblyScript, line for line what backends/wasm/kernels/tile.c and gram.c
// say in C. Compiled by run.mjs only.

// c += a^T b: one 4 x 4 tile, a and b packed panels of k rows of 4. Exported, so that it is not inlined.
export function tileAdd(a: usize, b: usize, c: usize, k: i32): void {
  let c00 = f64x2.splat(0), c01 = f64x2.splat(0), c02 = f64x2.splat(0), c03 = f64x2.splat(0);
  let c10 = f64x2.splat(0), c11 = f64x2.splat(0), c12 = f64x2.splat(0), c13 = f64x2.splat(0);
  const end = a + (<usize>k << 5);
  do {
    const a0 = v128.load(a), a1 = v128.load(a, 16);
    let x = v128.load_splat<f64>(b);
    c00 = f64x2.add(c00, f64x2.mul(a0, x));
    c10 = f64x2.add(c10, f64x2.mul(a1, x));
    x = v128.load_splat<f64>(b, 8);
    c01 = f64x2.add(c01, f64x2.mul(a0, x));
    c11 = f64x2.add(c11, f64x2.mul(a1, x));
    x = v128.load_splat<f64>(b, 16);
    c02 = f64x2.add(c02, f64x2.mul(a0, x));
    c12 = f64x2.add(c12, f64x2.mul(a1, x));
    x = v128.load_splat<f64>(b, 24);
    c03 = f64x2.add(c03, f64x2.mul(a0, x));
    c13 = f64x2.add(c13, f64x2.mul(a1, x));
    a += 32;
    b += 32;
  } while (a < end);
  v128.store(c, f64x2.add(v128.load(c), c00));
  v128.store(c, f64x2.add(v128.load(c, 16), c10), 16);
  v128.store(c, f64x2.add(v128.load(c, 32), c01), 32);
  v128.store(c, f64x2.add(v128.load(c, 48), c11), 48);
  v128.store(c, f64x2.add(v128.load(c, 64), c02), 64);
  v128.store(c, f64x2.add(v128.load(c, 80), c12), 80);
  v128.store(c, f64x2.add(v128.load(c, 96), c03), 96);
  v128.store(c, f64x2.add(v128.load(c, 112), c13), 112);
}

const BLOCK: i32 = 32;

export function gramAdd(packed: usize, n: i32, k: i32, g: usize, ld: i32): void {
  const panels = (n + 3) / 4;
  for (let i0 = 0; i0 < panels; i0 += BLOCK)
    for (let j0 = 0; j0 <= i0; j0 += BLOCK)
      for (let j = j0; j < min(j0 + BLOCK, panels); j++)
        for (let i = max(i0, j); i < min(i0 + BLOCK, panels); i++)
          tileAdd(
            packed + ((<usize>i * k) << 5),
            packed + ((<usize>j * k) << 5),
            g + ((<usize>i * ld + j * 4) << 5),
            k,
          );
}
