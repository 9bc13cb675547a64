// Stage two: band to tridiagonal by chasing bulges, about 6 n^2 BAND flops (Murata and Horikoshi, 1975).
//
// Sweep s makes column s tridiagonal with one reflector, then follows the bulge down the band, a block of BAND columns
// at a time. Sweep s + 1 may begin two blocks behind: GROUP sweeps run together, SEGMENT blocks at a time, so that a
// part of the band is loaded into the cache once for all of them.
//
// The band is column-major and lower, bulge included: B(i, j) = band[j * BAND_LD + i - j].
#include "kernels.h"

enum { b = BAND, GROUP = 4, SEGMENT = 8 };

// Two-sided update of the symmetric diagonal block of order n at `block`, lower half: A = H A H, H = I - tau v v^T.
// w[n] is scratch. Two columns at a time; column j starts at block + j * BAND_LD with A(j, j).
static NOINLINE void update_diagonal(double *block, int n, const double *v, double tau, double *w) {
  for (int i = 0; i < n; i++) w[i] = 0;
  int j = 0;
  for (; j + 2 <= n; j += 2) {  // w = A v
    const double *x = block + (long)j * BAND_LD, *y = x + BAND_LD;
    double wx = x[0] * v[j] + x[1] * v[j + 1], wy = x[1] * v[j] + y[0] * v[j + 1];
    pair s = ZERO, t = ZERO, vx = SPLAT(v + j), vy = SPLAT(v + j + 1);
    x += 2;
    y += 1;
    const double *vs = v + j + 2;
    double *ws = w + j + 2;
    const int rest = n - j - 2;
    int i = 0;
    for (; i + 2 <= rest; i += 2) {
      pair p = LOAD(x + i), q = LOAD(y + i), u = LOAD(vs + i);
      s = FMA(p, u, s);
      t = FMA(q, u, t);
      STORE(ws + i, FMA(q, vy, FMA(p, vx, LOAD(ws + i))));
    }
    wx += sum2(s);
    wy += sum2(t);
    for (; i < rest; i++) {
      wx += x[i] * vs[i];
      wy += y[i] * vs[i];
      ws[i] += x[i] * v[j] + y[i] * v[j + 1];
    }
    w[j] += wx;
    w[j + 1] += wy;
  }
  if (j < n) w[j] += block[(long)j * BAND_LD] * v[j];

  // w = tau A v - (tau^2 / 2) (v^T A v) v, then A -= v w^T + w v^T
  scale(tau, w, n);
  axpy(-0.5 * tau * dot(w, v, n), v, w, n);
  for (j = 0; j + 2 <= n; j += 2) {
    double *x = block + (long)j * BAND_LD, *y = x + BAND_LD;
    x[0] -= 2 * v[j] * w[j];
    x[1] -= v[j + 1] * w[j] + w[j + 1] * v[j];
    y[0] -= 2 * v[j + 1] * w[j + 1];
    pair vx = SPLAT(v + j), wx = SPLAT(w + j), vy = SPLAT(v + j + 1), wy = SPLAT(w + j + 1);
    x += 2;
    y += 1;
    const double *vs = v + j + 2, *ws = w + j + 2;
    const int rest = n - j - 2;
    int i = 0;
    for (; i + 2 <= rest; i += 2) {
      pair p = LOAD(vs + i), q = LOAD(ws + i);
      STORE(x + i, FNMA(q, vx, FNMA(p, wx, LOAD(x + i))));
      STORE(y + i, FNMA(q, vy, FNMA(p, wy, LOAD(y + i))));
    }
    for (; i < rest; i++) {
      x[i] -= vs[i] * w[j] + ws[i] * v[j];
      y[i] -= vs[i] * w[j + 1] + ws[i] * v[j + 1];
    }
  }
  if (j < n) block[(long)j * BAND_LD] -= 2 * v[j] * w[j];
}

// The block below the diagonal one, m x n, column j at e + j * (BAND_LD - 1): applies (v, tau) from the right, makes
// the reflector (next, returned tau) that clears its first column below the first row, applies that from the left.
static NOINLINE double update_below(double *e, int m, int n, const double *v, double tau, double *next, double *y) {
  const int ld = BAND_LD - 1;
  for (int i = 0; i < m; i++) y[i] = 0;
  int j = 0;
  for (; j + 4 <= n; j += 4) {  // y = E v
    const double *a = e + (long)j * ld, *c = a + ld, *d = c + ld, *f = d + ld;
    pair p = SPLAT(v + j), q = SPLAT(v + j + 1), r = SPLAT(v + j + 2), s = SPLAT(v + j + 3);
    int i = 0;
    for (; i + 2 <= m; i += 2)
      STORE(y + i,
            FMA(LOAD(f + i), s, FMA(LOAD(d + i), r, FMA(LOAD(c + i), q, FMA(LOAD(a + i), p, LOAD(y + i))))));
    for (; i < m; i++) y[i] += a[i] * v[j] + c[i] * v[j + 1] + d[i] * v[j + 2] + f[i] * v[j + 3];
  }
  for (; j < n; j++) axpy(v[j], e + (long)j * ld, y, m);

  for (int i = 0; i < m; i++) {
    y[i] *= tau;
    next[i] = e[i] - y[i] * v[0];
  }
  double next_tau = householder(next, m, e);
  for (int i = 1; i < m; i++) e[i] = 0;

  // E -= y v^T, then E -= next_tau next (next^T E), the two as one update: next^T (E - y v^T) is known beforehand.
  const double next_y = dot(next, y, m);
  for (j = 1; j + 4 <= n; j += 4) {
    double *a = e + (long)j * ld, *c = a + ld, *d = c + ld, *f = d + ld;
    pair p = ZERO, q = ZERO, r = ZERO, s = ZERO;
    double z[4] = {0, 0, 0, 0};
    int i = 0;
    for (; i + 2 <= m; i += 2) {
      pair u = LOAD(next + i);
      p = FMA(LOAD(a + i), u, p);
      q = FMA(LOAD(c + i), u, q);
      r = FMA(LOAD(d + i), u, r);
      s = FMA(LOAD(f + i), u, s);
    }
    for (; i < m; i++) {
      z[0] += a[i] * next[i];
      z[1] += c[i] * next[i];
      z[2] += d[i] * next[i];
      z[3] += f[i] * next[i];
    }
    z[0] = next_tau * (z[0] + sum2(p) - next_y * v[j]);
    z[1] = next_tau * (z[1] + sum2(q) - next_y * v[j + 1]);
    z[2] = next_tau * (z[2] + sum2(r) - next_y * v[j + 2]);
    z[3] = next_tau * (z[3] + sum2(s) - next_y * v[j + 3]);
    p = SPLAT(v + j);
    q = SPLAT(v + j + 1);
    r = SPLAT(v + j + 2);
    s = SPLAT(v + j + 3);
    const pair zp = SPLAT(z), zq = SPLAT(z + 1), zr = SPLAT(z + 2), zs = SPLAT(z + 3);
    for (i = 0; i + 2 <= m; i += 2) {
      pair yy = LOAD(y + i), u = LOAD(next + i);
      STORE(a + i, FNMA(u, zp, FNMA(yy, p, LOAD(a + i))));
      STORE(c + i, FNMA(u, zq, FNMA(yy, q, LOAD(c + i))));
      STORE(d + i, FNMA(u, zr, FNMA(yy, r, LOAD(d + i))));
      STORE(f + i, FNMA(u, zs, FNMA(yy, s, LOAD(f + i))));
    }
    for (; i < m; i++) {
      a[i] -= y[i] * v[j] + next[i] * z[0];
      c[i] -= y[i] * v[j + 1] + next[i] * z[1];
      d[i] -= y[i] * v[j + 2] + next[i] * z[2];
      f[i] -= y[i] * v[j + 3] + next[i] * z[3];
    }
  }
  for (; j < n; j++) {
    double *a = e + (long)j * ld;
    axpy(-v[j], y, a, m);
    axpy(-next_tau * dot(a, next, m), next, a, m);
  }
  return next_tau;
}

typedef struct {
  double v[2][b], tau;  // the reflector at work, and the one being made
  int at, row, length, done;
} Sweep;

static void begin_sweep(Sweep *sweep, double *band, int n, int s) {
  double *column = band + (long)s * BAND_LD + 1;
  sweep->at = 0;
  sweep->done = 0;
  sweep->row = s + 1;
  sweep->length = min_int(b, n - sweep->row);
  for (int i = 0; i < sweep->length; i++) sweep->v[0][i] = column[i];
  sweep->tau = householder(sweep->v[0], sweep->length, column);
  for (int i = 1; i < sweep->length; i++) column[i] = 0;
}

static void chase_block(Sweep *sweep, double *band, int n) {
  double scratch[b];
  const double *v = sweep->v[sweep->at];
  double *block = band + (long)sweep->row * BAND_LD;
  update_diagonal(block, sweep->length, v, sweep->tau, scratch);
  int row = sweep->row + sweep->length;
  if (row >= n) {
    sweep->done = 1;
    return;
  }
  int length = min_int(b, n - row);
  sweep->tau =
      update_below(block + sweep->length, length, sweep->length, v, sweep->tau, sweep->v[sweep->at ^ 1], scratch);
  sweep->at ^= 1;
  sweep->row = row;
  sweep->length = length;
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
    if (segment == 0) begin_sweep(sweep, band, n, s0 + q);
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
