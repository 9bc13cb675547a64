// Products of a matrix and of its transpose with a few vectors, a block of rows at a time, and the moves between columns
// and packed panels. y: ceil(count / 4) panels of rows4 x 4, rows4 = rows padded to a multiple of 4. z: for each four
// vectors ceil(n / 4) tiles of 4 x 4, a tile's columns belonging to the vectors.
#include "kernels.h"

#define DEPTH 256  // columns packed at once: the tiles' operands stay in the cache

void pack_columns(const char *a, int dtype, int n, int m, int k0, int k, double factor, double *out);
void pack_some_rows(const char *a, int dtype, int ld, int j0, int n, int k, double factor, double *out);

static inline int padded4(int x) { return (x + 3) & ~3; }

// y = factor A Q for the rows x n block a, undecoded; q: panels of n x 4; packed: DEPTH * rows4 doubles of scratch.
EXPORT(sketchImages) void sketch_images(const char *a, int dtype, int n, int rows, double factor, const double *q,
                                        int panels, double *y, double *packed) {
  const int rows4 = padded4(rows);
  __builtin_memset(y, 0, (unsigned long)panels * rows4 * 32);
  for (int k0 = 0; k0 < n; k0 += DEPTH) {
    const int k = min_int(DEPTH, n - k0);
    pack_columns(a, dtype, rows, n, k0, k, factor, packed);
    for (int p = 0; p < rows4 / 4; p++)
      for (int c = 0; c < panels; c++)
        tile_add(q + ((long)c * n + k0) * 4, packed + (long)p * k * 4, y + ((long)c * rows4 + 4 * p) * 4, k);
  }
}

// z += factor A^T Y for the same block. packed: DEPTH * rows doubles of scratch.
EXPORT(sketchAdd) void sketch_add(const char *a, int dtype, int n, int rows, double factor, const double *y, int panels,
                                  double *z, double *packed) {
  const int rows4 = padded4(rows), across = (n + 3) / 4;
  for (int j0 = 0; j0 < n; j0 += DEPTH) {
    const int width = min_int(DEPTH, n - j0);
    pack_some_rows(a, dtype, n, j0, width, rows, factor, packed);
    for (int p = 0; p < (width + 3) / 4; p++)
      for (int c = 0; c < panels; c++)
        tile_add(packed + (long)p * rows * 4, y + (long)c * rows4 * 4, z + ((long)c * across + j0 / 4 + p) * 16, rows);
  }
}

// Panels of rows x 4 from count columns of x; vectors past count are zero.
EXPORT(columnsToPanels) void columns_to_panels(const double *x, int ld, int rows, int count, double *panels,
                                               int panel_rows) {
  for (int j = 0; j < padded4(count); j++) {
    double *out = panels + (long)(j / 4) * panel_rows * 4 + j % 4;
    for (int i = 0; i < panel_rows; i++) out[(long)i * 4] = j < count && i < rows ? x[(long)j * ld + i] : 0;
  }
}

EXPORT(panelsToColumns) void panels_to_columns(const double *panels, int panel_rows, int rows, int count, double *x,
                                               int ld) {
  for (int j = 0; j < count; j++) {
    const double *in = panels + (long)(j / 4) * panel_rows * 4 + j % 4;
    for (int i = 0; i < rows; i++) x[(long)j * ld + i] = in[(long)i * 4];
  }
}

// Adds the tiles of count vectors of n elements to columns; ld >= n padded to a multiple of 4.
EXPORT(addTiles) void add_tiles(const double *z, int n, int count, double *x, int ld) {
  const int across = (n + 3) / 4;
  for (int j = 0; j < count; j++)
    for (int p = 0; p < across; p++) {
      const double *in = z + ((long)(j / 4) * across + p) * 16 + (j % 4) * 4;
      double *out = x + (long)j * ld + 4 * p;
      STORE(out, ADD(LOAD(out), LOAD(in)));
      STORE(out + 2, ADD(LOAD(out + 2), LOAD(in + 2)));
    }
}
