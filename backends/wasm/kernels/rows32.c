// Row-major floats whose products are left to the caller: from a checkpoint's bytes, with sums of products in doubles and
// the probe of probe.c. Elements are multiplied by a power of two on the way, which keeps their products inside a float's
// range. F64 is not among the types.
#include "decode.h"

// Tall: a is k x n, row-major and contiguous; its transpose goes to out, n x k. Sixteen columns at a time: whole cache lines
// are read where rows of out are too far apart for the cache. Where 4 does not divide k, rows are read twice; k < 4
// spills up to three zeros into the next row, which is written after it, or past the end.
static inline __attribute__((always_inline)) void transposed_as(const char *a, int n, int k, float factor, float *out,
                                                                int dtype) {
  const int bytes = element_bytes(dtype);
  const v128_t f = wasm_f32x4_splat(factor);
  for (int j0 = 0; j0 < n; j0 += 16)
    for (int i0 = 0; i0 < k; i0 += 4) {
      const int i = k < 4 ? 0 : min_int(i0, k - 4);
      for (int j = j0; j < min_int(j0 + 16, n); j += 4) {
        const char *s = a + ((unsigned long)i * n + j) * bytes;
        float *o = out + (long)j * k + i;
        const int left = n - j;
        v128_t x[4];
        for (int r = 0; r < 4; r++, s += (long)n * bytes) {
          if (i + r >= k) x[r] = ZERO;
          else x[r] = left >= 4 ? load_floats(s, dtype) : load_rest_floats(s, dtype, left);
          x[r] = wasm_f32x4_mul(x[r], f);
        }
        const v128_t low01 = wasm_i32x4_shuffle(x[0], x[1], 0, 4, 1, 5), low23 = wasm_i32x4_shuffle(x[2], x[3], 0, 4, 1, 5);
        const v128_t high01 = wasm_i32x4_shuffle(x[0], x[1], 2, 6, 3, 7);
        const v128_t high23 = wasm_i32x4_shuffle(x[2], x[3], 2, 6, 3, 7);
        STORE(o, LOW(low01, low23));
        if (left > 1) STORE(o + k, HIGH(low01, low23));
        if (left > 2) STORE(o + 2L * k, LOW(high01, high23));
        if (left > 3) STORE(o + 3L * k, HIGH(high01, high23));
      }
    }
}

EXPORT(decodeTransposedFloats) void decode_transposed_floats(const char *a, int dtype, int n, int k, double factor,
                                                             float *out) {
  switch (dtype) {
    case F32: transposed_as(a, n, k, factor, out, F32); break;
    case F16: transposed_as(a, n, k, factor, out, F16); break;
    default: transposed_as(a, n, k, factor, out, BF16);
  }
}

// count elements, in their order; past the end: up to three zeros.
EXPORT(decodeFloats) void decode_floats(const char *a, int dtype, int count, double factor, float *out) {
  const int bytes = element_bytes(dtype);
  const v128_t f = wasm_f32x4_splat(factor);
  for (int i = 0; i < count; i += 4, a += 4 * bytes, out += 4)
    STORE(out, wasm_f32x4_mul(count - i >= 4 ? load_floats(a, dtype) : load_rest_floats(a, dtype, count - i), f));
}

// sums += x, for `count` floats x; 4 divides count.
EXPORT(addFloats) void add_floats(const float *x, int count, double *sums) {
  for (int i = 0; i < count; i += 4) {
    const v128_t four = LOAD(x + i);
    STORE(sums + i, ADD(LOAD(sums + i), PROMOTE_LOW(four)));
    STORE(sums + i + 2, ADD(LOAD(sums + i + 2), PROMOTE_HIGH(four)));
  }
}

// out = x, rounded; 4 divides count.
EXPORT(roundToFloats) void round_to_floats(const double *x, int count, float *out) {
  for (int i = 0; i < count; i += 4) STORE(out + i, DEMOTE(LOAD(x + i), LOAD(x + i + 2)));
}

// y += s x
static NOINLINE void add_row(const float *x, int k, double s, double *y) {
  const pair factor = wasm_f64x2_splat(s);
  int i = 0;
  for (; i + 4 <= k; i += 4) {
    const v128_t four = LOAD(x + i);
    STORE(y + i, FMA(PROMOTE_LOW(four), factor, LOAD(y + i)));
    STORE(y + i + 2, FMA(PROMOTE_HIGH(four), factor, LOAD(y + i + 2)));
  }
  for (; i < k; i++) y[i] += s * x[i];
}

// *z += x . y and *d += x . x
static NOINLINE void multiply_row(const float *x, int k, const double *y, double *z, double *d) {
  pair z0 = ZERO, z1 = ZERO, d0 = ZERO, d1 = ZERO;
  int i = 0;
  for (; i + 4 <= k; i += 4) {
    const v128_t four = LOAD(x + i);
    const pair low = PROMOTE_LOW(four), high = PROMOTE_HIGH(four);
    z0 = FMA(low, LOAD(y + i), z0);
    z1 = FMA(high, LOAD(y + i + 2), z1);
    d0 = FMA(low, low, d0);
    d1 = FMA(high, high, d1);
  }
  double rest = 0, square = 0;
  for (; i < k; i++) {
    rest += x[i] * y[i];
    square += (double)x[i] * x[i];
  }
  *z += sum2(ADD(z0, z1)) + rest;
  *d += sum2(ADD(d0, d1)) + square;
}

// z += A^T (A x) and d += the diagonal of A^T A, for the transpose of A: n rows of k floats. x, z, d: n doubles; y: k
// doubles of scratch.
EXPORT(probeAddRows) void probe_add_rows(const float *rows, int n, int k, const double *x, double *y, double *z,
                                         double *d) {
  __builtin_memset(y, 0, (unsigned long)k * 8);
  for (int j = 0; j < n; j++) add_row(rows + (long)j * k, k, x[j], y);
  for (int j = 0; j < n; j++) multiply_row(rows + (long)j * k, k, y, z + j, d + j);
}
