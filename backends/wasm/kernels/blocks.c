// Stage one with its large products left to the caller, who may have faster ones: ONNX Runtime's, in
// ../../onnxruntime/singular-values. The same algorithm as in band.c.
//
// The lower half of a symmetric matrix of order n is cut into block columns of width w (b and 4 divide w and n), the last
// one narrower. Block column J holds the rows J w .. n - 1 of the columns J w .. J w + w - 1, row-major, and follows
// block column J - 1: rows of it are a matrix that any library multiplies in place. The blocks on the diagonal are whole;
// the kernels read the lower half of them. Beside it stand row-major matrices whose row i belongs to row i of the whole.
// All of these hold floats where `floats` is 1, else doubles; panels, reflectors and small matrices are doubles always.
#include "band.h"

typedef struct {
  pair low, high;
} Four;

static inline Four load_row(const void *a, long at, int floats) {
  if (!floats) return (Four){LOAD((const double *)a + at), LOAD((const double *)a + at + 2)};
  const v128_t x = LOAD((const float *)a + at);
  return (Four){PROMOTE_LOW(x), PROMOTE_HIGH(x)};
}
static inline void store_row(void *a, long at, pair low, pair high, int floats) {
  if (floats) {
    STORE((float *)a + at, DEMOTE(low, high));
    return;
  }
  STORE((double *)a + at, low);
  STORE((double *)a + at + 2, high);
}

// Where element (i, j) of the matrix is, i >= j, and how wide its block column.
typedef struct {
  long at;
  int width;
} Place;

static Place place(int n, int w, int i, int j) {
  const int J = j / w, width = min_int(w, n - J * w);
  return (Place){(long)w * ((long)J * n - (long)w * (J - 1) * J / 2) + (long)(i - J * w) * width + j % w, width};
}

static double element(const void *a, int floats, int n, int w, int i, int j) {
  const long at = place(n, w, i, j).at;
  return floats ? ((const float *)a)[at] : ((const double *)a)[at];
}

// The 4 x 4 matrix at s, whose rows are lds apart, transposed to t, whose rows are ldt apart.
static inline void transpose4(const void *s, long at, int lds, int floats, void *t, long to, int ldt, int to_floats) {
  const Four x = load_row(s, at, floats), y = load_row(s, at + lds, floats);
  const Four z = load_row(s, at + 2L * lds, floats), u = load_row(s, at + 3L * lds, floats);
  store_row(t, to, LOW(x.low, y.low), LOW(z.low, u.low), to_floats);
  store_row(t, to + ldt, HIGH(x.low, y.low), HIGH(z.low, u.low), to_floats);
  store_row(t, to + 2L * ldt, LOW(x.high, y.high), LOW(z.high, u.high), to_floats);
  store_row(t, to + 3L * ldt, HIGH(x.high, y.high), HIGH(z.high, u.high), to_floats);
}

// Four interleaved rows of b columns to four rows that are ld apart, and back.
static void put_rows(const double *interleaved, void *rows, long at, int ld, int floats) {
  for (int c = 0; c < b; c += 4) transpose4(interleaved, c * 4, 4, 0, rows, at + c, ld, floats);
}
static void take_rows(const void *rows, long at, int ld, int floats, double *interleaved) {
  for (int c = 0; c < b; c += 4) transpose4(rows, at + c, ld, floats, interleaved, c * 4, 4, 0);
}

// Factors columns j .. j + b - 1, to which rows j .. n - 1 of `pending`, n x b, are added first, and stores them in the
// band, as reduce_panel does; rows j + b .. n - 1 of v, n x b, get the reflectors. Call for j = 0, b, .. n - b; but for
// the last one form_update follows.
EXPORT(factorBlocks) void factor_blocks(void *a, int floats, int n, int w, int j, const void *pending, double *band,
                                        Workspace *ws, void *v_rows) {
  const int o = j + b, k = n - o;
  for (int i = j; i < n; i++)
    for (int c = 0; c < b; c += 4) {
      const long at = place(n, w, i, j).at + c;
      const Four x = load_row(a, at, floats), y = load_row(pending, (long)i * b + c, floats);
      store_row(a, at, ADD(x.low, y.low), ADD(x.high, y.high), floats);
    }
  for (int c = j; c < o; c++)
    for (int i = c; i < o; i++) band[(long)c * BAND_LD + i - c] = element(a, floats, n, w, i, c);
  if (k == 0) return;
  double *v = ws->matrices, *packed = v + (long)k * b, *vxv = packed + (long)k * b;
  const Place panel = place(n, w, o, j);
  for (int i = 0; i < k; i += 4)
    for (int c = 0; c < b; c += 4)
      transpose4(a, panel.at + (long)i * panel.width + c, panel.width, floats, v, (long)c * k + i, k, 0);
  factor_panel(v, k, ws->tau, ws->r, ws->t8);
  for (int c = 0; c < b; c++)
    for (int i = 0; i <= c; i++) band[(long)(j + c) * BAND_LD + b + i - c] = ws->r[c * b + i];
  pack_reflectors(v, k, packed, vxv);
  for (int p = 0; p < k / 4; p++) put_rows(vxv + (long)p * 12 * b, v_rows, (long)(o + p * 4) * b, b, floats);
}

// From Y = A V of the panel that was factored last, k rows below it: A + left right^T is what the panel makes of the
// trailing matrix, left = [V | X] and right = [-X | -V], both k x 2b; these are floats where `floats`, Y where `y_floats`.
EXPORT(formUpdate) void form_update(Workspace *ws, int k, const void *y, int y_floats, void *left, void *right, int floats) {
  double *packed = ws->matrices + (long)k * b, *vxv = packed + (long)k * b;
  for (int p = 0; p < k / 4; p++) take_rows(y, (long)p * 4 * b, b, y_floats, vxv + (long)p * 12 * b + 4 * b);
  for (int c = 0; c < b; c += 4) project(ws, c, k, packed, vxv);
  small_matrices(ws);
  form_x(ws, 0, k / 4, vxv);
  for (int p = 0; p < k / 4; p++) {
    const long at = (long)p * 8 * b;
    put_rows(vxv + (long)p * 12 * b, left, at, 2 * b, floats);
    put_rows(vxv + (long)p * 12 * b + 4 * b, left, at + b, 2 * b, floats);
    for (int i = 0; i < 4; i++)
      for (int c = 0; c < 2 * b; c += 4) {
        const Four x = load_row(left, at + i * 2 * b + (c + b) % (2 * b), floats);
        store_row(right, at + i * 2 * b + c, wasm_f64x2_neg(x.low), wasm_f64x2_neg(x.high), floats);
      }
  }
}

// The trailing matrix that begins at row o, to panel format, both halves: what reduce_panel takes.
EXPORT(blocksToPanels) void blocks_to_panels(const void *a, int floats, int n, int w, int o, double *g, int ld) {
  for (int i = o; i < n; i += 4)
    for (int j = o; j <= i; j += 4) {
      const Place s = place(n, w, i, j);
      const long below = ((long)((i - o) / 4) * ld + j - o) * 4, above = ((long)((j - o) / 4) * ld + i - o) * 4;
      if (i == j) {
        for (int r = 0; r < 4; r++)
          for (int c = 0; c < 4; c++)
            g[below + c * 4 + r] = element(a, floats, n, w, i + (r > c ? r : c), j + (r > c ? c : r));
        continue;
      }
      transpose4(a, s.at, s.width, floats, g, below, 4, 0);
      for (int r = 0; r < 4; r++) {
        const Four x = load_row(a, s.at + (long)r * s.width, floats);
        store_row(g, above + r * 4, x.low, x.high, 0);
      }
    }
}

// The lower half of a matrix of doubles, blocks on the diagonal whole, to column-major: what tridiagonalize takes.
EXPORT(blocksToLower) void blocks_to_lower(const double *a, int n, int w, double *lower, int ld) {
  for (int i = 0; i < n; i += 4)
    for (int j = 0; j <= i; j += 4) {
      const Place s = place(n, w, i, j);
      transpose4(a, s.at, s.width, 0, lower, (long)j * ld + i, ld, 0);
    }
}

// x = H^T x for the panel that was factored last, by which the trailing matrix of order k became H^T A H: after
// form_update, which makes T. H^T = I - V T^T V^T.
EXPORT(reflect) void reflect(Workspace *ws, int k, double *x) {
  const double *v = ws->matrices;
  double w[b];
  for (int c = 0; c < b; c++) w[c] = dot(v + (long)c * k, x, k);
  for (int c = 0; c < b; c++) axpy(-dot(ws->t + c * b, w, c + 1), v + (long)c * k, x, k);
}

// z = G x - z, for doubles.
EXPORT(blocksResidual) void blocks_residual(const double *a, int n, int w, const double *x, double *z) {
  for (int i = 0; i < n; i++) z[i] = -z[i];
  for (int j0 = 0; j0 < n; j0 += w)
    for (int i = j0; i < n; i++) {
      const Place row = place(n, w, i, j0);
      const int columns = min_int(row.width, i - j0);  // what is left of the diagonal
      z[i] += dot(a + row.at, x + j0, columns);
      axpy(x[i], a + row.at, z + j0, columns);
      if (i < j0 + row.width) z[i] += a[row.at + i - j0] * x[i];
    }
}
