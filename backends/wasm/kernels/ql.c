// Stage three: the eigenvalues of a symmetric tridiagonal matrix by root-free QL with implicit shifts (Pal, Walker and
// Kahan; Parlett, The symmetric eigenvalue problem, 8-15). The simplified form of LAPACK's dsterf, but for its shifts: both
// eigenvalues of the first two rows, one after another. A step waits for its divisions; the second one runs two rows behind the
// first, in the same loop, and waits at the same time. That makes up for a sixth more steps.
#include "kernels.h"

static inline double absolute(double x) { return x < 0 ? -x : x; }

// First index m >= l at which the matrix splits, e[] holding squares; clears e[m]. The caller keeps the matrix's norm
// near 1: what `least` drops moves an eigenvalue by less than 2^-75.
static int find_split(int n, int l, const double *d, double *e, double negligible) {
  const double least = 0x1p-150;
  int m = l;
  for (; m < n - 1; m++)
    if (e[m] <= negligible * absolute(d[m] * d[m + 1]) + least) {
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

// The eigenvalue of rows l, l + 1 that is nearer to d[l].
static double nearest(int l, const double *d, const double *e) {
  const double root = __builtin_sqrt(e[l]), sigma = (d[l + 1] - d[l]) / (2 * root);
  const double r = __builtin_sqrt(sigma * sigma + 1);
  return d[l] - root / (sigma + (sigma < 0 ? -r : r));
}

// A step on its way from row m up to row l.
typedef struct {
  double sigma, c, s, gamma, p;
} Step;

static inline Step begin_step(double sigma, double last) {
  return (Step){sigma, 1, 0, last - sigma, (last - sigma) * (last - sigma)};
}

// c = p / sum, s = e / sum, gamma = c (d - sigma) - s gamma, p = gamma^2 / c; over a common denominator one division
// waits for the other no longer, and that is what the loop waits for.
static inline __attribute__((always_inline)) void take_row(Step *step, int i, int m, double *d, double *e) {
  const double bb = e[i], p = step->p, sum = p + bb, gamma = step->gamma;
  if (i != m - 1) e[i + 1] = step->s * sum;
  const double top = p * (d[i] - step->sigma) - bb * gamma, bottom = sum * p;
  step->p = bottom > 0 ? top * top / bottom : step->c * bb;
  step->c = p / sum;
  step->s = bb / sum;
  step->gamma = top / sum;
  d[i + 1] = gamma + (d[i] - step->gamma);
}

static inline void end_step(const Step *step, int l, double *d, double *e) {
  e[l] = step->s * step->p;
  d[l] = step->sigma + step->gamma;
}

static void ql_step(int l, int m, double *d, double *e) {
  Step step = begin_step(nearest(l, d, e), d[m]);
  for (int i = m - 1; i >= l; i--) take_row(&step, i, m, d, e);
  end_step(&step, l, d, e);
}

// Two steps, the second two rows behind the first; m > l + 2.
static void ql_two_steps(int l, int m, double *d, double *e) {
  const double sigma = nearest(l, d, e), other = d[l] + d[l + 1] - sigma;
  Step first = begin_step(sigma, d[m]);
  take_row(&first, m - 1, m, d, e);
  take_row(&first, m - 2, m, d, e);
  Step second = begin_step(other, d[m]);
  for (int i = m - 3; i >= l; i--) {
    take_row(&first, i, m, d, e);
    take_row(&second, i + 2, m, d, e);
  }
  end_step(&first, l, d, e);
  take_row(&second, l + 1, m, d, e);
  take_row(&second, l, m, d, e);
  end_step(&second, l, d, e);
}

// Pairs of steps that may be tried for one eigenvalue; should they not converge, single ones do.
enum { PAIRS = 12 };

// d[n]: the diagonal, then the eigenvalues, unsorted; e[n]: the n - 1 elements below it, then rubble. An element below it is
// dropped whose square is at most `negligible` times what stands beside it on the diagonal.
// Returns the steps taken, or -1 when they do not converge.
EXPORT(ql) int ql(int n, double *d, double *e, double negligible) {
  int steps = 0;
  for (int i = 0; i < n - 1; i++) e[i] *= e[i];
  e[n - 1] = 0;
  for (int l = 0; l < n; l++)
    for (int tried = 0;; tried++) {
      const int m = find_split(n, l, d, e, negligible);
      if (m == l) break;
      if (m == l + 1) {
        solve_pair(l, d, e);
        continue;
      }
      if (++steps > 60 * n) return -1;
      if (m > l + 2 && tried < PAIRS) ql_two_steps(l, m, d, e);
      else ql_step(l, m, d, e);
    }
  return steps;
}
