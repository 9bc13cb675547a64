// Products of a matrix and of its transpose with a few vectors, a block of rows at a time, and the moves between columns
// and packed panels. Vectors are columns, their number a multiple of 4; y: for each four of them a panel of rows4 x 4,
// rows4 = rows padded to a multiple of 4.
#include "decode.h"

#define CHUNK 256      // columns multiplied at once: those of the vectors stay in the first cache
#define DECODED 65536
#define NARROW 4096     // up to here, whole rows are decoded once for both products

void decode(const char *a, int dtype, int count, double factor, double *out);

static inline int padded4(int x) { return (x + 3) & ~3; }

// Rows of n elements, of which columns j0 .. j0 + w - 1 go to out, ld doubles apart.
static void decode_rows(const char *a, int dtype, int n, int rows, int j0, int w, double factor, double *out, int ld) {
  const unsigned long bytes = element_bytes(dtype);
  for (int i = 0; i < rows; i++) decode(a + ((unsigned long)i * n + j0) * bytes, dtype, w, factor, out + (long)i * ld);
}

// y += D Q for w columns of decoded rows, all padded with zeros to fours; the rows of y past the last are anything.
static void add_images(const double *d, int ld, int rows, int w, const double *q, int ldq, int vectors, double *y,
                       int panel) {
  for (int k0 = 0; k0 < w; k0 += CHUNK) {
    const int k = min_int(CHUNK, w - k0);
    for (int p = 0; p < rows; p += 4)
      for (int v = 0; v < vectors; v += 2) {
        const double *x = q + (long)v * ldq + k0;
        double sums[8], *out = y + (long)(v / 4) * panel + p * 4 + v % 4;
        dot_4x2(d + (long)p * ld + k0, ld, x, x + ldq, k, sums);
        for (int i = 0; i < 4; i++) {
          out[4 * i] += sums[i];
          out[4 * i + 1] += sums[4 + i];
        }
      }
  }
}

// z += D^T Y
static void add_transposed(const double *d, int ld, int rows, int w, const double *y, int panel, int vectors, double *z,
                           int ldz) {
  for (int j = 0; j < w; j += 4)
    for (int v = 0; v < vectors; v += 4)
      tile_add_strided(d + j, ld, y + (long)(v / 4) * panel, z + (long)v * ldz + j, ldz, rows);
}

// y = factor A Q for the rows x n block a, undecoded, then z += factor A^T Y, Y followed by `more` vectors that y holds
// already. decoded: DECODED + 4096 doubles of scratch. ldq and ldz are at least n padded to a multiple of 4.
EXPORT(sketch) void sketch(const char *a, int dtype, int n, int rows, double factor, const double *q, int ldq,
                           int vectors, int more, double *y, double *z, int ldz, double *decoded) {
  const int panel = padded4(rows) * 4, whole = n <= NARROW, width = whole ? n : CHUNK, ld = padded4(width) + 4;
  const int step = min_int(padded4(rows), DECODED / ld & ~3);
  __builtin_memset(y, 0, (unsigned long)vectors * padded4(rows) * 8);
  for (int i = 0; i < rows; i += step) {
    const int some = min_int(step, rows - i);
    const char *from = a + (unsigned long)i * n * element_bytes(dtype);
    for (int j = 0; j < n && vectors > 0; j += width) {
      const int w = min_int(width, n - j);
      decode_rows(from, dtype, n, some, j, w, factor, decoded, ld);
      add_images(decoded, ld, some, padded4(w), q + j, ldq, vectors, y + i * 4, panel);
    }
    for (int j = 0; j < n; j += width) {
      const int w = min_int(width, n - j);
      if (!whole || vectors == 0) decode_rows(from, dtype, n, some, j, w, factor, decoded, ld);
      add_transposed(decoded, ld, some, padded4(w), y + i * 4, panel, vectors + more, z + j, ldz);
    }
  }
}

// Panels of rows4 x 4 from count columns of x; vectors past count are zero.
EXPORT(columnsToPanels) void columns_to_panels(const double *x, int ld, int rows, int count, double *panels) {
  const int rows4 = padded4(rows);
  for (int j = 0; j < padded4(count); j++) {
    double *out = panels + (long)(j / 4) * rows4 * 4 + j % 4;
    for (int i = 0; i < rows4; i++) out[(long)i * 4] = j < count && i < rows ? x[(long)j * ld + i] : 0;
  }
}

EXPORT(panelsToColumns) void panels_to_columns(const double *panels, int rows, int count, double *x, int ld) {
  for (int j = 0; j < count; j++) {
    const double *in = panels + (long)(j / 4) * padded4(rows) * 4 + j % 4;
    for (int i = 0; i < rows; i++) x[(long)j * ld + i] = in[(long)i * 4];
  }
}
