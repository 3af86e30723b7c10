/* Attention over tile lists from the fuzz bytes: offsets and tiles that are mostly a list and now and then garbage.
 *
 * A call must succeed exactly where a plain check of the lists says so, its outputs must be those of loops in double, and the
 * counts of a mask those of the same loops. The arrays are as long as the library may read before it refuses them. */
#include <math.h>

#include "input.h"

enum { BATCH = 2, HEADS = 4, QUERIES = 40, KEYS = 70, DIM = 8, ROWS = BATCH * HEADS * QUERIES };

static float q[BATCH * HEADS * QUERIES * DIM], k[BATCH * HEADS * KEYS * DIM], v[BATCH * HEADS * KEYS * DIM];
static float out[BATCH * HEADS * QUERIES * DIM], lse[BATCH * HEADS * QUERIES];
static int64_t row_ptr[ROWS + 1];
static int32_t tile_index[ROWS * KEYS];
static tamis_context *context;

typedef struct problem {
  int batch, heads, kv_heads, queries, keys;
  tamis_tiles tiles;
  tamis_attention_options options;
} problem;

static tamis_tensor tensor4(void *data, int a, int b, int c, int d) {
  tamis_tensor t;
  memset(&t, 0, sizeof t);
  t.data = data;
  t.ndim = 4;
  t.shape[0] = a, t.shape[1] = b, t.shape[2] = c, t.shape[3] = d;
  t.stride[0] = (int64_t)b * c * d, t.stride[1] = (int64_t)c * d, t.stride[2] = d, t.stride[3] = 1;
  return t;
}

static int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b != 0); }

/* What the header asks of lists. */
static int is_valid(const problem *p) {
  const tamis_tiles *t = &p->tiles;
  if (t->heads != 1 && t->heads != p->kv_heads && t->heads != p->heads) return 0;
  if (t->query_block < 1 || t->key_block < 1) return 0;
  const int64_t tiles = ceil_div(p->keys, t->key_block);
  if (t->n_rows != p->batch * t->heads * ceil_div(p->queries, t->query_block)) return 0;
  if (row_ptr[0] != 0) return 0;
  for (int64_t r = 0; r < t->n_rows; r++) {
    if (row_ptr[r + 1] < row_ptr[r] || row_ptr[r + 1] > ROWS * KEYS) return 0;
    for (int64_t i = row_ptr[r]; i < row_ptr[r + 1]; i++)
      if (tile_index[i] < 0 || tile_index[i] >= tiles || (i > row_ptr[r] && tile_index[i] <= tile_index[i - 1])) return 0;
  }
  return 1;
}

static int is_seen(const problem *p, int64_t i, int64_t j, int *legal) {
  const tamis_attention_options *o = &p->options;
  const __int128 token = (__int128)(o->q_offset == TAMIS_AT_END ? p->keys - p->queries : o->q_offset) + i;
  *legal = (!o->causal || j <= token) && (o->window == 0 || j > token - o->window);
  return *legal;
}

static int is_listed(const problem *p, int b, int h, int i, int j) {
  const tamis_tiles *t = &p->tiles;
  const int64_t blocks = ceil_div(p->queries, t->query_block);
  const int64_t r = (b * t->heads + h / (p->heads / t->heads)) * blocks + i / t->query_block;
  for (int64_t at = row_ptr[r]; at < row_ptr[r + 1]; at++)
    if (tile_index[at] == j / t->key_block) return 1;
  return 0;
}

/* Outputs against the definition; returns how many pairs are attended and, in *legal_pairs, how many are legal. */
static int64_t compare(const problem *p, int64_t *legal_pairs) {
  int64_t attended = 0;
  *legal_pairs = 0;
  for (int b = 0; b < p->batch; b++)
    for (int h = 0; h < p->heads; h++)
      for (int i = 0; i < p->queries; i++) {
        const int row = (b * p->heads + h) * p->queries + i;
        const int kv_row = (b * p->kv_heads + h / (p->heads / p->kv_heads)) * p->keys;
        double sum = 0, o[DIM] = {0};
        int legal;
        for (int j = 0; j < p->keys; j++) {
          double z = 0;
          const int seen = is_seen(p, i, j, &legal) && is_listed(p, b, h, i, j);
          *legal_pairs += legal;
          if (!seen) continue;
          attended++;
          for (int x = 0; x < DIM; x++) z += (double)q[row * DIM + x] * (double)k[(kv_row + j) * DIM + x];
          z = exp(z / sqrt(DIM));
          sum += z;
          for (int x = 0; x < DIM; x++) o[x] += z * (double)v[(kv_row + j) * DIM + x];
        }
        if (sum == 0) MUST(lse[row] == -INFINITY);
        else MUST(fabs((double)lse[row] - log(sum)) < 1e-4);
        for (int x = 0; x < DIM; x++) MUST(fabs((double)out[row * DIM + x] - (sum == 0 ? 0 : o[x] / sum)) < 1e-4);
      }
  return attended;
}

/* Lists that hold, and then some damage. */
static void fill(input *in, problem *p) {
  static const int sizes[] = {1, 1, 2, 3, 7, 8, 16, 31, 32, 64, 100, INT32_MAX};
  tamis_tiles tiles = TAMIS_TILES_INIT;
  tamis_attention_options options = TAMIS_ATTENTION_OPTIONS_INIT;
  p->batch = 1 + (int)below(in, BATCH);
  p->kv_heads = 1 << below(in, 3);
  p->heads = p->kv_heads << below(in, (uint32_t)(p->kv_heads == 4 ? 1 : 2));
  p->queries = 1 + (int)below(in, QUERIES);
  p->keys = 1 + (int)below(in, KEYS);
  tiles.heads = chance(in, 16) ? wild32(in) : (const int[]){1, p->kv_heads, p->heads}[below(in, 3)];
  tiles.query_block = chance(in, 16) ? wild32(in) : sizes[below(in, 12)];
  tiles.key_block = chance(in, 16) ? wild32(in) : sizes[below(in, 12)];
  tiles.row_ptr = row_ptr;
  tiles.index = tile_index;
  const int64_t query_block = tiles.query_block < 1 ? 1 : tiles.query_block;
  const int64_t key_block = tiles.key_block < 1 ? 1 : tiles.key_block;
  const int64_t blocks = ceil_div(p->queries, query_block), tile_count = ceil_div(p->keys, key_block);
  const int heads = tiles.heads < 1 || tiles.heads > HEADS ? 1 : tiles.heads;
  tiles.n_rows = chance(in, 24) ? wild(in) : p->batch * heads * blocks;
  if (tiles.n_rows > ROWS) tiles.n_rows = -tiles.n_rows; /* more rows than we own */
  memset(row_ptr, 0, sizeof row_ptr);
  for (int64_t r = 0; r < p->batch * heads * blocks; r++) {
    const uint32_t often = 1 + below(in, 6); /* one in .. tiles; all of them now and then */
    uint64_t bits = take(in, 8);
    row_ptr[r + 1] = row_ptr[r];
    for (int64_t j = 0; j < tile_count; j++) {
      bits = bits * 6364136223846793005u + 1442695040888963407u;
      if ((bits >> 40) % often == 0) tile_index[row_ptr[r + 1]++] = (int32_t)j;
    }
  }
  while (chance(in, 5)) {
    if (chance(in, 2)) row_ptr[below(in, (uint32_t)(p->batch * heads * blocks + 1))] = wild(in);
    else tile_index[below(in, ROWS)] = wild32(in);
  }
  options.causal = (int32_t)below(in, 2);
  if (chance(in, 2)) options.q_offset = (int64_t)below(in, 100) - 50;
  if (chance(in, 8)) options.q_offset = ((int64_t)below(in, 3) - 1) * ((int64_t)1 << 47);
  if (chance(in, 3)) options.window = chance(in, 4) ? INT64_MAX : (int64_t)below(in, 60);
  p->tiles = tiles;
  p->options = options;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  input in = {data, size};
  problem p;
  if (!context) {
    tamis_context_options o = TAMIS_CONTEXT_OPTIONS_INIT;
    o.n_threads = 2;
    MUST(tamis_context_create(&o, &context) == TAMIS_OK);
    for (size_t i = 0; i < sizeof q / sizeof *q; i++) q[i] = (float)(i * 13 % 29) / 15.0f - 1;
    for (size_t i = 0; i < sizeof k / sizeof *k; i++) k[i] = (float)(i * 7 % 31) / 15.0f - 1;
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) v[i] = (float)(i * 11 % 37) / 18.0f - 1;
  }
  fill(&in, &p);
  const int valid = is_valid(&p);
  tamis_tensor tq = tensor4(q, p.batch, p.heads, p.queries, DIM), to = tensor4(out, p.batch, p.heads, p.queries, DIM);
  tamis_tensor tk = tensor4(k, p.batch, p.kv_heads, p.keys, DIM), tv = tensor4(v, p.batch, p.kv_heads, p.keys, DIM);
  tamis_tensor tl = tensor4(lse, p.batch, p.heads, p.queries, 1);
  tl.ndim = 3;
  out[0] = 77;
  const tamis_status status = tamis_sparse_attention(context, &p.options, &p.tiles, 0, &tq, &tk, &tv, &to, &tl);
  judged(status);
  MUST(status == (valid ? TAMIS_OK : TAMIS_ERR_INVALID_ARGUMENT));
  if (!valid) MUST(out[0] == 77);

  tamis_sparse_mask *mask = NULL;
  const tamis_status made = tamis_sparse_mask_create(&p.tiles, p.batch, p.queries, p.keys, &mask);
  judged(made);
  MUST(!valid || made == TAMIS_OK);
  if (made == TAMIS_OK) {
    tamis_sparse_stats stats = TAMIS_SPARSE_STATS_INIT;
    judged(tamis_sparse_mask_stats(mask, &p.options, p.heads, &stats));
    MUST(stats.pairs_attended >= 0 && stats.pairs_attended <= stats.pairs_legal);
    if (valid) {
      int64_t legal, attended = compare(&p, &legal);
      MUST(stats.pairs_attended == attended && stats.pairs_legal == legal);
    }
  }
  tamis_sparse_mask_destroy(mask);
  return 0;
}
