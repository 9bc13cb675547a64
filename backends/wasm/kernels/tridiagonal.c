// Small orders: a symmetric matrix to tridiagonal form at once, without a band between (Dongarra, Sorensen and Hammarling,
// Block reduction of matrices to condensed forms, JCAM 27, 1989). Half of the 4/3 n^3 flops are products with a vector, for
// which the matrix is read each time: as long as it stays in the cache they take less than panels and bulges do.
//
// A is column-major, its lower half, columns ld apart; of 4 x 4 blocks on the diagonal all is there. It holds floats where
// `floats` is 1, else doubles. Reflectors are doubles always, and orthogonal whatever A's products are in.
#include "kernels.h"

enum {
  WIDTH = 16,  // columns between two updates of A
  SUM = 32,    // products of floats that are added up in floats, as for the Gram matrix
  ROWS = 128,  // rows that are multiplied or updated at once
  EIGHTS = 8,  // rows of a packed panel of floats
};

// out[t] = m_t . x over rows r0 .. r1 - 1, for an even number of columns m_t; r1 - r0 even.
static NOINLINE void dot_columns(const double *m, int ld, int count, const double *x, int r0, int r1, double *out) {
  int t = 0;
  for (; t + 4 <= count; t += 4, m += 4L * ld) {
    const double *m1 = m + ld, *m2 = m1 + ld, *m3 = m2 + ld;
    pair a = ZERO, b = ZERO, c = ZERO, d = ZERO;
    for (int i = r0; i < r1; i += 2) {
      const pair p = LOAD(x + i);
      a = FMA(LOAD(m + i), p, a);
      b = FMA(LOAD(m1 + i), p, b);
      c = FMA(LOAD(m2 + i), p, c);
      d = FMA(LOAD(m3 + i), p, d);
    }
    out[t] = sum2(a);
    out[t + 1] = sum2(b);
    out[t + 2] = sum2(c);
    out[t + 3] = sum2(d);
  }
  for (; t < count; t++, m += ld) out[t] = dot(m + r0, x + r0, r1 - r0);
}

// x -= the sum of s[t] m_t over the same rows and columns.
static NOINLINE void subtract_columns(const double *m, int ld, int count, const double *s, double *x, int r0, int r1) {
  int t = 0;
  for (; t + 4 <= count; t += 4, m += 4L * ld) {
    const double *m1 = m + ld, *m2 = m1 + ld, *m3 = m2 + ld;
    const pair a = SPLAT(s + t), b = SPLAT(s + t + 1), c = SPLAT(s + t + 2), d = SPLAT(s + t + 3);
    for (int i = r0; i < r1; i += 2) {
      pair p = LOAD(x + i);
      p = FNMA(LOAD(m + i), a, p);
      p = FNMA(LOAD(m1 + i), b, p);
      p = FNMA(LOAD(m2 + i), c, p);
      STORE(x + i, FNMA(LOAD(m3 + i), d, p));
    }
  }
  for (; t < count; t++, m += ld) axpy(-s[t], m + r0, x + r0, r1 - r0);
}

// Four columns of A, `rows` of them: y += their product with the four elements of x, z += that of their transpose with u.
static NOINLINE void times_doubles(const double *a, int ld, int rows, const double *x, const double *u, double *y, double *z) {
  const double *b = a + ld, *c = b + ld, *d = c + ld;
  const pair x0 = SPLAT(x), x1 = SPLAT(x + 1), x2 = SPLAT(x + 2), x3 = SPLAT(x + 3);
  pair z0 = ZERO, z1 = ZERO, z2 = ZERO, z3 = ZERO;
  for (int i = 0; i < rows; i += 2) {
    const pair ui = LOAD(u + i);
    pair yi = LOAD(y + i), e;
    e = LOAD(a + i); yi = FMA(e, x0, yi); z0 = FMA(e, ui, z0);
    e = LOAD(b + i); yi = FMA(e, x1, yi); z1 = FMA(e, ui, z1);
    e = LOAD(c + i); yi = FMA(e, x2, yi); z2 = FMA(e, ui, z2);
    e = LOAD(d + i); yi = FMA(e, x3, yi); z3 = FMA(e, ui, z3);
    STORE(y + i, yi);
  }
  z[0] += sum2(z0);
  z[1] += sum2(z1);
  z[2] += sum2(z2);
  z[3] += sum2(z3);
}

static NOINLINE void times_floats(const float *a, int ld, int rows, const float *x, const float *u, float *y, double *z) {
  const float *b = a + ld, *c = b + ld, *d = c + ld;
  const v128_t x0 = SPLAT_FLOAT(x), x1 = SPLAT_FLOAT(x + 1), x2 = SPLAT_FLOAT(x + 2), x3 = SPLAT_FLOAT(x + 3);
  v128_t z0 = ZERO, z1 = ZERO, z2 = ZERO, z3 = ZERO;
  for (int i = 0; i < rows; i += 4) {
    const v128_t ui = LOAD(u + i);
    v128_t yi = LOAD(y + i), e;
    e = LOAD(a + i); yi = FMA_FLOATS(e, x0, yi); z0 = FMA_FLOATS(e, ui, z0);
    e = LOAD(b + i); yi = FMA_FLOATS(e, x1, yi); z1 = FMA_FLOATS(e, ui, z1);
    e = LOAD(c + i); yi = FMA_FLOATS(e, x2, yi); z2 = FMA_FLOATS(e, ui, z2);
    e = LOAD(d + i); yi = FMA_FLOATS(e, x3, yi); z3 = FMA_FLOATS(e, ui, z3);
    STORE(y + i, yi);
  }
  const v128_t low01 = wasm_i32x4_shuffle(z0, z1, 0, 4, 1, 5), high01 = wasm_i32x4_shuffle(z0, z1, 2, 6, 3, 7);
  const v128_t low23 = wasm_i32x4_shuffle(z2, z3, 0, 4, 1, 5), high23 = wasm_i32x4_shuffle(z2, z3, 2, 6, 3, 7);
  const v128_t sum01 = wasm_f32x4_add(low01, high01), sum23 = wasm_f32x4_add(low23, high23);
  STORE(z, ADD(LOAD(z), ADD(PROMOTE_LOW(sum01), PROMOTE_HIGH(sum01))));
  STORE(z + 2, ADD(LOAD(z + 2), ADD(PROMOTE_LOW(sum23), PROMOTE_HIGH(sum23))));
}

// y += A x for rows and columns r0 .. n - 1; r0 and n multiples of 4.
static void multiply_doubles(const double *a, int ld, int n, int r0, const double *x, double *y) {
  for (int j = r0; j < n; j += 4) {
    const double *block = a + (long)j * ld + j;
    pair low = LOAD(y + j), high = LOAD(y + j + 2);
    for (int c = 0; c < 4; c++) {
      low = FMA(LOAD(block + (long)c * ld), SPLAT(x + j + c), low);
      high = FMA(LOAD(block + (long)c * ld + 2), SPLAT(x + j + c), high);
    }
    STORE(y + j, low);
    STORE(y + j + 2, high);
    times_doubles(block + 4, ld, n - j - 4, x + j, x + j + 4, y + j + 4, y + j);
  }
}

// The same, sums of floats added up in doubles.
static void multiply_floats(const float *a, int ld, int n, int r0, const float *x, double *y) {
  float sums[ROWS];
  for (int j0 = r0; j0 < n; j0 += SUM)
    for (int i0 = j0; i0 < n; i0 += ROWS) {
      const int i1 = min_int(i0 + ROWS, n);
      __builtin_memset(sums, 0, sizeof sums);
      for (int j = j0; j < min_int(j0 + SUM, n); j += 4) {
        const float *columns = a + (long)j * ld;
        int i = i0;
        if (j >= i0) {
          v128_t s = LOAD(sums + j - i0);
          for (int c = 0; c < 4; c++) s = FMA_FLOATS(LOAD(columns + (long)c * ld + j), SPLAT_FLOAT(x + j + c), s);
          STORE(sums + j - i0, s);
          i = j + 4;
        }
        times_floats(columns + i, ld, i1 - i, x + j, x + i, sums + i - i0, y + j);
      }
      for (int i = i0; i < i1; i += 4) {
        const v128_t s = LOAD(sums + i - i0);
        STORE(y + i, ADD(LOAD(y + i), PROMOTE_LOW(s)));
        STORE(y + i + 2, ADD(LOAD(y + i + 2), PROMOTE_HIGH(s)));
      }
    }
}

// c -= a^T b for packed panels of k columns: a has eight rows, b is half of such a panel; c is 8 x 4, column-major.
static NOINLINE void tile_subtract_floats(const float *a, const float *b, float *c, int ldc, int k) {
  v128_t c00 = ZERO, c01 = ZERO, c02 = ZERO, c03 = ZERO;
  v128_t c10 = ZERO, c11 = ZERO, c12 = ZERO, c13 = ZERO;
  const float *end = a + (long)k * EIGHTS;
  do {
    TILE_TURN_FLOATS
    a += EIGHTS;
    b += EIGHTS;
  } while (a < end);
  float *c1 = c + ldc, *c2 = c1 + ldc, *c3 = c2 + ldc;
  STORE(c, wasm_f32x4_sub(LOAD(c), c00));
  STORE(c + 4, wasm_f32x4_sub(LOAD(c + 4), c10));
  STORE(c1, wasm_f32x4_sub(LOAD(c1), c01));
  STORE(c1 + 4, wasm_f32x4_sub(LOAD(c1 + 4), c11));
  STORE(c2, wasm_f32x4_sub(LOAD(c2), c02));
  STORE(c2 + 4, wasm_f32x4_sub(LOAD(c2 + 4), c12));
  STORE(c3, wasm_f32x4_sub(LOAD(c3), c03));
  STORE(c3 + 4, wasm_f32x4_sub(LOAD(c3 + 4), c13));
}

// A -= V W^T + W V^T from row and column o on, m = [v0 w0 v1 w1 ..]; o and n multiples of 8. packed: 4 WIDTH (n - o) doubles.
static void update_doubles(double *a, int ld, int n, int o, const double *m, double *packed) {
  enum { PANEL = 4 * 2 * WIDTH };  // [V W] and -[W V], four rows of each
  double *right = packed + (long)(n - o) * 2 * WIDTH;
  for (int i = o; i < n; i += 4)
    for (int t = 0; t < 2 * WIDTH; t++) {
      const double *s = m + (long)t * ld + i;
      double *l = packed + (long)(i - o) / 4 * PANEL + t * 4, *r = right + (long)(i - o) / 4 * PANEL + (t ^ 1) * 4;
      const pair low = LOAD(s), high = LOAD(s + 2);
      STORE(l, low);
      STORE(l + 2, high);
      STORE(r, wasm_f64x2_neg(low));
      STORE(r + 2, wasm_f64x2_neg(high));
    }
  for (int i0 = o; i0 < n; i0 += ROWS)
    for (int j = o; j < min_int(i0 + ROWS, n); j += 4)
      for (int i = i0 > j ? i0 : j; i < min_int(i0 + ROWS, n); i += 4)
        tile_add_strided(packed + (long)(i - o) / 4 * PANEL, 4, right + (long)(j - o) / 4 * PANEL, a + (long)j * ld + i,
                         ld, 2 * WIDTH);
}

// The same; above the diagonal blocks something is written as well.
static void update_floats(float *a, int ld, int n, int o, const double *m, float *packed) {
  enum { PART = EIGHTS * WIDTH, PANEL = 3 * PART };  // [V W V], eight rows of each
  for (int i = o; i < n; i += EIGHTS)
    for (int t = 0; t < 2 * WIDTH; t++) {
      const double *s = m + (long)t * ld + i;
      const v128_t low = DEMOTE(LOAD(s), LOAD(s + 2)), high = DEMOTE(LOAD(s + 4), LOAD(s + 6));
      float *to = packed + (long)(i - o) / EIGHTS * PANEL + t % 2 * PART + t / 2 * EIGHTS;
      STORE(to, low);
      STORE(to + 4, high);
      if (t % 2 == 1) continue;
      STORE(to + 2 * PART, low);
      STORE(to + 2 * PART + 4, high);
    }
  for (int i0 = o; i0 < n; i0 += ROWS)
    for (int j = o; j < min_int(i0 + ROWS, n); j += 4) {
      const int eight = j / EIGHTS * EIGHTS;
      const float *right = packed + (long)(eight - o) / EIGHTS * PANEL + PART + j - eight;
      for (int i = i0 > eight ? i0 : eight; i < min_int(i0 + ROWS, n); i += EIGHTS)
        tile_subtract_floats(packed + (long)(i - o) / EIGHTS * PANEL, right, a + (long)j * ld + i, ld, 2 * WIDTH);
    }
}

// Column c of A from the row on in which its diagonal block begins.
static void load_column(const void *a, int floats, int ld, int n, int c, double *v) {
  for (int r = c / 4 * 4; r < n; r += 4) {
    const long at = (long)c * ld + r;
    if (floats) {
      const v128_t x = LOAD((const float *)a + at);
      STORE(v + r, PROMOTE_LOW(x));
      STORE(v + r + 2, PROMOTE_HIGH(x));
    } else {
      STORE(v + r, LOAD((const double *)a + at));
      STORE(v + r + 2, LOAD((const double *)a + at + 2));
    }
  }
}

EXPORT(tridiagonalWidth) int tridiagonal_width(void) { return WIDTH; }

// Doubles of the workspace: V and W, the same packed, a reflector in floats.
EXPORT(tridiagonalWorkspace) int tridiagonal_workspace(int ld) { return ld * (6 * WIDTH + 1); }

// Reduces columns j .. j + WIDTH - 1 of A, of order `order`, a multiple of 8, of which n rows and columns are not zeros:
// d[c] and e[c] get the diagonal and what is below it. Two vectors of that order, x and z, are multiplied by the same
// reflectors, unless x is null. Call for j = 0, WIDTH .. below n.
EXPORT(tridiagonalize) void tridiagonalize(void *a, int floats, int ld, int order, int n, int j, double *d, double *e,
                                           double *x, double *z, double *workspace) {
  double *m = workspace, *packed = m + (long)ld * 2 * WIDTH, s[2 * WIDTH];
  float *rounded = (float *)(packed + (long)ld * 4 * WIDTH);
  for (int i = 0; i < WIDTH && j + i < n; i++) {
    const int c = j + i, r0 = (c + 1) / 4 * 4, rest = order - r0;
    double *v = m + 2L * i * ld, *w = v + ld;
    load_column(a, floats, ld, order, c, v);
    for (int t = 0; t < 2 * i; t++) s[t] = m[(long)(t ^ 1) * ld + c];
    subtract_columns(m, ld, 2 * i, s, v, c / 4 * 4, order);
    d[c] = v[c];
    if (c + 1 == n) return;
    const double tau = householder(v + c + 1, n - c - 1, &e[c]);
    for (int r = r0; r <= c; r++) v[r] = 0;

    // w = tau y - (tau^2 / 2) (y^T v) v, with y = A v as the columns before leave A.
    __builtin_memset(w + r0, 0, 8UL * rest);
    if (floats) {
      for (int r = r0; r < order; r += 4) STORE(rounded + r, DEMOTE(LOAD(v + r), LOAD(v + r + 2)));
      multiply_floats(a, ld, order, r0, rounded, w);
    } else {
      multiply_doubles(a, ld, order, r0, v, w);
    }
    dot_columns(m, ld, 2 * i, v, r0, order, s);
    for (int t = 0; t < 2 * i; t += 2) {
      const double vv = s[t];
      s[t] = s[t + 1];
      s[t + 1] = vv;
    }
    subtract_columns(m, ld, 2 * i, s, w, r0, order);
    scale(tau, w + r0, rest);
    axpy(-0.5 * tau * dot(w + r0, v + r0, rest), v + r0, w + r0, rest);
    if (!x) continue;
    axpy(-tau * dot(x + r0, v + r0, rest), v + r0, x + r0, rest);
    axpy(-tau * dot(z + r0, v + r0, rest), v + r0, z + r0, rest);
  }
  const int o = j + WIDTH;
  if (o >= n) return;
  if (floats) update_floats(a, ld, order, o, m, (float *)packed);
  else update_doubles(a, ld, order, o, m, packed);
}

// The lower half of a matrix in panel format, times a factor, to column-major doubles.
EXPORT(panelsToLower) void panels_to_lower(const double *g, int ldg, int order, double factor, double *a, int ld) {
  const pair f = wasm_f64x2_splat(factor);
  for (int j = 0; j < order; j++)
    for (int i = j / 4 * 4; i < order; i += 4) {
      const double *from = g + ((long)(i / 4) * ldg + j) * 4;
      double *to = a + (long)j * ld + i;
      STORE(to, MUL(LOAD(from), f));
      STORE(to + 2, MUL(LOAD(from + 2), f));
    }
}

// Rounds columns j .. order - 1 of A to floats, with the same ld from the same address on.
EXPORT(roundLower) void round_lower(const double *a, int ld, int order, int j) {
  for (int c = j; c < order; c++)
    for (int r = c / 4 * 4; r < order; r += 4) {
      const long at = (long)c * ld + r;
      STORE((float *)a + at, DEMOTE(LOAD(a + at), LOAD(a + at + 2)));
    }
}
