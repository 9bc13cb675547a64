// Vectors of doubles: products, updates and Householder reflectors.
#include "kernels.h"

EXPORT(dot) NOINLINE double dot(const double *x, const double *y, int n) {
  pair a = ZERO, b = ZERO, c = ZERO, d = ZERO;
  int i = 0;
  for (; i + 8 <= n; i += 8) {
    a = FMA(LOAD(x + i), LOAD(y + i), a);
    b = FMA(LOAD(x + i + 2), LOAD(y + i + 2), b);
    c = FMA(LOAD(x + i + 4), LOAD(y + i + 4), c);
    d = FMA(LOAD(x + i + 6), LOAD(y + i + 6), d);
  }
  double sum = sum2(ADD(ADD(a, b), ADD(c, d)));
  for (; i < n; i++) sum += x[i] * y[i];
  return sum;
}

// y += a x
NOINLINE void axpy(double a, const double *x, double *y, int n) {
  pair s = wasm_f64x2_splat(a);
  int i = 0;
  for (; i + 4 <= n; i += 4) {
    STORE(y + i, FMA(s, LOAD(x + i), LOAD(y + i)));
    STORE(y + i + 2, FMA(s, LOAD(x + i + 2), LOAD(y + i + 2)));
  }
  for (; i < n; i++) y[i] += a * x[i];
}

// x *= a
NOINLINE void scale(double a, double *x, int n) {
  pair s = wasm_f64x2_splat(a);
  int i = 0;
  for (; i + 2 <= n; i += 2) STORE(x + i, MUL(LOAD(x + i), s));
  for (; i < n; i++) x[i] *= a;
}

// Turns x[n] into v, v[0] = 1, such that (I - tau v v^T) x = beta e_0; returns tau, which is 0 when x is so already.
// The norm is not scaled: the callers keep their matrices within a few powers of two of 1.
NOINLINE double householder(double *x, int n, double *beta) {
  double head = x[0];
  double tail = n > 1 ? dot(x + 1, x + 1, n - 1) : 0;
  x[0] = 1;
  *beta = head;
  if (tail == 0) {
    for (int i = 1; i < n; i++) x[i] = 0;  // what underflowed when squared
    return 0;
  }
  double norm = __builtin_sqrt(head * head + tail);
  *beta = head > 0 ? -norm : norm;
  scale(1 / (head - *beta), x + 1, n - 1);
  return (*beta - head) / *beta;
}

// out[c] = v_c . x and out[4 + c] = v_c . y for the four columns v_c of v; n even.
NOINLINE void dot_4x2(const double *v, int ldv, const double *x, const double *y, int n, double *out) {
  pair a = ZERO, b = ZERO, c = ZERO, d = ZERO, e = ZERO, f = ZERO, g = ZERO, h = ZERO;
  const double *v1 = v + ldv, *v2 = v1 + ldv, *v3 = v2 + ldv;
  for (int i = 0; i < n; i += 2) {
    pair p = LOAD(x + i), q = LOAD(y + i), u;
    u = LOAD(v + i);   a = FMA(u, p, a); e = FMA(u, q, e);
    u = LOAD(v1 + i);  b = FMA(u, p, b); f = FMA(u, q, f);
    u = LOAD(v2 + i); c = FMA(u, p, c); g = FMA(u, q, g);
    u = LOAD(v3 + i);  d = FMA(u, p, d); h = FMA(u, q, h);
  }
  out[0] = sum2(a);
  out[1] = sum2(b);
  out[2] = sum2(c);
  out[3] = sum2(d);
  out[4] = sum2(e);
  out[5] = sum2(f);
  out[6] = sum2(g);
  out[7] = sum2(h);
}

// x -= sum w[c] v_c and y -= sum w[4 + c] v_c over the four columns v_c of v; n even.
NOINLINE void subtract_4x2(const double *v, int ldv, double *x, double *y, int n, const double *w) {
  const double *v1 = v + ldv, *v2 = v1 + ldv, *v3 = v2 + ldv;
  pair a = SPLAT(w), b = SPLAT(w + 1), c = SPLAT(w + 2), d = SPLAT(w + 3);
  pair e = SPLAT(w + 4), f = SPLAT(w + 5), g = SPLAT(w + 6), h = SPLAT(w + 7);
  for (int i = 0; i < n; i += 2) {
    pair p = LOAD(x + i), q = LOAD(y + i), u;
    u = LOAD(v + i);   p = FNMA(u, a, p); q = FNMA(u, e, q);
    u = LOAD(v1 + i);  p = FNMA(u, b, p); q = FNMA(u, f, q);
    u = LOAD(v2 + i); p = FNMA(u, c, p); q = FNMA(u, g, q);
    u = LOAD(v3 + i);  p = FNMA(u, d, p); q = FNMA(u, h, q);
    STORE(x + i, p);
    STORE(y + i, q);
  }
}

// x = c x - s y, y = s x + c y; n even.
NOINLINE void rotate(double *x, double *y, int n, double c, double s) {
  const pair cs = wasm_f64x2_splat(c), sn = wasm_f64x2_splat(s);
  for (int i = 0; i < n; i += 2) {
    pair a = LOAD(x + i), b = LOAD(y + i);
    STORE(x + i, SUB(MUL(cs, a), MUL(sn, b)));
    STORE(y + i, ADD(MUL(sn, a), MUL(cs, b)));
  }
}

// Whether FMA rounds once: (1 + e)^2 = 1 + 2e + e^2, and e^2 is lost when the product is rounded on its own.
EXPORT(roundsOnce) int rounds_once(double e) {
  const pair x = wasm_f64x2_splat(1 + e);
  return wasm_f64x2_extract_lane(FMA(x, x, wasm_f64x2_splat(-(1 + 2 * e))), 0) != 0;
}
