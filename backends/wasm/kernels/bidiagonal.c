// The singular values of a square matrix without squaring it: Householder bidiagonalisation (Golub and Kahan, 1965),
// 8/3 n^3 flops, bound by memory; then differential qd with shifts (Fernando and Parlett, Accurate singular values and
// differential qd algorithms, 1994), which unlike implicit QR does not drift upwards. For the rare matrix whose Gram
// matrix is too coarse. Absolute error: a small multiple of 2^-53 sigma_1.
#include "kernels.h"

// Steps i0 .. i1 - 1 of a's reduction to upper bidiagonal form, d on the diagonal and e above it. a: n x n,
// column-major. work: 3n + 1 doubles that carry the last step's right reflector, A -= tau y u^T, which is applied while
// the next step reads the columns anyway; work[3n] = 0 before step 0.
EXPORT(bidiagonalize) void bidiagonalize(double *a, int ld, int n, int i0, int i1, double *d, double *e, double *work) {
  double *y = work, *u = work + n, *w = work + 2L * n, *tau_u = work + 3L * n;
  for (int i = i0; i < i1; i++) {
    double *v = a + (long)i * ld + i;
    const int rows = n - i;
    if (*tau_u != 0) axpy(-*tau_u * u[i], y + i, v, rows);
    const double tau = householder(v, rows, &d[i]);
    e[i] = 0;
    if (rows == 1) return;
    for (int q = i + 1; q < n; q++) {
      double *x = a + (long)q * ld + i;
      if (*tau_u != 0) axpy(-*tau_u * u[q], y + i, x, rows);
      w[q] = tau * dot(v, x, rows);
    }
    for (int q = i + 1; q < n; q++) u[q] = a[(long)q * ld + i] - w[q];
    *tau_u = householder(u + i + 1, rows - 1, &e[i]);
    __builtin_memset(y + i + 1, 0, (rows - 1) * 8);
    for (int q = i + 1; q < n; q++) {
      double *x = a + (long)q * ld + i + 1;
      axpy(-w[q], v + 1, x, rows - 1);
      axpy(u[q], x, y + i + 1, rows - 1);
    }
  }
}

// A block q[lo .. hi], e[lo .. hi - 1] whose eigenvalues are those of the whole matrix less shift + rest: a sum of many
// small numbers, kept with its rounding error.
typedef struct {
  int lo, hi;
  double shift, rest;
} Block;

// One qd step with shift tau from (q, e) to (p, f). Returns the smallest d; below 0, tau was above the smallest
// eigenvalue and the step is void. last receives the final d, 0 when the step did not get that far.
static NOINLINE double qd_step(int lo, int hi, double tau, const double *q, const double *e, double *p, double *f,
                               double *last) {
  double d = q[lo] - tau, least = d;
  for (int i = lo; i < hi; i++) {
    p[i] = d + e[i];
    double t = q[i + 1] / p[i];
    f[i] = e[i] * t;
    d = d * t - tau;
    if (d < least) least = d;
    if (d < 0 && i < hi - 1) {  // p must stay positive
      *last = 0;
      return d;
    }
  }
  p[hi] = *last = d;
  return least;
}

// Smaller eigenvalue of the last two rows, an upper bound of the block's smallest.
static double trial_shift(const Block *block, const double *q, const double *e) {
  double a = q[block->hi - 1] + e[block->hi - 1], c = q[block->hi], b2 = e[block->hi - 1] * c;
  double half = (a - c) * 0.5, root = __builtin_sqrt(half * half + b2);
  double larger = (a + c) * 0.5 + root;
  return larger > 0 ? q[block->hi - 1] / larger * c : 0;  // determinant over the larger
}

// A qd step with the largest shift that works of the trial one, what its failure suggests, and none.
static void reduce(Block *block, double *q, double *e, double *p, double *f) {
  const int lo = block->lo, hi = block->hi;
  double tau = trial_shift(block, q, e) * (1 - 0x1p-50), last;
  for (int attempt = 0; tau > 0; attempt++) {
    double least = qd_step(lo, hi, tau, q, e, p, f, &last);
    if (least >= 0) break;
    // Negative in the last place alone: the shift was too large by about that much.
    tau = attempt > 2 ? 0 : least == last && tau + last > 0 ? (tau + last) * (1 - 0x1p-50) : tau * 0.25;
  }
  if (tau <= 0) {
    tau = 0;
    qd_step(lo, hi, 0, q, e, p, f, &last);
  }
  __builtin_memcpy(q + lo, p + lo, (hi - lo + 1) * 8);
  __builtin_memcpy(e + lo, f + lo, (hi - lo) * 8);
  double add = tau + block->rest, sum = block->shift + add;
  block->rest = add - (sum - block->shift);
  block->shift = sum;
}

// The same singular values with the order turned round: small ones converge fast at the end.
static void reverse(const Block *block, double *q, double *e) {
  for (int i = block->lo, j = block->hi; i < j; i++, j--) {
    double x = q[i];
    q[i] = q[j];
    q[j] = x;
  }
  for (int i = block->lo, j = block->hi - 1; i < j; i++, j--) {
    double x = e[i];
    e[i] = e[j];
    e[j] = x;
  }
}

// Cuts the block behind its last negligible e; the part before goes on the stack. Returns the new depth.
static int split(Block *block, const double *e, double least, Block *stack, int depth) {
  int lo = block->hi;
  while (lo > block->lo && e[lo - 1] > least) lo--;
  if (lo == block->lo) return depth;
  stack[depth] = *block;
  stack[depth].hi = lo - 1;
  block->lo = lo;
  return depth + 1;
}

// d[n], e[n]: an upper bidiagonal matrix, e[n - 1] unused; on return d has its singular values, unsorted. work: 5n
// doubles. Returns the steps taken, or -1 when they do not converge.
EXPORT(bidiagonalValues) int bidiagonal_values(int n, double *d, double *e, double *work) {
  double *p = work, *f = p + n;
  Block *stack = (Block *)(f + n);  // n blocks at most
  double largest = 0;
  for (int i = 0; i < n; i++) {
    d[i] *= d[i];
    e[i] = i < n - 1 ? e[i] * e[i] : 0;
    if (d[i] + e[i] > largest) largest = d[i] + e[i];
  }
  const double least = 0x1p-116 * largest;  // an e dropped moves a singular value by 2^-58 sigma_1 at most
  int steps = 0, depth = 1;
  stack[0] = (Block){0, n - 1, 0, 0};
  while (depth > 0) {
    Block block = stack[--depth];
    int fresh = 1;
    for (;;) {
      int before = depth;
      depth = split(&block, e, least, stack, depth);
      if (block.lo == block.hi) break;
      if ((fresh || depth > before) && d[block.lo] < d[block.hi]) reverse(&block, d, e);
      fresh = 0;
      if (++steps > 60 * n) return -1;
      reduce(&block, d, e, p, f);
    }
    d[block.lo] = __builtin_sqrt(d[block.lo] + block.shift);
  }
  return steps;
}
