// Stage two: band to tridiagonal by chasing bulges, about 6 n^2 BAND flops (Murata and Horikoshi, 1975).
//
// Sweep s makes column s tridiagonal with one reflector, then follows the bulge down the band, a block of BAND columns
// at a time. Sweep s + 1 may begin two blocks behind: GROUP sweeps run together, SEGMENT blocks at a time, so that a
// part of the band is loaded into the cache once for all of them.
//
// The band is column-major and lower, bulge included: B(i, j) = band[j * BAND_LD + i - j]. Below and right of the matrix
// BAND columns of zeros follow, so that every block is whole: what a reflector does to zeros is nothing.
#include "kernels.h"

enum { b = BAND, GROUP = 4, SEGMENT = 8, STEP = BAND_LD - 1 };  // STEP: from a row's element in one column to the next
_Static_assert(b == 32, "blocks are cut for 32 rows and columns");

// A Householder reflector and what it is multiplied by, a constant distance apart: loops then need one pointer for both.
typedef struct {
  double v[b], w[b];
} Reflector;

typedef struct {
  Reflector reflectors[2];  // the one at work, and the one being made
  double tau;
  int at, row, done;
} Sweep;

EXPORT(bandDoubles) int band_doubles(int n) { return BAND_LD * (n + b + 1); }

// w += A v, lower half of A given, for columns j .. j + 3 of A at `a`, on and below the diagonal.
static NOINLINE void multiply_columns(const double *a, double *v, int rows) {
  double *w = v + b;
  const double *end = v + rows;
  const pair s0 = SPLAT(v), s1 = SPLAT(v + 1), s2 = SPLAT(v + 2), s3 = SPLAT(v + 3), t = LOAD(v + 2);
  const pair x = LOAD(a + 2), y = LOAD(a + STEP + 2), z = LOAD(a + 2 * STEP + 2);
  STORE(w, FMA(LOAD(a), s0, LOAD(w)));
  STORE(w + 2, FMA(z, s2, FMA(y, s1, FMA(x, s0, LOAD(w + 2)))));
  const double w0 = a[1] * v[1], w1 = a[STEP + 1] * v[1], w2 = a[2 * STEP + 3] * v[3], w3 = a[3 * STEP + 3] * v[3];
  pair p = MUL(x, t), q = MUL(y, t), r = ZERO, s = ZERO;
  for (a += 4, v += 4; v < end;) {
    const pair u = LOAD(v);
    pair sum = LOAD(v + b);
    { pair c = LOAD(a);            p = FMA(c, u, p); sum = FMA(c, s0, sum); } KEEP_ORDER;
    { pair c = LOAD(a + STEP);     q = FMA(c, u, q); sum = FMA(c, s1, sum); } KEEP_ORDER;
    { pair c = LOAD(a + 2 * STEP); r = FMA(c, u, r); sum = FMA(c, s2, sum); } KEEP_ORDER;
    { pair c = LOAD(a + 3 * STEP); s = FMA(c, u, s); sum = FMA(c, s3, sum); }
    STORE(v + b, sum);
    KEEP_POINTERS(a, v);
    a += 2;
    v += 2;
  }
  w[0] += w0 + sum2(p);
  w[1] += w1 + sum2(q);
  w[2] += w2 + sum2(r);
  w[3] += w3 + sum2(s);
}

// A -= v w^T + w v^T for the same columns.
static NOINLINE void subtract_columns(double *a, const double *v, int rows) {
  const double *w = v + b, *end = v + rows;
  const pair v0 = SPLAT(v), v1 = SPLAT(v + 1), v2 = SPLAT(v + 2), v3 = SPLAT(v + 3);
  const pair w0 = SPLAT(w), w1 = SPLAT(w + 1), w2 = SPLAT(w + 2), w3 = SPLAT(w + 3);
  const pair p2 = LOAD(v + 2), q2 = LOAD(w + 2);
  STORE(a, FNMA(LOAD(w), v0, FNMA(LOAD(v), w0, LOAD(a))));
  STORE(a + 2, FNMA(q2, v0, FNMA(p2, w0, LOAD(a + 2))));
  a[STEP + 1] -= 2 * v[1] * w[1];
  STORE(a + STEP + 2, FNMA(q2, v1, FNMA(p2, w1, LOAD(a + STEP + 2))));
  STORE(a + 2 * STEP + 2, FNMA(q2, v2, FNMA(p2, w2, LOAD(a + 2 * STEP + 2))));
  a[3 * STEP + 3] -= 2 * v[3] * w[3];
  for (a += 4, v += 4; v < end;) {
    const pair p = LOAD(v), q = LOAD(v + b);
    STORE(a, FNMA(q, v0, FNMA(p, w0, LOAD(a))));
    STORE(a + STEP, FNMA(q, v1, FNMA(p, w1, LOAD(a + STEP))));
    STORE(a + 2 * STEP, FNMA(q, v2, FNMA(p, w2, LOAD(a + 2 * STEP))));
    STORE(a + 3 * STEP, FNMA(q, v3, FNMA(p, w3, LOAD(a + 3 * STEP))));
    KEEP_POINTERS(a, v);
    a += 2;
    v += 2;
  }
}

// Two-sided update of the symmetric diagonal block at `block`, lower half: A = H A H, H = I - tau v v^T.
static void update_diagonal(double *block, Reflector *reflector, double tau) {
  double *v = reflector->v, *w = reflector->w;
  for (int i = 0; i < b; i += 2) STORE(w + i, ZERO);
  for (int j = 0; j < b; j += 4) multiply_columns(block + j * (STEP + 1), v + j, b - j);
  // w = tau A v - (tau^2 / 2) (v^T A v) v, then A -= v w^T + w v^T
  const double half = -0.5 * tau * tau * dot(w, v, b);
  const pair t = wasm_f64x2_splat(tau), h = wasm_f64x2_splat(half);
  for (int i = 0; i < b; i += 2) STORE(w + i, FMA(h, LOAD(v + i), MUL(t, LOAD(w + i))));
  for (int j = 0; j < b; j += 4) subtract_columns(block + j * (STEP + 1), v + j, b - j);
}

// In the loops below each number that is loaded is used once, and engines load all of a turn before they use any: more
// sums at once than six or seven would be kept on the stack.
//
// y = tau E v for 10 or 12 rows of E.
static inline __attribute__((always_inline)) void times(const double *e, const double *v, double tau, double *y, int rows) {
  pair c0 = ZERO, c1 = ZERO, c2 = ZERO, c3 = ZERO, c4 = ZERO, c5 = ZERO;
  const double *end = v + b;
  do {
    const pair s = SPLAT(v);
    c0 = FMA(LOAD(e), s, c0);
    c1 = FMA(LOAD(e + 2), s, c1);
    c2 = FMA(LOAD(e + 4), s, c2);
    c3 = FMA(LOAD(e + 6), s, c3);
    c4 = FMA(LOAD(e + 8), s, c4);
    if (rows > 10) c5 = FMA(LOAD(e + 10), s, c5);
    KEEP_POINTERS(e, v);
    e += STEP;
    v++;
  } while (v < end);
  const pair t = wasm_f64x2_splat(tau);
  STORE(y, MUL(c0, t));
  STORE(y + 2, MUL(c1, t));
  STORE(y + 4, MUL(c2, t));
  STORE(y + 6, MUL(c3, t));
  STORE(y + 8, MUL(c4, t));
  if (rows > 10) STORE(y + 10, MUL(c5, t));
}
static NOINLINE void times_10(const double *e, const double *v, double tau, double *y) { times(e, v, tau, y, 10); }
static NOINLINE void times_12(const double *e, const double *v, double tau, double *y) { times(e, v, tau, y, 12); }

// z[c] = x . e_c for 4 or 7 columns of E.
static inline __attribute__((always_inline)) void products(const double *e, const double *x, double *z, int columns) {
  pair c0 = ZERO, c1 = ZERO, c2 = ZERO, c3 = ZERO, c4 = ZERO, c5 = ZERO, c6 = ZERO;
  const double *end = x + b;
  do {
    const pair u = LOAD(x);
    c0 = FMA(LOAD(e), u, c0);
    c1 = FMA(LOAD(e + STEP), u, c1);
    c2 = FMA(LOAD(e + 2 * STEP), u, c2);
    c3 = FMA(LOAD(e + 3 * STEP), u, c3);
    if (columns > 4) {
      c4 = FMA(LOAD(e + 4 * STEP), u, c4);
      c5 = FMA(LOAD(e + 5 * STEP), u, c5);
      c6 = FMA(LOAD(e + 6 * STEP), u, c6);
    }
    KEEP_POINTERS(e, x);
    e += 2;
    x += 2;
  } while (x < end);
  STORE(z, ADD(LOW(c0, c1), HIGH(c0, c1)));
  STORE(z + 2, ADD(LOW(c2, c3), HIGH(c2, c3)));
  if (columns > 4) {
    STORE(z + 4, ADD(LOW(c4, c5), HIGH(c4, c5)));
    z[6] = sum2(c6);
  }
}
static NOINLINE void products_4(const double *e, const double *x, double *z) { products(e, x, z, 4); }
static NOINLINE void products_7(const double *e, const double *x, double *z) { products(e, x, z, 7); }

// E -= y v^T + x z^T for 4 columns of E; y = x + b.
static NOINLINE void subtract_both(double *e, const double *x, const double *v, const double *z) {
  const pair v0 = SPLAT(v), v1 = SPLAT(v + 1), v2 = SPLAT(v + 2), v3 = SPLAT(v + 3);
  const pair z0 = SPLAT(z), z1 = SPLAT(z + 1), z2 = SPLAT(z + 2), z3 = SPLAT(z + 3);
  const double *end = x + b;
  do {
    const pair p = LOAD(x), q = LOAD(x + b);
    STORE(e, FNMA(p, z0, FNMA(q, v0, LOAD(e))));
    STORE(e + STEP, FNMA(p, z1, FNMA(q, v1, LOAD(e + STEP))));
    STORE(e + 2 * STEP, FNMA(p, z2, FNMA(q, v2, LOAD(e + 2 * STEP))));
    STORE(e + 3 * STEP, FNMA(p, z3, FNMA(q, v3, LOAD(e + 3 * STEP))));
    KEEP_POINTERS(e, x);
    e += 2;
    x += 2;
  } while (x < end);
}

// The block below the diagonal one: applies (v, tau) from the right, makes the reflector (next, returned tau) that
// clears its first column below the first row, applies that from the left: both as one update, as next^T (E - y v^T) is
// known beforehand.
static double update_below(double *e, const double *v, double tau, Reflector *next) {
  double *x = next->v, *y = next->w, z[b], beta;
  times_12(e, v, tau, y);
  times_10(e + 12, v, tau, y + 12);
  times_10(e + 22, v, tau, y + 22);
  const pair head = SPLAT(v);
  for (int i = 0; i < b; i += 2) STORE(x + i, FNMA(LOAD(y + i), head, LOAD(e + i)));
  const double next_tau = householder(x, b, &beta);
  for (int j = 0; j < 28; j += 7) products_7(e + j * STEP, x, z + j);
  products_4(e + 28 * STEP, x, z + 28);
  const pair next_y = wasm_f64x2_splat(-dot(x, y, b)), t = wasm_f64x2_splat(next_tau);
  for (int c = 0; c < b; c += 2) STORE(z + c, MUL(t, FMA(next_y, LOAD(v + c), LOAD(z + c))));
  for (int j = 0; j < b; j += 4) subtract_both(e + j * STEP, x, v + j, z + j);
  e[0] = beta;
  for (int i = 1; i < b; i++) e[i] = 0;
  return next_tau;
}

static void begin_sweep(Sweep *sweep, double *band, int s) {
  double *column = band + (long)s * BAND_LD + 1, *v = sweep->reflectors[0].v;
  sweep->at = 0;
  sweep->done = 0;
  sweep->row = s + 1;
  for (int i = 0; i < b; i++) v[i] = column[i];
  sweep->tau = householder(v, b, column);
  for (int i = 1; i < b; i++) column[i] = 0;
}

static void chase_block(Sweep *sweep, double *band, int n) {
  Reflector *reflector = &sweep->reflectors[sweep->at];
  double *block = band + (long)sweep->row * BAND_LD;
  update_diagonal(block, reflector, sweep->tau);
  sweep->row += b;
  sweep->at ^= 1;
  if (sweep->row >= n) sweep->done = 1;
  else sweep->tau = update_below(block + b, reflector->v, sweep->tau, &sweep->reflectors[sweep->at]);
}

// Bytes of the state of a group of sweeps.
EXPORT(sweepBytes) int sweep_bytes(void) { return GROUP * sizeof(Sweep); }

// Chases the bulges of sweeps s0 .. s0 + sweepGroup() - 1 a segment further down the band of a matrix of order n:
// segment 0, 1, .. until it returns 1. Another thread may follow with the next group once two segments more are done
// here than it has done, or all.
EXPORT(chaseSegment) int chase_segment(double *band, int n, int s0, int segment, Sweep *sweeps) {
  const int count = min_int(GROUP, n - 1 - s0);
  int left = 0;
  for (int q = 0; q < count; q++) {
    Sweep *sweep = &sweeps[q];
    if (segment == 0) begin_sweep(sweep, band, s0 + q);
    int k = segment * SEGMENT - 2 * q, end = k + SEGMENT;
    for (k = k < 0 ? 0 : k; k < end && !sweep->done; k++) chase_block(sweep, band, n);
    left += !sweep->done;
  }
  return left == 0;
}

// All segments of a group. Call for s0 = 0, sweepGroup(), .. below n - 1; the diagonal is then band[j * BAND_LD], the one
// below it band[j * BAND_LD + 1].
EXPORT(chaseBulges) void chase_bulges(double *band, int n, int s0) {
  Sweep sweeps[GROUP];
  for (int segment = 0; !chase_segment(band, n, s0, segment, sweeps); segment++) {}
}

EXPORT(sweepGroup) int sweep_group(void) { return GROUP; }
EXPORT(bandWidth) int band_width(void) { return BAND; }
EXPORT(bandLd) int band_ld(void) { return BAND_LD; }
