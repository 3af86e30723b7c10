/* tamis/sparse_prefill.h: dynamic sparse prefill. Which keys does each block of queries need, and exact attention over those.
 *
 * Every method is one sentence: score key tiles, spend a budget, attend. A method supplies, for each (list head, query block),
 * an ascending list of key tiles, and tamis_sparse_attention walks the lists.
 *
 *   TAMIS_SPARSE_DENSE            every legal tile
 *   TAMIS_SPARSE_DHSA             DHSA v1 (arXiv 2510.24606 v1): chunks of variable length between learned boundaries, scored
 *                                 by sqrt(len) * mean key . mean query; the tokens of the best chunks, sinks and the local band,
 *                                 up to `budget` tokens a query block. One list for all heads, or
 *                                 one for each (`head_lists`)
 *   TAMIS_SPARSE_DHSA_TOPK        DHSA v2 (arXiv 2510.24606 v2) structured top-k: block 0 and the band of the query block are
 *                                 forced, the rest of `density` goes to the best blocks below the band by `score`
 *   TAMIS_SPARSE_DHSA_A           v2 with block 0 and the last block only forced
 *   TAMIS_SPARSE_DHSA_VS          v2 vertical-slash at token level, blocks scored by the last queries' attention
 *   TAMIS_SPARSE_DHSA_VSB         v2 vertical-slash at block level, from block means
 *   TAMIS_SPARSE_BLOCK            DHSA's own baseline: head-averaged block means, `budget` tokens. One list for all heads
 *   TAMIS_SPARSE_A_SHAPE          MInference (arXiv 2407.02490): the first `sinks` and the last `local` keys
 *   TAMIS_SPARSE_VERTICAL_SLASH   MInference: the best `vertical` columns and `slash` diagonals of the last queries
 *   TAMIS_SPARSE_BLOCK_TOPK       MInference: the best `max_blocks` blocks of 64 by block means
 *   TAMIS_SPARSE_MINFERENCE       MInference, a pattern for each head (`patterns`)
 *   TAMIS_SPARSE_FLEXPREFILL      FlexPrefill (arXiv 2502.20766): pattern and budget of each head from the input
 *   TAMIS_SPARSE_XATTENTION       XAttention (arXiv 2503.16428): antidiagonal sums, blocks up to `coverage` of a row's mass
 *   TAMIS_SPARSE_SPARGE           SpargeAttn (arXiv 2502.18137): block means of self-similar blocks, top share or `coverage`
 * and literal forms of the official code, for comparison:
 *   TAMIS_SPARSE_COMPAT_DHSA      v1 as written: the first 128 entries of a list are overwritten with sinks (query_block 128)
 *   TAMIS_SPARSE_COMPAT_DHSA_TOPK v2 DHSA_topk: top-k over all blocks, later ones included, whose picks are wasted
 *   TAMIS_SPARSE_COMPAT_DHSA_VSB  v2 vsb with raw logits as slash values, which may be negative
 *
 * The selection of TAMIS_SPARSE_DHSA_TOPK (without row_min, row_max), DHSA_A, BLOCK, A_SHAPE and BLOCK_TOPK for a query block
 * does not depend on later blocks. The others let later queries or keys choose (never be attended): they are for a whole prompt
 * at once.
 * A budget of fewer tiles than query_block / key_block can leave a query without a key, which gives 0.
 *
 * VERTICAL_SLASH and MINFERENCE list tokens (a mask with key_block 1): 4 bytes a listed key, query block and head.
 * Without a causal mask: DENSE, XATTENTION and SPARGE.
 */
#ifndef TAMIS_SPARSE_PREFILL_H
#define TAMIS_SPARSE_PREFILL_H

#include "attention.h"
#include "core.h"
#include "dhsa.h"
#include "sparse_attention.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef int32_t tamis_sparse_method;
#define TAMIS_SPARSE_DENSE 0
#define TAMIS_SPARSE_DHSA 1
#define TAMIS_SPARSE_DHSA_TOPK 2
#define TAMIS_SPARSE_DHSA_A 3
#define TAMIS_SPARSE_DHSA_VS 4
#define TAMIS_SPARSE_DHSA_VSB 5
#define TAMIS_SPARSE_BLOCK 6
#define TAMIS_SPARSE_A_SHAPE 7
#define TAMIS_SPARSE_VERTICAL_SLASH 8
#define TAMIS_SPARSE_BLOCK_TOPK 9
#define TAMIS_SPARSE_MINFERENCE 10
#define TAMIS_SPARSE_FLEXPREFILL 11
#define TAMIS_SPARSE_XATTENTION 12
#define TAMIS_SPARSE_SPARGE 13
#define TAMIS_SPARSE_COMPAT_DHSA 101
#define TAMIS_SPARSE_COMPAT_DHSA_TOPK 102
#define TAMIS_SPARSE_COMPAT_DHSA_VSB 103

typedef int32_t tamis_block_score;
#define TAMIS_BLOCK_SCORE_LSE8 0 /* log-mean-exp of the products of 4 query and 2 key sub-blocks' means */
#define TAMIS_BLOCK_SCORE_MEAN 1 /* product of the block means */

typedef int32_t tamis_granularity;
#define TAMIS_GRANULARITY_TILES 0  /* a DHSA selection rounded to tiles of key_block */
#define TAMIS_GRANULARITY_TOKENS 1 /* tokens, the reference */

/* A head's pattern of TAMIS_SPARSE_MINFERENCE. */
typedef struct tamis_head_pattern {
  tamis_sparse_method method; /* A_SHAPE, VERTICAL_SLASH or BLOCK_TOPK */
  int32_t first;              /* sinks | vertical | max_blocks */
  int32_t second;             /* local | slash    | ignored */
} tamis_head_pattern;

/* 0 or NULL is the method's own default where the comment gives it. A field that a method does not name is ignored. */
typedef struct tamis_sparse_options {
  uint32_t struct_size;
  tamis_sparse_method method;  /* TAMIS_SPARSE_DHSA_TOPK */
  int32_t query_block;         /* 128 (VERTICAL_SLASH, BLOCK_TOPK, MINFERENCE: 64); a multiple of 8 to 4096, DHSA: any */
  int32_t key_block;           /* 64 (DHSA: 32; FLEXPREFILL, XATTENTION: 128); a multiple of 8 to 4096, DHSA: any */
  int32_t share_group;         /* 1: one list per KV head, the union of those of its query heads. 0 */
  int32_t sinks;               /* DHSA: 128, at most a quarter of the budget. A_SHAPE: 128. SPARGE: 1 keeps tile 0. -1: none */
  int64_t dense_below;         /* k_len below this takes the dense path; -1: 4096 */
  float density;               /* DHSA_*: tiles listed of n_tiles, per query block: max(1, floor(density * n_tiles)); 0.125 */
  float coverage;              /* FLEXPREFILL gamma 0.9, XATTENTION tau 0.9, SPARGE cdf 0: top share instead. 1: all */
  int64_t budget;              /* DHSA, BLOCK: tokens a query block, k_len at most counts; 0: density * k_len. -1: all */
  int64_t local;               /* DHSA: 128 and at least the query block. A_SHAPE: 3968 */
  int64_t instruction_tokens;  /* DHSA: the last queries, attended densely; 64, -1: none */

  const tamis_boundary_predictor *predictor; /* DHSA: finds the boundaries; NULL: `boundaries` */
  const int64_t *boundaries;   /* DHSA: ascending from 0 to k_len; NULL without predictor: chunks of key_block */
  int64_t n_boundaries;
  const tamis_boundary_options *boundary_options; /* DHSA: NULL: defaults */
  tamis_granularity granularity; /* DHSA: TILES */
  tamis_chunk_pooling pooling;   /* DHSA: SQRT */

  tamis_block_score score;     /* DHSA_TOPK, DHSA_A: LSE8 */
  float row_min, row_max;      /* DHSA_TOPK: budgets of query blocks within these multiples of the density, by the entropy of
                                  their scores, at a constant total for each head; 0, 0: all alike */
  float vertical_ratio;        /* DHSA_VS: share of the budget that goes to columns; 0.5 */
  int32_t sampled_rows;        /* last queries that are scored. DHSA_VS: evenly spaced in the last block, 64 or all of it.
                                  VERTICAL_SLASH, MINFERENCE: the last 64. FLEXPREFILL: the last 128 */

  int32_t vertical, slash;     /* VERTICAL_SLASH: 1000, 6096 */
  int32_t max_blocks;          /* BLOCK_TOPK: 100 */
  const tamis_head_pattern *patterns; /* MINFERENCE: q_heads of them; NULL: vertical-slash 1000, 6096 for all */

  float similarity;            /* FLEXPREFILL tau 0.1, SPARGE simthreshd1 -0.1, by coverage 0.6; below -1: the method's own */
  int64_t min_budget, max_budget; /* FLEXPREFILL, in tokens: 1024 and none */
  int32_t stride;              /* XATTENTION: 8; divides query_block and key_block */
  float top_share;             /* SPARGE: 0.5 */
  int32_t smooth_keys;         /* SPARGE: 1, -1: off */
  float pv_threshold;          /* of tamis_sparse_attention; SPARGE 50, else 0; -1: off */
  const float *head_coverage;  /* XATTENTION, SPARGE: q_heads values instead of `coverage` */

  tamis_progress_fn progress;
  void *progress_user;

  int32_t head_lists;          /* DHSA: 0: one list for all heads, as the paper has it. 1 (ours): a list for each query head, by its
                                  own queries and its KV head's keys: more mass at the same density, a selection per head */
  uint32_t reserved;           /* 0 */
} tamis_sparse_options;

#define TAMIS_SPARSE_OPTIONS_INIT                                                                                     \
  {sizeof(tamis_sparse_options), TAMIS_SPARSE_DHSA_TOPK, 0, 0, 0, 0, -1, 0.0f, 0.0f, 0, 0, 0, NULL, NULL, 0, NULL,    \
   TAMIS_GRANULARITY_TILES, TAMIS_CHUNK_SQRT, TAMIS_BLOCK_SCORE_LSE8, 0.0f, 0.0f, 0.0f, 0, 0, 0, 0, NULL,             \
   -2.0f, 0, 0, 0, 0.0f, 0, 0.0f, NULL, NULL, NULL, 0, 0}
void tamis_sparse_options_init(tamis_sparse_options *options);

/* Chooses tiles for a prompt. q [batch, q_heads, q_len, head_dim], k [batch, kv_heads, k_len, head_dim] or without batch, rotated;
 * dtypes as tamis_attention. `attention` supplies causal, q_offset, window, scale and soft cap (NULL: defaults).
 * DHSA with learned or given boundaries takes one batch element. NaN scores count as minus infinity.
 * Errors: INVALID_ARGUMENT (a budget out of range, boundaries that do not run from 0 to k_len, a predictor of another width,
 * an unknown method), UNSUPPORTED (non-causal with a causal method), OUT_OF_MEMORY, CANCELLED. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_sparse_select(tamis_context *context, const tamis_sparse_options *options,
                                                  const tamis_attention_options *attention, const tamis_tensor *q,
                                                  const tamis_tensor *k, tamis_sparse_mask **out);

/* tamis_sparse_select and tamis_sparse_attention in one call; dense below `dense_below` keys.
 *   mask    NULL, or receives the selection, for the next layers; NULL is written when the call was dense
 *   stats   NULL, or a struct to add to
 * Errors: as both. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_sparse_prefill(tamis_context *context, const tamis_sparse_options *options,
                                                   const tamis_attention_options *attention, const tamis_tensor *q,
                                                   const tamis_tensor *k, const tamis_tensor *v, const tamis_tensor *out,
                                                   const tamis_tensor *lse, tamis_sparse_mask **mask, tamis_sparse_stats *stats);

#ifdef __cplusplus
}
#endif

#endif /* TAMIS_SPARSE_PREFILL_H */
