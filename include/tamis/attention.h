/* tamis/attention.h: exact attention over tensors, and the merge of partial results.
 *
 *   o_i = sum_j p_ij v_j,   p_i = softmax_j(z_ij),   z_ij = cap(scale * q_i . k_j) + [j = 0] * key0_bias[head]
 * over the legal keys j of query i. cap(z) = softcap * tanh(z / softcap), or z without a soft cap.
 * Computed in tiles with an online softmax (FlashAttention-2, arXiv 2307.08691, Algorithm 1; split over the keys for short
 * queries, as in Flash-Decoding); sums and softmax in f32. Query head h uses KV head h / (q_heads / kv_heads).
 */
#ifndef TAMIS_ATTENTION_H
#define TAMIS_ATTENTION_H

#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Value of q_offset: the last query stands at the last key. */
#define TAMIS_AT_END INT64_MIN

typedef int32_t tamis_compute;
#define TAMIS_COMPUTE_AUTO 0 /* bf16 products (f32 sums) where q, k and v are all bf16; f32 otherwise */
#define TAMIS_COMPUTE_F32 1  /* always f32 products */
#define TAMIS_COMPUTE_BLAS 2 /* the plain form: OpenBLAS sgemm, softmax, sgemm, in f32; the reference of the tiled form */

typedef struct tamis_attention_options {
  uint32_t struct_size;
  int32_t causal;           /* 1: query i sees keys j <= q_offset + i. 0: all keys. Default 1 */
  int64_t q_offset;         /* position of query 0 among the keys; default TAMIS_AT_END = k_len - q_len (may be negative) */
  int64_t window;           /* > 0: key j also needs j > q_offset + i - window (sliding window of that many keys). 0: none */
  float scale;              /* 0: 1 / sqrt(head_dim) */
  float softcap;            /* 0: none */
  const float *key0_bias;   /* one per query head, added to the logit of key 0 after the soft cap; NULL: none */
  tamis_compute compute;    /* TAMIS_COMPUTE_AUTO */
  tamis_progress_fn progress;
  void *progress_user;
} tamis_attention_options;

#define TAMIS_ATTENTION_OPTIONS_INIT \
  {sizeof(tamis_attention_options), 1, TAMIS_AT_END, 0, 0.0f, 0.0f, NULL, TAMIS_COMPUTE_AUTO, NULL, NULL}
void tamis_attention_options_init(tamis_attention_options *options);

/* Exact attention.
 *   q    [batch, q_heads, q_len, head_dim]           f32, f16 or bf16
 *   k    [batch, kv_heads, k_len, head_dim]          f32, f16, bf16 or i8; q_heads is a multiple of kv_heads
 *   v    [batch, kv_heads, k_len, head_dim]          same dtype as k
 *   out  [batch, q_heads, q_len, head_dim]           f32, f16 or bf16
 *   lse  [batch, q_heads, q_len] f32, or NULL        natural log of sum_j exp(z_ij)
 * 3-dimensional tensors are one batch. head_dim: a multiple of 8 from 8 to 256. Any strides, except that rows of k and v
 * (the last dimension) are contiguous. out and lse must not overlap the inputs.
 * A query with no legal key gives 0 and lse -inf. NaN or Inf in q, k or v reach the outputs of the queries that see them,
 * and no others.
 * Errors: INVALID_ARGUMENT, UNSUPPORTED (dtype or head_dim), OUT_OF_MEMORY, CANCELLED. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_attention(tamis_context *context, const tamis_attention_options *options,
                                              const tamis_tensor *q, const tamis_tensor *k, const tamis_tensor *v,
                                              const tamis_tensor *out, const tamis_tensor *lse);

/* Merges attention over disjoint sets of keys (shards, tiers, machines) into attention over their union:
 *   lse = log sum_s exp(lse_s),   o = sum_s exp(lse_s - lse) o_s
 *   parts   n tensors of one shape [.., rows, head_dim] f32;   part_lse   n tensors [.., rows] f32
 * out and lse may be one of the parts. A part with lse -inf contributes nothing; all parts -inf give 0 and -inf.
 * Errors: INVALID_ARGUMENT. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_attention_merge(tamis_context *context, int32_t n, const tamis_tensor *parts,
                                                    const tamis_tensor *part_lse, const tamis_tensor *out,
                                                    const tamis_tensor *lse);

#ifdef __cplusplus
}
#endif

#endif /* TAMIS_ATTENTION_H */
