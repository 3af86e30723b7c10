/* tamis/dhsa.h: the parts of DHSA (arXiv 2510.24606 v1) that stand alone: the boundary predictor, and chunks at decode.
 */
#ifndef TAMIS_DHSA_H
#define TAMIS_DHSA_H

#include "core.h"
#include "encoder.h"

#ifdef __cplusplus
extern "C" {
#endif

/* DHSA v1's network that marks where a chunk of keys ends (arXiv 2510.24606 v1, BoundarySimilarityAttn of the official code):
 * attention within windows of 2w keys, LayerNorm, pooling of the two halves, an MLP on [left, right, |l - r|, l * r, cos]. */
typedef struct tamis_boundary_predictor tamis_boundary_predictor;

/* Loads weights: a safetensors file or the published torch state dict, or a folder that holds boundary_predictor.safetensors.
 *   heads       of the window attention; the file does not tell unless its metadata does. 0: the metadata's, else 8
 *   precision   of the projections and the MLP: TAMIS_PRECISION_F32 (0), BF16 or I8
 * Errors: INVALID_ARGUMENT (heads that do not divide the width), NOT_FOUND, IO, FORMAT (missing tensor, wrong width),
 * UNSUPPORTED (a dtype, a compressed or big-endian torch file), OUT_OF_MEMORY. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_boundary_predictor_load(tamis_context *context, const char *path, int32_t heads,
                                                            tamis_precision precision, tamis_boundary_predictor **out);
/* Thread: per handle. */
void tamis_boundary_predictor_destroy(tamis_boundary_predictor *predictor);

/* Width C = kv_heads * head_dim that the predictor takes, its window w and its heads; each may be NULL. Thread: any. */
tamis_status tamis_boundary_predictor_info(const tamis_boundary_predictor *predictor, int32_t *width, int32_t *window,
                                           int32_t *heads);

/* logits[i]: how strongly a chunk ends after token i.
 *   k        [kv_heads, n, head_dim] f32, f16, bf16 or i8, rotated; kv_heads * head_dim = width
 *   logits   [n] f32
 * Beyond the ends stand zero vectors. A NaN among the keys of a window makes its logit NaN. Where C is large run it once a
 * prompt, on the keys of the first layer, and pass the boundaries on: the projections are computed once a token and shared by the
 * windows that hold it, but are still 4 C^2 + 4 w^2 heads C + (4 C + 1) hidden products a token.
 * Errors: INVALID_ARGUMENT, OUT_OF_MEMORY, CANCELLED. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_boundary_predictor_run(tamis_boundary_predictor *predictor, const tamis_tensor *k,
                                                           const tamis_tensor *logits, tamis_progress_fn progress,
                                                           void *progress_user);

typedef struct tamis_boundary_options {
  uint32_t struct_size;
  float threshold;             /* 1.1: candidates have logits above it */
  int32_t min_gap;             /* 8: non-maximum suppression; accepted boundaries are more than this far apart */
  int32_t max_per_block;       /* 8: at most floor(n / query_block) * this many, the instruction's included */
  int32_t query_block;         /* 128 */
  int32_t window;              /* 4: the first window - 1 and last window positions are no candidates */
  int64_t instruction_tokens;  /* 64: a chunk ends after token n - this, the rest is one chunk; 0, or n and more: no such end */
} tamis_boundary_options;

#define TAMIS_BOUNDARY_OPTIONS_INIT {sizeof(tamis_boundary_options), 1.1f, 8, 8, 128, 4, 64}
void tamis_boundary_options_init(tamis_boundary_options *options);

/* Logits to boundaries: ascending, the first 0, the last n. The best candidates are taken first, of equal ones the lower
 * position; NaN is no candidate. Where there is none: 0, the instruction's, n.
 * Errors: INVALID_ARGUMENT, BUFFER_TOO_SMALL (count says what is needed). Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_boundaries_from_logits(const tamis_boundary_options *options, const float *logits,
                                                           int64_t n, int64_t *boundaries, int64_t capacity, int64_t *count);

/* ------------------------------------------------------------------------------------------- DHSA at decode */

/* How the keys of a chunk become one vector. */
typedef int32_t tamis_chunk_pooling;
#define TAMIS_CHUNK_SQRT 0 /* sum / sqrt(len) */
#define TAMIS_CHUNK_MEAN 1 /* sum / len */

/* Chunks of one layer's cached keys that grow with the sequence: the prompt's chunks, then a chunk for every `open_tokens`
 * generated tokens, the last one still open. A step scores chunks against the mean query and gives tokens for
 * tamis_attend_tokens (arXiv 2510.24606 v1; the official code leaves decode dense). */
typedef struct tamis_chunk_index tamis_chunk_index;

typedef struct tamis_chunk_index_options {
  uint32_t struct_size;
  int32_t kv_heads;            /* 1 */
  int32_t head_dim;            /* 64 */
  int32_t open_tokens;         /* 64 */
  tamis_chunk_pooling pooling; /* SQRT */
  int32_t sinks;               /* 128, at most a quarter of the budget */
  int32_t local;               /* 128 */
} tamis_chunk_index_options;

#define TAMIS_CHUNK_INDEX_OPTIONS_INIT {sizeof(tamis_chunk_index_options), 1, 64, 64, TAMIS_CHUNK_SQRT, 128, 128}
void tamis_chunk_index_options_init(tamis_chunk_index_options *options);

/* Errors: INVALID_ARGUMENT, OUT_OF_MEMORY. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_chunk_index_create(tamis_context *context, const tamis_chunk_index_options *options,
                                                       tamis_chunk_index **out);
/* Thread: per handle. */
void tamis_chunk_index_destroy(tamis_chunk_index *index);
/* Appends keys k [kv_heads, n, head_dim], of any storage dtype. boundaries: ascending from 0 to n, the chunks of these keys (a
 * prompt), which close what was open; NULL, 0: they join the open chunk. Keeps head_dim floats a token.
 * Errors: INVALID_ARGUMENT, OUT_OF_MEMORY. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_chunk_index_append(tamis_chunk_index *index, const tamis_tensor *k,
                                                       const int64_t *boundaries, int64_t n_boundaries);
/* Forgets tokens from n_tokens on; an open chunk of generated tokens is open again. Errors: INVALID_ARGUMENT. Thread: any. */
tamis_status tamis_chunk_index_truncate(tamis_chunk_index *index, int64_t n_tokens);
/* Tokens for the query q [q_heads, 1, head_dim]: sinks, the best chunks by mean query . chunk, the last `local`; ascending,
 * `budget` of them (all when budget is -1 or no less than what is there). Of a chunk that does not fit whole the last tokens are
 * taken, of equal chunks the later. Append the step's keys first: its own token is the last.
 * Errors: INVALID_ARGUMENT, BUFFER_TOO_SMALL (n says what is needed). Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_chunk_index_select(tamis_chunk_index *index, const tamis_tensor *q, int64_t budget,
                                                       int32_t *tokens, int64_t capacity, int64_t *n);

#ifdef __cplusplus
}
#endif

#endif /* TAMIS_DHSA_H */
