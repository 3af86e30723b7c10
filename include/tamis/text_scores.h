/* tamis/text_scores.h: shorter prompts from scores the host has: self-information (Selective Context) and the attention of a draft
 * model (SpecPC).
 *
 * The same sentence as everywhere: score the units of a text, spend a budget, use the units that are kept.
 *
 *   Selective Context (arXiv 2310.06201)       tamis_split_text, the host's model, tamis_unit_scores, tamis_keep_informative
 *   SpecPC (arXiv 2506.08373)                  the host's draft model, tamis_specpc_add per layer, tamis_specpc_select
 *   what is left of the text                   tamis_kept_spans, tamis_kept_text
 *
 * Texts are bytes with a length and need no NUL; they should be UTF-8, and bytes that are not count as letters. At most
 * 2^31 - 1 bytes. Offsets are byte offsets.
 */
#ifndef TAMIS_TEXT_SCORES_H
#define TAMIS_TEXT_SCORES_H

#include "core.h"
#include "span.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------------ units of a text */

typedef int32_t tamis_unit;
#define TAMIS_UNIT_WORD 0     /* a run of bytes without white space (Unicode White_Space) */
#define TAMIS_UNIT_SENTENCE 1 /* ends at . ? or ! before white space, or at an ideographic full stop, question or exclamation
                                 mark; not after a title ("Mr.") or an abbreviation ("e.g.", "U.S."): a capital, a small
                                 letter and a dot, or letter, dot, letter, dot */

/* The units of a text in order, without the white space between them. `count` receives their number, also when `capacity` is
 * too small (BUFFER_TOO_SMALL, nothing written). At most (length + 1) / 2 words.
 * Errors: INVALID_ARGUMENT, BUFFER_TOO_SMALL. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_split_text(const char *text, size_t length, tamis_unit unit, tamis_span *spans,
                                               int64_t capacity, int64_t *count);

/* The spans that units `indices` [n] (ascending, as every selection here) leave: neighbours i, i + 1 become one span with what
 * lies between them; empty units leave nothing. spans has room for n; `count` receives how many there are.
 * Errors: INVALID_ARGUMENT (units not ascending, indices out of range or not ascending). Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_kept_spans(const tamis_span *units, int64_t n_units, const int32_t *indices, int64_t n,
                                               tamis_span *spans, int64_t *count);

/* The bytes of ascending spans, joined: where the text between two of them has white space, one line break if it has one, else
 * one space, stands for it (nothing if an edge is white space already). Bytes as they are, so text with NUL bytes keeps them;
 * `needed` is the length, and the buffer rule of core.h holds.
 * Errors: INVALID_ARGUMENT (spans outside the text or not ascending), BUFFER_TOO_SMALL. Thread: any. */
tamis_status tamis_kept_text(const char *text, size_t length, const tamis_span *spans, int64_t n, char *buffer, size_t capacity,
                             size_t *needed);

/* ------------------------------------------------------------------------------------------------ Selective Context */

/* I(x_t) = -ln p(x_t | x_<t) in nats from logits [n, vocabulary] (f32, f16, bf16): out[t] = -ln softmax(logits[t])[ids[t]], so
 * row t is what the model said *before* it saw ids[t]. The paper's code scores sentence by sentence, each after a
 * beginning-of-text token. A NaN in a row gives NaN. out [n].
 * Errors: INVALID_ARGUMENT (ids outside the vocabulary). Thread: any; calls on one context wait for each other. */
TAMIS_MUST_CHECK tamis_status tamis_self_information(tamis_context *context, const tamis_tensor *logits, const int32_t *ids,
                                                     float *out);

/* Scores of units from scores of tokens: a token's score is split over the units it overlaps, by bytes of overlap, and a unit's
 * score is the mean of the parts it got. Bytes outside every unit (white space) do not count. A unit no token overlaps gets
 * NaN. tokens [n_tokens]: starts and ends never fall; tokens may overlap (pieces of one character). units [n_units]: ascending,
 * not overlapping. scores [n_units].
 * The paper's code splits a token evenly over the units that end inside it and gives nothing to one that begins in it.
 * Errors: INVALID_ARGUMENT. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_unit_scores(const tamis_span *tokens, const float *token_scores, int64_t n_tokens,
                                                const tamis_span *units, int64_t n_units, float *scores);

/* Keeps the units whose score is not below the percentile 100 * reduce_ratio of the scores (linear interpolation over the
 * scores that are not NaN). reduce_ratio in [0, 1]; the paper's default is 0.35; 0 keeps all, 1 the largest only. A unit
 * without a score (NaN) is kept: nothing is known against it. indices [n] receives the kept ones, ascending; `count` how many;
 * `threshold` (may be NULL) the percentile, NaN when there is no score.
 * Errors: INVALID_ARGUMENT. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_keep_informative(const float *scores, int64_t n, double reduce_ratio, int32_t *indices,
                                                     int64_t *count, double *threshold);

/* ------------------------------------------------------------------------------------------------ SpecPC */

typedef int32_t tamis_reduction;
#define TAMIS_REDUCE_MAX 0
#define TAMIS_REDUCE_SUM 1 /* the paper's "mean" */

typedef int32_t tamis_smoothing;
#define TAMIS_SMOOTH_MAX 0
#define TAMIS_SMOOTH_MEAN 1
#define TAMIS_SMOOTH_NONE 2

typedef struct tamis_specpc_options {
  uint32_t struct_size;
  int32_t window;            /* 64: the last queries of the prompt, whose attention scores the tokens; these tokens stay */
  int32_t starting_layer;    /* 8: draft layers below are not used */
  tamis_reduction reduction; /* TAMIS_REDUCE_MAX, over heads, queries, layers and lookahead steps */
  int32_t weighted_query;    /* 1: query i of w counts i / (w - 1), so the oldest nothing and the newest all */
  tamis_smoothing smoothing; /* TAMIS_SMOOTH_MAX */
  int32_t kernel;            /* 32: width of the smoothing, (kernel - 1) / 2 tokens to the left, zeros beyond the ends */
  int32_t neighbours;        /* -1: as kernel; tokens taken along around each chosen one; 0: none */
  int64_t capacity;          /* 1024: tokens that are kept */
} tamis_specpc_options;

#define TAMIS_SPECPC_OPTIONS_INIT                                                                                   \
  {sizeof(tamis_specpc_options), 64, 8, TAMIS_REDUCE_MAX, 1, TAMIS_SMOOTH_MAX, 32, -1, 1024}
void tamis_specpc_options_init(tamis_specpc_options *options);

/* One score per prompt token, gathered layer by layer from the attention of a draft model: memory is O(n_tokens). */
typedef struct tamis_specpc tamis_specpc;

/* n_tokens: length of the prompt, at least the window. Errors: INVALID_ARGUMENT. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_specpc_create(const tamis_specpc_options *options, int64_t n_tokens, tamis_specpc **out);
/* Thread: per handle. */
void tamis_specpc_destroy(tamis_specpc *specpc);

/* Adds softmax rows [heads, w, n] of one layer (f32, f16 or bf16, contiguous rows). Prefill: the last w = window queries over
 * the n_tokens keys. A lookahead step: w = 1 and n >= n_tokens, keys beyond the prompt are left out. Layers come in any order. With
 * w = 1 the query is not weighted. NaN counts as -inf.
 * Errors: INVALID_ARGUMENT. Thread: per handle. */
TAMIS_MUST_CHECK tamis_status tamis_specpc_add(tamis_specpc *specpc, int32_t layer, const tamis_tensor *rows);

/* The same from what an engine with fused attention has: q [q_heads, w, head_dim], the queries of the last w tokens of the
 * prompt, and k [kv_heads, n_tokens, head_dim], both as attention takes them (rotated): rows are softmax(scale q . k) over the
 * keys up to the query's own. scale 0: 1 / sqrt(head_dim). f32, f16 or bf16. Query head h uses KV head
 * h / (q_heads / kv_heads).
 * Errors: INVALID_ARGUMENT. Thread: per handle; calls on one context wait for each other. */
TAMIS_MUST_CHECK tamis_status tamis_specpc_add_keys(tamis_specpc *specpc, tamis_context *context, int32_t layer,
                                                    const tamis_tensor *q, const tamis_tensor *k, float scale);

/* Scores so far, before smoothing: [n_tokens]. Errors: INVALID_ARGUMENT (no layer was added). Thread: per handle. */
TAMIS_MUST_CHECK tamis_status tamis_specpc_scores(const tamis_specpc *specpc, float *scores);

/* The tokens that are kept, ascending: smoothing; the `capacity` best; each with its neighbours, nearest first, in order of
 * score; the last `window` tokens before all of them; cut to `capacity`. indices has room for min(capacity, n_tokens); `count`
 * receives how many there are. Ties go to the lower index.
 * Errors: INVALID_ARGUMENT (no layer was added). Thread: per handle. */
TAMIS_MUST_CHECK tamis_status tamis_specpc_select(const tamis_specpc *specpc, int32_t *indices, int64_t *count);

#ifdef __cplusplus
}
#endif

#endif /* TAMIS_TEXT_SCORES_H */
