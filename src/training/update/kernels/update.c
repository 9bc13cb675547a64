// What an update does to each value: sums of squares in float64, sums and AdamW in float32. The rows of `scratch` are the
// operands; whoever calls copies a block in, and out again. Multiply and add round apart, so that every engine gives the same bits.
#include <wasm_simd128.h>

#define EXPORT(name) __attribute__((export_name(#name)))

#define LOAD(p) wasm_v128_load(p)
#define STORE(p, v) wasm_v128_store(p, v)
#define SPLAT wasm_f32x4_splat
#define ADD wasm_f32x4_add
#define SUB wasm_f32x4_sub
#define MUL wasm_f32x4_mul
#define DIV wasm_f32x4_div
#define SQRT wasm_f32x4_sqrt

// Four rows of 32 KiB stay in the second level of the cache; smaller blocks cost more in calls than they save.
#define BLOCK 8192
static float scratch[4][BLOCK] __attribute__((aligned(64)));

EXPORT(scratchAddress) float *scratch_address(void) { return scratch[0]; }
EXPORT(blockLength) int block_length(void) { return BLOCK; }

// The squares of two values of x, beginning with the lowest or the third, added to s.
#define ADD_SQUARES(s, x)                                   \
  do {                                                      \
    const v128_t t = wasm_f64x2_promote_low_f32x4(x);       \
    s = wasm_f64x2_add(s, wasm_f64x2_mul(t, t));            \
  } while (0)
#define HIGH(x) wasm_i32x4_shuffle(x, x, 2, 3, 2, 3)

// Sum of the squares of the first n values of row 0, n % 8 == 0.
EXPORT(sumOfSquares) double sum_of_squares(int n) {
  const float *x = scratch[0];
  v128_t a = wasm_f64x2_const(0, 0), b = a, c = a, d = a;
  for (int i = 0; i < n; i += 8) {
    const v128_t u = LOAD(x + i), v = LOAD(x + i + 4);
    ADD_SQUARES(a, u);
    ADD_SQUARES(b, HIGH(u));
    ADD_SQUARES(c, v);
    ADD_SQUARES(d, HIGH(v));
  }
  a = wasm_f64x2_add(wasm_f64x2_add(a, b), wasm_f64x2_add(c, d));
  return wasm_f64x2_extract_lane(a, 0) + wasm_f64x2_extract_lane(a, 1);
}

// Row 0 += row 1, n % 4 == 0.
EXPORT(add) void add(int n) {
  float *x = scratch[0];
  const float *y = scratch[1];
  for (int i = 0; i < n; i += 4) STORE(x + i, ADD(LOAD(x + i), LOAD(y + i)));
}

// Rows: parameter, gradient, first and second moment; n % 4 == 0. In the order of operations of torch.optim.AdamW:
// p <- keep p; m <- m + mean_rest (g - m); v <- square_keep v + square_rest g g; p <- p - rate m / (root_scale sqrt(v) + epsilon)
EXPORT(adamw)
void adamw(int n, float grad_scale, float mean_rest, float square_keep, float square_rest, float keep, float rate,
           float root_scale, float epsilon) {
  float *p = scratch[0], *m = scratch[2], *v = scratch[3];
  const float *g = scratch[1];
  const v128_t scale4 = SPLAT(grad_scale), mean_rest4 = SPLAT(mean_rest), square_keep4 = SPLAT(square_keep);
  const v128_t square_rest4 = SPLAT(square_rest), keep4 = SPLAT(keep), rate4 = SPLAT(rate);
  const v128_t root4 = SPLAT(root_scale), epsilon4 = SPLAT(epsilon);
  for (int i = 0; i < n; i += 4) {
    const v128_t gradient = MUL(LOAD(g + i), scale4);
    const v128_t before = LOAD(m + i);
    const v128_t mean = ADD(before, MUL(mean_rest4, SUB(gradient, before)));
    const v128_t square = ADD(MUL(LOAD(v + i), square_keep4), MUL(MUL(square_rest4, gradient), gradient));
    const v128_t divisor = ADD(MUL(SQRT(square), root4), epsilon4);
    STORE(m + i, mean);
    STORE(v + i, square);
    STORE(p + i, SUB(MUL(LOAD(p + i), keep4), DIV(MUL(rate4, mean), divisor)));
  }
}
