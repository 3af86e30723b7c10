/* tamis/sparse_attention.h: against loops in double, the bits of dense attention, masks and their counts, every documented
 * error. */
#include "check.h"

enum { B = 2, HQ = 4, HK = 2, N = 50, D = 16, BQ = 16, BK = 8, BLOCKS = 4, TILES = 7, ROWS = B * HQ * BLOCKS };
static float q[B * HQ * N * D], k[B * HK * N * D], v[B * HK * N * D], out[B * HQ * N * D], lse[B * HQ * N];
static int64_t row_ptr[ROWS + 1];
static int32_t tile_index[ROWS * TILES];

typedef struct call {
  tamis_attention_options options;
  tamis_tiles tiles;
  float pv_threshold;
  tamis_tensor q, k, v, out, lse;
} call;

/* Row r lists the tiles j with a bit in some pattern; row 5 is empty, row 6 has all. */
static int listed(int r, int j) { return r != 5 && (r == 6 || (r * 7 + j * 5) % 3 != 0); }

static void fill_lists(void) {
  row_ptr[0] = 0;
  for (int r = 0; r < ROWS; r++) {
    row_ptr[r + 1] = row_ptr[r];
    for (int j = 0; j < TILES; j++)
      if (listed(r, j)) tile_index[row_ptr[r + 1]++] = j;
  }
}

static call fresh(void) {
  call a;
  tamis_tiles tiles = TAMIS_TILES_INIT;
  tamis_attention_options_init(&a.options);
  fill_lists();
  tiles.heads = HQ;
  tiles.query_block = BQ;
  tiles.key_block = BK;
  tiles.row_ptr = row_ptr;
  tiles.index = tile_index;
  tiles.n_rows = ROWS;
  a.tiles = tiles;
  a.pv_threshold = 0;
  a.q = tensor(q, TAMIS_F32, 4, B, HQ, N, D);
  a.k = tensor(k, TAMIS_F32, 4, B, HK, N, D);
  a.v = tensor(v, TAMIS_F32, 4, B, HK, N, D);
  a.out = tensor(out, TAMIS_F32, 4, B, HQ, N, D);
  a.lse = tensor(lse, TAMIS_F32, 3, B, HQ, N);
  return a;
}

static tamis_status run(tamis_context *c, const call *a) {
  return tamis_sparse_attention(c, &a->options, &a->tiles, a->pv_threshold, &a->q, &a->k, &a->v, &a->out, &a->lse);
}

/* Attention of one query over the keys that `r` lists, in double, from keys gathered beside each other. */
static int oracle_row(int r, int head, int i, double *row, double *l) {
  static float keys[N * D], values[N * D];
  int n = 0;
  for (int j = 0; j <= i; j++)
    if (listed(r, j / BK)) {
      memcpy(keys + n * D, k + ((head / (HQ / HK)) * N + j) * D, D * sizeof *k);
      memcpy(values + n * D, v + ((head / (HQ / HK)) * N + j) * D, D * sizeof *v);
      n++;
    }
  if (n) *l = oracle_attention(q + (head * N + i) * D, keys, values, n, D, D, 1 / sqrt(D), row);
  return n;
}

/* Heads are numbered through the batch: element b has query heads b * HQ .. and KV heads b * HK .., of the same ratio. */
static void test_against_oracle(tamis_context *c, int heads) {
  call a = fresh();
  double worst = 0, row[D], l = 0;
  int64_t pairs = 0;
  a.tiles.heads = heads;
  a.tiles.n_rows = B * heads * BLOCKS;
  OK(run(c, &a));
  for (int h = 0; h < B * HQ; h++)
    for (int i = 0; i < N; i++) {
      const float *got = out + (h * N + i) * D;
      const int n = oracle_row((h / (HQ / heads)) * BLOCKS + i / BQ, h, i, row, &l);
      pairs += n;
      if (n == 0) {
        CHECK(lse[h * N + i] == -INFINITY);
        for (int x = 0; x < D; x++) CHECK(got[x] == 0);
        continue;
      }
      for (int x = 0; x < D; x++) worst = fmax(worst, fabs(row[x] - (double)got[x]));
      worst = fmax(worst, fabs(l - (double)lse[h * N + i]));
    }
  CHECK(worst < 1e-5);

  tamis_sparse_mask *mask = NULL;
  tamis_sparse_stats stats = TAMIS_SPARSE_STATS_INIT;
  stats.pairs_legal = 1;
  OK(tamis_sparse_mask_create(&a.tiles, B, N, N, &mask));
  OK(tamis_sparse_mask_stats(mask, NULL, HQ, &stats));
  CHECK(stats.pairs_attended == pairs);
  CHECK(stats.pairs_legal == 1 + (int64_t)B * HQ * N * (N + 1) / 2);
  CHECK(stats.tiles_listed == row_ptr[a.tiles.n_rows] * (HQ / heads));
  CHECK(stats.tiles_legal == (int64_t)B * HQ * (2 + 4 + 6 + 7));
  CHECK(stats.calls_sparse == 0 && stats.calls_dense == 0 && stats.select_ns == 0 && stats.attend_ns == 0);
  tamis_sparse_mask_destroy(mask);
}

static void test_dense_bits(tamis_context *c) {
  call a = fresh();
  static float dense[B * HQ * N * D], dense_lse[B * HQ * N];
  OK(tamis_attention(c, NULL, &a.q, &a.k, &a.v, &a.out, &a.lse));
  memcpy(dense, out, sizeof out);
  memcpy(dense_lse, lse, sizeof lse);
  memset(out, 0, sizeof out);
  OK(tamis_sparse_attention(c, NULL, NULL, 0, &a.q, &a.k, &a.v, &a.out, &a.lse));
  CHECK(memcmp(dense, out, sizeof out) == 0 && memcmp(dense_lse, lse, sizeof lse) == 0);
  for (int r = 0; r < ROWS; r++)
    for (int j = 0; j < TILES; j++) row_ptr[r + 1] = (r + 1) * TILES, tile_index[r * TILES + j] = j;
  memset(out, 0, sizeof out);
  OK(run(c, &a));
  CHECK(memcmp(dense, out, sizeof out) == 0 && memcmp(dense_lse, lse, sizeof lse) == 0);
}

#define BAD(status, word, change)    \
  do {                               \
    call a = fresh();                \
    change;                          \
    out[3] = 7;                      \
    FAILS(status, word, run(c, &a)); \
    CHECK(out[3] == 7);              \
  } while (0)
#define INVALID(word, change) BAD(TAMIS_ERR_INVALID_ARGUMENT, word, change)

static void test_errors(tamis_context *c) {
  static int64_t inside_out[ROWS + 1];
  call a = fresh();
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "context", tamis_sparse_attention(NULL, NULL, &a.tiles, 0, &a.q, &a.k, &a.v, &a.out, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "q is NULL", tamis_sparse_attention(c, NULL, &a.tiles, 0, NULL, &a.k, &a.v, &a.out, NULL));
  INVALID("tiles->struct_size", a.tiles.struct_size = 8);
  INVALID("tiles->heads is 3; expected 1, 2 (the heads of k) or 4 (the heads of q)", a.tiles.heads = 3);
  INVALID("tiles->heads is 0", a.tiles.heads = 0);
  INVALID("tiles->query_block is 0", a.tiles.query_block = 0);
  INVALID("tiles->key_block is -4", a.tiles.key_block = -4);
  INVALID("tiles->n_rows is 31; expected a batch of 2 times 4 heads times 4 query blocks", a.tiles.n_rows = ROWS - 1);
  INVALID("tiles->n_rows is -1", a.tiles.n_rows = -1);
  INVALID("tiles->n_rows is 32", a.tiles.query_block = 17 /* three blocks */);
  INVALID("tiles->n_rows is 32", a.tiles.heads = 2);
  INVALID("tiles->row_ptr is NULL", a.tiles.row_ptr = NULL);
  INVALID("tiles->row_ptr", a.tiles.row_ptr = (const int64_t *)(const void *)((const char *)row_ptr + 4));
  INVALID("tiles->row_ptr[0] is 1", row_ptr[0] = 1);
  INVALID("tiles->row_ptr[3] is 2 after", row_ptr[3] = 2);
  INVALID("tiles->row_ptr[1] is -9223372036854775808 after 0", row_ptr[1] = INT64_MIN);
  INVALID("expected 0 to 7 tiles in row 31", row_ptr[ROWS] = INT64_MAX);
  INVALID("expected 0 to 7 tiles in row 0", (row_ptr[1] = 8, row_ptr[2] = 8));
  INVALID("tiles->index is NULL", a.tiles.index = NULL);
  INVALID("tiles->index", a.tiles.index = (const int32_t *)(const void *)((const char *)tile_index + 1));
  INVALID("tiles: tile 0 of row 0 is -1; expected 0 to 6", tile_index[0] = -1);
  INVALID("of row 31 is 7; expected 0 to 6", tile_index[row_ptr[ROWS] - 1] = 7);
  INVALID("tiles: tile 1 of row 0 is 1 after 1; expected ascending", tile_index[1] = tile_index[0] = 1);
  INVALID("tiles: tile 2 of row 6 is 0 after 1", tile_index[row_ptr[6] + 2] = 0);
  INVALID("pv_threshold is -1", a.pv_threshold = -1);
  INVALID("pv_threshold", a.pv_threshold = NAN);
  INVALID("pv_threshold", a.pv_threshold = INFINITY);
  INVALID("causal", a.options.causal = 2);
  INVALID("compute", a.options.compute = 3);
  INVALID("v is", a.v.shape[2] = N - 1);
  INVALID("lse is", a.lse.shape[2] = N - 1);
  INVALID("out", a.out.data = q);
  BAD(TAMIS_ERR_UNSUPPORTED, "TAMIS_COMPUTE_BLAS", a.options.compute = TAMIS_COMPUTE_BLAS);
  BAD(TAMIS_ERR_UNSUPPORTED, "head_dim", a.q.shape[3] = a.k.shape[3] = a.v.shape[3] = a.out.shape[3] = 12);
  BAD(TAMIS_ERR_UNSUPPORTED, "q->dtype", a.q.dtype = TAMIS_I8);
  a = fresh();
  FAILS(TAMIS_ERR_UNSUPPORTED, "TAMIS_COMPUTE_BLAS", (a.options.compute = TAMIS_COMPUTE_BLAS,
        tamis_sparse_attention(c, &a.options, NULL, 0, &a.q, &a.k, &a.v, &a.out, NULL)));
  /* lists that an output would overwrite */
  a = fresh();
  memcpy(inside_out, row_ptr, sizeof row_ptr);
  a.tiles.row_ptr = (const int64_t *)(const void *)memcpy(out, inside_out, sizeof inside_out);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "overlaps tiles->row_ptr", run(c, &a));
  a = fresh();
  a.tiles.index = (const int32_t *)(const void *)memcpy(lse, tile_index, sizeof(int32_t) * (size_t)row_ptr[ROWS]);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "overlaps tiles->index", run(c, &a));
  /* no list at all: nothing to point to */
  a = fresh();
  memset(row_ptr, 0, sizeof row_ptr);
  a.tiles.index = NULL;
  OK(run(c, &a));
  CHECK(out[0] == 0 && out[B * HQ * N * D - 1] == 0 && lse[0] == -INFINITY && lse[B * HQ * N - 1] == -INFINITY);
  a = fresh();
  OK(run(c, &a));
}

static void test_mask(void) {
  call a = fresh();
  tamis_sparse_mask *mask = NULL;
  tamis_tiles tiles = TAMIS_TILES_INIT;
  tamis_sparse_stats stats = TAMIS_SPARSE_STATS_INIT;
  tamis_attention_options options = TAMIS_ATTENTION_OPTIONS_INIT;
  const int64_t *boundaries = row_ptr;
  int64_t n = 5;
  OK(tamis_sparse_mask_create(&a.tiles, B, N, N, &mask));
  const int64_t first = row_ptr[1];
  memset(row_ptr, 0xee, sizeof row_ptr); /* copied */
  OK(tamis_sparse_mask_tiles(mask, &tiles));
  CHECK(tiles.heads == HQ && tiles.query_block == BQ && tiles.key_block == BK && tiles.n_rows == ROWS);
  CHECK(tiles.row_ptr[1] == first && tiles.index[0] == tile_index[0] && tiles.struct_size == sizeof tiles);
  OK(tamis_sparse_mask_boundaries(mask, &boundaries, &n));
  CHECK(boundaries == NULL && n == 0);

  options.causal = 0;
  OK(tamis_sparse_mask_stats(mask, &options, HQ, &stats));
  CHECK(stats.pairs_legal == (int64_t)B * HQ * N * N && stats.tiles_legal == (int64_t)B * HQ * BLOCKS * TILES);
  options.causal = 2;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "causal", tamis_sparse_mask_stats(mask, &options, HQ, &stats));
  options.causal = 1;
  options.window = -1;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "window", tamis_sparse_mask_stats(mask, &options, HQ, &stats));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "q_heads is 6", tamis_sparse_mask_stats(mask, NULL, 6, &stats));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "q_heads is 0", tamis_sparse_mask_stats(mask, NULL, 0, &stats));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "stats is NULL", tamis_sparse_mask_stats(mask, NULL, HQ, NULL));
  stats.struct_size = 4;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "stats->struct_size", tamis_sparse_mask_stats(mask, NULL, HQ, &stats));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "mask is NULL", tamis_sparse_mask_tiles(NULL, &tiles));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "mask is no live handle", tamis_sparse_mask_tiles((tamis_sparse_mask *)(void *)q, &tiles));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "tiles is NULL", tamis_sparse_mask_tiles(mask, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "boundaries is NULL", tamis_sparse_mask_boundaries(mask, NULL, &n));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n is NULL", tamis_sparse_mask_boundaries(mask, &boundaries, NULL));
  tamis_sparse_mask_destroy(mask);
  tamis_sparse_mask_destroy(NULL);

  a = fresh();
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "tiles is NULL", tamis_sparse_mask_create(NULL, B, N, N, &mask));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out is NULL", tamis_sparse_mask_create(&a.tiles, B, N, N, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "batch is 0", tamis_sparse_mask_create(&a.tiles, 0, N, N, &mask));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "q_len is -1", tamis_sparse_mask_create(&a.tiles, B, -1, N, &mask));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "k_len is", tamis_sparse_mask_create(&a.tiles, B, N, INT64_MAX, &mask));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n_rows", tamis_sparse_mask_create(&a.tiles, INT32_MAX, N, N, &mask));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "expected 0 to 6 tiles in row 6", tamis_sparse_mask_create(&a.tiles, B, N, N - BK, &mask));
  a.tiles.heads = INT32_MAX; /* a product beyond 64 bits */
  a.tiles.query_block = 1;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n_rows", tamis_sparse_mask_create(&a.tiles, INT32_MAX, INT32_MAX, N, &mask));
}

static int32_t refuse(double done, void *user) {
  (void)done;
  ++*(int *)user;
  return 0;
}

static void test_cancel(tamis_context *c) {
  int calls = 0;
  call a = fresh();
  a.options.progress = refuse;
  a.options.progress_user = &calls;
  CHECK(run(c, &a) == TAMIS_ERR_CANCELLED && calls == 1);
  a = fresh();
  OK(run(c, &a));
}

void test_sparse_attention(void) {
  tamis_context *c = make_context(2);
  fill_random(q, B * HQ * N * D, 1);
  fill_random(k, B * HK * N * D, 2);
  fill_random(v, B * HK * N * D, 3);
  test_against_oracle(c, HQ);
  test_against_oracle(c, HK);
  test_against_oracle(c, 1);
  test_dense_bits(c);
  test_errors(c);
  test_mask();
  test_cancel(c);
  tamis_context_destroy(c);
}
