/// What the prefill kernels need from C: their part of the kernel table, and the few instructions Swift cannot spell.
/// A wrapper exists only where the level that compiles this header has the instruction.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// Lanes of a query panel. A lane is one (query head, query token) pair.
#define TK_PANEL_LANES 32

/// The inner loops of exact flash attention, transposed: a query is a lane, a key is a row.
///
/// Shapes: `qT[d][32]`, `sT[nkeys][32]`, `oT[dv][32]`; bf16 pairs `qT[d/2][32][2]`, `pT[ceil(nkeys/2)][32][2]`,
/// `vpairs[ceil(nkeys/2)][dv][2]`. Strides (`ldk`, `ldv`) are in elements. `nkeys`, `d`, `dv` are at least 1; `d` of
/// `scores_bf16` is even. Panel-sized buffers are aligned to 64 bytes; K and V need only their element's alignment.
typedef struct tk_prefill {
  /// sT[key][lane] = sum over dim of k[key][dim] * qT[dim][lane]
  void (*_Nonnull scores_f32)(const float *_Nonnull k, ptrdiff_t ldk, ptrdiff_t nkeys, const float *_Nonnull qT,
                              ptrdiff_t d, float *_Nonnull sT);
  void (*_Nullable scores_bf16)(const uint16_t *_Nonnull k, ptrdiff_t ldk, ptrdiff_t nkeys, const uint16_t *_Nonnull qT,
                                ptrdiff_t d, float *_Nonnull sT);

  /// One step of online softmax over a tile of scores, in place: sT becomes exp2(logit - m), in base 2.
  /// `scale` times a score is a logit in base 2 (softmax scale * log2 e) and is positive; `softcap` is in nats, 0 for none;
  /// `bias0`, in nats, is added to the logit of key 0. Lane `i` sees keys `lo[i] ..< hi[i]`; row 0 of sT is `key0`.
  /// `m` (base 2; -inf at first) and `l` (0 at first) are carried. Returns whether some lane of `rescale` is not 1.
  int32_t (*_Nonnull softmax_f32)(float *_Nonnull sT, ptrdiff_t nkeys, int32_t key0, const int32_t *_Nonnull lo,
                                  const int32_t *_Nonnull hi, float scale, float softcap, const float *_Nullable bias0,
                                  float *_Nonnull m, float *_Nonnull l, float *_Nonnull rescale);
  /// The same, and the probabilities leave as bf16 pairs. `pT` may be `sT`. `l` sums the rounded probabilities.
  int32_t (*_Nullable softmax_bf16)(float *_Nonnull sT, ptrdiff_t nkeys, int32_t key0, const int32_t *_Nonnull lo,
                                    const int32_t *_Nonnull hi, float scale, float softcap, const float *_Nullable bias0,
                                    float *_Nonnull m, float *_Nonnull l, float *_Nonnull rescale, uint16_t *_Nonnull pT);

  /// oT[dim][lane] *= rescale[lane]
  void (*_Nonnull scale_panel)(float *_Nonnull oT, ptrdiff_t dv, const float *_Nonnull rescale);

  /// oT[dim][lane] += sum over key of v[key][dim] * pT[key][lane]
  void (*_Nonnull accumulate_f32)(const float *_Nonnull v, ptrdiff_t ldv, ptrdiff_t nkeys, const float *_Nonnull pT,
                                  ptrdiff_t dv, float *_Nonnull oT);
  void (*_Nullable accumulate_bf16)(const uint16_t *_Nonnull vpairs, ptrdiff_t nkeys, const uint16_t *_Nonnull pT,
                                    ptrdiff_t dv, float *_Nonnull oT);

  /// Pairs consecutive keys: vpairs[j][dim] = (v[2j][dim], v[2j+1][dim]); an odd last row is paired with zeros.
  void (*_Nonnull interleave_bf16)(const uint16_t *_Nonnull v, ptrdiff_t ldv, ptrdiff_t nkeys, ptrdiff_t dv,
                                   uint16_t *_Nonnull vpairs);

  /// qT[dim][lane] = rows[lane][dim] * factor; a null row is an unused lane and packs as zeros.
  void (*_Nonnull pack_queries_f32)(const float *_Nullable const *_Nonnull rows, ptrdiff_t d, float factor,
                                    float *_Nonnull qT);
  /// The same bits, in pairs of dimensions; `d` is even.
  void (*_Nonnull pack_queries_bf16)(const uint16_t *_Nullable const *_Nonnull rows, ptrdiff_t d, uint16_t *_Nonnull qT);

  /// rows[lane][dim] = oT[dim][lane] / l[lane] and lse[lane] = m * ln 2 + ln l, in nats. A lane with l = 0 gives zeros and
  /// -inf. A null row is skipped.
  void (*_Nonnull finish_panel)(float *_Nonnull oT, ptrdiff_t dv, const float *_Nonnull m, const float *_Nonnull l,
                                float *_Nullable const *_Nonnull rows, float *_Nonnull lse);

  /// sums[key] += sum over lanes of 2^(logit - lse[lane]): what a tile of scores, of the logits of `softmax_f32`, adds to the
  /// attention weights of its columns. `lse` is in base 2; a lane at -inf adds nothing, nor does a weight that is NaN. sT is
  /// overwritten.
  void (*_Nonnull column_sums)(float *_Nonnull sT, ptrdiff_t nkeys, int32_t key0, const int32_t *_Nonnull lo,
                               const int32_t *_Nonnull hi, float scale, float softcap, const float *_Nullable bias0,
                               const float *_Nonnull lse, double *_Nonnull sums);
} tk_prefill;

typedef float tk_f32x16 __attribute__((ext_vector_type(16)));
typedef uint32_t tk_u32x16 __attribute__((ext_vector_type(16)));

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#include <immintrin.h>
/// x - floor(x); 0 for an infinity, which x - floor(x) would turn into NaN.
static inline __attribute__((always_inline)) tk_f32x16 tk_fraction(tk_f32x16 x) { return (tk_f32x16)_mm512_reduce_ps((__m512)x, 0x09); }
/// a * 2^floor(x)
static inline __attribute__((always_inline)) tk_f32x16 tk_scale_by_exp2(tk_f32x16 a, tk_f32x16 x) {
  return (tk_f32x16)_mm512_scalef_ps((__m512)a, (__m512)x);
}
#endif

#if defined(__AVX512BF16__)
/// sum + a.even * b.even + a.odd * b.odd, per 32-bit lane.
static inline __attribute__((always_inline)) tk_f32x16 tk_dot_bf16(tk_f32x16 sum, tk_u32x16 a, tk_u32x16 b) {
  return (tk_f32x16)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}
/// Rounds two rows to bf16 and pairs them: `even` in the low halves of the 32-bit lanes, `odd` in the high halves.
static inline __attribute__((always_inline)) tk_u32x16 tk_pair_bf16(tk_f32x16 even, tk_f32x16 odd) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5,
                                         20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return (tk_u32x16)_mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh((__m512)odd, (__m512)even));
}
#endif
