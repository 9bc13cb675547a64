// From the bytes of a checkpoint to packed panels of doubles, and their largest magnitude.
#include "decode.h"

// Four elements from p, any alignment, to doubles.
static inline __attribute__((always_inline)) void load4(const char *p, int dtype, pair *low, pair *high) {
  if (dtype == F64) {
    *low = LOAD(p);
    *high = LOAD(p + 16);
    return;
  }
  v128_t f = load_floats(p, dtype);
  *low = PROMOTE_LOW(f);
  *high = PROMOTE_HIGH(f);
}

// The same for the count < 4 elements left at the end of a row; the rest is zero.
static inline __attribute__((always_inline)) void load_rest(const char *p, int dtype, int count, pair *low, pair *high) {
  char bytes[32];
  __builtin_memset(bytes, 0, sizeof bytes);
  for (int i = 0; i < count * element_bytes(dtype); i++) bytes[i] = p[i];
  load4(bytes, dtype, low, high);
}

static double max_abs_f64(const char *p, int count) {
  v128_t most = ZERO, taint = ZERO;
  int i = 0;
  for (; i + 2 <= count; i += 2, p += 16) {
    pair x = LOAD(p);
    most = wasm_f64x2_pmax(most, wasm_f64x2_abs(x));
    taint = ADD(taint, MUL(x, ZERO));  // 0, or NaN once an element is not finite
  }
  double a = wasm_f64x2_extract_lane(most, 0), b = wasm_f64x2_extract_lane(most, 1), rest = sum2(taint);
  if (b > a) a = b;
  if (i < count) {
    double x;
    __builtin_memcpy(&x, p, 8);
    rest += x * 0;
    if (x < 0) x = -x;
    if (x > a) a = x;
  }
  return a + rest;
}

// Without their sign, the bits of floats are ordered as the floats are, NaN above Infinity.
static unsigned max_magnitude32(const char *p, int count) {
  v128_t most = ZERO;
  int i = 0;
  for (; i + 4 <= count; i += 4, p += 16)
    most = wasm_u32x4_max(most, wasm_v128_and(LOAD(p), wasm_i32x4_const_splat(0x7fffffff)));
  unsigned lanes[4], result = 0;
  STORE(lanes, most);
  for (int lane = 0; lane < 4; lane++)
    if (lanes[lane] > result) result = lanes[lane];
  for (; i < count; i++, p += 4) {
    unsigned x;
    __builtin_memcpy(&x, p, 4);
    if ((x & 0x7fffffff) > result) result = x & 0x7fffffff;
  }
  return result;
}

static unsigned max_magnitude16(const char *p, int count) {
  v128_t most = ZERO;
  int i = 0;
  for (; i + 8 <= count; i += 8, p += 16)
    most = wasm_u16x8_max(most, wasm_v128_and(LOAD(p), wasm_i16x8_const_splat(0x7fff)));
  unsigned short lanes[8];
  unsigned result = 0;
  STORE(lanes, most);
  for (int lane = 0; lane < 8; lane++)
    if (lanes[lane] > result) result = lanes[lane];
  for (; i < count; i++, p += 2) {
    unsigned short x;
    __builtin_memcpy(&x, p, 2);
    if ((x & 0x7fff) > (int)result) result = x & 0x7fff;
  }
  return result;
}

// Largest magnitude of count elements; NaN when any is NaN or Infinity.
EXPORT(maxAbs) double max_abs(const char *p, int count, int dtype) {
  pair most, unused;
  unsigned bits[8] = {0};
  if (dtype == F64) return max_abs_f64(p, count);
  bits[0] = dtype == F32 ? max_magnitude32(p, count) : max_magnitude16(p, count);
  if (dtype == F32) load4((const char *)bits, F32, &most, &unused);
  else if (dtype == F16) load4((const char *)bits, F16, &most, &unused);
  else load4((const char *)bits, BF16, &most, &unused);
  double x = wasm_f64x2_extract_lane(most, 0);
  return x + 0 * x;
}

// Tall: a is k x n, row-major and contiguous; panel p holds columns 4p .. 4p + 3: out[(p * k + i) * 4 + c].
// Eight panels at a time: whole cache lines are read, and only eight streams are written.
static inline __attribute__((always_inline)) void pack_rows_as(const char *a, int n, int k, double factor,
                                                               double *out, int dtype) {
  const int bytes = element_bytes(dtype), panels = (n + 3) / 4;
  const pair f = wasm_f64x2_splat(factor);
  for (int p0 = 0; p0 < panels; p0 += 8) {
    int p1 = min_int(p0 + 8, panels);
    for (int i = 0; i < k; i++) {
      const char *row = a + ((long)i * n + p0 * 4) * bytes;
      double *o = out + ((long)p0 * k + i) * 4;
      for (int p = p0; p < p1; p++, row += 4 * bytes, o += (long)k * 4) {
        pair low, high;
        if (n - p * 4 >= 4) load4(row, dtype, &low, &high);
        else load_rest(row, dtype, n - p * 4, &low, &high);
        STORE(o, MUL(low, f));
        STORE(o + 2, MUL(high, f));
      }
    }
  }
}

EXPORT(packRows) void pack_rows(const char *a, int dtype, int n, int k, double factor, double *out) {
  switch (dtype) {
    case F64: pack_rows_as(a, n, k, factor, out, F64); break;
    case F32: pack_rows_as(a, n, k, factor, out, F32); break;
    case F16: pack_rows_as(a, n, k, factor, out, F16); break;
    default: pack_rows_as(a, n, k, factor, out, BF16);
  }
}

// Wide: a is n x m, row-major and whole; panel p holds columns k0 .. k0 + k - 1 of rows 4p .. 4p + 3, that is four
// columns of a's transpose: out[(p * k + i) * 4 + r] = a(4p + r, k0 + i). Rows past n are zero.
static inline __attribute__((always_inline)) void pack_columns_as(const char *a, int n, int m, int k0, int k,
                                                                  double factor, double *out, int dtype) {
  const int bytes = element_bytes(dtype), panels = (n + 3) / 4;
  const pair f = wasm_f64x2_splat(factor);
  for (int p = 0; p < panels; p++) {
    for (int r = 0; r < 4; r++) {
      double *o = out + (long)p * k * 4 + r;
      if (4 * p + r >= n) {
        for (int i = 0; i < k; i++) o[(long)i * 4] = 0;
        continue;
      }
      const char *row = a + ((unsigned long)(4 * p + r) * m + k0) * bytes;
      for (int i = 0; i < k; i += 4, row += 4 * bytes, o += 16) {
        int left = k - i;
        pair low, high;
        if (left >= 4) load4(row, dtype, &low, &high);
        else load_rest(row, dtype, left, &low, &high);
        low = MUL(low, f);
        high = MUL(high, f);
        o[0] = wasm_f64x2_extract_lane(low, 0);
        if (left > 1) o[4] = wasm_f64x2_extract_lane(low, 1);
        if (left > 2) o[8] = wasm_f64x2_extract_lane(high, 0);
        if (left > 3) o[12] = wasm_f64x2_extract_lane(high, 1);
      }
    }
  }
}

EXPORT(packColumns) void pack_columns(const char *a, int dtype, int n, int m, int k0, int k, double factor,
                                      double *out) {
  switch (dtype) {
    case F64: pack_columns_as(a, n, m, k0, k, factor, out, F64); break;
    case F32: pack_columns_as(a, n, m, k0, k, factor, out, F32); break;
    case F16: pack_columns_as(a, n, m, k0, k, factor, out, F16); break;
    default: pack_columns_as(a, n, m, k0, k, factor, out, BF16);
  }
}

// A tall matrix: a is k x n, row-major and contiguous; its transpose goes to out, n x k. Eight columns at a time, as many
// rows of out as the first cache holds lines of at a distance that is a power of two. Where 4 does not divide k, rows are
// read twice; k < 4 spills up to three zeros into the next row, which is written after it, or past the end.
static inline __attribute__((always_inline)) void decode_transposed_as(const char *a, int n, int k, double factor,
                                                                       double *out, int dtype) {
  const int bytes = element_bytes(dtype);
  const pair f = wasm_f64x2_splat(factor);
  for (int j0 = 0; j0 < n; j0 += 8)
    for (int i0 = 0; i0 < k; i0 += 4) {
      const int i = k < 4 ? 0 : min_int(i0, k - 4);
      for (int j = j0; j < min_int(j0 + 8, n); j += 4) {
        const char *s = a + ((unsigned long)i * n + j) * bytes;
        double *o = out + (long)j * k + i;
        const int left = n - j;
        pair low[4], high[4];
        for (int r = 0; r < 4; r++, s += (long)n * bytes) {
          if (i + r >= k) low[r] = high[r] = ZERO;
          else if (left >= 4) load4(s, dtype, &low[r], &high[r]);
          else load_rest(s, dtype, left, &low[r], &high[r]);
          low[r] = MUL(low[r], f);
          high[r] = MUL(high[r], f);
        }
        STORE(o, LOW(low[0], low[1]));
        STORE(o + 2, LOW(low[2], low[3]));
        if (left > 1) {
          STORE(o + k, HIGH(low[0], low[1]));
          STORE(o + k + 2, HIGH(low[2], low[3]));
        }
        if (left > 2) {
          STORE(o + 2L * k, LOW(high[0], high[1]));
          STORE(o + 2L * k + 2, LOW(high[2], high[3]));
        }
        if (left > 3) {
          STORE(o + 3L * k, HIGH(high[0], high[1]));
          STORE(o + 3L * k + 2, HIGH(high[2], high[3]));
        }
      }
    }
}

EXPORT(decodeTransposed) void decode_transposed(const char *a, int dtype, int n, int k, double factor, double *out) {
  switch (dtype) {
    case F64: decode_transposed_as(a, n, k, factor, out, F64); break;
    case F32: decode_transposed_as(a, n, k, factor, out, F32); break;
    case F16: decode_transposed_as(a, n, k, factor, out, F16); break;
    default: decode_transposed_as(a, n, k, factor, out, BF16);
  }
}

// count elements, in their order.
static inline __attribute__((always_inline)) void decode_as(const char *a, int count, double factor, double *out, int dtype) {
  const int bytes = element_bytes(dtype);
  const pair f = wasm_f64x2_splat(factor);
  const double *end = out + (count & ~3);
  for (; out < end; a += 4 * bytes, out += 4) {
    pair low, high;
    load4(a, dtype, &low, &high);
    STORE(out, MUL(low, f));
    STORE(out + 2, MUL(high, f));
  }
  if ((count & 3) == 0) return;
  pair low, high;
  load_rest(a, dtype, count & 3, &low, &high);
  STORE(out, MUL(low, f));  // past the end: up to three zeros
  STORE(out + 2, MUL(high, f));
}

EXPORT(decode) void decode(const char *a, int dtype, int count, double factor, double *out) {
  switch (dtype) {
    case F64: decode_as(a, count, factor, out, F64); break;
    case F32: decode_as(a, count, factor, out, F32); break;
    case F16: decode_as(a, count, factor, out, F16); break;
    default: decode_as(a, count, factor, out, BF16);
  }
}
