/* tamis/sparse_attention.h: exact attention over lists of key tiles.
 *
 *   o_i = sum_j p_ij v_j,   p_i = softmax over the legal keys j of the tiles listed for query i's block
 * normalised over those keys only. What is legal (causal, window) is decided inside a tile. Cost is proportional to the tiles
 * listed. Every method of sparse_prefill.h supplies lists and nothing else; a host may bring its own.
 */
#ifndef TAMIS_SPARSE_ATTENTION_H
#define TAMIS_SPARSE_ATTENTION_H

#include "attention.h"
#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Which key tiles each query block attends, compressed sparse rows. Row r = (b * heads + h) * n_blocks + i is query block i
 * (queries [i * query_block, (i + 1) * query_block)) of list head h of batch element b, n_blocks = ceil(q_len / query_block);
 * its tiles are index[row_ptr[r] .. row_ptr[r + 1]), strictly ascending. Tile j is keys [j * key_block, (j + 1) * key_block).
 * key_block 1 makes a tile a token. Borrowed memory. */
typedef struct tamis_tiles {
  uint32_t struct_size;
  int32_t heads;           /* lists per batch element: 1 (shared by all heads), kv_heads or q_heads */
  int32_t query_block;     /* 1 or more */
  int32_t key_block;       /* 1 or more */
  const int64_t *row_ptr;  /* [batch * heads * n_blocks + 1]; starts at 0, never decreases */
  const int32_t *index;    /* [row_ptr[last]]; may be NULL when that is 0 */
  int64_t n_rows;          /* batch * heads * n_blocks, for the check */
} tamis_tiles;

#define TAMIS_TILES_INIT {sizeof(tamis_tiles), 1, 128, 64, NULL, NULL, 0}

/* Exact attention over tile lists. Tensors and options as tamis_attention (TAMIS_COMPUTE_BLAS is UNSUPPORTED here). A query with
 * no legal listed key gives 0 and lse -inf. A list of all tiles gives the bits of no list.
 *   tiles          NULL: dense
 *   pv_threshold   0: off. L > 0: the values of a run of keys may be skipped where every probability in it is below exp(-L) of
 *                  the running maximum (SpargeAttn, arXiv 2502.18137, section 3.5). Their probabilities stay in the sum and in
 *                  lse. On the CPU a run is up to 64 keys, for 32 queries at a time; OpenCL skips nothing
 * Errors: INVALID_ARGUMENT (a list that is not ascending, a tile out of range, counts that do not match the tensors),
 * UNSUPPORTED, OUT_OF_MEMORY, DEVICE, CANCELLED; outputs are untouched by an error other than CANCELLED and DEVICE. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_sparse_attention(tamis_context *context, const tamis_attention_options *options,
                                                     const tamis_tiles *tiles, float pv_threshold, const tamis_tensor *q,
                                                     const tamis_tensor *k, const tamis_tensor *v, const tamis_tensor *out,
                                                     const tamis_tensor *lse);

/* A selection of tiles, and what it was made from. */
typedef struct tamis_sparse_mask tamis_sparse_mask;

/* A mask of lists the caller made, copied and checked; q_len and k_len are those of the tensors it is for.
 * Errors: INVALID_ARGUMENT, OUT_OF_MEMORY. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_sparse_mask_create(const tamis_tiles *tiles, int64_t batch, int64_t q_len, int64_t k_len,
                                                       tamis_sparse_mask **out);
/* Thread: per handle. */
void tamis_sparse_mask_destroy(tamis_sparse_mask *mask);

/* The lists, valid while the mask lives; the same layer's or another's call of tamis_sparse_attention may use them.
 * Errors: INVALID_ARGUMENT. Thread: any. */
tamis_status tamis_sparse_mask_tiles(const tamis_sparse_mask *mask, tamis_tiles *tiles);
/* The chunk boundaries of a DHSA mask (n 0 for other methods), valid while the mask lives: pass them on as
 * tamis_sparse_options.boundaries of the next layer. Errors: INVALID_ARGUMENT. Thread: any. */
tamis_status tamis_sparse_mask_boundaries(const tamis_sparse_mask *mask, const int64_t **boundaries, int64_t *n);

/* What a call did; the fields are added to. Start from TAMIS_SPARSE_STATS_INIT. */
typedef struct tamis_sparse_stats {
  uint32_t struct_size;
  uint32_t reserved;
  int64_t calls_sparse;     /* calls that walked lists */
  int64_t calls_dense;      /* calls that took the dense path */
  int64_t tiles_listed;     /* over query heads and query blocks, batch included */
  int64_t tiles_legal;      /* tiles with a legal key, likewise: density is tiles_listed / tiles_legal */
  int64_t pairs_attended;   /* (query, key) pairs, legal and listed */
  int64_t pairs_legal;
  int64_t select_ns;        /* time of the selection, predictor included */
  int64_t attend_ns;        /* time of the attention */
} tamis_sparse_stats;

#define TAMIS_SPARSE_STATS_INIT {sizeof(tamis_sparse_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0}

/* Counts of a mask under a causal rule, added to stats (the times are left alone). Errors: INVALID_ARGUMENT. Thread: any. */
tamis_status tamis_sparse_mask_stats(const tamis_sparse_mask *mask, const tamis_attention_options *attention, int32_t q_heads,
                                     tamis_sparse_stats *stats);

#ifdef __cplusplus
}
#endif

#endif /* TAMIS_SPARSE_ATTENTION_H */
