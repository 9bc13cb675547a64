// Stage three: the eigenvalues of a symmetric tridiagonal matrix by root-free QL with implicit shifts (Pal, Walker and
// Kahan; Parlett, The symmetric eigenvalue problem, 8-15; LAPACK's dsterf), in a form in which no index waits for the
// divisions of the one before.
#include "kernels.h"

static inline double absolute(double x) { return x < 0 ? -x : x; }

// First index m >= l at which the matrix splits, e[] holding squares; clears e[m]. The caller keeps the matrix's norm
// near 1: what `least` drops moves an eigenvalue by less than 2^-75.
static NOINLINE int find_split(int n, int l, const double *d, double *e) {
  const double eps2 = 0x1p-106, least = 0x1p-150;
  const pair eps2s = wasm_f64x2_splat(eps2), leasts = wasm_f64x2_splat(least);
  int m = l;
  for (; m + 2 < n; m += 2) {
    const pair limit = ADD(MUL(eps2s, wasm_f64x2_abs(MUL(LOAD(d + m), LOAD(d + m + 1)))), leasts);
    if (wasm_v128_any_true(wasm_f64x2_le(LOAD(e + m), limit))) break;
  }
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

// What one index of a step leaves to the one before: the pivot gamma / c as a quotient a / a1, r = 1 / c, and s, p = gamma^2 / c
// and gamma, by which elements are computed.
typedef struct {
  double a, a1, r, s, p, gamma;
} Rotation;

// A pivot that is 0 becomes this small, which moves no eigenvalue: the matrix's norm is near 1.
#define LEAST_PIVOT 0x1p-100

// Index i. Pivots are q_i = d_i - sigma - e_i / q_{i + 1}, and r_i = 1 + e_i / q_{i + 1}^2 r_{i + 1}.
static void rotate_one(Rotation *at, double sigma, int i, double *d, double *e) {
  const double w = at->a1 / at->a, ur = e[i] * w * w * at->r, q = (d[i] - sigma) - e[i] * w;
  at->a = q == 0 ? LEAST_PIVOT : q;
  at->a1 = 1;
  at->r = 1 + ur;
  e[i + 1] = at->s * (at->p + e[i]);
  const double gamma = at->a / at->r;
  d[i + 1] = at->gamma + (d[i] - gamma);
  at->s = ur / at->r;
  at->p = gamma * at->a;
  at->gamma = gamma;
}

// Whether the lower element is 0 or far from 1.
static inline int is_extreme(pair x) {
  return (((unsigned)wasm_i32x4_extract_lane(x, 1) >> 20) & 0x7ff) - (1023 - 200) > 400u;
}

// The power of two that brings x to between 1 and 2, or -1 and -2.
static inline pair scale_of(pair x) {
  return wasm_i64x2_sub(wasm_i64x2_const_splat(0x7fe0000000000000), wasm_v128_and(x, wasm_i64x2_const_splat(0x7ff0000000000000)));
}

// (x_j, x_{j + 1}) from (x_{j - 1}, x_j) and (x_{j + 1}, x_{j + 2}).
#define BETWEEN(x, above) wasm_i64x2_shuffle(x, above, 1, 2)

// Indices i, i - 1, .. two at a time, as long as both are at least l; returns the next one. A numerator is the determinant
// of what is above it, for which no division waits, nor does one for r: so divisions run side by side. What goes from
// one turn to the next is little, so that it stays in registers. e[l - 1] is read in vain, if l is 0 as well.
static NOINLINE int rotate_pairs(Rotation *at, double sigma, int i, int l, double *d, double *e) {
  const pair one = wasm_f64x2_splat(1), shift = wasm_f64x2_splat(sigma);
  pair a1 = wasm_f64x2_splat(at->a1), a = wasm_f64x2_splat(at->a), r1 = wasm_f64x2_splat(at->r);
  pair gamma1 = wasm_f64x2_splat(at->gamma), s = ZERO, p = ZERO;
  for (; i > l; i -= 2) {
    const pair ee = LOAD(e + i - 1), dd = LOAD(d + i - 1);
    // Lower elements: the next two numerators, both with their signs changed.
    pair x = FNMA(SUB(SPLAT(d + i), shift), a, MUL(SPLAT(e + i), a1));
    pair y = FMA(SUB(dd, shift), x, MUL(ee, a));
    if (is_extreme(x) || is_extreme(y)) {
      const pair least = wasm_f64x2_splat(LEAST_PIVOT);
      if (wasm_f64x2_extract_lane(x, 0) == 0) {
        x = MUL(a, least);
        y = FMA(SUB(dd, shift), x, MUL(ee, a));
      }
      if (wasm_f64x2_extract_lane(y, 0) == 0) y = MUL(x, least);
      const pair scale = scale_of(y);
      a1 = MUL(a1, scale);
      a = MUL(a, scale);
      x = MUL(x, scale);
      y = MUL(y, scale);
    }
    const pair inverse = wasm_f64x2_div(one, LOW(x, wasm_f64x2_neg(a)));
    const pair w = MUL(LOW(a, a1), inverse), q = MUL(LOW(y, x), inverse), u = MUL(ee, MUL(w, w));
    const pair r_i = FMA(HIGH(u, u), r1, one), r = FMA(u, r_i, one);
    const pair cosine = wasm_f64x2_div(one, LOW(r, r_i)), gamma = MUL(q, cosine);
    s = MUL(MUL(u, LOW(r_i, r1)), cosine);
    p = MUL(gamma, q);
    STORE(d + i, ADD(BETWEEN(gamma, gamma1), SUB(dd, gamma)));
    STORE(e + i - 1, MUL(s, ADD(p, LOAD(e + i - 2))));
    a1 = x;
    a = y;
    r1 = r;
    gamma1 = gamma;
  }
  *at = (Rotation){wasm_f64x2_extract_lane(a, 0), wasm_f64x2_extract_lane(a1, 0), wasm_f64x2_extract_lane(r1, 0),
                   wasm_f64x2_extract_lane(s, 0), wasm_f64x2_extract_lane(p, 0),  wasm_f64x2_extract_lane(gamma1, 0)};
  return i;
}

static void ql_step(int l, int m, double *d, double *e) {
  double p = d[l], root = __builtin_sqrt(e[l]), sigma = (d[l + 1] - p) / (2 * root);
  double r = __builtin_sqrt(sigma * sigma + 1);
  sigma = p - root / (sigma + (sigma < 0 ? -r : r));
  const double top = d[m] - sigma, gamma = top == 0 ? LEAST_PIVOT : top;
  Rotation at = {.a = gamma, .a1 = 1, .r = 1, .s = 0, .p = gamma * gamma, .gamma = gamma};
  int i = rotate_pairs(&at, sigma, m - 1, l, d, e);
  if (i == l) rotate_one(&at, sigma, l, d, e);
  e[l] = at.s * at.p;
  d[l] = sigma + at.gamma;
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
