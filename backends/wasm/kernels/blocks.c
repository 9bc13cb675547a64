// Stage one with its large products left to the caller, who may have faster ones: ONNX Runtime's, in
// ../../onnxruntime/singular-values. The same algorithm as in band.c.
//
// The lower half of a symmetric matrix of order n is cut into block columns of width w (b and 4 divide w and n), the last
// one narrower. Block column J holds the rows J w .. n - 1 of the columns J w .. J w + w - 1, row-major, and follows
// block column J - 1: rows of it are a matrix that any library multiplies in place. The blocks on the diagonal are whole;
// the kernels read the lower half of them. Beside it stand row-major matrices whose row i belongs to row i of the whole.
#include "band.h"

typedef struct {
  double *at;
  int width;
} BlockColumn;

static BlockColumn block_column(double *a, int n, int w, int J) {
  return (BlockColumn){a + (long)w * ((long)J * n - (long)w * (J - 1) * J / 2), min_int(w, n - J * w)};
}

// Element (i, j) of the matrix, i >= j.
static double *element(double *a, int n, int w, int i, int j) {
  const BlockColumn column = block_column(a, n, w, j / w);
  return column.at + (long)(i - j / w * w) * column.width + j % w;
}

// The 4 x 4 matrix at s, whose rows are lds apart, transposed to t, whose rows are ldt apart.
static inline void transpose4(const double *s, int lds, double *t, int ldt) {
  for (int h = 0; h < 4; h += 2) {
    const pair a = LOAD(s + h), c = LOAD(s + lds + h), d = LOAD(s + 2L * lds + h), e = LOAD(s + 3L * lds + h);
    STORE(t + (long)h * ldt, LOW(a, c));
    STORE(t + (long)h * ldt + 2, LOW(d, e));
    STORE(t + (long)(h + 1) * ldt, HIGH(a, c));
    STORE(t + (long)(h + 1) * ldt + 2, HIGH(d, e));
  }
}

// Four interleaved rows of b columns to four rows that are ld apart, and back.
static void put_rows(const double *interleaved, double *rows, int ld) {
  for (int c = 0; c < b; c += 4) transpose4(interleaved + c * 4, 4, rows + c, ld);
}
static void take_rows(const double *rows, int ld, double *interleaved) {
  for (int c = 0; c < b; c += 4) transpose4(rows + c, ld, interleaved + c * 4, 4);
}

// Factors columns j .. j + b - 1 and stores them in the band, as reduce_panel does; rows j + b .. n - 1 of v, n x b, get
// the reflectors. Call for j = 0, b, .. n - b; but for the last one form_update follows.
EXPORT(factorBlocks) void factor_blocks(double *a, int n, int w, int j, double *band, Workspace *ws, double *v_rows) {
  const int o = j + b, k = n - o;
  const int width = block_column(a, n, w, j / w).width;
  for (int c = j; c < o; c++)
    for (int i = c; i < o; i++) band[(long)c * BAND_LD + i - c] = *element(a, n, w, i, c);
  if (k == 0) return;
  double *v = ws->matrices, *packed = v + (long)k * b, *vxv = packed + (long)k * b;
  const double *panel = element(a, n, w, o, j);
  for (int i = 0; i < k; i += 4)
    for (int c = 0; c < b; c += 4) transpose4(panel + (long)i * width + c, width, v + (long)c * k + i, k);
  factor_panel(v, k, ws->tau, ws->r, ws->t8);
  for (int c = 0; c < b; c++)
    for (int i = 0; i <= c; i++) band[(long)(j + c) * BAND_LD + b + i - c] = ws->r[c * b + i];
  pack_reflectors(v, k, packed, vxv);
  for (int p = 0; p < k / 4; p++) put_rows(vxv + (long)p * 12 * b, v_rows + (long)(o + p * 4) * b, b);
}

// From Y = A V of the panel that was factored last, k rows below it: A + left right^T is what the panel makes of the
// trailing matrix, left = [V | X] and right = [-X | -V], both k x 2b.
EXPORT(formUpdate) void form_update(Workspace *ws, int k, const double *y, double *left, double *right) {
  double *packed = ws->matrices + (long)k * b, *vxv = packed + (long)k * b;
  for (int p = 0; p < k / 4; p++) take_rows(y + (long)p * 4 * b, b, vxv + (long)p * 12 * b + 4 * b);
  for (int c = 0; c < b; c += 4) project(ws, c, k, packed, vxv);
  small_matrices(ws);
  form_x(ws, 0, k / 4, vxv);
  for (int p = 0; p < k / 4; p++) {
    double *l = left + (long)p * 8 * b, *r = right + (long)p * 8 * b;
    put_rows(vxv + (long)p * 12 * b, l, 2 * b);
    put_rows(vxv + (long)p * 12 * b + 4 * b, l + b, 2 * b);
    for (int i = 0; i < 4; i++)
      for (int c = 0; c < b; c += 2) {
        STORE(r + i * 2 * b + c, wasm_f64x2_neg(LOAD(l + i * 2 * b + b + c)));
        STORE(r + i * 2 * b + b + c, wasm_f64x2_neg(LOAD(l + i * 2 * b + c)));
      }
  }
}

// The trailing matrix that begins at row o, to panel format, both halves: what reduce_panel takes.
EXPORT(blocksToPanels) void blocks_to_panels(double *a, int n, int w, int o, double *g, int ld) {
  for (int i = o; i < n; i += 4)
    for (int j = o; j <= i; j += 4) {
      const int width = block_column(a, n, w, j / w).width;
      const double *s = element(a, n, w, i, j);
      double *below = g + ((long)((i - o) / 4) * ld + j - o) * 4, *above = g + ((long)((j - o) / 4) * ld + i - o) * 4;
      if (i == j) {
        for (int r = 0; r < 4; r++)
          for (int c = 0; c < 4; c++) below[c * 4 + r] = s[(r > c ? r : c) * width + (r > c ? c : r)];
        continue;
      }
      transpose4(s, width, below, 4);
      for (int r = 0; r < 4; r++) {
        STORE(above + r * 4, LOAD(s + (long)r * width));
        STORE(above + r * 4 + 2, LOAD(s + (long)r * width + 2));
      }
    }
}
