// The table of SIMD inner loops. Each instruction-set level's module (Kernels*) fills one with its own code; the table is
// chosen once, at run time (TamisCore/KernelTable.swift). Leaf loops over raw pointers: no allocation, no checks.
// Head dims are multiples of 8 up to 256; pointers need only the alignment of their element.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "tamis_boundaries.h"
#include "tamis_linear.h"
#include "tamis_logits.h"
#include "tamis_prefill.h"

// Rows of keys or values of one dtype and head: row t begins at base + (rows ? rows[t] : t) * stride elements; an i8 row is
// multiplied by scale[(rows ? rows[t] : t) * scale_stride] (NULL: 1).
typedef struct tk_rows {
  const void *_Nullable base;
  const int32_t *_Nullable rows;
  ptrdiff_t stride;
  const float *_Nullable scale;
  ptrdiff_t scale_stride;
  // Rows that will be wanted next: while row t is worked on, row min(t, ahead_count - 1) of these is brought near.
  const struct tk_rows *_Nullable ahead;
  ptrdiff_t ahead_count;
} tk_rows;

// `count` query vectors [count][dim] in the forms the dot kernels read. The caller fills f32 and points the rest at room of
// its own; prepare_queries fills them. i8 holds two terms: q ~ i8_scale * (high + low / 256).
typedef struct tk_queries {
  float *_Nullable f32;
  uint16_t *_Nullable bf16;
  int8_t *_Nullable i8_high;
  int8_t *_Nullable i8_low;
  // Both terms of four queries together: [count/4][dim/64 * 4][high, low][4][16], zeros where there is no query or dim.
  int8_t *_Nullable i8_panels;
  float *_Nullable i8_scale;      // [count]
  int32_t *_Nullable i8_high_sum; // [count], sum of i8_high over dim
  int32_t *_Nullable i8_low_sum;
  int32_t count;
  int32_t dim;
} tk_queries;

typedef void (*tk_dot)(const tk_rows *_Nonnull rows, ptrdiff_t n, const tk_queries *_Nonnull q, float *_Nonnull z,
                       ptrdiff_t z_stride);
// The weights may be overwritten.
typedef void (*tk_accumulate)(const tk_rows *_Nonnull rows, ptrdiff_t n, float *_Nonnull p, ptrdiff_t p_stride,
                              int32_t count, int32_t dim, float *_Nonnull o);
typedef void (*tk_gather)(const tk_rows *_Nonnull rows, ptrdiff_t n, int32_t dim, float *_Nonnull to);
typedef void (*tk_turn)(const tk_rows *_Nonnull rows, ptrdiff_t n, int32_t dim, int32_t half, const float *_Nonnull c,
                        const float *_Nonnull s, ptrdiff_t table_stride, float *_Nonnull to);
typedef void (*tk_score_tiles)(const void *_Nonnull tiles, const float *_Nullable scale, ptrdiff_t n_tiles,
                               const tk_queries *_Nonnull q, float *_Nonnull z, ptrdiff_t z_stride);

typedef struct tk_table {
  // dtype conversion of n consecutive elements, round to nearest even; the same bits at every level
  void (*_Nonnull f16_to_f32)(const uint16_t *_Nonnull from, float *_Nonnull to, ptrdiff_t n);
  void (*_Nonnull f32_to_f16)(const float *_Nonnull from, uint16_t *_Nonnull to, ptrdiff_t n);
  void (*_Nonnull bf16_to_f32)(const uint16_t *_Nonnull from, float *_Nonnull to, ptrdiff_t n);
  void (*_Nonnull f32_to_bf16)(const float *_Nonnull from, uint16_t *_Nonnull to, ptrdiff_t n);
  void (*_Nonnull i8_to_f32)(const int8_t *_Nonnull from, float scale, float *_Nonnull to, ptrdiff_t n);
  // to[i] = round(from[i] / s), s = max|from| / 127 over finite values (returned; 0 for a row of zeros); non-finite -> 0
  float (*_Nonnull f32_to_i8)(const float *_Nonnull from, int8_t *_Nonnull to, ptrdiff_t n);

  // fills every form but f32
  void (*_Nonnull prepare_queries)(const tk_queries *_Nonnull q);
  // z[g * z_stride + t] = q_g . k_t
  tk_dot _Nonnull dot_f32;
  tk_dot _Nonnull dot_f16;
  tk_dot _Nonnull dot_bf16;
  tk_dot _Nonnull dot_i8;
  // o[g][dim] += sum_t p[g * p_stride + t] v_t; accumulate_i8 with columns in an order of its own (reorder_i8)
  tk_accumulate _Nonnull accumulate_f32;
  tk_accumulate _Nonnull accumulate_f16;
  tk_accumulate _Nonnull accumulate_bf16;
  tk_accumulate _Nonnull accumulate_i8;
  // Brings o of accumulate_i8 from the order in which that kernel sums columns to their natural one, and back.
  void (*_Nonnull reorder_i8)(float *_Nonnull o, int32_t count, int32_t dim);
  // to [n][dim] f32
  tk_gather _Nonnull gather_f32;
  tk_gather _Nonnull gather_f16;
  tk_gather _Nonnull gather_bf16;
  tk_gather _Nonnull gather_i8;

  // gather and rotate_half at once
  tk_turn _Nonnull turn_f32;
  tk_turn _Nonnull turn_f16;
  tk_turn _Nonnull turn_bf16;
  tk_turn _Nonnull turn_i8;

  // x [n][dim] in place: pair i of row t turns by the angle whose cos and sin are c, s[t * table_stride + i], i < half;
  // dimensions from 2 * half on stay. table_stride 0: one angle for all rows.
  void (*_Nonnull rotate_half)(float *_Nonnull x, ptrdiff_t n, int32_t dim, int32_t half, const float *_Nonnull c,
                               const float *_Nonnull s, ptrdiff_t table_stride);
  void (*_Nonnull rotate_interleaved)(float *_Nonnull x, ptrdiff_t n, int32_t dim, int32_t half, const float *_Nonnull c,
                                      const float *_Nonnull s, ptrdiff_t table_stride);
  // c, s[i] = cos, sin(position * frequency[i]): angles and polynomials in f64, results rounded to f32
  void (*_Nonnull angles)(double position, const double *_Nonnull frequency, ptrdiff_t half, float *_Nonnull c,
                          float *_Nonnull s);

  // z = cap * tanh(z * scale / cap), or z * scale when cap is 0; in place
  void (*_Nonnull scale_cap)(float *_Nonnull z, ptrdiff_t n, float scale, float cap);
  // One block of an online softmax, in place: m' = max(m, max_t a z_t), p_t = 2^(a z_t - m'), l' = l 2^(m - m') + sum_t p_t.
  // `a` is the softmax scale times log2(e), so m is in units of log2. Returns 2^(m - m'), what earlier output is worth.
  float (*_Nonnull softmax_block)(float *_Nonnull z, ptrdiff_t n, float a, float *_Nonnull m, float *_Nonnull l);
  // x[i] *= a
  void (*_Nonnull scale_by)(float *_Nonnull x, ptrdiff_t n, float a);
  // y[i] += a x[i]
  void (*_Nonnull add_scaled)(float *_Nonnull y, const float *_Nonnull x, ptrdiff_t n, float a);

  // Vote of one head over a block, in place: NaN -> -inf, infinities -> +-FLT_MAX (a NaN's -inf stays), m = max z,
  // e_t = exp(z_t - m), returns sum e. All -inf: m = -inf, zeros, 0.
  // Brings near 8 n bytes from `ahead` on meanwhile (any address will do; NULL: nothing).
  float (*_Nonnull vote_exp)(float *_Nonnull z, ptrdiff_t n, float *_Nonnull m, const void *_Nullable ahead);
  // NaN -> -inf, infinities -> +-FLT_MAX; in place
  void (*_Nonnull clean_logits)(float *_Nonnull z, ptrdiff_t n);
  // vote[t] = sum_h c[h] e[h * stride + t], h ascending
  void (*_Nonnull vote_sum)(const float *_Nonnull e, ptrdiff_t stride, const float *_Nonnull c, int32_t heads, ptrdiff_t n,
                            float *_Nonnull vote);
  // out[t] = max of x[t - width/2 .. t + width/2] within 0 ..< n; out is not x
  void (*_Nonnull max_pool)(const float *_Nonnull x, ptrdiff_t n, ptrdiff_t width, float *_Nonnull out);

  // Top-k over order-preserving keys: key(x) has the order of x, NaN and -inf being 0 and least.
  // histogram[(key >> shift) & (bins - 1)] += 1 for every score with (key >> prefix_shift) == prefix (prefix_shift 32: all)
  void (*_Nonnull key_histogram)(const float *_Nonnull x, ptrdiff_t n, int32_t prefix_shift, uint32_t prefix, int32_t shift,
                                 uint32_t bins, uint32_t *_Nonnull histogram);
  // writes base + i for every key above the threshold and for the first `ties` equal to it, ascending; returns how many
  ptrdiff_t (*_Nonnull emit_top)(const float *_Nonnull x, ptrdiff_t n, uint32_t threshold, ptrdiff_t ties, int32_t base,
                                 int32_t *_Nonnull to);
  // count[i] += 1 where the scores would be emitted
  void (*_Nonnull count_top)(const float *_Nonnull x, ptrdiff_t n, uint32_t threshold, ptrdiff_t ties, float *_Nonnull count);

  // Scoring copy, tiles of 16 tokens: i8 [dim/4][16][4] with the sign bit flipped and one f32 scale per token;
  // bf16 [dim/2][16][2]. Packs one row into column `token` of a tile.
  void (*_Nonnull pack_tile_i8)(const int8_t *_Nonnull row, ptrdiff_t dim, void *_Nonnull tile, ptrdiff_t token);
  void (*_Nonnull pack_tile_bf16)(const uint16_t *_Nonnull row, ptrdiff_t dim, void *_Nonnull tile, ptrdiff_t token);
  // z[g * z_stride + 16 tile + token]; scale has 16 per tile
  tk_score_tiles _Nonnull score_i8;
  tk_score_tiles _Nonnull score_bf16;

  tk_prefill prefill;
  tk_linear linear;
  tk_boundaries boundaries;
  tk_logits logits;
} tk_table;

void tk_fill_v2(tk_table *_Nonnull table);
void tk_fill_v3(tk_table *_Nonnull table);
void tk_fill_v4(tk_table *_Nonnull table);
void tk_fill_v4x(tk_table *_Nonnull table);
void tk_fill_neon(tk_table *_Nonnull table);
