// Elements of a checkpoint's types, loaded by fours. Little-endian, like WebAssembly's memory; F32, F16 and BF16 fit a
// float exactly, and every type fits a double.
#pragma once
#include "kernels.h"

enum { F64 = 0, F32 = 1, F16 = 2, BF16 = 3 };  // numbered as in ../kernels.ts

static inline __attribute__((always_inline)) int element_bytes(int dtype) {
  return dtype == F64 ? 8 : dtype == F32 ? 4 : 2;
}

// Four halves, zero-extended to 32 bits, to floats. The exponent is rebased by a product with 2^112, exact also for
// subnormals; an exponent of all ones (NaN, Infinity) is put back by hand.
static inline v128_t halves_to_floats(v128_t h) {
  v128_t magnitude = wasm_v128_and(h, wasm_i32x4_const_splat(0x7fff));
  v128_t special = wasm_i32x4_ge(magnitude, wasm_i32x4_const_splat(0x7c00));
  v128_t value = wasm_f32x4_mul(wasm_i32x4_shl(magnitude, 13), wasm_f32x4_const_splat(0x1p112f));
  value = wasm_v128_or(value, wasm_v128_and(special, wasm_i32x4_const_splat(0x7f800000)));
  return wasm_v128_or(value, wasm_i32x4_shl(wasm_v128_and(h, wasm_i32x4_const_splat(0x8000)), 16));
}

// Four elements of a type other than F64 from p, any alignment, to floats.
static inline __attribute__((always_inline)) v128_t load_floats(const char *p, int dtype) {
  if (dtype == F32) return LOAD(p);
  v128_t u = wasm_u32x4_load16x4(p);
  return dtype == BF16 ? wasm_i32x4_shl(u, 16) : halves_to_floats(u);
}

// The same for the count < 4 elements left at the end of a row; the rest is zero.
static inline __attribute__((always_inline)) v128_t load_rest_floats(const char *p, int dtype, int count) {
  char bytes[16];
  __builtin_memset(bytes, 0, sizeof bytes);
  for (int i = 0; i < count * element_bytes(dtype); i++) bytes[i] = p[i];
  return load_floats(bytes, dtype);
}
