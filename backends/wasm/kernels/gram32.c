// The Gram matrix in float32 products, for `fast`: sums of CHUNK products in floats, those sums added in doubles. It is
// about twice as fast as gram.c and wrong in the seventh digit; probe.c measures by how much.
#include "kernels.h"

#define CHUNK 32  // products per sum in floats

enum { BLOCK = ROW_BLOCK / 8 };  // panels of 8 per cache block

static inline void add_floats(double *c, v128_t v) {
  STORE(c, ADD(LOAD(c), PROMOTE_LOW(v)));
  STORE(c + 2, ADD(LOAD(c + 2), PROMOTE_HIGH(v)));
}

// Adds the product of a panel of 8 and half a panel, k rows of each, to two 4 x 4 tiles of doubles: rows 0-3 and 4-7.
static NOINLINE void tile_add_floats(const float *a, const float *b, double *c, double *d, int k) {
  const float *end = a + (long)k * 8;
  do {
    v128_t c00 = ZERO, c01 = ZERO, c02 = ZERO, c03 = ZERO;
    v128_t c10 = ZERO, c11 = ZERO, c12 = ZERO, c13 = ZERO;
    const float *stop = end - a < CHUNK * 8 ? end : a + CHUNK * 8;
    do {
      TILE_TURN_FLOATS
      a += 8;
      b += 8;
    } while (a < stop);
    add_floats(c, c00);
    add_floats(c + 4, c01);
    add_floats(c + 8, c02);
    add_floats(c + 12, c03);
    add_floats(d, c10);
    add_floats(d + 4, c11);
    add_floats(d + 8, c12);
    add_floats(d + 12, c13);
  } while (a < end);
}

// Adds the product of k packed rows to the tiles of g on and below the diagonal in the given block of rows, and to some
// above, which gram_mirror writes over; the blocks are independent of each other. packed: ceil(n / 8) panels of k x 8.
EXPORT(gramAddFloats) void gram_add_floats(const float *packed, int n, int k, double *g, int ld, int block) {
  const int panels = (n + 7) / 8, i0 = block * BLOCK;
  for (int j0 = 0; j0 <= i0; j0 += BLOCK)
    for (int j = 2 * j0; j < 2 * min_int(j0 + BLOCK, panels); j++)
      for (int i = i0 > j / 2 ? i0 : j / 2; i < min_int(i0 + BLOCK, panels); i++) {
        double *tile = g + ((long)(2 * i) * ld + j * 4) * 4;
        tile_add_floats(packed + (long)i * k * 8, packed + (long)(j / 2) * k * 8 + j % 2 * 4, tile, tile + ld * 4L, k);
      }
}
