// The triangular factor of a matrix that streams by: A = Q R a block of rows at a time, Q forgotten. Where the Gram
// matrix has lost the small singular values to rounding, R still has them. 2 m n^2 flops.
#include "kernels.h"

// Panels of k rows to columns of ldx >= k rows, ldx even, the rest zero; columns past n are zero.
static void unpack(const double *packed, int n, int order, int k, int ldx, double *x) {
  for (int j = 0; j < order; j++) {
    double *column = x + (long)j * ldx;
    const double *s = packed + (long)(j / 4) * k * 4 + j % 4;
    for (int i = 0; i < ldx; i++) column[i] = i < k && j < n ? s[(long)i * 4] : 0;
  }
}

// Reflectors c0 .. c0 + 7 of [R; X]: each is 1 in row c of R and dense in X, where it is stored.
static void factor8(double *r, int order, double *x, int ldx, int c0, double *t8) {
  double tau[EIGHT];
  for (int c = c0; c < c0 + EIGHT; c++) {
    double *v = x + (long)c * ldx, *head = r + (long)c * order + c;
    double tail = dot(v, v, ldx), beta = *head;
    tau[c - c0] = 0;
    if (tail == 0) __builtin_memset(v, 0, ldx * 8);
    else {
      double norm = __builtin_sqrt(beta * beta + tail);
      beta = beta > 0 ? -norm : norm;
      tau[c - c0] = (beta - *head) / beta;
      scale(1 / (*head - beta), v, ldx);
    }
    *head = beta;
    for (int q = c + 1; q < c0 + EIGHT; q++) {
      double *y = x + (long)q * ldx, *above = r + (long)q * order + c;
      double s = tau[c - c0] * (*above + dot(v, y, ldx));
      *above -= s;
      axpy(-s, v, y, ldx);
    }
    for (int q = c0; q < c; q++) t8[(c - c0) * EIGHT + q - c0] = dot(x + (long)q * ldx, v, ldx);
  }
  form_t8(tau, t8);
}

static void apply8(double *r, int order, double *x, int ldx, int c0, const double *t8) {
  const double *v = x + (long)c0 * ldx;
  for (int q = c0 + EIGHT; q < order; q += 2) {
    double *y = x + (long)q * ldx, *z = y + ldx, *above = r + (long)q * order + c0;
    double w[2 * EIGHT];
    dot_4x2(v, ldx, y, z, ldx, w);
    dot_4x2(v + 4L * ldx, ldx, y, z, ldx, w + EIGHT);
    for (int i = 0; i < EIGHT; i++)
      for (int h = 0; h < 2; h++) w[(i >> 2) * EIGHT + h * 4 + (i & 3)] += above[h * order + i];
    times_t8(t8, w);
    for (int i = 0; i < EIGHT; i++)
      for (int h = 0; h < 2; h++) above[h * order + i] -= w[(i >> 2) * EIGHT + h * 4 + (i & 3)];
    subtract_4x2(v, ldx, y, z, ldx, w);
    subtract_4x2(v + 4L * ldx, ldx, y, z, ldx, w + EIGHT);
  }
}

// Makes r the triangular factor of [r; the k packed rows]. r: order x order, column-major, zero before the first rows
// and always zero below the diagonal; order: n padded to a multiple of 8; x: order * (k + 1) doubles of scratch.
EXPORT(qrAdd) void qr_add(const double *packed, int n, int k, double *r, int order, double *x) {
  const int ldx = (k + 1) & ~1;
  double t8[EIGHT * EIGHT];
  unpack(packed, n, order, k, ldx, x);
  for (int c0 = 0; c0 < order; c0 += EIGHT) {
    factor8(r, order, x, ldx, c0, t8);
    apply8(r, order, x, ldx, c0, t8);
  }
}
