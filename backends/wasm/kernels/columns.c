// A few long columns, dense and column-major: orthonormal bases, rotations, projections, and the singular values of a
// small square matrix. Column lengths are even; rows past the last are zero and stay so.
#include "kernels.h"

// out[j], out[ldo + j] = v_j . x, v_j . y for count columns of v.
static void products(const double *v, int ld, int count, const double *x, const double *y, int n, double *out, int ldo) {
  int j = 0;
  for (; j + 4 <= count; j += 4) {
    double w[8];
    dot_4x2(v + (long)j * ld, ld, x, y, n, w);
    for (int i = 0; i < 4; i++) {
      out[j + i] = w[i];
      out[ldo + j + i] = w[4 + i];
    }
  }
  for (; j < count; j++) {
    out[j] = dot(v + (long)j * ld, x, n);
    out[ldo + j] = dot(v + (long)j * ld, y, n);
  }
}

// x -= sum c[j] v_j, y -= sum c[ldc + j] v_j
static void subtract(const double *v, int ld, int count, double *x, double *y, int n, const double *c, int ldc) {
  int j = 0;
  for (; j + 4 <= count; j += 4) {
    double w[8];
    for (int i = 0; i < 4; i++) {
      w[i] = c[j + i];
      w[4 + i] = c[ldc + j + i];
    }
    subtract_4x2(v + (long)j * ld, ld, x, y, n, w);
  }
  for (; j < count; j++) {
    axpy(-c[j], v + (long)j * ld, x, n);
    axpy(-c[ldc + j], v + (long)j * ld, y, n);
  }
}

// out = V^T X: count x xs, column-major with leading dimension ldo. The last of an odd number goes with itself.
EXPORT(innerProducts) void inner_products(const double *v, int ld, int count, const double *x, int ldx, int xs, int n,
                                          double *out, int ldo) {
  for (int c = 0; c < xs; c += 2) {
    const int step = c + 1 < xs ? 1 : 0;
    const double *a = x + (long)c * ldx;
    products(v, ld, count, a, a + (long)step * ldx, n, out + (long)c * ldo, step * ldo);
  }
}

// X -= V C, C count x xs.
EXPORT(subtractProducts) void subtract_products(const double *v, int ld, int count, double *x, int ldx, int xs, int n,
                                                const double *c, int ldc) {
  int i = 0;
  for (; i + 2 <= xs; i += 2) {
    double *a = x + (long)i * ldx;
    subtract(v, ld, count, a, a + ldx, n, c + (long)i * ldc, ldc);
  }
  if (i < xs)
    for (int j = 0; j < count; j++) axpy(-c[(long)i * ldc + j], v + (long)j * ld, x + (long)i * ldx, n);
}

EXPORT(columnNorm) double column_norm(const double *x, int n) { return __builtin_sqrt(dot(x, x, n)); }

// x = a x + b y + c z, n a multiple of 4
EXPORT(combine) void combine(double a, double *x, double b, const double *y, double c, const double *z, int n) {
  const pair s = wasm_f64x2_splat(a), t = wasm_f64x2_splat(b), u = wasm_f64x2_splat(c);
  for (int i = 0; i < n; i += 2)
    STORE(x + i, ADD(ADD(MUL(s, LOAD(x + i)), MUL(t, LOAD(y + i))), MUL(u, LOAD(z + i))));
}

// Any numbers do that are not in the span so far: these replace a column that is.
static void fill(double *x, int rows, unsigned seed) {
  unsigned long long state = 0x9e3779b97f4a7c15ull * (seed + 1);
  for (int i = 0; i < rows; i++) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    x[i] = (double)(int)(state >> 32) * 0x1p-31;
  }
}

// Subtracts from x its part in the span of count columns, as often as that takes away more than half: what is left is
// then orthogonal to rounding (Giraud, Langou and Rozloznik, The loss of orthogonality in the Gram-Schmidt process, 2005).
// r[count] += the coefficients, unless null. Returns the length left; 0 when x is in the span.
static double remove_span(const double *v, int ld, int count, double *x, int n, double *r) {
  double before = column_norm(x, n);
  for (int turn = 0; turn < 6 && before > 0x1p-500; turn++) {
    for (int j = 0; j < count; j += 32) {
      double c[32];
      const double *w = v + (long)j * ld;
      int some = min_int(32, count - j);
      for (int i = 0; i < some; i++) c[i] = 0;
      int i = 0;
      for (; i + 4 <= some; i += 4) {
        double o[8];
        dot_4x2(w + (long)i * ld, ld, x, x, n, o);
        for (int k = 0; k < 4; k++) c[i + k] = o[k];
      }
      for (; i < some; i++) c[i] = dot(w + (long)i * ld, x, n);
      for (i = 0; i < some; i++) {
        axpy(-c[i], w + (long)i * ld, x, n);
        if (r) r[j + i] += c[i];
      }
    }
    double after = column_norm(x, n);
    if (after > 0.5 * before) return after;
    before = after;
  }
  return 0;
}

// Makes column c of x orthonormal to those before it; r: column c of the triangular factor, c + 1 elements. A column in
// the span of the others gives r(c, c) = 0 and is replaced by some other direction.
EXPORT(orthonormalize) void orthonormalize(double *x, int ld, int rows, int n, int c, double *r) {
  double *v = x + (long)c * ld;
  for (int j = 0; j <= c; j++) r[j] = 0;
  double left = remove_span(x, ld, c, v, n, r);
  r[c] = left;
  for (unsigned attempt = 0; left == 0; attempt++) {
    __builtin_memset(v, 0, (unsigned long)n * 8);
    fill(v, rows, c + 1000003u * attempt);
    left = remove_span(x, ld, c, v, n, 0);
  }
  scale(1 / left, v, n);
}

// One sweep of one-sided Jacobi (Hestenes, 1958) over the columns of the order x order matrix g, ld even; j takes the
// same rotations. squares: order doubles of scratch. Returns how many pairs were not orthogonal yet.
EXPORT(jacobiSweep) int jacobi_sweep(double *g, double *j, int order, int ld, double *squares) {
  int rotations = 0;
  for (int p = 0; p < order; p++) squares[p] = dot(g + (long)p * ld, g + (long)p * ld, ld);
  for (int p = 0; p < order - 1; p++)
    for (int q = p + 1; q < order; q++) {
      double *x = g + (long)p * ld, *y = g + (long)q * ld, a = squares[p], b = squares[q];
      if (a < 0x1p-400 || b < 0x1p-400) continue;
      double c = dot(x, y, ld);
      if (__builtin_fabs(c) <= 0x1p-50 * __builtin_sqrt(a) * __builtin_sqrt(b)) continue;
      rotations++;
      double zeta = (b - a) / (2 * c), root = __builtin_sqrt(1 + zeta * zeta);
      double t = zeta < 0 ? 1 / (zeta - root) : 1 / (zeta + root);
      double cs = 1 / __builtin_sqrt(1 + t * t), sn = cs * t;
      rotate(x, y, ld, cs, sn);
      rotate(j + (long)p * ld, j + (long)q * ld, ld, cs, sn);
      squares[p] = a - t * c;
      squares[q] = b + t * c;
    }
  return rotations;
}
