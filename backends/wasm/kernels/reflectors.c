// Eight Householder reflectors as one: I - V T V^T (Schreiber and Van Loan, A storage-efficient WY representation, 1989).
#include "kernels.h"

// On entry t8[i * 8 + q] = v_q . v_i for q < i; on return T: T(i, i) = tau_i, T(0:i, i) = -tau_i T(0:i, 0:i) V^T v_i.
void form_t8(const double *tau, double *t8) {
  for (int i = 0; i < EIGHT; i++) {
    double z[EIGHT];
    for (int q = 0; q < i; q++) z[q] = t8[i * EIGHT + q];
    for (int q = 0; q < i; q++) {
      double s = 0;
      for (int p = q; p < i; p++) s += t8[p * EIGHT + q] * z[p];
      t8[i * EIGHT + q] = -tau[i] * s;
    }
    t8[i * EIGHT + i] = tau[i];
  }
}

// w = T^T w for two columns x and y at once, in the order of dot_4x2: [half of the reflectors][x or y][4].
void times_t8(const double *t8, double w[2 * EIGHT]) {
  for (int h = 0; h < 2; h++)
    for (int i = EIGHT - 1; i >= 0; i--) {
      double s = 0;
      for (int p = 0; p <= i; p++) s += t8[i * EIGHT + p] * w[(p >> 2) * EIGHT + h * 4 + (p & 3)];
      w[(i >> 2) * EIGHT + h * 4 + (i & 3)] = s;
    }
}
