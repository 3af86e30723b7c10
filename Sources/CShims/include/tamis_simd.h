// The vector operations that Swift's SIMD types cannot say or do not compile well: unaligned loads that widen, FMA where
// the level has it, cross-lane reductions, dot-product instructions. All static inline; meaning depends on the -march of
// the importing module, so only the Kernels* modules may call them.
#pragma once
#include <stdint.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif
#if defined(__AVX512F__)
#define TS_LANES 16
#else
#define TS_LANES 8
#endif

typedef float ts_f __attribute__((ext_vector_type(TS_LANES)));
typedef int32_t ts_i __attribute__((ext_vector_type(TS_LANES)));
typedef uint32_t ts_u __attribute__((ext_vector_type(TS_LANES)));
typedef float ts_f4 __attribute__((ext_vector_type(4)));
typedef float ts_f8 __attribute__((ext_vector_type(8)));
typedef double ts_d8 __attribute__((ext_vector_type(8)));
typedef int64_t ts_l8 __attribute__((ext_vector_type(8)));
typedef int8_t ts_b8 __attribute__((ext_vector_type(8)));
typedef int32_t ts_i8 __attribute__((ext_vector_type(8)));
typedef uint16_t ts_h8 __attribute__((ext_vector_type(8)));
typedef uint32_t ts_u8 __attribute__((ext_vector_type(8)));
typedef int8_t ts_b __attribute__((ext_vector_type(TS_LANES)));
typedef uint16_t ts_h __attribute__((ext_vector_type(TS_LANES)));

// Everything here is inlined, so the calling convention of wide vectors never matters.
#pragma clang diagnostic ignored "-Wpsabi"

#define TS_INLINE static inline __attribute__((always_inline, unused))

TS_INLINE ts_f ts_load_f32(const void *_Nonnull p) { ts_f v; __builtin_memcpy(&v, p, sizeof v); return v; }
TS_INLINE void ts_store_f32(void *_Nonnull p, ts_f v) { __builtin_memcpy(p, &v, sizeof v); }
TS_INLINE ts_u ts_load_words(const void *_Nonnull p) { ts_u v; __builtin_memcpy(&v, p, sizeof v); return v; }

TS_INLINE ts_f ts_load_bf16(const void *_Nonnull p) {
  ts_h h; __builtin_memcpy(&h, p, sizeof h);
  return (ts_f)(__builtin_convertvector(h, ts_u) << 16);
}
TS_INLINE ts_f ts_load_i8(const void *_Nonnull p) {
  ts_b b; __builtin_memcpy(&b, p, sizeof b);
  return __builtin_convertvector(__builtin_convertvector(b, ts_i), ts_f);
}

// f16 by integer arithmetic and one multiplication, for levels without the instruction: 2^112 moves the exponent from f16's
// bias to f32's and turns subnormals into normals; infinity and NaN get all-ones exponents, and NaN is quieted as the
// instruction does.
TS_INLINE ts_u8 ts_widen_f16(ts_h8 h) {
  ts_u8 w = __builtin_convertvector(h, ts_u8);
  ts_u8 sign = (w & 0x8000u) << 16, magnitude = w & 0x7fffu;
  ts_f8 scaled = (ts_f8)(magnitude << 13) * 0x1p112f;
  ts_u8 special = (magnitude << 13) | 0x7f800000u | ((ts_u8)(magnitude > 0x7c00u) & 0x400000u);
  ts_u8 is_special = (ts_u8)(magnitude >= 0x7c00u);
  return sign | (is_special & special) | (~is_special & (ts_u8)scaled);
}
#if defined(__F16C__) || defined(__aarch64__)
typedef _Float16 ts_g8 __attribute__((ext_vector_type(8)));
TS_INLINE ts_f8 ts_load8_f16(const void *_Nonnull p) {
  ts_g8 h; __builtin_memcpy(&h, p, sizeof h);
  return __builtin_convertvector(h, ts_f8);
}
#else
TS_INLINE ts_f8 ts_load8_f16(const void *_Nonnull p) {
  ts_h8 h; __builtin_memcpy(&h, p, sizeof h);
  return (ts_f8)ts_widen_f16(h);
}
#endif

#if TS_LANES == 16
TS_INLINE ts_f ts_load_f16(const void *_Nonnull p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
// Eight elements in the low half, zeros above.
TS_INLINE ts_f ts_low8(ts_f8 v) {
  return __builtin_shufflevector(v, (ts_f8)(0.0f), 0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8, 8, 8, 8, 8);
}
TS_INLINE ts_f8 ts_half(ts_f v) { return __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7); }
#else
TS_INLINE ts_f ts_load_f16(const void *_Nonnull p) { return ts_load8_f16(p); }
TS_INLINE ts_f ts_low8(ts_f8 v) { return v; }
TS_INLINE ts_f8 ts_half(ts_f v) { return v; }
#endif
TS_INLINE ts_f ts_load_half_f32(const void *_Nonnull p) { ts_f8 v; __builtin_memcpy(&v, p, sizeof v); return ts_low8(v); }
TS_INLINE ts_f ts_load_half_f16(const void *_Nonnull p) { return ts_low8(ts_load8_f16(p)); }
TS_INLINE ts_f ts_load_half_bf16(const void *_Nonnull p) {
  ts_h8 h; __builtin_memcpy(&h, p, sizeof h);
  return ts_low8((ts_f8)(__builtin_convertvector(h, ts_u8) << 16));
}
TS_INLINE ts_f ts_load_half_i8(const void *_Nonnull p) {
  ts_b8 b; __builtin_memcpy(&b, p, sizeof b);
  return ts_low8(__builtin_convertvector(__builtin_convertvector(b, ts_i8), ts_f8));
}
TS_INLINE void ts_store_half_f32(void *_Nonnull p, ts_f v) { ts_f8 h = ts_half(v); __builtin_memcpy(p, &h, sizeof h); }

// s + a * b: one rounding where the level has FMA, two at v2.
TS_INLINE ts_f ts_fma(ts_f s, ts_f a, ts_f b) {
#if defined(__FMA__) || defined(__aarch64__)
  return __builtin_elementwise_fma(a, b, s);
#else
  return s + a * b;
#endif
}
TS_INLINE ts_d8 ts_fma_f64(ts_d8 s, ts_d8 a, ts_d8 b) {
#if defined(__FMA__) || defined(__aarch64__)
  return __builtin_elementwise_fma(a, b, s);
#else
  return s + a * b;
#endif
}
TS_INLINE ts_f ts_splat(float x) { return (ts_f)(x); }
// x / scale to the nearest integers (ties to even), never beyond 127; 0 where x is not finite. Eight or sixteen bytes.
TS_INLINE void ts_store_quantised(void *_Nonnull p, ts_f x, float scale) {
  ts_f y = __builtin_elementwise_roundeven(x / scale);
  y = y > 127.0f ? (ts_f)(127.0f) : y;
  y = y < -127.0f ? (ts_f)(-127.0f) : y;
  ts_u finite = (ts_u)(((ts_u)x & 0x7f800000u) != 0x7f800000u);
  ts_b b = __builtin_convertvector(__builtin_convertvector((ts_f)(finite & (ts_u)y), ts_i), ts_b);
  __builtin_memcpy(p, &b, sizeof b);
}
// |x| where x is finite, 0 elsewhere
TS_INLINE ts_f ts_finite_size(ts_f x) {
  ts_u size = (ts_u)x & 0x7fffffffu;
  return (ts_f)((ts_u)(size < 0x7f800000u) & size);
}

// The greater, or b where either is NaN.
TS_INLINE ts_f ts_max(ts_f a, ts_f b) { return a > b ? a : b; }
TS_INLINE ts_f ts_min(ts_f a, ts_f b) { return a < b ? a : b; }

// The order of every sum over lanes, whatever the block shape: halves are added until one is left.
TS_INLINE ts_f4 ts_fold4(ts_f v) {
#if TS_LANES == 16
  ts_f8 e = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) + __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
#else
  ts_f8 e = v;
#endif
  return __builtin_shufflevector(e, e, 0, 1, 2, 3) + __builtin_shufflevector(e, e, 4, 5, 6, 7);
}
TS_INLINE float ts_sum(ts_f v) {
  ts_f4 q = ts_fold4(v);
  return (q.x + q.z) + (q.y + q.w);
}
TS_INLINE float ts_hmax(ts_f v) {
#if TS_LANES == 16
  ts_f8 a = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7), b = __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  ts_f8 e = a > b ? a : b;
#else
  ts_f8 e = v;
#endif
  ts_f4 c = __builtin_shufflevector(e, e, 0, 1, 2, 3), d = __builtin_shufflevector(e, e, 4, 5, 6, 7);
  ts_f4 q = c > d ? c : d;
  float x = q.x > q.z ? q.x : q.z, y = q.y > q.w ? q.y : q.w;
  return x > y ? x : y;
}
// Lane i: the sum of the i-th argument, in the order of ts_sum.
TS_INLINE ts_f4 ts_sum4(ts_f a, ts_f b, ts_f c, ts_f d) {
  ts_f4 x = ts_fold4(a), y = ts_fold4(b), z = ts_fold4(c), w = ts_fold4(d);
  ts_f4 s = __builtin_shufflevector(x, y, 0, 4, 1, 5) + __builtin_shufflevector(x, y, 2, 6, 3, 7);
  ts_f4 t = __builtin_shufflevector(z, w, 0, 4, 1, 5) + __builtin_shufflevector(z, w, 2, 6, 3, 7);
  return __builtin_shufflevector(s, t, 0, 1, 4, 5) + __builtin_shufflevector(s, t, 2, 3, 6, 7);
}
TS_INLINE void ts_store_f4(void *_Nonnull p, ts_f4 v) { __builtin_memcpy(p, &v, sizeof v); }

#if TS_LANES == 16
// x, y -> [x folded to 8 | y folded to 8]
TS_INLINE ts_f ts_fold_16_8(ts_f x, ts_f y) {
  return __builtin_shufflevector(x, y, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
         __builtin_shufflevector(x, y, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
}
// four sums in progress, eight lanes each -> four lanes each
TS_INLINE ts_f ts_fold_8_4(ts_f x, ts_f y) {
  return __builtin_shufflevector(x, y, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
         __builtin_shufflevector(x, y, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
}
// Four sums of 16 lanes -> four lanes of each, sum i in lanes 4 i ..< 4 i + 4.
TS_INLINE ts_f ts_fold_four(ts_f a, ts_f b, ts_f c, ts_f d) { return ts_fold_8_4(ts_fold_16_8(a, b), ts_fold_16_8(c, d)); }
// Four results of ts_fold_four, one a row -> lane 4 i + r: sum i of row r, in the order of ts_sum.
TS_INLINE ts_f ts_sum_folded(ts_f x, ts_f y, ts_f z, ts_f w) {
  ts_f s = (ts_f)_mm512_unpacklo_ps(x, y) + (ts_f)_mm512_unpackhi_ps(x, y);
  ts_f t = (ts_f)_mm512_unpacklo_ps(z, w) + (ts_f)_mm512_unpackhi_ps(z, w);
  return (ts_f)_mm512_unpacklo_pd((__m512d)s, (__m512d)t) + (ts_f)_mm512_unpackhi_pd((__m512d)s, (__m512d)t);
}
// a + v * p[0]. An instruction of its own so that the weight stays a memory operand: with a weight in a register, 32 sums and a
// row's vector do not fit the register file.
TS_INLINE ts_f ts_fma_weight(ts_f a, ts_f v, const float *_Nonnull p) {
  __asm__("vfmadd231ps (%1)%{1to16%}, %2, %0" : "+v"(a) : "r"(p), "v"(v), "m"(*p));
  return a;
}
// p, but the compiler cannot know: loads through the result are not shared with loads through p.
TS_INLINE const void *_Nonnull ts_opaque(const void *_Nonnull p) {
  __asm__ volatile("" : "+r"(p));
  return p;
}
TS_INLINE ts_f4 ts_quarter(ts_f v, int i) {
  return i == 0   ? __builtin_shufflevector(v, v, 0, 1, 2, 3)
         : i == 1 ? __builtin_shufflevector(v, v, 4, 5, 6, 7)
         : i == 2 ? __builtin_shufflevector(v, v, 8, 9, 10, 11)
                  : __builtin_shufflevector(v, v, 12, 13, 14, 15);
}
#endif

// 2^t for t <= 128 to about 1 ulp; 0 below 2^-126.5; NaN stays NaN. Minimax polynomial of degree 6 on [-1/2, 1/2].
TS_INLINE ts_f ts_exp2(ts_f t) {
  t = t < -127.0f ? (ts_f)(-127.0f) : t;
  ts_f n = __builtin_elementwise_roundeven(t);
  ts_f f = t - n;
  ts_f p = (ts_f)(0x1.444004p-13f);
  p = ts_fma((ts_f)(0x1.5f0896p-10f), p, f);
  p = ts_fma((ts_f)(0x1.3b2a1cp-7f), p, f);
  p = ts_fma((ts_f)(0x1.c6af6cp-5f), p, f);
  p = ts_fma((ts_f)(0x1.ebfbe0p-3f), p, f);
  p = ts_fma((ts_f)(0x1.62e430p-1f), p, f);
  p = ts_fma((ts_f)(1.0f), p, f);
#if TS_LANES == 16
  ts_i e = (ts_i)_mm512_cvtps_epi32(n);
#else
  // NaN has no integer; the polynomial keeps it whatever the exponent becomes.
  ts_i e = __builtin_convertvector(n == n ? n : (ts_f)(0.0f), ts_i);
#endif
  return p * (ts_f)((e + 127) << 23);
}

// To the second-level cache: measured better than the first, whose fill buffers the loads themselves need.
TS_INLINE void ts_prefetch(const void *_Nonnull p) { __builtin_prefetch(p, 0, 2); }
TS_INLINE void ts_prefetch_near(const void *_Nonnull p) { __builtin_prefetch(p, 0, 3); }

// Four neighbouring pairs of x turn by their angles.
TS_INLINE void ts_rotate_pairs4(float *_Nonnull x, const float *_Nonnull c, const float *_Nonnull s) {
  ts_f8 v; __builtin_memcpy(&v, x, sizeof v);
  ts_f4 c4, s4; __builtin_memcpy(&c4, c, sizeof c4); __builtin_memcpy(&s4, s, sizeof s4);
  ts_f8 cc = __builtin_shufflevector(c4, c4, 0, 0, 1, 1, 2, 2, 3, 3);
  ts_f8 ss = __builtin_shufflevector(s4, -s4, 4, 0, 5, 1, 6, 2, 7, 3);
  ts_f8 w = __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6);
  v = v * cc + w * ss;
  __builtin_memcpy(x, &v, sizeof v);
}

// cos, sin of position * frequency[0 ..< n], n <= 8. Three-part pi/2 (Cody and Waite), polynomials to x^13 and x^12: 1e-11 on the reduced range.
TS_INLINE void ts_sincos8(double position, const double *_Nonnull frequency, int32_t n, float *_Nonnull c, float *_Nonnull s) {
  ts_d8 x = (ts_d8)(0.0);
  __builtin_memcpy(&x, frequency, (unsigned)n * sizeof(double));
  x *= position;
  ts_d8 k = __builtin_elementwise_roundeven(x * 0x1.45f306dc9c883p-1);
  x = ts_fma_f64(x, k, (ts_d8)(-0x1.921fb5p0));
  x = ts_fma_f64(x, k, (ts_d8)(-0x1.110b46p-26));
  x = ts_fma_f64(x, k, (ts_d8)(-0x1.1a62633145c07p-54));
  ts_l8 quadrant = __builtin_convertvector(k, ts_l8);
  ts_d8 y = x * x;
  ts_d8 p = (ts_d8)(1.0 / 362880.0) - (ts_d8)(1.0 / 39916800.0) * y + (ts_d8)(1.0 / 6227020800.0) * y * y;
  p = p * y - 1.0 / 5040.0;
  p = p * y + 1.0 / 120.0;
  p = p * y - 1.0 / 6.0;
  ts_d8 sine = x + x * y * p;
  ts_d8 r = (ts_d8)(1.0 / 479001600.0) * y - 1.0 / 3628800.0;
  r = r * y + 1.0 / 40320.0;
  r = r * y - 1.0 / 720.0;
  r = r * y + 1.0 / 24.0;
  r = r * y - 0.5;
  ts_d8 cosine = r * y + 1.0;
  ts_l8 swap = (ts_l8)((quadrant & 1) != 0);
  ts_d8 u = (ts_d8)((swap & (ts_l8)cosine) | (~swap & (ts_l8)sine));
  ts_d8 v = (ts_d8)((swap & (ts_l8)sine) | (~swap & (ts_l8)cosine));
  u = (ts_d8)((ts_l8)u ^ ((quadrant & 2) << 62));
  v = (ts_d8)((ts_l8)v ^ (((quadrant + 1) & 2) << 62));
  ts_f8 uf = __builtin_convertvector(u, ts_f8), vf = __builtin_convertvector(v, ts_f8);
  __builtin_memcpy(s, &uf, (unsigned)n * sizeof(float));
  __builtin_memcpy(c, &vf, (unsigned)n * sizeof(float));
}

// x, or `other` where `test` is NaN.
TS_INLINE ts_f ts_replace_nan(ts_f x, ts_f other, ts_f test) { return test == test ? x : other; }

// The order-preserving key of a score: NaN and -inf are 0, the least; -0 counts as +0.
TS_INLINE ts_u ts_keys(ts_f x) {
  x = x + 0.0f;
  ts_u bits = (ts_u)x;
  ts_u negative = (ts_u)((ts_i)bits >> 31);
  ts_u key = bits ^ (negative | 0x80000000u);
  key = key - 0x007fffffu;  // -inf becomes 0
  return (ts_u)(x == x) & key;
}
TS_INLINE uint32_t ts_key(float x) {
  union { float f; uint32_t u; } w = {x + 0.0f};
  if (x != x) return 0;
  return (w.u ^ ((uint32_t)((int32_t)w.u >> 31) | 0x80000000u)) - 0x007fffffu;
}
// Bit i: lane i of a >= b (unsigned).
TS_INLINE uint32_t ts_mask_ge(ts_u a, ts_u b) {
#if TS_LANES == 16
  return _mm512_cmpge_epu32_mask((__m512i)a, (__m512i)b);
#else
  ts_u one = {1, 2, 4, 8, 16, 32, 64, 128};
  ts_u m = (ts_u)(a >= b) & one;
  ts_u n = m | __builtin_shufflevector(m, m, 4, 5, 6, 7, 0, 1, 2, 3);
  n |= __builtin_shufflevector(n, n, 2, 3, 0, 1, 6, 7, 4, 5);
  return n[0] | n[1];
#endif
}

// Byte i of each word, its sign bit flipped, as f32.
TS_INLINE ts_f ts_flipped_byte(ts_u word, int32_t i) {
  ts_i x = (ts_i)((word ^ 0x80808080u) << (24 - 8 * i)) >> 24;
  return __builtin_convertvector(x, ts_f);
}
// The two bf16 of each word as f32.
TS_INLINE ts_f ts_low_bf16(ts_u word) { return (ts_f)(word << 16); }
TS_INLINE ts_f ts_high_bf16(ts_u word) { return (ts_f)(word & 0xffff0000u); }

#if defined(__AVX2__) && !defined(__AVX512VNNI__)
// Scoring tiles by halves of 8 tokens, at the levels that have no dot-product instructions.
typedef int32_t ts_y __attribute__((ext_vector_type(8)));  // 32 bytes

TS_INLINE ts_y ts_load32(const void *_Nonnull p) { return (ts_y)_mm256_loadu_si256((const __m256i *)p); }
TS_INLINE ts_y ts_splat32(const void *_Nonnull p) { int32_t x; __builtin_memcpy(&x, p, sizeof x); return (ts_y)(x); }
// Bytes stored as x + 128, as signed ones.
TS_INLINE ts_y ts_signed_bytes(ts_y x) { return x ^ (ts_y)(int32_t)0x80808080; }
TS_INLINE ts_y ts_byte_sizes(ts_y x) { return (ts_y)_mm256_abs_epi8((__m256i)x); }
// a + sum of four products k q of signed bytes, per lane. `size` is |k|: the instruction multiplies unsigned by signed bytes, so
// the signs of k move to q. Pairs of products stay within 2 * 128 * 127, so nothing saturates.
TS_INLINE ts_y ts_dot_bytes(ts_y a, ts_y size, ts_y k, ts_y q) {
  __m256i pairs = _mm256_maddubs_epi16((__m256i)size, _mm256_sign_epi8((__m256i)q, (__m256i)k));
  return a + (ts_y)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}
TS_INLINE ts_f8 ts_words_to_f32(ts_y x) { return __builtin_convertvector(x, ts_f8); }
TS_INLINE ts_f8 ts_load_f8(const void *_Nonnull p) { ts_f8 v; __builtin_memcpy(&v, p, sizeof v); return v; }
TS_INLINE void ts_store_f8(void *_Nonnull p, ts_f8 v) { __builtin_memcpy(p, &v, sizeof v); }
TS_INLINE ts_f8 ts_splat_f8(float x) { return (ts_f8)(x); }
TS_INLINE ts_f8 ts_fma8(ts_f8 s, ts_f8 a, ts_f8 b) { return __builtin_elementwise_fma(a, b, s); }
TS_INLINE ts_f8 ts_low_bf16x8(ts_y x) { return (ts_f8)((ts_u8)x << 16); }
TS_INLINE ts_f8 ts_high_bf16x8(ts_y x) { return (ts_f8)((ts_u8)x & 0xffff0000u); }
#endif

#if defined(__AVX512BF16__) && defined(__AVX512VNNI__)
typedef int32_t ts_w __attribute__((ext_vector_type(16)));  // 64 bytes of a row

TS_INLINE ts_w ts_load64(const void *_Nonnull p) { return (ts_w)_mm512_loadu_si512(p); }
// The first n < 64 bytes, zeros above.
TS_INLINE ts_w ts_load64_part(const void *_Nonnull p, int32_t n) {
  return (ts_w)_mm512_maskz_loadu_epi8((1ull << n) - 1, p);
}
// a + sum of pairs of bf16 products, per lane
TS_INLINE ts_f ts_dot_bf16(ts_f a, ts_w x, ts_w y) { return (ts_f)_mm512_dpbf16_ps((__m512)a, (__m512bh)x, (__m512bh)y); }
// a + sum of four products u8 x s8, per lane; lanes of `a` hold integers
TS_INLINE ts_w ts_dot_u8(ts_w a, ts_w u8, ts_w s8) { return (ts_w)_mm512_dpbusd_epi32((__m512i)a, (__m512i)u8, (__m512i)s8); }
TS_INLINE ts_w ts_flip_signs(ts_w x) { return x ^ (ts_w)(int32_t)0x80808080; }
// Bytes 16 i ..< 16 i + 16 four times.
TS_INLINE ts_w ts_quarter_splat(ts_w x, int i) {
  return i == 0   ? __builtin_shufflevector(x, x, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3)
         : i == 1 ? __builtin_shufflevector(x, x, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7)
         : i == 2 ? __builtin_shufflevector(x, x, 8, 9, 10, 11, 8, 9, 10, 11, 8, 9, 10, 11, 8, 9, 10, 11)
                  : __builtin_shufflevector(x, x, 12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15);
}
TS_INLINE ts_w ts_splat_word(int32_t x) { return (ts_w)(x); }
TS_INLINE ts_f ts_to_f32(ts_w x) { return __builtin_convertvector(x, ts_f); }
TS_INLINE ts_w ts_as_words(ts_f x) { return (ts_w)x; }
TS_INLINE ts_f ts_as_floats(ts_w x) { return (ts_f)x; }
// ts_sum_folded of integers
TS_INLINE ts_w ts_sum_folded_words(ts_w x, ts_w y, ts_w z, ts_w w) {
  __m512i s = (__m512i)((ts_w)_mm512_unpacklo_epi32((__m512i)x, (__m512i)y) + (ts_w)_mm512_unpackhi_epi32((__m512i)x, (__m512i)y));
  __m512i t = (__m512i)((ts_w)_mm512_unpacklo_epi32((__m512i)z, (__m512i)w) + (ts_w)_mm512_unpackhi_epi32((__m512i)z, (__m512i)w));
  return (ts_w)_mm512_unpacklo_epi64(s, t) + (ts_w)_mm512_unpackhi_epi64(s, t);
}
TS_INLINE ts_w ts_times_256(ts_w x) { return (ts_w)((ts_u)x << 8); }

// Rows x and y of 32 bf16 -> pairs (x, y) of columns 8 l + 0 ..< 4 (low) or + 4 ..< 8 (high) in lane group l.
TS_INLINE ts_w ts_pairs_low(ts_w x, ts_w y) { return (ts_w)_mm512_unpacklo_epi16((__m512i)x, (__m512i)y); }
TS_INLINE ts_w ts_pairs_high(ts_w x, ts_w y) { return (ts_w)_mm512_unpackhi_epi16((__m512i)x, (__m512i)y); }
TS_INLINE ts_w ts_bytes_low(ts_w x, ts_w y) { return (ts_w)_mm512_unpacklo_epi8((__m512i)x, (__m512i)y); }
TS_INLINE ts_w ts_bytes_high(ts_w x, ts_w y) { return (ts_w)_mm512_unpackhi_epi8((__m512i)x, (__m512i)y); }
// o[0 ..< 32] += the columns of ts_pairs_low and ts_pairs_high in their order
TS_INLINE void ts_add_pairs(float *_Nonnull o, ts_f low, ts_f high) {
  ts_f x = __builtin_shufflevector(low, high, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
  ts_f y = __builtin_shufflevector(low, high, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
  ts_store_f32(o, ts_load_f32(o) + x);
  ts_store_f32(o + 16, ts_load_f32(o + 16) + y);
}
// a + pairs of v times the pair of bf16 weights at p, which stays a memory operand (see ts_fma_weight)
TS_INLINE ts_f ts_dot_weights(ts_f a, ts_w v, const void *_Nonnull p) {
  __asm__("vdpbf16ps (%1)%{1to16%}, %2, %0" : "+v"(a) : "r"(p), "v"(v), "m"(*(const int32_t *)p));
  return a;
}
TS_INLINE ts_f ts_load_f32_part(const void *_Nonnull p, int32_t n) { return (ts_f)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p); }
TS_INLINE void ts_store_f32_part(void *_Nonnull p, ts_f x, int32_t n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)x); }
TS_INLINE void ts_store_bf16(void *_Nonnull p, ts_f x) { _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh((__m512)x)); }
TS_INLINE ts_w ts_round(ts_f x) { return (ts_w)_mm512_cvtps_epi32((__m512)x); }
// low bytes of the lanes
TS_INLINE void ts_store_bytes(void *_Nonnull p, ts_w x) { _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8((__m512i)x)); }
TS_INLINE ts_w ts_high_bytes(ts_w x) { return (ts_w)((ts_u)x >> 8); }
// Quarters of a, b, c, d: quarter j of vector i to quarter i of vector j, in place at o
TS_INLINE void ts_transpose_quarters(float *_Nonnull o) {
  ts_f a = ts_load_f32(o), b = ts_load_f32(o + 16), c = ts_load_f32(o + 32), d = ts_load_f32(o + 48);
  ts_f x = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
  ts_f y = __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  ts_f z = __builtin_shufflevector(c, d, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
  ts_f w = __builtin_shufflevector(c, d, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  ts_store_f32(o, __builtin_shufflevector(x, z, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27));
  ts_store_f32(o + 16, __builtin_shufflevector(x, z, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31));
  ts_store_f32(o + 32, __builtin_shufflevector(y, w, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27));
  ts_store_f32(o + 48, __builtin_shufflevector(y, w, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31));
}
#endif
