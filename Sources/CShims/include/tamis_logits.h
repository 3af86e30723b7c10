/// What the metrics of logits need from C: their part of the kernel table, and the few operations Swift cannot spell.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "tamis_simd.h"

/// Entries of a block: what a kernel is called with at most. 16 KB of f32, so that a second kernel finds it in the first cache.
#define TK_LOGIT_BLOCK 4096

/// Sums over one block, with d = z - reference and e = exp(max(d, -80)); what was not asked for is 0. A NaN in the block makes
/// `sum` NaN.
typedef struct tk_logit_sums {
  /// The largest entry; NaN does not count.
  float max;
  double sum;         // e
  double first;       // d e
  double second;      // d^2 e
  double squares;     // e^2
  double lanes[4][8]; // of the kernel: those four by lanes
} tk_logit_sums;

/// The largest entries of a block, NaN left out.
typedef struct tk_logit_top {
  float first, second;
} tk_logit_top;

/// Entries against the target's.
typedef struct tk_logit_rank {
  int32_t larger, equal;
} tk_logit_rank;

/// Of two rows in one block: e_p, e_q as above with references of their own, and g = (p - reference_p) - (q - reference_q), 0
/// where both or the weighting one are -inf.
typedef struct tk_logit_pair {
  float max_p, max_q, sum_p, sum_q;
  float forward;      // e_p g
  float backward;     // - e_q g
} tk_logit_pair;

typedef void (*tk_logit_moments)(const void *_Nonnull z, ptrdiff_t n, float reference, tk_logit_sums *_Nonnull sums);
/// `steps` (ln 2) / 8 is the reference of e, and `near`, a float close to it, that of d. Nothing is known about entries
/// outside near - 80 to near + 16 (with first moments near + 3), of which NaN and -inf are two: 0 is returned and the sums are
/// of no use. `near` lies in 0 to 64;
/// `max` is the largest entry if that is above 0, and 0 if not.
typedef int32_t (*tk_logit_quick)(const void *_Nonnull z, ptrdiff_t n, int32_t steps, float near, tk_logit_sums *_Nonnull sums);
typedef void (*tk_logit_largest)(const void *_Nonnull z, ptrdiff_t n, tk_logit_top *_Nonnull top);
typedef void (*tk_logit_ranks)(const void *_Nonnull z, ptrdiff_t n, float target, tk_logit_rank *_Nonnull rank);
typedef void (*tk_logit_total)(const void *_Nonnull z, ptrdiff_t n, float *_Nonnull total, int32_t *_Nonnull count);
typedef ptrdiff_t (*tk_logit_above)(const void *_Nonnull z, ptrdiff_t n, float threshold, float *_Nonnull to);
typedef ptrdiff_t (*tk_logit_find)(const void *_Nonnull z, ptrdiff_t n, float value);

/// The same for each dtype of logits.
typedef struct tk_logit_rows {
  /// max and sum; those and first; everything
  tk_logit_moments _Nonnull sums, moments, all;
  tk_logit_largest _Nonnull largest;
  tk_logit_ranks _Nonnull ranks;
  /// Sum and number of the entries that are not -inf.
  tk_logit_total _Nonnull total;
  /// Entries above the threshold, as f32 in their order (room for n); returns how many.
  tk_logit_above _Nonnull above;
  /// The first place that holds `value`, or n.
  tk_logit_find _Nonnull find;
} tk_logit_rows;

typedef struct tk_logits {
  tk_logit_rows f32, f16, bf16;
  /// `sums` and `moments` of bf16 in fewer operations; NULL where the level has nothing of the kind.
  tk_logit_quick _Nullable quick_sums;
  tk_logit_quick _Nullable quick_moments;
  /// f32 blocks p and q; the largest entries are given beforehand (they are the references or below).
  void (*_Nonnull pair)(const float *_Nonnull p, const float *_Nonnull q, ptrdiff_t n, float reference_p, float reference_q,
                        tk_logit_pair *_Nonnull sums);
  /// With a = p - lse_p and b = q - lse_q, both at least -87: js += sum of P ln(2P / (P + Q)) + Q ln(2Q / (P + Q)) and tv += sum
  /// |P - Q|, P = e^a, Q = e^b.
  void (*_Nonnull distance)(const float *_Nonnull p, const float *_Nonnull q, ptrdiff_t n, float lse_p, float lse_q,
                            float *_Nonnull js, float *_Nonnull tv);
  /// to = a (x - c) + b (y - d); -inf wherever x is.
  void (*_Nonnull combine)(const float *_Nonnull x, const float *_Nonnull y, ptrdiff_t n, float a, float c, float b, float d,
                           float *_Nonnull to);
  /// to = (x - c) high + (x - c) low
  void (*_Nonnull rescale)(const float *_Nonnull x, ptrdiff_t n, float c, float high, float low, float *_Nonnull to);
} tk_logits;

// ------------------------------------------------------------------------------------------------ vectors

// v, but the compiler cannot know what it is: a constant that stays in a register of a loop instead of being loaded again and
// again.
TS_INLINE ts_f tg_hold(ts_f v) {
#if defined(__AVX512F__)
  __asm__("" : "+v"(v));
#elif defined(__AVX2__)
  __asm__("" : "+x"(v));
#endif
  return v;
}
TS_INLINE ts_u tg_hold_bits(ts_u v) { return (ts_u)tg_hold((ts_f)v); }

// The first n < lanes elements, `fill` above. Entries are read one by one: this is the end of a row, not its length.
TS_INLINE ts_f tg_part_f32(const void *_Nonnull p, ptrdiff_t n, float fill) {
  ts_f v = (ts_f)(fill);
  const float *from = (const float *)p;
  for (ptrdiff_t i = 0; i < n; i++) v[i] = from[i];
  return v;
}
TS_INLINE ts_f tg_part_16(const void *_Nonnull p, ptrdiff_t n, float fill, int32_t is_f16) {
  uint16_t room[TS_LANES];
  const uint16_t *from = (const uint16_t *)p;
  for (ptrdiff_t i = 0; i < TS_LANES; i++) room[i] = i < n ? from[i] : 0;
  ts_f v = is_f16 ? ts_load_f16(room) : ts_load_bf16(room);
  for (ptrdiff_t i = n; i < TS_LANES; i++) v[i] = fill;
  return v;
}
// Two vectors of bf16 from one load, as they lie: the even elements and the odd ones. Sums do not mind.
TS_INLINE ts_f tg_even_bf16(ts_u words) { return (ts_f)(words << 16); }
TS_INLINE ts_f tg_odd_bf16(ts_u words) { return (ts_f)(words & 0xffff0000u); }

// e^d as scale * p, for -80 <= d <= 80; NaN gives NaN. d = n8 (ln 2) / 8 + r: the scale is 2^(n8 / 8), p a cubic of r with an
// error below 3e-8; (ln 2) / 8 in f32 is off by 3e-9 of itself. e^0 is exactly 1.
#define TG_LOWEST (-80.0f)
TS_INLINE ts_f tg_shifted(ts_f d) { return ts_fma((ts_f)(12582912.0f), d, (ts_f)(0x1.715476p3f)); }
TS_INLINE ts_f tg_remainder(ts_f d, ts_f shifted) {
#if defined(__FMA__) || defined(__aarch64__)
  return ts_fma(d, shifted - 12582912.0f, (ts_f)(-0x1.62e43p-4f));
#else
  // Without FMA the product has to be exact: (ln 2) / 8 in two parts.
  ts_f n = shifted - 12582912.0f;
  return (d - n * 0x1.62ep-4f) - n * 0x1.0bfbe8p-18f;
#endif
}
TS_INLINE ts_f tg_cubic(ts_f r) {
  ts_f q = ts_fma((ts_f)(0x1.000874p-1f), r, (ts_f)(0x1.555656p-3f));
  q = ts_fma((ts_f)(1.0f), r, q);
  return ts_fma((ts_f)(1.0f), r, q);
}
TS_INLINE ts_f tg_scale(ts_f shifted) {
  // 2^(j / 8) with j << 20 taken off, so that adding n8 << 20 leaves 2^(n8 / 8), j being the low bits of n8.
#define TG_ENTRIES 0x3f800000u, 0x3f8b95c2u - (1u << 20), 0x3f9837f0u - (2u << 20), 0x3fa5fed7u - (3u << 20), \
                   0x3fb504f3u - (4u << 20), 0x3fc5672au - (5u << 20), 0x3fd744fdu - (6u << 20), 0x3feac0c7u - (7u << 20)
#if TS_LANES == 16
  const ts_u table = {TG_ENTRIES, TG_ENTRIES};
  ts_u entry = (ts_u)_mm512_permutexvar_epi32((__m512i)shifted, (__m512i)table);
#elif defined(__AVX2__)
  const ts_u table = {TG_ENTRIES};
  ts_u entry = (ts_u)_mm256_permutevar8x32_epi32((__m256i)table, (__m256i)shifted);
#else
  static const uint32_t table[8] = {TG_ENTRIES};
  ts_u j = (ts_u)shifted & 7u, entry;
  for (int i = 0; i < TS_LANES; i++) entry[i] = table[j[i]];
#endif
#undef TG_ENTRIES
  return (ts_f)(entry + ((ts_u)shifted << 20));
}

#if defined(__AVX2__)
// e^z over 2^(steps / 8), for 0 <= steps <= 740 and z within 80 of it, in two operations less: a cubic of x = r + 12 (ln 2) / 8 whose
// square term is gone, so that it is c3 (x (x^2 + b) + h), c3 being in the scale's table. Error below 3.5e-7.
TS_INLINE ts_u tg_quick_table(void) {
#define TG_ENTRIES 0x3e242bd6u, 0x3e3307aeu - (1u << 20), 0x3e433bceu - (2u << 20), 0x3e54e75du - (3u << 20), \
                   0x3e682c56u - (4u << 20), 0x3e7d2fc9u - (5u << 20), 0x3e8a0d0fu - (6u << 20), 0x3e968bb2u - (7u << 20)
#if TS_LANES == 16
  const ts_u table = {TG_ENTRIES, TG_ENTRIES};
#else
  const ts_u table = {TG_ENTRIES};
#endif
#undef TG_ENTRIES
  return table;
}
TS_INLINE ts_f tg_quick_shifted(ts_f z, ts_f offset, ts_f steps) { return ts_fma(offset, z, steps); }
TS_INLINE ts_f tg_quick_cubic(ts_f z, ts_f shifted, ts_f offset, ts_f step, ts_f b, ts_f h) {
  ts_f x = ts_fma(z, shifted - offset, step);
  return ts_fma(h, x, ts_fma(b, x, x));
}
TS_INLINE ts_f tg_quick_scale(ts_f shifted, ts_u table) {
#if TS_LANES == 16
  ts_u entry = (ts_u)_mm512_permutexvar_epi32((__m512i)shifted, (__m512i)table);
#else
  ts_u entry = (ts_u)_mm256_permutevar8x32_epi32((__m256i)table, (__m256i)shifted);
#endif
  return (ts_f)(entry + ((ts_u)shifted << 20));
}
TS_INLINE ts_f tg_max_constant(ts_f x, ts_f lowest) { return x < lowest ? lowest : x; }
// The largest of 16-bit words, signed and unsigned: of bf16 the largest positive number, and the one farthest below 0.
typedef int16_t tg_signed __attribute__((ext_vector_type(2 * TS_LANES)));
typedef uint16_t tg_unsigned __attribute__((ext_vector_type(2 * TS_LANES)));
TS_INLINE ts_u tg_upper(ts_u m, ts_u w) { return (ts_u)__builtin_elementwise_max((tg_signed)m, (tg_signed)w); }
TS_INLINE ts_u tg_lower(ts_u m, ts_u w) { return (ts_u)__builtin_elementwise_max((tg_unsigned)m, (tg_unsigned)w); }
TS_INLINE float tg_word_float(uint16_t word) {
  union { uint32_t u; float f; } x = {(uint32_t)word << 16};
  return x.f;
}
TS_INLINE float tg_upper_value(ts_u m) {
  tg_signed v = (tg_signed)m;
  int16_t top = 0;
  for (int i = 0; i < 2 * TS_LANES; i++) top = v[i] > top ? v[i] : top;
  return tg_word_float((uint16_t)top);
}
TS_INLINE float tg_lower_value(ts_u m) {
  tg_unsigned v = (tg_unsigned)m;
  uint16_t top = 0;
  for (int i = 0; i < 2 * TS_LANES; i++) top = v[i] > top ? v[i] : top;
  return top < 0x8000u ? 0.0f : tg_word_float(top);
}
#endif

// f64 sums of f32 lanes, in memory and in a fixed order: in registers they would leave too few for the loops' constants.
TS_INLINE void tg_wide_clear(tk_logit_sums *_Nonnull sums) { __builtin_memset(sums->lanes, 0, sizeof sums->lanes); }
TS_INLINE void tg_wide_add(tk_logit_sums *_Nonnull sums, int32_t which, ts_f v) {
  double *p = sums->lanes[which];
  ts_d8 wide;
  __builtin_memcpy(&wide, p, sizeof wide);
#if TS_LANES == 16
  ts_f8 low = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7), high = __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  wide = wide + (__builtin_convertvector(low, ts_d8) + __builtin_convertvector(high, ts_d8));
#else
  wide = wide + __builtin_convertvector(v, ts_d8);
#endif
  __builtin_memcpy(p, &wide, sizeof wide);
}
TS_INLINE double tg_wide_total(const tk_logit_sums *_Nonnull sums, int32_t which) {
  const double *v = sums->lanes[which];
  return ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7]));
}
TS_INLINE void tg_wide_finish(tk_logit_sums *_Nonnull sums) {
  sums->sum = tg_wide_total(sums, 0);
  sums->first = tg_wide_total(sums, 1);
  sums->second = tg_wide_total(sums, 2);
  sums->squares = tg_wide_total(sums, 3);
}

// max that ignores NaN in x, and one that hands a NaN in x on.
TS_INLINE ts_f tg_max(ts_f m, ts_f x) { return x > m ? x : m; }
TS_INLINE ts_f tg_min(ts_f m, ts_f x) { return x < m ? x : m; }
TS_INLINE ts_f tg_floor(ts_f x) { return x < (ts_f)(TG_LOWEST) ? (ts_f)(TG_LOWEST) : x; }
TS_INLINE ts_i tg_zero_ints(void) { return (ts_i)(0); }
// count - 1 where the relation holds (all bits set are -1)
TS_INLINE ts_i tg_count_above(ts_i count, ts_f x, ts_f y) { return count - (ts_i)(x > y); }
TS_INLINE ts_i tg_count_equal(ts_i count, ts_f x, ts_f y) { return count - (ts_i)(x == y); }
TS_INLINE int32_t tg_sum_ints(ts_i v) {
  int32_t s = 0;
  for (int i = 0; i < TS_LANES; i++) s += v[i];
  return s;
}
// x where `test` is above -inf, 0 elsewhere (NaN stays).
TS_INLINE ts_f tg_where_there(ts_f x, ts_f test) { return (ts_f)((ts_u)x & (ts_u)(test != (ts_f)(-__builtin_inff()))); }
TS_INLINE ts_f tg_keep_removed(ts_f x, ts_f test) { return test == (ts_f)(-__builtin_inff()) ? test : x; }
TS_INLINE ts_f tg_magnitude(ts_f x) { return (ts_f)((ts_u)x & 0x7fffffffu); }
// Bit i: lane i of x > y.
TS_INLINE uint32_t tg_mask_above(ts_f x, ts_f y) {
#if TS_LANES == 16
  return _mm512_cmp_ps_mask((__m512)x, (__m512)y, _CMP_GT_OQ);
#elif defined(__AVX2__)
  return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps((__m256)x, (__m256)y, _CMP_GT_OQ));
#else
  ts_i m = (ts_i)(x > y);
  uint32_t bits = 0;
  for (int i = 0; i < TS_LANES; i++) bits |= (uint32_t)(m[i] & 1) << i;
  return bits;
#endif
}
TS_INLINE float tg_lane(ts_f x, int32_t i) { return x[i]; }
TS_INLINE ts_f tg_divide(ts_f x, ts_f y) { return x / y; }
