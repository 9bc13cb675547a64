// All eigenvalues and eigenvectors of a small dense symmetric matrix: Householder reflections to tridiagonal form and QL
// with implicit shifts (Bowdler, Martin, Reinsch and Wilkinson, The QR and QL algorithms for symmetric matrices, 1968).
// Everything is column-major, so that all work is on columns.
#include "kernels.h"

#define MAX_STEPS 60

static inline double absolute(double x) { return x < 0 ? -x : x; }

// a becomes tridiagonal: d its diagonal, e below it; reflector j is left in column j below the diagonal, tau in tau[j].
static void tridiagonalize(double *a, int n, int ld, double *d, double *e, double *tau, double *w) {
  for (int j = 0; j < n; j++) {
    d[j] = a[(long)j * ld + j];
    if (j == n - 1) break;
    const int k = n - j - 1;
    double *v = a + (long)j * ld + j + 1, *rest = a + (long)(j + 1) * ld + j + 1;
    tau[j] = householder(v, k, &e[j]);
    if (tau[j] == 0) continue;
    // rest -= v w^T + w v^T with w = tau (rest v) - tau^2 / 2 (v^T rest v) v
    for (int i = 0; i < k; i++) w[i] = tau[j] * dot(rest + (long)i * ld, v, k);
    axpy(-tau[j] / 2 * dot(w, v, k), v, w, k);
    for (int i = 0; i < k; i++) {
      axpy(-w[i], v, rest + (long)i * ld, k);
      axpy(-v[i], w, rest + (long)i * ld, k);
    }
  }
}

// q = the product of the reflectors.
static void form(const double *a, int n, int ld, const double *tau, double *q) {
  __builtin_memset(q, 0, (unsigned long)n * ld * 8);
  for (int j = 0; j < n; j++) q[(long)j * ld + j] = 1;
  for (int j = n - 2; j >= 0; j--) {
    if (tau[j] == 0) continue;
    const int k = n - j - 1;
    const double *v = a + (long)j * ld + j + 1;
    for (int i = j + 1; i < n; i++) {
      double *x = q + (long)i * ld + j + 1;
      axpy(-tau[j] * dot(v, x, k), v, x, k);
    }
  }
}

// One implicit QL step on l .. m, with a shift from the top.
static void ql_step(double *d, double *e, int l, int m, double *q, int ld) {
  double g = (d[l + 1] - d[l]) / (2 * e[l]), r = __builtin_sqrt(g * g + 1);
  g = d[m] - d[l] + e[l] / (g + (g < 0 ? -r : r));
  double s = 1, c = 1, p = 0;
  for (int i = m - 1; i >= l; i--) {
    double f = s * e[i], b = c * e[i];
    r = __builtin_sqrt(f * f + g * g);
    e[i + 1] = r;
    if (r == 0) {
      d[i + 1] -= p;
      e[m] = 0;
      return;
    }
    s = f / r;
    c = g / r;
    g = d[i + 1] - p;
    r = (d[i] - g) * s + 2 * c * b;
    p = s * r;
    d[i + 1] = g + p;
    g = c * r - b;
    rotate(q + (long)i * ld, q + (long)(i + 1) * ld, ld, c, s);
  }
  d[l] -= p;
  e[l] = g;
  e[m] = 0;
}

// The symmetric n x n matrix a, ld even and at least n, is overwritten; d takes its eigenvalues in no order, the columns
// of q their vectors. work: 3 n doubles. Returns 0, or 1 when QL does not converge.
EXPORT(symmetricEigen) int symmetric_eigen(double *a, int n, int ld, double *d, double *q, double *work) {
  double *e = work, *tau = work + n;
  tridiagonalize(a, n, ld, d, e, tau, work + 2 * n);
  form(a, n, ld, tau, q);
  double norm = 0;
  for (int i = 0; i < n; i++) {
    double size = absolute(d[i]) + (i < n - 1 ? absolute(e[i]) : 0);
    if (size > norm) norm = size;
  }
  e[n - 1] = 0;
  for (int l = 0; l < n; l++)
    for (int steps = 0;; steps++) {
      int m = l;
      while (m < n - 1 && absolute(e[m]) > 0x1p-53 * (absolute(d[m]) + absolute(d[m + 1])) + 0x1p-70 * norm) m++;
      if (m == l) break;
      if (steps == MAX_STEPS) return 1;
      ql_step(d, e, l, m, q, ld);
    }
  return 0;
}
