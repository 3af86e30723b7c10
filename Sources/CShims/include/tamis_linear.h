/// What linear layers and encoders need from C: their part of the kernel table, and the few operations Swift cannot spell.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "tamis_simd.h"

/// What becomes of the raw sums of a linear layer: y = act(scale * sum + bias) + residual.
typedef struct tk_finish {
  /// int8: sums are int32; one scale per row (NaN where the row was not finite) and one per column. NULL: sums are f32.
  const float *_Nullable row_scale;
  const float *_Nullable column_scale;
  /// int8: taken off the sums of a row.
  const int32_t *_Nullable row_offset;
  /// [columns]
  const float *_Nonnull bias;
  /// 0: none, 1: x Phi(x) by erf, 2: its tanh form, 3: relu
  int32_t activation;
  /// Rows of f32, `residual_stride` floats apart; may be the output.
  const float *_Nullable residual;
  ptrdiff_t residual_stride;
  /// The largest |y| of each row, as the bits of a float, is raised; NULL: not wanted.
  uint32_t *_Nullable top;
} tk_finish;

/// y = x W^T for weights packed once into panels of `panel` outputs. Every kind of input is read in words of 32 bits: one f32,
/// two bf16, or the int8 inputs that fit (four bytes with VNNI, else two int16). A panel holds for each word of a row of x one
/// vector of `panel` words (without VNNI bytes, widened when read), so a step is: broadcast a word, multiply, add.
///
/// `words` is a multiple of 4; rows of x and of a panel are zero beyond the inputs. Strides are in bytes.
/// A sum runs over the inputs in ascending order whatever the number of rows or panels: same bits in any split.
typedef struct tk_linear {
  /// Rows of x that share a register tile: work is cut at multiples of it.
  int32_t tile_rows;
  /// Outputs of a panel.
  int32_t panel;
  /// Bytes of an int8 input in a row of x: 1 or 2.
  int32_t i8_input_bytes;
  /// Bytes of a panel per word of x.
  int32_t f32_row_bytes, bf16_row_bytes, i8_row_bytes;

  /// y[row][32-bit lane] = sums, `rows` times `panels` * `panel`; f32, or int32 from int8 inputs.
  void (*_Nonnull gemm_f32)(const void *_Nonnull x, ptrdiff_t x_stride, ptrdiff_t rows, const void *_Nonnull w,
                            ptrdiff_t panels, ptrdiff_t words, void *_Nonnull y, ptrdiff_t y_stride);
  void (*_Nonnull gemm_bf16)(const void *_Nonnull x, ptrdiff_t x_stride, ptrdiff_t rows, const void *_Nonnull w,
                             ptrdiff_t panels, ptrdiff_t words, void *_Nonnull y, ptrdiff_t y_stride);
  /// With VNNI weights are stored as w + 128: 128 times the sum of the row of x is to be taken off (`quantise_row` gives it).
  void (*_Nonnull gemm_i8)(const void *_Nonnull x, ptrdiff_t x_stride, ptrdiff_t rows, const void *_Nonnull w,
                           ptrdiff_t panels, ptrdiff_t words, void *_Nonnull y, ptrdiff_t y_stride);

  /// Rows of W [inputs] f32, one per output of the panel (NULL: zeros), to a panel.
  void (*_Nonnull pack_f32)(const float *_Nullable const *_Nonnull rows, ptrdiff_t inputs, ptrdiff_t words,
                            void *_Nonnull panel);
  void (*_Nonnull pack_bf16)(const float *_Nullable const *_Nonnull rows, ptrdiff_t inputs, ptrdiff_t words,
                             void *_Nonnull panel);
  /// int8 = round(w / scale[output]); a scale of 0 gives zeros.
  void (*_Nonnull pack_i8)(const float *_Nullable const *_Nonnull rows, const float *_Nonnull scale, ptrdiff_t inputs,
                           ptrdiff_t words, void *_Nonnull panel);

  /// Sums y [rows][columns] to f32 in place, or to bf16 rows at `to`. `columns` is a multiple of `panel`; strides in bytes.
  void (*_Nonnull finish)(void *_Nonnull y, ptrdiff_t y_stride, ptrdiff_t rows, ptrdiff_t columns,
                          const tk_finish *_Nonnull how, uint16_t *_Nullable to, ptrdiff_t to_stride);

  /// Layer normalisation of n numbers: to = (x - mean) / sqrt(variance + epsilon) * weight + bias, then zeros up to `padded`.
  /// Returns the bits of the largest |to|. `to` may be x.
  uint32_t (*_Nonnull normalise)(const float *_Nonnull x, ptrdiff_t n, ptrdiff_t padded, const float *_Nonnull weight,
                                 const float *_Nonnull bias, float epsilon, float *_Nonnull to);

  /// The bits of the largest |x|; a NaN or an infinity gives at least those of infinity.
  uint32_t (*_Nonnull largest)(const float *_Nonnull x, ptrdiff_t n);
  /// x to int8 inputs of `gemm_i8` in [-127, 127], scale (returned) = largest / 127, zeros up to `padded` elements. *offset is
  /// what `gemm_i8` adds to each sum of the row. A row that is not finite becomes zeros and its scale NaN.
  float (*_Nonnull quantise_row)(const float *_Nonnull x, ptrdiff_t n, ptrdiff_t padded, uint32_t largest,
                                 void *_Nonnull to, int32_t *_Nonnull offset);
  /// x to bf16 inputs of `gemm_bf16`, to nearest even, zeros up to `padded`.
  void (*_Nonnull round_row)(const float *_Nonnull x, ptrdiff_t n, ptrdiff_t padded, uint16_t *_Nonnull to);
} tk_linear;

// ------------------------------------------------------------------------------------------ words times weights

// c + a b for each lane, f32
TS_INLINE ts_f tl_mac_f32(ts_f c, uint32_t a, ts_f b) {
  union { uint32_t u; float f; } x = {a};
  return ts_fma(c, (ts_f)(x.f), b);
}
// c + both products of pairs of bf16
TS_INLINE ts_f tl_mac_bf16(ts_f c, uint32_t a, ts_f b) {
#if defined(__AVX512BF16__)
  return (ts_f)_mm512_dpbf16_ps((__m512)c, (__m512bh)(ts_u)(a), (__m512bh)b);
#else
  c = ts_fma(c, (ts_f)(ts_u)(a << 16), (ts_f)((ts_u)b << 16));
  return ts_fma(c, (ts_f)(ts_u)(a & 0xffff0000u), (ts_f)((ts_u)b & 0xffff0000u));
#endif
}
// c + the products of int8 inputs, lanes being int32
TS_INLINE ts_f tl_mac_i8(ts_f c, uint32_t a, ts_f b) {
#if defined(__AVX512VNNI__)
  return (ts_f)_mm512_dpbusd_epi32((__m512i)c, (__m512i)b, (__m512i)(ts_u)(a));
#elif defined(__AVX512BW__)
  return (ts_f)((ts_i)c + (ts_i)_mm512_madd_epi16((__m512i)b, (__m512i)(ts_u)(a)));
#elif defined(__AVX2__)
  typedef short shorts __attribute__((vector_size(32)));
  return (ts_f)((ts_i)c + (ts_i)__builtin_ia32_pmaddwd256((shorts)b, (shorts)(ts_u)(a)));
#elif defined(__SSE2__)
  typedef short shorts __attribute__((vector_size(16)));
  ts_f4 low = __builtin_shufflevector(b, b, 0, 1, 2, 3), high = __builtin_shufflevector(b, b, 4, 5, 6, 7);
  ts_f4 x = __builtin_shufflevector((ts_f)(ts_u)(a), b, 0, 1, 2, 3);
  low = (ts_f4)__builtin_ia32_pmaddwd128((shorts)low, (shorts)x);
  high = (ts_f4)__builtin_ia32_pmaddwd128((shorts)high, (shorts)x);
  return (ts_f)((ts_i)c + (ts_i)__builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7));
#else
  ts_i w = (ts_i)b;
  int32_t low = (int16_t)a, high = (int32_t)a >> 16;
  return (ts_f)((ts_i)c + ((w << 16) >> 16) * low + (w >> 16) * high);
#endif
}
#if TS_LANES == 16
// The same with the word in memory at x, x + stride or x + 2 * stride, as an operand of the instruction. Volatile, so that they
// stay in the order they are written in: left to itself the compiler sometimes hoists loads until the 24 sums no longer fit the
// 32 registers, or chains the addresses of the rows. Nothing writes to x while they run.
#define TL_AT_ROWS(name, instruction)                                                                                    \
  TS_INLINE ts_f name##_0(ts_f c, const void *_Nonnull x, ptrdiff_t stride, ts_f b) {                                    \
    __asm__ volatile(instruction " (%1)%{1to16%}, %3, %0" : "+v"(c) : "r"(x), "r"(stride), "v"(b));                      \
    return c;                                                                                                            \
  }                                                                                                                      \
  TS_INLINE ts_f name##_1(ts_f c, const void *_Nonnull x, ptrdiff_t stride, ts_f b) {                                    \
    __asm__ volatile(instruction " (%1,%2)%{1to16%}, %3, %0" : "+v"(c) : "r"(x), "r"(stride), "v"(b));                   \
    return c;                                                                                                            \
  }                                                                                                                      \
  TS_INLINE ts_f name##_2(ts_f c, const void *_Nonnull x, ptrdiff_t stride, ts_f b) {                                    \
    __asm__ volatile(instruction " (%1,%2,2)%{1to16%}, %3, %0" : "+v"(c) : "r"(x), "r"(stride), "v"(b));                 \
    return c;                                                                                                            \
  }
TL_AT_ROWS(tl_f32_row, "vfmadd231ps")
#if defined(__AVX512BF16__) && defined(__AVX512VNNI__)
TL_AT_ROWS(tl_bf16_row, "vdpbf16ps")
TL_AT_ROWS(tl_i8_row, "vpdpbusd")
#endif
#undef TL_AT_ROWS
// p, but loads through it stay where they are.
TS_INLINE const void *_Nonnull tl_here(const void *_Nonnull p) {
  __asm__ volatile("" : "+r"(p));
  return p;
}
#else
TS_INLINE const void *_Nonnull tl_here(const void *_Nonnull p) { return p; }
#endif
// The weights of gemm_i8 for one vector of outputs: words, or pairs of bytes widened to int16.
TS_INLINE ts_f tl_load_i8(const void *_Nonnull p) {
#if defined(__AVX512VNNI__)
  return ts_load_f32(p);
#else
  typedef int8_t bytes __attribute__((ext_vector_type(2 * TS_LANES)));
  typedef int16_t shorts __attribute__((ext_vector_type(2 * TS_LANES)));
  bytes v;
  __builtin_memcpy(&v, p, sizeof v);
  return (ts_f)__builtin_convertvector(v, shorts);
#endif
}

TS_INLINE ts_f tl_int_to_f32(ts_f sums, int32_t offset) { return __builtin_convertvector((ts_i)sums - offset, ts_f); }
// By the instruction on every target: a scalar square root may become a call.
TS_INLINE float tl_sqrt(float x) { return __builtin_elementwise_sqrt((ts_f4)(x)).x; }
// y, or 0 where x is below the limit.
TS_INLINE ts_f tl_zero_below(ts_f y, ts_f x, float limit) { return x < limit ? (ts_f)(0.0f) : y; }
TS_INLINE ts_u tl_magnitude(ts_f x) { return (ts_u)x & 0x7fffffffu; }
TS_INLINE ts_u tl_larger(ts_u a, ts_u b) { return __builtin_elementwise_max(a, b); }
TS_INLINE ts_u tl_splat_bits(uint32_t x) { return (ts_u)(x); }
TS_INLINE uint32_t tl_largest_lane(ts_u v) {
  uint32_t m = 0;
  for (int i = 0; i < TS_LANES; i++) m = v[i] > m ? v[i] : m;
  return m;
}
// To bf16, nearest even; a NaN stays one.
TS_INLINE void tl_store_bf16(void *_Nonnull p, ts_f x) {
#if defined(__AVX512BF16__)
  _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh((__m512)x));
#else
  ts_u bits = (ts_u)x, rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16, nan = (bits >> 16) | 0x40u;
  ts_u is_nan = (ts_u)(x != x);
  ts_h h = __builtin_convertvector((is_nan & nan) | (~is_nan & rounded), ts_h);
  __builtin_memcpy(p, &h, sizeof h);
#endif
}
// Rounded to integers, nearest even, |x| < 2^31; stored as bytes or int16. Returns the integers.
TS_INLINE ts_i tl_round(ts_f x) {
#if TS_LANES == 16
  return (ts_i)_mm512_cvtps_epi32((__m512)x);
#else
  return __builtin_convertvector(__builtin_elementwise_roundeven(x), ts_i);
#endif
}
TS_INLINE void tl_store_i8(void *_Nonnull p, ts_i x) {
  ts_b b = __builtin_convertvector(x, ts_b);
  __builtin_memcpy(p, &b, sizeof b);
}
TS_INLINE void tl_store_i16(void *_Nonnull p, ts_i x) {
  typedef int16_t shorts __attribute__((ext_vector_type(TS_LANES)));
  shorts b = __builtin_convertvector(x, shorts);
  __builtin_memcpy(p, &b, sizeof b);
}
TS_INLINE int32_t tl_sum_lanes(ts_i v) {
  int32_t s = 0;
  for (int i = 0; i < TS_LANES; i++) s += v[i];
  return s;
}
