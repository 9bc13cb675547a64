// The singular values of a square matrix without squaring it: Householder bidiagonalisation (Golub and Kahan, 1965),
// 8/3 n^3 flops, bound by memory; then implicit QR (Demmel and Kahan, Accurate singular values of bidiagonal matrices,
// 1990). For the rare matrix whose Gram matrix is too coarse. Absolute error: a small multiple of 2^-53 sigma_1.
#include "kernels.h"

static inline double absolute(double x) { return x < 0 ? -x : x; }

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

typedef struct {
  double c, s, r;
} Rotation;

// c f + s g = r, c g - s f = 0
static Rotation rotate(double f, double g) {
  double most = absolute(f) > absolute(g) ? absolute(f) : absolute(g);
  if (most == 0) return (Rotation){1, 0, 0};
  f /= most;
  g /= most;
  double r = __builtin_sqrt(f * f + g * g);
  return (Rotation){f / r, g / r, r * most};
}

// Smaller singular value of [f g; 0 h], as LAPACK's dlas2.
static double smaller_of_two(double f, double g, double h) {
  f = absolute(f);
  g = absolute(g);
  h = absolute(h);
  double low = f < h ? f : h, high = f < h ? h : f;
  if (low == 0) return 0;
  double as = 1 + low / high, at = (high - low) / high;
  if (g < high) {
    double au = (g / high) * (g / high);
    return low * 2 / (__builtin_sqrt(as * as + au) + __builtin_sqrt(at * at + au));
  }
  double au = high / g;
  double c = 1 / (__builtin_sqrt(1 + as * au * as * au) + __builtin_sqrt(1 + at * au * at * au));
  return 2 * (low * c) * au;
}

// One QR sweep over d[lo .. hi], e[lo .. hi - 1], without a shift: exact zeros on the diagonal deflate in one.
static void sweep_unshifted(int lo, int hi, double *d, double *e) {
  Rotation right = {1, 0, 0}, left = {1, 0, 0};
  for (int i = lo; i < hi; i++) {
    right = rotate(d[i] * right.c, e[i]);
    if (i > lo) e[i - 1] = left.s * right.r;
    left = rotate(left.c * right.r, d[i + 1] * right.s);
    d[i] = left.r;
  }
  double last = d[hi] * right.c;
  d[hi] = last * left.c;
  e[hi - 1] = last * left.s;
}

static void sweep_shifted(int lo, int hi, double shift, double *d, double *e) {
  double f = (absolute(d[lo]) - shift) * ((d[lo] < 0 ? -1 : 1) + shift / d[lo]), g = e[lo];
  for (int i = lo; i < hi; i++) {
    Rotation right = rotate(f, g);
    if (i > lo) e[i - 1] = right.r;
    f = right.c * d[i] + right.s * e[i];
    e[i] = right.c * e[i] - right.s * d[i];
    g = right.s * d[i + 1];
    d[i + 1] = right.c * d[i + 1];
    Rotation left = rotate(f, g);
    d[i] = left.r;
    f = left.c * e[i] + left.s * d[i + 1];
    d[i + 1] = left.c * d[i + 1] - left.s * e[i];
    if (i < hi - 1) {
      g = left.s * e[i + 1];
      e[i + 1] = left.c * e[i + 1];
    }
  }
  e[hi - 1] = f;
}

// The same singular values with the order turned round: QR converges fast when the small elements are at the end.
static void reverse(int lo, int hi, double *d, double *e) {
  for (int i = lo, j = hi; i < j; i++, j--) {
    double x = d[i];
    d[i] = d[j];
    d[j] = x;
  }
  for (int i = lo, j = hi - 1; i < j; i++, j--) {
    double x = e[i];
    e[i] = e[j];
    e[j] = x;
  }
}

static double choose_shift(int lo, int hi, const double *d, const double *e, double norm) {
  double mu = absolute(d[lo]), least = mu;  // a lower bound of the block's singular values
  for (int i = lo; i < hi && mu > 0; i++) {
    mu = absolute(d[i + 1]) * (mu / (mu + absolute(e[i])));
    if (mu < least) least = mu;
  }
  if (least <= 0x1p-60 * norm) return 0;
  double shift = smaller_of_two(d[hi - 1], e[hi - 1], d[hi]), ratio = shift / d[lo];
  return ratio * ratio < 0x1p-52 ? 0 : shift;
}

// d[n], e[n - 1]: an upper bidiagonal matrix; on return d has the singular values, unsorted, of either sign. Returns
// the sweeps taken, or -1 when they do not converge.
EXPORT(bidiagonalQr) int bidiagonal_qr(int n, double *d, double *e) {
  double norm = 0;
  for (int i = 0; i < n; i++) {
    if (absolute(d[i]) > norm) norm = absolute(d[i]);
    if (i < n - 1 && absolute(e[i]) > norm) norm = absolute(e[i]);
  }
  int sweeps = 0, old_lo = n, old_hi = -1;
  for (int hi = n - 1; hi > 0;) {
    int lo = hi;
    for (; lo > 0; lo--)
      if (absolute(e[lo - 1]) <= 0x1p-54 * (absolute(d[lo - 1]) + absolute(d[lo])) + 0x1p-60 * norm) {
        e[lo - 1] = 0;
        break;
      }
    if (lo == hi) {
      hi--;
      continue;
    }
    if (++sweeps > 60 * n) return -1;
    if (lo > old_hi || hi < old_lo) {  // a new block
      if (absolute(d[lo]) < absolute(d[hi])) reverse(lo, hi, d, e);
      old_lo = lo;
      old_hi = hi;
    }
    double shift = choose_shift(lo, hi, d, e, norm);
    if (shift == 0) sweep_unshifted(lo, hi, d, e);
    else sweep_shifted(lo, hi, shift, d, e);
  }
  return sweeps;
}
