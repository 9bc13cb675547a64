// Stage three: the eigenvalues of a symmetric tridiagonal matrix by root-free QL with implicit shifts (Pal, Walker and
// Kahan; Parlett, The symmetric eigenvalue problem, 8-15). The simplified form of LAPACK's dsterf.
#include "kernels.h"

static inline double absolute(double x) { return x < 0 ? -x : x; }

// First index m >= l at which the matrix splits, e[] holding squares; clears e[m]. The caller keeps the matrix's norm
// near 1: what `least` drops moves an eigenvalue by less than 2^-75.
static int find_split(int n, int l, const double *d, double *e) {
  const double eps2 = 0x1p-106, least = 0x1p-150;
  int m = l;
  for (; m < n - 1; m++)
    if (e[m] <= eps2 * absolute(d[m] * d[m + 1]) + least) {
      e[m] = 0;
      break;
    }
  return m;
}

// Both eigenvalues of the block l, l + 1.
static void solve_pair(int l, double *d, double *e) {
  double half = (d[l] - d[l + 1]) * 0.5, mean = (d[l] + d[l + 1]) * 0.5;
  double root = __builtin_sqrt(half * half + e[l]);
  d[l] = mean + root;
  d[l + 1] = mean - root;
  e[l] = 0;
}

static void ql_step(int l, int m, double *d, double *e) {
  double p = d[l], root = __builtin_sqrt(e[l]), sigma = (d[l + 1] - p) / (2 * root);
  double r = __builtin_sqrt(sigma * sigma + 1);
  sigma = p - root / (sigma + (sigma < 0 ? -r : r));
  double c = 1, s = 0, gamma = d[m] - sigma;
  p = gamma * gamma;
  // c = p / sum, s = e / sum, gamma = c (d - sigma) - s gamma, p = gamma^2 / c; over a common denominator one division
  // waits for the other no longer, and that is what the loop waits for.
  for (int i = m - 1; i >= l; i--) {
    double bb = e[i], sum = p + bb, old_c = c, old_gamma = gamma;
    if (i != m - 1) e[i + 1] = s * sum;
    double top = p * (d[i] - sigma) - bb * old_gamma, bottom = sum * p;
    c = p / sum;
    s = bb / sum;
    gamma = top / sum;
    d[i + 1] = old_gamma + (d[i] - gamma);
    p = bottom > 0 ? top * top / bottom : old_c * bb;
  }
  e[l] = s * p;
  d[l] = sigma + gamma;
}

// d[n]: the diagonal, then the eigenvalues, unsorted; e[n]: the n - 1 elements below it, then rubble.
// Returns the steps taken, or -1 when they do not converge.
EXPORT(ql) int ql(int n, double *d, double *e) {
  int steps = 0;
  for (int i = 0; i < n - 1; i++) e[i] *= e[i];
  e[n - 1] = 0;
  for (int l = 0; l < n; l++)
    for (;;) {
      int m = find_split(n, l, d, e);
      if (m == l) break;
      if (m == l + 1) {
        solve_pair(l, d, e);
        continue;
      }
      if (++steps > 60 * n) return -1;
      ql_step(l, m, d, e);
    }
  return steps;
}
