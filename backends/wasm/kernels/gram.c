// The Gram matrix of the smaller side, G = A^T A, in panel format: only the lower triangle of tiles is computed, then
// mirrored. m n^2 flops in all.
#include "kernels.h"

enum { BLOCK = ROW_BLOCK / 4 };  // panels per cache block

// Rows of a symmetric matrix that are worked on at once, by one thread.
EXPORT(rowBlock) int row_block(void) { return ROW_BLOCK; }

// Adds the product of k packed rows to the tiles on and below the diagonal in the given block of rows, the blocks being
// independent of each other. packed: ceil(n / 4) panels of k x 4.
EXPORT(gramAdd) void gram_add(const double *packed, int n, int k, double *g, int ld, int block) {
  const int panels = (n + 3) / 4, i0 = block * BLOCK;
  for (int j0 = 0; j0 <= i0; j0 += BLOCK)
    for (int j = j0; j < min_int(j0 + BLOCK, panels); j++)
      for (int i = i0 > j ? i0 : j; i < min_int(i0 + BLOCK, panels); i++)
        tile_add(packed + (long)i * k * 4, packed + (long)j * k * 4, g + ((long)i * ld + j * 4) * 4, k);
}

// Copies the tiles below the diagonal above it; the tiles on the diagonal are symmetric bit for bit already.
EXPORT(gramMirror) void gram_mirror(double *g, int n, int ld) {
  const int panels = (n + 3) / 4;
  for (int p = 0; p < panels; p++)
    for (int q = 0; q < p; q++) {
      const double *below = g + ((long)p * ld + q * 4) * 4;
      double *above = g + ((long)q * ld + p * 4) * 4;
      for (int r = 0; r < 4; r++)
        for (int c = 0; c < 4; c++) above[r * 4 + c] = below[c * 4 + r];
    }
}

// Largest element of the diagonal, which bounds all others: |G(i, j)| <= sqrt(G(i, i) G(j, j)).
EXPORT(gramMax) double gram_max(const double *g, int n, int ld) {
  double most = 0;
  for (int i = 0; i < n; i++) {
    double x = g[((long)(i / 4) * ld + i) * 4 + i % 4];
    if (x > most) most = x;
  }
  return most;
}

EXPORT(scale) void scale_all(double *x, int count, double factor) { scale(factor, x, count); }
EXPORT(clear) void clear(double *x, int count) { __builtin_memset(x, 0, (unsigned long)count * 8); }
