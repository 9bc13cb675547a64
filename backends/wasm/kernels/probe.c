// What makes a Gram matrix of float32 products trustworthy: its diagonal in doubles, and how wrong the rest is: G x - A^T (A x) in doubles for one vector x of signs. With
// E = G - A^T A the mean of |E x|^2 over all such x is |E|_F^2, and that of x^T E x is the trace of E (Hutchinson, 1990).
#include "kernels.h"

// x: n signs, the same in every run, the rest of the last panel 0.
EXPORT(probeSigns) void probe_signs(int n, double *x) {
  unsigned state = 1;
  for (int i = 0; i < (n + 7) / 8 * 8; i++) {
    state = 1664525 * state + 1013904223;
    x[i] = i >= n ? 0 : state >> 31 ? -1 : 1;
  }
}

// y += P x, each element of y in two halves, for a panel P of k x 8.
static NOINLINE void panel_times(const float *p, int k, const double *x, double *y) {
  const pair x0 = LOAD(x), x1 = LOAD(x + 2), x2 = LOAD(x + 4), x3 = LOAD(x + 6);
  for (int i = 0; i < k; i++, p += 8, y += 2) {
    const v128_t low = LOAD(p), high = LOAD(p + 4);
    pair sum = FMA(PROMOTE_LOW(low), x0, FMA(PROMOTE_HIGH(low), x1, LOAD(y)));
    STORE(y, FMA(PROMOTE_LOW(high), x2, FMA(PROMOTE_HIGH(high), x3, sum)));
  }
}

// z += P^T y, z of 8, and d += the squared lengths of P's columns.
static NOINLINE void panel_transposed_times(const float *p, int k, const double *y, double *z, double *d) {
  pair z0 = LOAD(z), z1 = LOAD(z + 2), z2 = LOAD(z + 4), z3 = LOAD(z + 6);
  pair d0 = LOAD(d), d1 = LOAD(d + 2), d2 = LOAD(d + 4), d3 = LOAD(d + 6);
  for (int i = 0; i < k; i++, p += 8) {
    const v128_t low = LOAD(p), high = LOAD(p + 4);
    const pair s = SPLAT(y + i);
    { pair x = PROMOTE_LOW(low);   z0 = FMA(x, s, z0); d0 = FMA(x, x, d0); }
    { pair x = PROMOTE_HIGH(low);  z1 = FMA(x, s, z1); d1 = FMA(x, x, d1); }
    { pair x = PROMOTE_LOW(high);  z2 = FMA(x, s, z2); d2 = FMA(x, x, d2); }
    { pair x = PROMOTE_HIGH(high); z3 = FMA(x, s, z3); d3 = FMA(x, x, d3); }
  }
  STORE(z, z0);
  STORE(z + 2, z1);
  STORE(z + 4, z2);
  STORE(z + 6, z3);
  STORE(d, d0);
  STORE(d + 2, d1);
  STORE(d + 4, d2);
  STORE(d + 6, d3);
}

// z += A^T (A x) and d += the diagonal of A^T A for k packed rows A. x, z, d: n doubles, padded to a multiple of 8;
// y: 2k doubles of scratch.
EXPORT(probeAdd) void probe_add(const float *packed, int n, int k, const double *x, double *y, double *z, double *d) {
  const int panels = (n + 7) / 8;
  __builtin_memset(y, 0, (unsigned long)k * 16);
  for (int p = 0; p < panels; p++) panel_times(packed + (long)p * k * 8, k, x + p * 8, y);
  for (int i = 0; i < k; i++) y[i] = y[2 * i] + y[2 * i + 1];
  for (int p = 0; p < panels; p++) panel_transposed_times(packed + (long)p * k * 8, k, y, z + p * 8, d + p * 8);
}

// Puts the diagonal d in g: sums of squares never cancel, and their rounding errors lean to one side.
EXPORT(setDiagonal) void set_diagonal(double *g, int n, int ld, const double *d) {
  for (int i = 0; i < n; i++) g[((long)(i / 4) * ld + i) * 4 + i % 4] = d[i];
}

// z = G x - z, for a whole G in panel format: what is left is E x.
EXPORT(probeResidual) void probe_residual(const double *g, int n, int ld, const double *x, double *z) {
  for (int p = 0; p < (n + 3) / 4; p++) {
    const double *row = g + (long)p * ld * 4;
    pair low = ZERO, high = ZERO;
    for (int j = 0; j < n; j++) {
      const pair s = SPLAT(x + j);
      low = FMA(LOAD(row + j * 4), s, low);
      high = FMA(LOAD(row + j * 4 + 2), s, high);
    }
    STORE(z + p * 4, SUB(low, LOAD(z + p * 4)));
    STORE(z + p * 4 + 2, SUB(high, LOAD(z + p * 4 + 2)));
  }
}
