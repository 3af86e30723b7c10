/* tamis/kv_cache.h: a paged KV cache for many sequences, and its snapshots.
 *
 * A cache holds the keys and values of all layers of one model. A sequence is a list of pages; a page holds page_tokens
 * tokens of every layer. Keys are stored as appended. With a RoPE rule the cache expects *un-rotated* keys and attention
 * rotates queries and keys at use, so that a method may place a retrieved key wherever it wants (TokenSelect,
 * arXiv 2411.02886; InfLLM, arXiv 2402.04617). Without one, keys are taken as given.
 */
#ifndef TAMIS_KV_CACHE_H
#define TAMIS_KV_CACHE_H

#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------------------------------------- position */

typedef int32_t tamis_rope_style;
#define TAMIS_ROPE_NONE 0        /* keys and queries are taken as given */
#define TAMIS_ROPE_HALF 1        /* pairs (i, i + rotary_dims / 2): Hugging Face, GPT-NeoX */
#define TAMIS_ROPE_INTERLEAVED 2 /* pairs (2i, 2i + 1): GPT-J, original LLaMA */

/* Rotation by the angle position * scale * base^(-2i / rotary_dims) of pair i; dimensions from rotary_dims on pass. */
typedef struct tamis_rope {
  tamis_rope_style style;
  int32_t rotary_dims;  /* 0: the whole head; else even, at most head_dim */
  double base;          /* 10000 */
  double scale;         /* 1; position interpolation by factor f is 1 / f */
} tamis_rope;

#define TAMIS_ROPE_INIT {TAMIS_ROPE_NONE, 0, 10000.0, 1.0}

/* ------------------------------------------------------------------------------------------------- cache */

typedef struct tamis_kv_options {
  uint32_t struct_size;
  int32_t layers;           /* 1 */
  int32_t kv_heads;         /* 1 */
  int32_t head_dim;         /* 64; a multiple of 8 from 8 to 256 */
  tamis_dtype dtype;        /* TAMIS_F32; F32, F16, BF16 or I8 (one scale per row, chosen at append: max|x| / 127) */
  int32_t page_tokens;      /* 64; a multiple of 16 from 16 to 4096 */
  int64_t max_tokens;       /* 4096; capacity over all sequences, rounded up to pages. Memory is taken page by page */
  tamis_rope rope;
  tamis_dtype scoring_copy; /* -1: score with the keys themselves. TAMIS_BF16 or TAMIS_I8: keep a second copy of the keys,
                               laid out for scoring only; attention always reads the keys themselves */
} tamis_kv_options;

#define TAMIS_KV_OPTIONS_INIT \
  {sizeof(tamis_kv_options), 1, 1, 64, TAMIS_F32, 64, 4096, TAMIS_ROPE_INIT, -1}
void tamis_kv_options_init(tamis_kv_options *options);

typedef struct tamis_kv_cache tamis_kv_cache;

/* Errors: INVALID_ARGUMENT, UNSUPPORTED, OUT_OF_MEMORY, DEVICE. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_kv_create(tamis_context *context, const tamis_kv_options *options,
                                              tamis_kv_cache **out);
/* Thread: per handle. */
void tamis_kv_destroy(tamis_kv_cache *cache);

/* The options in effect: max_tokens rounded up to pages, rope.rotary_dims 0 replaced by head_dim. Errors: INVALID_ARGUMENT. Thread: any. */
tamis_status tamis_kv_get_options(const tamis_kv_cache *cache, tamis_kv_options *options);

/* --------------------------------------------------------------------------------------------- sequences */

/* Names a sequence in its cache; never reused within one cache. */
typedef int64_t tamis_sequence;

/* A new, empty sequence. Errors: INVALID_ARGUMENT, OUT_OF_MEMORY. Thread: any (calls on one cache are serialised). */
TAMIS_MUST_CHECK tamis_status tamis_kv_sequence_create(tamis_kv_cache *cache, tamis_sequence *out);

/* A new sequence that shares the first n_tokens of `from` (-1: all that every layer has) without copying whole pages;
 * a partly filled last page is copied when either side appends to it.
 * Errors: INVALID_ARGUMENT (n_tokens beyond the shortest layer), NOT_FOUND. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_kv_sequence_fork(tamis_kv_cache *cache, tamis_sequence from, int64_t n_tokens,
                                                     tamis_sequence *out);

/* Frees the pages no other sequence shares. Errors: INVALID_ARGUMENT, NOT_FOUND. Thread: any. */
tamis_status tamis_kv_sequence_destroy(tamis_kv_cache *cache, tamis_sequence sequence);

/* Appends n tokens to one layer of a sequence.
 *   k, v  [kv_heads, n, head_dim]  f32, f16, bf16 or i8; any strides except that a row is contiguous
 * Layers may be appended in any order; a layer may run ahead of the others. Non-finite values are stored as they are
 * (as 0 in an i8 cache, where a row with a non-finite value keeps its finite ones).
 * Errors: INVALID_ARGUMENT, NOT_FOUND, CACHE_FULL, OUT_OF_MEMORY, DEVICE. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_kv_append(tamis_kv_cache *cache, tamis_sequence sequence, int32_t layer,
                                              const tamis_tensor *k, const tamis_tensor *v);

/* Tokens held by one layer of a sequence. Errors: INVALID_ARGUMENT, NOT_FOUND. Thread: any. */
tamis_status tamis_kv_length(const tamis_kv_cache *cache, tamis_sequence sequence, int32_t layer, int64_t *out);

/* Drops every token from n_tokens on, in every layer (a shorter layer stays as it is).
 * Errors: INVALID_ARGUMENT, NOT_FOUND. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_kv_truncate(tamis_kv_cache *cache, tamis_sequence sequence, int64_t n_tokens);

/* Reads back n = k->shape[1] tokens from `start` on, as stored (un-rotated), into k and v [kv_heads, n, head_dim], f32, f16
 * or bf16; either may be NULL. Errors: INVALID_ARGUMENT, NOT_FOUND, DEVICE. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_kv_read(tamis_kv_cache *cache, tamis_sequence sequence, int32_t layer, int64_t start,
                                            const tamis_tensor *k, const tamis_tensor *v);

typedef struct tamis_kv_memory {
  uint32_t struct_size;
  int32_t sequences;
  int64_t pages_total;
  int64_t pages_used;         /* by at least one sequence */
  int64_t pages_shared;       /* by two or more */
  int64_t page_bytes;         /* all layers, keys, values, scales and scoring copy */
  int64_t bytes_used;         /* pages_used * page_bytes */
  int64_t bytes_scoring_copy; /* the part of bytes_used that the scoring copy takes */
  int64_t tokens;             /* sum over sequences of the longest layer; shared tokens count once per sequence */
} tamis_kv_memory;

/* Errors: INVALID_ARGUMENT (struct_size too small). Thread: any. */
tamis_status tamis_kv_memory_report(const tamis_kv_cache *cache, tamis_kv_memory *report);

/* --------------------------------------------------------------------------------------------- snapshots */

/* Writes sequences to a file (docs/snapshot-format.md): zstd frames with checksums, written to a temporary file beside
 * `path`, synced and renamed, so that `path` is either the old file or the whole new one.
 *   sequences, n   which; NULL, 0: all
 *   level          zstd level, 1 to 19; 0: 3
 * Shared pages are written once. Errors: INVALID_ARGUMENT, NOT_FOUND, IO, OUT_OF_MEMORY, CANCELLED. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_kv_save(tamis_kv_cache *cache, const tamis_sequence *sequences, int32_t n,
                                            const char *path, int32_t level, tamis_progress_fn progress,
                                            void *progress_user);

/* Adds the sequences of a snapshot to a cache of the same layers, kv_heads, head_dim, dtype, page_tokens and rope. The file
 * is memory-mapped and decoded page by page in parallel; a scoring copy is rebuilt where this cache has one.
 *   sequences, capacity   receive the new names in the order in which they were saved; n receives their number. When
 *                         capacity is too small nothing is restored (BUFFER_TOO_SMALL) and n says what is needed
 * All or nothing: a truncated, corrupt, foreign or mismatched file adds nothing.
 * Errors: INVALID_ARGUMENT, NOT_FOUND (no such file), IO, FORMAT, CACHE_FULL, BUFFER_TOO_SMALL, CANCELLED. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_kv_restore(tamis_kv_cache *cache, const char *path, tamis_sequence *sequences,
                                               int32_t capacity, int32_t *n, tamis_progress_fn progress,
                                               void *progress_user);

/* Reads the head of a snapshot: the options a cache needs to restore it (max_tokens is what its pages take, scoring_copy
 * as it was) and how many sequences it holds. Errors: INVALID_ARGUMENT, NOT_FOUND, IO, FORMAT. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_kv_snapshot_info(const char *path, tamis_kv_options *options, int32_t *n_sequences);

#ifdef __cplusplus
}
#endif

#endif /* TAMIS_KV_CACHE_H */
