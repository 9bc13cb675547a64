// The micro-kernels: one 4 x 4 tile of a product of two packed panels, K rows of 4 each. Nearly all the time of a
// matrix is spent here. V8's rules: eight accumulators at most, no unrolling of the K loop, pointers kept apart.
#include "kernels.h"

// Accumulates the tile a^T b in c00 .. c13: c<half><column>, rows 0-1 in half 0, rows 2-3 in half 1.
#define TILE_PRODUCT                                                                      \
  pair c00 = ZERO, c01 = ZERO, c02 = ZERO, c03 = ZERO;                                    \
  pair c10 = ZERO, c11 = ZERO, c12 = ZERO, c13 = ZERO;                                    \
  const double *end = a + (long)k * 4;                                                    \
  do {                                                                                    \
    pair a0 = LOAD(a), a1 = LOAD(a + 2);                                                  \
    { pair x = SPLAT(b);     c00 = FMA(a0, x, c00); c10 = FMA(a1, x, c10); } KEEP_ORDER;  \
    { pair x = SPLAT(b + 1); c01 = FMA(a0, x, c01); c11 = FMA(a1, x, c11); } KEEP_ORDER;  \
    { pair x = SPLAT(b + 2); c02 = FMA(a0, x, c02); c12 = FMA(a1, x, c12); } KEEP_ORDER;  \
    { pair x = SPLAT(b + 3); c03 = FMA(a0, x, c03); c13 = FMA(a1, x, c13); }              \
    KEEP_POINTERS(a, b);                                                                  \
    a += 4;                                                                               \
    b += 4;                                                                               \
  } while (a < end);

// c += a^T b
NOINLINE void tile_add(const double *a, const double *b, double *c, int k) {
  TILE_PRODUCT
  STORE(c, ADD(LOAD(c), c00));
  STORE(c + 2, ADD(LOAD(c + 2), c10));
  STORE(c + 4, ADD(LOAD(c + 4), c01));
  STORE(c + 6, ADD(LOAD(c + 6), c11));
  STORE(c + 8, ADD(LOAD(c + 8), c02));
  STORE(c + 10, ADD(LOAD(c + 10), c12));
  STORE(c + 12, ADD(LOAD(c + 12), c03));
  STORE(c + 14, ADD(LOAD(c + 14), c13));
}

// c += a^T b, rows of a lda apart and columns of c ldc: four decoded columns of a matrix times four vectors.
NOINLINE void tile_add_strided(const double *a, int lda, const double *b, double *c, int ldc, int k) {
  pair c00 = ZERO, c01 = ZERO, c02 = ZERO, c03 = ZERO;
  pair c10 = ZERO, c11 = ZERO, c12 = ZERO, c13 = ZERO;
  const double *end = b + (long)k * 4;
  do {
    pair a0 = LOAD(a), a1 = LOAD(a + 2);
    { pair x = SPLAT(b);     c00 = FMA(a0, x, c00); c10 = FMA(a1, x, c10); } KEEP_ORDER;
    { pair x = SPLAT(b + 1); c01 = FMA(a0, x, c01); c11 = FMA(a1, x, c11); } KEEP_ORDER;
    { pair x = SPLAT(b + 2); c02 = FMA(a0, x, c02); c12 = FMA(a1, x, c12); } KEEP_ORDER;
    { pair x = SPLAT(b + 3); c03 = FMA(a0, x, c03); c13 = FMA(a1, x, c13); }
    KEEP_POINTERS(a, b);
    a += lda;
    b += 4;
  } while (b < end);
  double *c1 = c + ldc, *c2 = c1 + ldc, *c3 = c2 + ldc;
  STORE(c, ADD(LOAD(c), c00));
  STORE(c + 2, ADD(LOAD(c + 2), c10));
  STORE(c1, ADD(LOAD(c1), c01));
  STORE(c1 + 2, ADD(LOAD(c1 + 2), c11));
  STORE(c2, ADD(LOAD(c2), c02));
  STORE(c2 + 2, ADD(LOAD(c2 + 2), c12));
  STORE(c3, ADD(LOAD(c3), c03));
  STORE(c3 + 2, ADD(LOAD(c3 + 2), c13));
}

// c -= a^T b, and t = c^T: the tile on the other side of the diagonal of a symmetric matrix.
NOINLINE void tile_subtract_mirrored(const double *a, const double *b, double *c, double *t, int k) {
  TILE_PRODUCT
  c00 = SUB(LOAD(c), c00);
  c10 = SUB(LOAD(c + 2), c10);
  c01 = SUB(LOAD(c + 4), c01);
  c11 = SUB(LOAD(c + 6), c11);
  c02 = SUB(LOAD(c + 8), c02);
  c12 = SUB(LOAD(c + 10), c12);
  c03 = SUB(LOAD(c + 12), c03);
  c13 = SUB(LOAD(c + 14), c13);
  STORE(c, c00);
  STORE(c + 2, c10);
  STORE(c + 4, c01);
  STORE(c + 6, c11);
  STORE(c + 8, c02);
  STORE(c + 10, c12);
  STORE(c + 12, c03);
  STORE(c + 14, c13);
  STORE(t, LOW(c00, c01));
  STORE(t + 2, LOW(c02, c03));
  STORE(t + 4, HIGH(c00, c01));
  STORE(t + 6, HIGH(c02, c03));
  STORE(t + 8, LOW(c10, c11));
  STORE(t + 10, LOW(c12, c13));
  STORE(t + 12, HIGH(c10, c11));
  STORE(t + 14, HIGH(c12, c13));
}
