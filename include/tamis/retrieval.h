/* tamis/retrieval.h: which cached tokens does a query need, and attention over them.
 *
 * Every method is one sentence: score tokens, spend a budget, use the selection. For a cached sequence of N tokens the
 * selection is [0, n_sink) ++ selected ++ [N - n_recent, N); a method is a rule for `selected`. While
 * n_sink + top_k + n_recent >= N the method is dense attention with natural positions, bit for bit.
 *
 *   TAMIS_SELECT_DENSE         all tokens
 *   TAMIS_SELECT_STREAMING     sinks and window only (StreamingLLM, arXiv 2309.17453); top_k is taken as 0
 *   TAMIS_SELECT_TOKENSELECT   top-k tokens by the soft vote of all heads (TokenSelect, arXiv 2411.02886):
 *       q' = mean over the chunk of the queries, query t rotated at position n_recent + t        (eq. 6)
 *       vote_j = sum_h softmax_j(q'_h . k_j), k_j un-rotated, no 1/sqrt(d)                       (eq. 7, 8)
 *     One selection per layer, shared by all heads. With a RoPE rule the attended list is renumbered 0, 1, 2, .. so a model
 *     never sees a position beyond n_sink + top_k + n_recent, which is what lets it read past its trained length.
 */
#ifndef TAMIS_RETRIEVAL_H
#define TAMIS_RETRIEVAL_H

#include "attention.h"
#include "kv_cache.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef int32_t tamis_method;
#define TAMIS_SELECT_DENSE 0
#define TAMIS_SELECT_STREAMING 1
#define TAMIS_SELECT_TOKENSELECT 2

typedef int32_t tamis_vote;
#define TAMIS_VOTE_SOFT 0  /* sum over heads of the softmax over tokens */
#define TAMIS_VOTE_TOPK 1  /* ablation: sum over heads of the raw dot products */
#define TAMIS_VOTE_HEADS 2 /* ablation: number of heads whose own top-k holds the token */

typedef int32_t tamis_head_map;
#define TAMIS_HEADS_GROUP 0  /* query head h scores KV head h / (q_heads / kv_heads), as attention does */
#define TAMIS_HEADS_MODULO 1 /* query head h scores KV head h mod kv_heads, as the official TokenSelect kernel does */

typedef int32_t tamis_positions;
#define TAMIS_POSITIONS_COMPACT 0 /* key at place a of the list stands at a, the last query at the last place */
#define TAMIS_POSITIONS_NATURAL 1 /* every key and query stands where it stood in the text */

typedef struct tamis_selector_options {
  uint32_t struct_size;
  tamis_method method;      /* TAMIS_SELECT_TOKENSELECT */
  int32_t q_heads;          /* 0: kv_heads of the cache; else a multiple of it */
  int32_t n_sink;           /* 128 */
  int32_t n_recent;         /* 512; at least chunk */
  int32_t top_k;            /* 2048 */
  int32_t chunk;            /* 512: a longer run of queries is cut into chunks of this many; each shares one selection */
  float similarity;         /* 0.9: selection cache (Algorithm 1), decode only: while the cosine between this query and the
                               one that made the cached selection is at least this, the selection is reused. > 1: off */
  tamis_vote vote;          /* TAMIS_VOTE_SOFT */
  tamis_head_map head_map;  /* TAMIS_HEADS_GROUP */
  int32_t pool;             /* 0: off; odd: max-pool of the votes over that many neighbouring tokens, stride 1 */
  tamis_positions positions;/* TAMIS_POSITIONS_COMPACT; without a RoPE rule it makes no difference */
  float scale;              /* attention: as in tamis_attention_options */
  float softcap;
  int64_t window;           /* TAMIS_SELECT_DENSE only: sliding window, 0: none */
  const float *key0_bias;   /* q_heads values, copied; added to the logit of token 0 */
} tamis_selector_options;

#define TAMIS_SELECTOR_OPTIONS_INIT                                                                                 \
  {sizeof(tamis_selector_options), TAMIS_SELECT_TOKENSELECT, 0, 128, 512, 2048, 512, 0.9f, TAMIS_VOTE_SOFT,         \
   TAMIS_HEADS_GROUP, 0, TAMIS_POSITIONS_COMPACT, 0.0f, 0.0f, 0, NULL}
void tamis_selector_options_init(tamis_selector_options *options);

/* A method with its budget, bound to a cache; it holds the selection cache of every (sequence, layer) it has served. A cache
 * may have several selectors. Truncating a sequence forgets its cached selections. */
typedef struct tamis_selector tamis_selector;

/* Errors: INVALID_ARGUMENT (a budget below 0, n_recent < chunk, unknown enum, mismatched heads, even pool),
 * OUT_OF_MEMORY. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_selector_create(tamis_kv_cache *cache, const tamis_selector_options *options,
                                                    tamis_selector **out);
/* Thread: per handle. */
void tamis_selector_destroy(tamis_selector *selector);

/* Forgets the cached selections of one sequence (-1: of all). Errors: INVALID_ARGUMENT. Thread: any. */
tamis_status tamis_selector_reset(tamis_selector *selector, tamis_sequence sequence);

/* What a call did; the fields are added to, so one struct can sum over layers and steps. Start from
 * TAMIS_RETRIEVAL_STATS_INIT. */
typedef struct tamis_retrieval_stats {
  uint32_t struct_size;
  uint32_t reserved;
  int64_t queries;           /* query tokens served */
  int64_t tokens_attended;   /* sum over query tokens of the keys in their list (legal ones) */
  int64_t tokens_scored;     /* keys scored, once per chunk */
  int64_t kv_bytes_read;     /* bytes of keys and values read, scoring included, each row once per chunk */
  int64_t chunks_dense;      /* chunks that took the dense path */
  int64_t selections;        /* chunks that scored and selected */
  int64_t cache_hits;        /* decode steps that reused a cached selection */
} tamis_retrieval_stats;

#define TAMIS_RETRIEVAL_STATS_INIT {sizeof(tamis_retrieval_stats), 0, 0, 0, 0, 0, 0, 0, 0}

/* Attention of the last c tokens of a sequence over the tokens the method selects for them. Append their keys and values
 * first: query i stands at token N - c + i.
 *   q     [q_heads, c, head_dim]  f32, f16 or bf16, un-rotated when the cache has a RoPE rule
 *   out   [q_heads, c, head_dim]  f32, f16 or bf16
 *   lse   [q_heads, c] f32 or NULL
 *   stats NULL or a struct to add to
 * Long runs are cut into chunks, and every chunk sees the cache as it was when its last token was appended.
 * Errors: INVALID_ARGUMENT, NOT_FOUND, OUT_OF_MEMORY, DEVICE, CANCELLED. Thread: any (calls on one cache are serialised). */
TAMIS_MUST_CHECK tamis_status tamis_attend(tamis_selector *selector, tamis_sequence sequence, int32_t layer,
                                           const tamis_tensor *q, const tamis_tensor *out, const tamis_tensor *lse,
                                           tamis_retrieval_stats *stats);

/* The selection alone: the list tamis_attend would use for these c <= chunk queries if it had no cached selection, ascending.
 *   indices, capacity, n   receive the tokens; n their number. Every token 0 .. N-1 when the method would be dense.
 *   votes                  NULL, or room for N floats: the score of each candidate token, NaN elsewhere
 * Scores are computed afresh, and the selection cache is neither read nor written.
 * Errors: as tamis_attend, BUFFER_TOO_SMALL (n says what is needed). Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_retrieve(tamis_selector *selector, tamis_sequence sequence, int32_t layer,
                                             const tamis_tensor *q, int32_t *indices, int64_t capacity, int64_t *n,
                                             float *votes);

/* Attention of the last c tokens over a list of tokens that the caller chose: ascending, unique, and ending with the c
 * query tokens themselves unless `positions` is natural. Query i sees the listed tokens up to its own. Shapes, options and
 * errors as tamis_attend; the selector supplies scale, soft cap, bias and positions. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_attend_tokens(tamis_selector *selector, tamis_sequence sequence, int32_t layer,
                                                  const tamis_tensor *q, const int32_t *tokens, int64_t n,
                                                  const tamis_tensor *out, const tamis_tensor *lse,
                                                  tamis_retrieval_stats *stats);

#ifdef __cplusplus
}
#endif

#endif /* TAMIS_RETRIEVAL_H */
