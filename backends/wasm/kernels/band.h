// What the two forms of stage one share: band.c does all of it, blocks.c leaves the large products to its caller.
//
// The workspace of a panel of k rows, b = BAND:
//   v       k x b, column-major: the panel, then the reflectors with their zeros and ones in place
//   packed  the same reflectors, packed for products over rows: packed[(c / 4 * k + i) * 4 + c % 4]
//   vxv     panels of 4 rows, 3b columns each, [V | X | V]: V X^T + X V^T is one product of depth 2b. X's place holds Y
//           first. Two of them by turns: a panel's update waits for the next panel's V, so that A is read once for both.
//   r, t, vty, vtv, w   b x b, column-major;  ts  2b x b, packed
//   shares  one for each share of the products: the transpose of a block of A below the diagonal, in panel format, and
//           the share's part of Y, panels of 4 rows. A single share has no part of its own.
#pragma once
#include "kernels.h"

enum { b = BAND, BLOCK = ROW_BLOCK / 4 };  // BLOCK: panels of 4 to a side of a cache block

typedef struct {
  double r[b * b], t[b * b], vty[b * b], vtv[b * b], w[b * b];
  double ts[2 * b * b];
  double tau[b], t8[EIGHT * EIGHT];
  double matrices[];  // v, packed, vxv, vxv, shares
} Workspace;

// Each is described where it is defined, in band.c.
void factor_panel(double *v, int k, double *tau, double *r, double *t8);
void pack_reflectors(const double *v, int k, double *packed, double *vxv);
void project(Workspace *ws, int c, int k, const double *packed, const double *vxv);
void small_matrices(Workspace *ws);
void form_x(const Workspace *ws, int p0, int p1, double *vxv);
