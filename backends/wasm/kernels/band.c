// Stage one: a symmetric matrix of order n to one of half-bandwidth BAND with the same eigenvalues, a panel of BAND
// columns at a time, so that nearly all of the 4/3 n^3 flops are products of matrices.
//
// With V T V^T the block reflector of a panel's QR factorisation: Y = A V, S = T^T (V^T Y) T, X = Y T - V S / 2,
// A -= V X^T + X V^T (Bischof, Lang and Sun, A framework for symmetric band reduction, ACM TOMS 26, 2000).
#include "band.h"

// The large products of a panel are cut into shares, by the order alone and not by the number of threads that take
// them: what each adds to Y is added up share by share, and rounded alike.
EXPORT(bandShares) int band_shares(int n) { return n < 768 ? 1 : n < 3072 ? 4 : 8; }

// The share that block of rows i belongs to: there and back, so that the rows of a triangle add up to the same work.
static int share_of(int i, int shares) {
  const int at = i % (2 * shares);
  return at < shares ? at : 2 * shares - 1 - at;
}

enum { ABOVE = 16 * BLOCK * BLOCK };  // doubles of a block's transpose

// Doubles of the workspace, for a matrix of order n, before the shares.
EXPORT(sharesAt) int shares_at(int n) { return sizeof(Workspace) / 8 + n * b * 8; }

// Doubles that reduce_panel needs for a matrix of order n.
EXPORT(bandWorkspace) int band_workspace(int n) {
  const int shares = band_shares(n);
  return shares_at(n) + shares * ABOVE + (shares > 1 ? shares * n * b : 0);
}

// Factors columns c0 .. c0 + 7 of v (k rows) in place; r gets their part of R on and above the diagonal block.
static NOINLINE void factor8(double *v, int k, int c0, double *tau, double *r, double *t8) {
  for (int c = c0; c < c0 + EIGHT; c++) {
    double *x = v + (long)c * k + c;
    const int n = k - c;
    for (int i = c0; i < c; i++) r[c * b + i] = v[(long)c * k + i];
    tau[c] = householder(x, n, &r[c * b + c]);
    for (int q = c + 1; q < c0 + EIGHT; q++) {
      double *y = v + (long)q * k + c;
      axpy(-tau[c] * dot(x, y, n), x, y, n);
    }
    for (int q = c0; q < c; q++) t8[(c - c0) * EIGHT + q - c0] = dot(x, v + (long)q * k + c, n);
  }
  for (int c = 0; c < EIGHT; c++)
    for (int i = 0; i < c; i++) v[(long)(c0 + c) * k + c0 + i] = 0;
  form_t8(tau + c0, t8);
}

// Applies the eight reflectors that begin at column c0 to columns c0 + 8 .. b - 1, two at a time.
static NOINLINE void apply8(double *v, int k, int c0, const double *t8) {
  const double *v8 = v + (long)c0 * k + c0;
  const int n = k - c0;
  for (int q = c0 + EIGHT; q < b; q += 2) {
    double *x = v + (long)q * k + c0, *y = x + k;
    double w[2 * EIGHT];
    dot_4x2(v8, k, x, y, n, w);
    dot_4x2(v8 + 4L * k, k, x, y, n, w + EIGHT);
    times_t8(t8, w);
    subtract_4x2(v8, k, x, y, n, w);
    subtract_4x2(v8 + 4L * k, k, x, y, n, w + EIGHT);
  }
}

// QR factorisation of the panel v (k x b, k >= b): the reflectors stay in v, R goes to r.
void factor_panel(double *v, int k, double *tau, double *r, double *t8) {
  for (int c0 = 0; c0 < b; c0 += EIGHT) {
    factor8(v, k, c0, tau, r, t8);
    apply8(v, k, c0, t8);
    for (int q = c0 + EIGHT; q < b; q++)
      for (int i = 0; i < EIGHT; i++) {
        r[q * b + c0 + i] = v[(long)q * k + c0 + i];
        v[(long)q * k + c0 + i] = 0;
      }
  }
}

// The panel below the diagonal block of columns j .. j + b - 1, to column-major.
static void gather_panel(const double *g, int ld, int j, int k, double *v) {
  for (int p = 0; p < k / 4; p++) {
    const double *s = g + ((long)((j + b) / 4 + p) * ld + j) * 4;
    for (int c = 0; c < b; c++) {
      STORE(v + (long)c * k + p * 4, LOAD(s + c * 4));
      STORE(v + (long)c * k + p * 4 + 2, LOAD(s + c * 4 + 2));
    }
  }
}

void pack_reflectors(const double *v, int k, double *packed, double *vxv) {
  for (int p = 0; p < k / 4; p++) {
    double *slot = vxv + (long)p * 12 * b;
    for (int c = 0; c < b; c++) {
      const double *s = v + (long)c * k + p * 4;
      pair low = LOAD(s), high = LOAD(s + 2);
      STORE(slot + c * 4, low);
      STORE(slot + c * 4 + 2, high);
      STORE(slot + 8 * b + c * 4, low);
      STORE(slot + 8 * b + c * 4 + 2, high);
      double *o = packed + ((long)(c / 4) * k + p * 4) * 4 + c % 4;
      o[0] = s[0];
      o[4] = s[1];
      o[8] = s[2];
      o[12] = s[3];
    }
  }
}

static void clear_rows(double *y, int stride, int p0, int p1) {
  for (int p = p0; p < p1; p++) __builtin_memset(y + (long)p * stride, 0, 4 * b * 8);
}

// Y = A V for panels p0 .. p1 - 1 of the trailing matrix of order k that begins at row o; Y goes to X's place in vxv.
static void multiply_rows(const double *g, int ld, int o, int k, int p0, int p1, const double *packed, double *vxv) {
  enum { ROWS = 16, DEPTH = 256 };  // panels of A and rows of V that stay in the cache
  clear_rows(vxv + 4 * b, 12 * b, p0, p1);
  for (int q0 = p0; q0 < p1; q0 += ROWS)
    for (int k0 = 0; k0 < k; k0 += DEPTH)
      for (int p = q0; p < min_int(q0 + ROWS, p1); p++) {
        const double *a = g + ((long)(o / 4 + p) * ld + o + k0) * 4;
        double *y = vxv + (long)p * 12 * b + 4 * b;
        for (int c = 0; c < b / 4; c++)
          tile_add(a, packed + ((long)c * k + k0) * 4, y + c * 16, min_int(DEPTH, k - k0));
      }
}

// One 4 x 4 tile of V^T Y, column-major, over all panels of rows; y points at the tile's columns in the first slot.
static NOINLINE void tile_vty(const double *v, const double *y, int panels, double *out) {
  pair c00 = ZERO, c01 = ZERO, c02 = ZERO, c03 = ZERO;
  pair c10 = ZERO, c11 = ZERO, c12 = ZERO, c13 = ZERO;
  for (int p = 0; p < panels; p++, y += 12 * b)
    for (int i = 0; i < 4; i++) {
      const double *s = y + i;
      pair a0 = LOAD(v), a1 = LOAD(v + 2);
      { pair x = SPLAT(s);      c00 = FMA(a0, x, c00); c10 = FMA(a1, x, c10); }
      { pair x = SPLAT(s + 4);  c01 = FMA(a0, x, c01); c11 = FMA(a1, x, c11); }
      { pair x = SPLAT(s + 8);  c02 = FMA(a0, x, c02); c12 = FMA(a1, x, c12); }
      { pair x = SPLAT(s + 12); c03 = FMA(a0, x, c03); c13 = FMA(a1, x, c13); }
      KEEP_POINTERS(v, s);
      v += 4;
    }
  STORE(out, c00);
  STORE(out + 2, c10);
  STORE(out + 4, c01);
  STORE(out + 6, c11);
  STORE(out + 8, c02);
  STORE(out + 10, c12);
  STORE(out + 12, c03);
  STORE(out + 14, c13);
}

static void put_tile(const double *tile, double *matrix, int row, int column) {
  for (int c = 0; c < 4; c++)
    for (int r = 0; r < 4; r++) matrix[(column + c) * b + row + r] = tile[c * 4 + r];
}

// V^T Y and the upper half of V^T V, four of their rows.
void project(Workspace *ws, int c, int k, const double *packed, const double *vxv) {
  const double *v = packed + (long)c * k;
  double tile[16];
  for (int e = 0; e < b; e += 4) {
    tile_vty(v, vxv + 4 * b + e * 4, k / 4, tile);
    put_tile(tile, ws->vty, c, e);
    if (e < c) continue;
    tile_vty(v, vxv + e * 4, k / 4, tile);
    put_tile(tile, ws->vtv, c, e);
  }
}

// ws->ts = [-S / 2; T], packed, from V^T Y and V^T V.
void small_matrices(Workspace *ws) {
  __builtin_memset(ws->t, 0, sizeof ws->t);
  __builtin_memset(ws->w, 0, sizeof ws->w);
  for (int i = 0; i < b; i++) {
    for (int q = 0; q < i; q++) axpy(-ws->tau[i] * ws->vtv[i * b + q], ws->t + q * b, ws->t + i * b, q + 1);
    ws->t[i * b + i] = ws->tau[i];
  }
  for (int i = 0; i < b; i++)
    for (int q = 0; q <= i; q++) axpy(ws->t[i * b + q], ws->vty + q * b, ws->w + i * b, b);
  for (int i = 0; i < b; i++)
    for (int r = 0; r < b; r++) {
      double *ts = ws->ts + ((long)(i / 4) * 2 * b + r) * 4 + i % 4;
      ts[0] = -0.5 * dot(ws->t + r * b, ws->w + i * b, r + 1);
      ts[b * 4] = ws->t[i * b + r];
    }
}

// X = [V | Y] [-S / 2; T], over Y, in panels p0 .. p1 - 1.
void form_x(const Workspace *ws, int p0, int p1, double *vxv) {
  for (int p = p0; p < p1; p++) {
    double *slot = vxv + (long)p * 12 * b, rows[4 * b];
    __builtin_memset(rows, 0, sizeof rows);
    for (int c = 0; c < b / 4; c++) tile_add(slot, ws->ts + c * 8 * b, rows + c * 16, 2 * b);
    __builtin_memcpy(slot + 4 * b, rows, sizeof rows);
  }
}

// A -= V X^T + X V^T for the next b columns in panels p0 .. p1 - 1, on and below the diagonal; A begins at row o.
static void update_columns(double *g, int ld, int o, int p0, int p1, const double *vxv) {
  double unused[16];
  for (int i = p0; i < p1; i++)
    for (int j = 0; j < min_int(b / 4, i + 1); j++)
      tile_subtract_mirrored(vxv + (long)i * 12 * b, vxv + (long)j * 12 * b + 4 * b,
                             g + ((long)(o / 4 + i) * ld + o + j * 4) * 4, unused, 2 * b);
}

// Y += A V for the rows of A in panels p0 .. p1 - 1 and its columns in panels q0 .. q1 - 1; a: the first row's first; y:
// Y's first panel, the next one `stride` further.
static void multiply_block(const double *a, int ld, int p0, int p1, int q0, int q1, int k, const double *packed,
                           double *y, int stride) {
  for (int p = p0; p < p1; p++, a += ld * 4L)
    for (int c = 0; c < b / 4; c++)
      tile_add(a, packed + ((long)c * k + q0 * 4) * 4, y + (long)p * stride + c * 16, (q1 - q0) * 4);
}

// The places of a panel's matrices in the workspace.
typedef struct {
  int o, k;  // the trailing matrix: its first row, and its order
  double *v, *packed, *vxv, *last, *shares;
} Panel;

static Panel panel_at(int n, int j, Workspace *ws) {
  double *v = ws->matrices, *packed = v + (long)n * b, *even = packed + (long)n * b, *odd = even + 3L * n * b;
  const int is_odd = j / b % 2;
  return (Panel){j + b, n - j - b, v, packed, is_odd ? odd : even, is_odd ? even : odd, odd + 3L * n * b};
}

// What a share adds to Y in the rows above its own, and the distance between its panels.
typedef struct {
  double *above, *y;
  int stride;
} Share;

static Share share_at(int n, const Panel *panel, int share) {
  const int shares = band_shares(n);
  double *above = panel->shares + (long)share * ABOVE;
  if (shares == 1) return (Share){above, panel->vxv + 4 * b, 12 * b};
  return (Share){above, panel->shares + (long)shares * ABOVE + (long)share * n * b, 4 * b};
}

// A -= V X^T + X V^T with `last`, and Y = A W for W, the next panel's V, in the panels of A from i0 on, a block of
// them: the block's own rows of Y, and what its columns add to the rows above, which goes to the share. Block by
// block on and left of the diagonal, so that A is read from memory and written to it once; what lies above the diagonal
// blocks is left as it was and never used again.
static void update_and_multiply(double *g, int ld, const Panel *panel, int i0, const double *last, const Share *share) {
  const int k = panel->k, o = panel->o, i1 = min_int(i0 + BLOCK, k / 4);
  double *y = panel->vxv + 4 * b;
  for (int j0 = 0; j0 <= i0; j0 += BLOCK) {
    const int j1 = min_int(j0 + BLOCK, k / 4);
    double *block = g + ((long)(o / 4 + i0) * ld + o + j0 * 4) * 4;
    double *mirror = i0 == j0 ? block : share->above;
    const int mirror_ld = i0 == j0 ? ld : 4 * BLOCK;
    for (int i = i0; i < i1; i++)
      for (int j = j0; j < min_int(j1, i + 1); j++)
        tile_subtract_mirrored(last + (long)i * 12 * b, last + (long)j * 12 * b + 4 * b,
                               block + ((long)(i - i0) * ld + (j - j0) * 4) * 4,
                               mirror + ((long)(j - j0) * mirror_ld + (i - i0) * 4) * 4, 2 * b);
    multiply_block(block, ld, i0, i1, j0, j1, k, panel->packed, y, 12 * b);
    if (i0 != j0)
      multiply_block(share->above, mirror_ld, j0, j1, i0, i1, k, panel->packed, share->y, share->stride);
  }
}

// The steps of reduce_panel, in order, all but the first two for j < n - b. A step that takes a block of rows or a share
// is done when it has been called for all of them, in any order and by any thread; before the next one begins.
//
// First, for j > 0 and the blocks of rows from j on: the update of the panel before, in this panel's columns.
EXPORT(updateColumns) void update_block_columns(double *g, int ld, int n, int j, Workspace *ws, int block) {
  const int panels = (n - j) / 4;
  update_columns(g, ld, j, block * BLOCK, min_int((block + 1) * BLOCK, panels), panel_at(n, j, ws).last);
}

// Second: stores columns j .. j + b - 1 in the band and packs the reflectors that make them so.
EXPORT(factorPanel) void factor_columns(double *g, int ld, int n, int j, double *band, Workspace *ws) {
  const Panel panel = panel_at(n, j, ws);
  for (int c = j; c < panel.o; c++)
    for (int i = c; i < panel.o; i++) band[(long)c * BAND_LD + i - c] = g[((long)(i / 4) * ld + c) * 4 + i % 4];
  if (panel.k == 0) return;
  gather_panel(g, ld, j, panel.k, panel.v);
  factor_panel(panel.v, panel.k, ws->tau, ws->r, ws->t8);
  for (int c = 0; c < b; c++)
    for (int i = 0; i <= c; i++) band[(long)(j + c) * BAND_LD + b + i - c] = ws->r[c * b + i];
  pack_reflectors(panel.v, panel.k, panel.packed, panel.vxv);
}

// Third, for the shares: the update of the panel before in the trailing matrix, and Y.
EXPORT(multiplyPanel) void multiply_panel(double *g, int ld, int n, int j, Workspace *ws, int index) {
  const Panel panel = panel_at(n, j, ws);
  const Share share = share_at(n, &panel, index);
  const int shares = band_shares(n), panels = panel.k / 4;
  if (j > 0) clear_rows(share.y, share.stride, 0, panels);
  for (int i0 = 0; i0 < panels; i0 += BLOCK) {
    if (share_of(i0 / BLOCK, shares) != index) continue;
    const int i1 = min_int(i0 + BLOCK, panels);
    if (j == 0) {
      multiply_rows(g, ld, panel.o, panel.k, i0, i1, panel.packed, panel.vxv);
      continue;
    }
    if (shares > 1) clear_rows(panel.vxv + 4 * b, 12 * b, i0, i1);
    update_and_multiply(g, ld, &panel, i0, panel.last + 3 * b * b, &share);
  }
}

// Fourth, for the blocks of rows from j + b on: Y's rows, from what the shares hold of them. Not for j = 0.
EXPORT(addShares) void add_shares(int n, int j, Workspace *ws, int block) {
  const Panel panel = panel_at(n, j, ws);
  const int shares = band_shares(n);
  if (shares == 1) return;
  for (int s = 0; s < shares; s++) {
    const Share share = share_at(n, &panel, s);
    for (int p = block * BLOCK; p < min_int((block + 1) * BLOCK, panel.k / 4); p++)
      axpy(1, share.y + (long)p * 4 * b, panel.vxv + (long)p * 12 * b + 4 * b, 4 * b);
  }
}

// Fifth, for the eighths of V: V^T Y and V^T V.
EXPORT(projectPanel) void project_panel(int n, int j, Workspace *ws, int eighth) {
  const Panel panel = panel_at(n, j, ws);
  project(ws, eighth * (b / 8), panel.k, panel.packed, panel.vxv);
}

// Sixth: the small matrices of X.
EXPORT(smallMatrices) void form_small(Workspace *ws) { small_matrices(ws); }

// Seventh, for the blocks of rows from j + b on: X from Y.
EXPORT(formRows) void form_rows(int n, int j, Workspace *ws, int block) {
  const Panel panel = panel_at(n, j, ws);
  form_x(ws, block * BLOCK, min_int((block + 1) * BLOCK, panel.k / 4), panel.vxv);
}

// Reduces columns j .. j + b - 1 of g (order n, a multiple of b) and stores them in the band: column-major, lower,
// band[c * BAND_LD + i] = A(c + i, c). Call for j = 0, b, .. n - b, with the same workspace. The rows of the band below
// b are left alone.
EXPORT(reducePanel) void reduce_panel(double *g, int ld, int n, int j, double *band, Workspace *ws) {
  const int blocks = (n - j + ROW_BLOCK - 1) / ROW_BLOCK;
  if (j > 0)
    for (int i = 0; i < blocks; i++) update_block_columns(g, ld, n, j, ws, i);
  factor_columns(g, ld, n, j, band, ws);
  if (j + b == n) return;
  for (int s = 0; s < band_shares(n); s++) multiply_panel(g, ld, n, j, ws, s);
  if (j > 0)
    for (int i = 0; i < blocks; i++) add_shares(n, j, ws, i);
  for (int i = 0; i < 8; i++) project_panel(n, j, ws, i);
  small_matrices(ws);
  for (int i = 0; i < blocks; i++) form_rows(n, j, ws, i);
}
