// From the bytes of a checkpoint to packed panels of floats, eight rows or columns wide. Elements are multiplied by a
// power of two on the way, which keeps their products inside a float's range.
#include "decode.h"

// Tall: a is k x n, row-major and contiguous; panel p holds columns 8p .. 8p + 7: out[(p * k + i) * 8 + c].
// Four panels at a time: whole cache lines are read, and only four streams are written.
static inline __attribute__((always_inline)) void pack_rows_as(const char *a, int n, int k, float factor, float *out,
                                                               int dtype) {
  const int bytes = element_bytes(dtype), halves = (n + 3) / 4;
  const v128_t f = wasm_f32x4_splat(factor);
  for (int h0 = 0; h0 < halves; h0 += 8) {
    const int h1 = min_int(h0 + 8, halves);
    for (int i = 0; i < k; i++) {
      const char *row = a + ((unsigned long)i * n + h0 * 4) * bytes;
      float *o = out + ((long)(h0 / 2) * k + i) * 8;
      for (int h = h0; h < h1; h++, row += 4 * bytes) {
        float *to = o + (long)((h - h0) / 2) * k * 8 + h % 2 * 4;
        v128_t x = n - h * 4 >= 4 ? load_floats(row, dtype) : load_rest_floats(row, dtype, n - h * 4);
        STORE(to, wasm_f32x4_mul(x, f));
      }
      if (h1 % 2 == 1) STORE(o + (long)((h1 - h0) / 2) * k * 8 + 4, ZERO);
    }
  }
}

EXPORT(packRowsFloats) void pack_rows_floats(const char *a, int dtype, int n, int k, double factor, float *out) {
  switch (dtype) {
    case F32: pack_rows_as(a, n, k, factor, out, F32); break;
    case F16: pack_rows_as(a, n, k, factor, out, F16); break;
    default: pack_rows_as(a, n, k, factor, out, BF16);
  }
}

// Wide: a is n x m, row-major and whole; panel p holds columns k0 .. k0 + k - 1 of rows 8p .. 8p + 7, that is eight
// columns of a's transpose: out[(p * k + i) * 8 + r] = a(8p + r, k0 + i). Rows past n are zero.
static inline __attribute__((always_inline)) void pack_columns_as(const char *a, int n, int m, int k0, int k,
                                                                  float factor, float *out, int dtype) {
  const int bytes = element_bytes(dtype), halves = (n + 7) / 8 * 2;
  const v128_t f = wasm_f32x4_splat(factor);
  for (int h = 0; h < halves; h++)
    for (int i = 0; i < k; i += 4) {
      v128_t x[4];
      for (int r = 0; r < 4; r++) {
        const char *at = a + ((unsigned long)(4 * h + r) * m + k0 + i) * bytes;
        if (4 * h + r >= n) x[r] = ZERO;
        else x[r] = k - i >= 4 ? load_floats(at, dtype) : load_rest_floats(at, dtype, k - i);
      }
      const v128_t low01 = wasm_i32x4_shuffle(x[0], x[1], 0, 4, 1, 5), low23 = wasm_i32x4_shuffle(x[2], x[3], 0, 4, 1, 5);
      const v128_t high01 = wasm_i32x4_shuffle(x[0], x[1], 2, 6, 3, 7);
      const v128_t high23 = wasm_i32x4_shuffle(x[2], x[3], 2, 6, 3, 7);
      float *o = out + ((long)(h / 2) * k + i) * 8 + h % 2 * 4;
      STORE(o, wasm_f32x4_mul(wasm_i64x2_shuffle(low01, low23, 0, 2), f));
      if (k - i > 1) STORE(o + 8, wasm_f32x4_mul(wasm_i64x2_shuffle(low01, low23, 1, 3), f));
      if (k - i > 2) STORE(o + 16, wasm_f32x4_mul(wasm_i64x2_shuffle(high01, high23, 0, 2), f));
      if (k - i > 3) STORE(o + 24, wasm_f32x4_mul(wasm_i64x2_shuffle(high01, high23, 1, 3), f));
    }
}

EXPORT(packColumnsFloats) void pack_columns_floats(const char *a, int dtype, int n, int m, int k0, int k,
                                                   double factor, float *out) {
  switch (dtype) {
    case F32: pack_columns_as(a, n, m, k0, k, factor, out, F32); break;
    case F16: pack_columns_as(a, n, m, k0, k, factor, out, F16); break;
    default: pack_columns_as(a, n, m, k0, k, factor, out, BF16);
  }
}
