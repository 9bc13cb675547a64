// What the kernels share: SIMD names, the panel format and the routines that several of them use.
//
// Panel format: four rows (or columns) are interleaved, so that a 4 x 4 tile is 16 adjacent doubles and a panel is
// already packed for the micro-kernels. A symmetric matrix G of order N, N % 4 == 0, is g[(p * ld + j) * 4 + r] =
// G(4p + r, j). Everything else is column-major.
#pragma once
#include <wasm_simd128.h>

#define EXPORT(name) __attribute__((export_name(#name)))
// Kernels stay apart: inlined into a bigger function, V8 runs out of registers and the rate halves.
#define NOINLINE __attribute__((noinline))
// Placed before the increments of a loop's pointers: hides them from the optimiser, which would otherwise rewrite the
// loop into one that V8 compiles badly (18.7 instead of 27.8 GFLOP/s).
#define KEEP_POINTERS(a, b) __asm__ volatile("" : "+r"(a), "+r"(b)::"memory")
// Keeps loads next to their use: all at the top of the loop, they take the registers of the sums (6 % in Node 24).
#define KEEP_ORDER __asm__ volatile("" ::: "memory")

typedef v128_t pair;  // two doubles

#define LOAD(p) wasm_v128_load(p)
#define STORE(p, v) wasm_v128_store(p, v)
#define SPLAT(p) wasm_v128_load64_splat(p)
#define SPLAT_FLOAT(p) wasm_v128_load32_splat(p)
#define ZERO wasm_i64x2_const(0, 0)
#define ADD wasm_f64x2_add
#define SUB wasm_f64x2_sub
#define MUL wasm_f64x2_mul
#define LOW(x, y) wasm_i64x2_shuffle(x, y, 0, 2)
#define HIGH(x, y) wasm_i64x2_shuffle(x, y, 1, 3)
// The lower and the upper two of four floats, as doubles.
#define PROMOTE_LOW(v) wasm_f64x2_promote_low_f32x4(v)
#define PROMOTE_HIGH(v) wasm_f64x2_promote_low_f32x4(wasm_i32x4_shuffle(v, v, 2, 3, 2, 3))
// Four doubles as floats.
#define DEMOTE(low, high) \
  wasm_i32x4_shuffle(wasm_f32x4_demote_f64x2_zero(low), wasm_f32x4_demote_f64x2_zero(high), 0, 1, 4, 5)
// c + a * b and c - a * b. The plain build rounds twice, the same bits everywhere; the relaxed one once, where the processor can.
#ifdef __wasm_relaxed_simd__
#define FMA(a, b, c) wasm_f64x2_relaxed_madd(a, b, c)
#define FNMA(a, b, c) wasm_f64x2_relaxed_nmadd(a, b, c)
#define FMA_FLOATS(a, b, c) wasm_f32x4_relaxed_madd(a, b, c)
#else
#define FMA(a, b, c) ADD(c, MUL(a, b))
#define FNMA(a, b, c) SUB(c, MUL(a, b))
#define FMA_FLOATS(a, b, c) wasm_f32x4_add(c, wasm_f32x4_mul(a, b))
#endif

// One turn of a product of floats: adds eight rows of a, packed, times half a panel of b to the sums c00 .. c13. The loops
// around it step both by a panel.
#define TILE_TURN_FLOATS                                                                                               \
  v128_t a0 = LOAD(a), a1 = LOAD(a + 4);                                                                               \
  { v128_t x = SPLAT_FLOAT(b);     c00 = FMA_FLOATS(a0, x, c00); c10 = FMA_FLOATS(a1, x, c10); } KEEP_ORDER;           \
  { v128_t x = SPLAT_FLOAT(b + 1); c01 = FMA_FLOATS(a0, x, c01); c11 = FMA_FLOATS(a1, x, c11); } KEEP_ORDER;           \
  { v128_t x = SPLAT_FLOAT(b + 2); c02 = FMA_FLOATS(a0, x, c02); c12 = FMA_FLOATS(a1, x, c12); } KEEP_ORDER;           \
  { v128_t x = SPLAT_FLOAT(b + 3); c03 = FMA_FLOATS(a0, x, c03); c13 = FMA_FLOATS(a1, x, c13); }                       \
  KEEP_POINTERS(a, b);

static inline double sum2(pair v) { return wasm_f64x2_extract_lane(v, 0) + wasm_f64x2_extract_lane(v, 1); }
static inline int min_int(int a, int b) { return a < b ? a : b; }

// The order of G is padded to a multiple of BAND, the half-bandwidth between the two stages, which is also the number
// of columns that stage one factors at once.
#ifndef BAND
#define BAND 32
#endif
// Rows of a symmetric matrix that make a cache block, and a piece of work for one of several threads.
#define ROW_BLOCK 128
// Rows of the band's column-major storage: the band, the bulge below it, and two to keep columns off each other's sets.
#define BAND_LD (2 * BAND + 2)

// tile.c: c is one 4 x 4 tile, column-major; a and b are packed panels of k rows of 4, k >= 1.
void tile_add(const double *a, const double *b, double *c, int k);
void tile_add_strided(const double *a, int lda, const double *b, double *c, int ldc, int k);
void tile_subtract_mirrored(const double *a, const double *b, double *c, double *t, int k);

// vector.c
double dot(const double *x, const double *y, int n);
void axpy(double a, const double *x, double *y, int n);
void scale(double a, double *x, int n);
double householder(double *x, int n, double *beta);
void dot_4x2(const double *v, int ldv, const double *x, const double *y, int n, double *out);
void rotate(double *x, double *y, int n, double c, double s);
void subtract_4x2(const double *v, int ldv, double *x, double *y, int n, const double *w);

// reflectors.c: eight Householder reflectors at once, I - V T V^T with T 8 x 8, upper, column-major.
#define EIGHT 8
void form_t8(const double *tau, double *t8);
void times_t8(const double *t8, double w[2 * EIGHT]);
