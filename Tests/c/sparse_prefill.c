/* tamis/sparse_prefill.h: a budget of everything is dense, lists, stats, the dense path, every documented error. */
#include "check.h"

enum { HQ = 4, HK = 2, N = 384, D = 16 };
static float q[HQ * N * D], k[HK * N * D], v[HK * N * D], out[HQ * N * D], dense[HQ * N * D], lse[HQ * N], dense_lse[HQ * N];

static tamis_tensor tq, tk, tv, to, tl;

static const tamis_sparse_method methods[] = {
    TAMIS_SPARSE_DENSE,          TAMIS_SPARSE_DHSA,        TAMIS_SPARSE_DHSA_TOPK,   TAMIS_SPARSE_DHSA_A,
    TAMIS_SPARSE_DHSA_VS,        TAMIS_SPARSE_DHSA_VSB,    TAMIS_SPARSE_BLOCK,       TAMIS_SPARSE_A_SHAPE,
    TAMIS_SPARSE_VERTICAL_SLASH, TAMIS_SPARSE_BLOCK_TOPK,  TAMIS_SPARSE_MINFERENCE,  TAMIS_SPARSE_FLEXPREFILL,
    TAMIS_SPARSE_XATTENTION,     TAMIS_SPARSE_SPARGE,      TAMIS_SPARSE_COMPAT_DHSA, TAMIS_SPARSE_COMPAT_DHSA_TOPK,
    TAMIS_SPARSE_COMPAT_DHSA_VSB};

static tamis_sparse_options method(tamis_sparse_method m) {
  tamis_sparse_options o = TAMIS_SPARSE_OPTIONS_INIT;
  o.method = m;
  o.dense_below = 0;
  return o;
}

static int ascending(const tamis_tiles *t, int64_t n_tiles) {
  for (int64_t r = 0; r < t->n_rows; r++)
    for (int64_t i = t->row_ptr[r]; i < t->row_ptr[r + 1]; i++) {
      if (t->index[i] < 0 || t->index[i] >= n_tiles) return 0;
      if (i > t->row_ptr[r] && t->index[i] <= t->index[i - 1]) return 0;
    }
  return 1;
}

/* Every method at its defaults: sorted lists in range, and one call gives what two give. */
static void test_methods(tamis_context *c) {
  for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
    tamis_sparse_options o = method(methods[i]);
    tamis_sparse_mask *chosen = NULL, *used = NULL;
    tamis_sparse_stats stats = TAMIS_SPARSE_STATS_INIT;
    tamis_tiles a = TAMIS_TILES_INIT, b = TAMIS_TILES_INIT;
    o.pv_threshold = -1;
    OK(tamis_sparse_select(c, &o, NULL, &tq, &tk, &chosen));
    OK(tamis_sparse_mask_tiles(chosen, &a));
    CHECK(a.heads == 1 || a.heads == HQ);
    CHECK(a.n_rows == a.heads * ((N + a.query_block - 1) / a.query_block));
    CHECK(ascending(&a, (N + a.key_block - 1) / a.key_block));
    OK(tamis_sparse_prefill(c, &o, NULL, &tq, &tk, &tv, &to, &tl, &used, &stats));
    OK(tamis_sparse_mask_tiles(used, &b));
    CHECK(a.n_rows == b.n_rows && memcmp(a.row_ptr, b.row_ptr, sizeof(int64_t) * (size_t)(a.n_rows + 1)) == 0);
    CHECK(memcmp(a.index, b.index, sizeof(int32_t) * (size_t)a.row_ptr[a.n_rows]) == 0);
    CHECK(stats.calls_sparse == 1 && stats.calls_dense == 0 && stats.attend_ns > 0);
    CHECK(stats.tiles_listed == a.row_ptr[a.n_rows] * (HQ / a.heads) && stats.pairs_attended <= stats.pairs_legal);
    tamis_tensor td = tensor(dense, TAMIS_F32, 3, HQ, N, D);
    OK(tamis_sparse_attention(c, NULL, &a, 0, &tq, &tk, &tv, &td, NULL));
    CHECK(memcmp(out, dense, sizeof out) == 0);
    tamis_sparse_mask_destroy(chosen);
    tamis_sparse_mask_destroy(used);
  }
}

static void test_everything_is_dense(tamis_context *c) {
  tamis_tensor td = tensor(dense, TAMIS_F32, 3, HQ, N, D), tdl = tensor(dense_lse, TAMIS_F32, 2, HQ, N);
  OK(tamis_attention(c, NULL, &tq, &tk, &tv, &td, &tdl));
  static const tamis_sparse_method by_density[] = {
      TAMIS_SPARSE_DHSA_TOPK, TAMIS_SPARSE_DHSA_A, TAMIS_SPARSE_DHSA_VS, TAMIS_SPARSE_DHSA_VSB, TAMIS_SPARSE_BLOCK};
  for (size_t i = 0; i < sizeof by_density / sizeof *by_density; i++) {
    tamis_sparse_options o = method(by_density[i]);
    o.density = 1;
    OK(tamis_sparse_prefill(c, &o, NULL, &tq, &tk, &tv, &to, &tl, NULL, NULL));
    CHECK(memcmp(out, dense, sizeof out) == 0 && memcmp(lse, dense_lse, sizeof lse) == 0);
  }
  tamis_sparse_options o = method(TAMIS_SPARSE_XATTENTION);
  o.coverage = 1;
  OK(tamis_sparse_prefill(c, &o, NULL, &tq, &tk, &tv, &to, &tl, NULL, NULL));
  CHECK(memcmp(out, dense, sizeof out) == 0 && memcmp(lse, dense_lse, sizeof lse) == 0);

  /* The default is dense below 4096 keys, and says so. */
  tamis_sparse_mask *mask = (tamis_sparse_mask *)&o;
  tamis_sparse_stats stats = TAMIS_SPARSE_STATS_INIT;
  OK(tamis_sparse_prefill(c, NULL, NULL, &tq, &tk, &tv, &to, NULL, &mask, &stats));
  CHECK(mask == NULL && stats.calls_dense == 1 && stats.calls_sparse == 0);
  CHECK(stats.tiles_listed == stats.tiles_legal && stats.pairs_attended == (int64_t)HQ * N * (N + 1) / 2);
  CHECK(memcmp(out, dense, sizeof out) == 0);
}

/* Keys of tile 3 are what the queries ask for. */
static void test_planted(tamis_context *c) {
  static float kp[HK * N * D], qp[HQ * N * D];
  for (int i = 0; i < HQ * N * D; i++) qp[i] = 1;
  for (int h = 0; h < HK; h++)
    for (int t = 0; t < N; t++)
      for (int i = 0; i < D; i++) kp[(h * N + t) * D + i] = t >= 96 && t < 128 ? 1.0f : 0.0f;
  tamis_tensor pq = tensor(qp, TAMIS_F32, 3, HQ, N, D), pk = tensor(kp, TAMIS_F32, 3, HK, N, D);
  tamis_sparse_options o = method(TAMIS_SPARSE_DHSA_TOPK);
  tamis_sparse_mask *mask = NULL;
  tamis_tiles t = TAMIS_TILES_INIT;
  o.query_block = 32;
  o.key_block = 32;
  o.density = 3.0f / 12;
  OK(tamis_sparse_select(c, &o, NULL, &pq, &pk, &mask));
  OK(tamis_sparse_mask_tiles(mask, &t));
  for (int h = 0; h < HQ; h++)
    for (int b = 4; b < 12; b++) { /* first, needle, own */
      const int32_t *row = t.index + t.row_ptr[h * 12 + b];
      CHECK(t.row_ptr[h * 12 + b + 1] - t.row_ptr[h * 12 + b] == 3 && row[0] == 0 && row[1] == 3 && row[2] == b);
    }
  tamis_sparse_mask_destroy(mask);
}

static void test_errors(tamis_context *c) {
  tamis_sparse_mask *mask = NULL;
  tamis_sparse_options o = method(TAMIS_SPARSE_DHSA_TOPK);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "context", tamis_sparse_select(NULL, &o, NULL, &tq, &tk, &mask));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out", tamis_sparse_select(c, &o, NULL, &tq, &tk, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "q is NULL", tamis_sparse_select(c, &o, NULL, NULL, &tk, &mask));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "k is NULL", tamis_sparse_select(c, &o, NULL, &tq, NULL, &mask));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "v is NULL", tamis_sparse_prefill(c, &o, NULL, &tq, &tk, NULL, &to, NULL, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out", tamis_sparse_prefill(c, &o, NULL, &tq, &tk, &tv, NULL, NULL, NULL, NULL));
  o.struct_size = 3;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "struct_size", tamis_sparse_select(c, &o, NULL, &tq, &tk, &mask));
#define BAD(which, field, value, word)                                                            \
  do {                                                                                            \
    o = method(which);                                                                            \
    o.field = value;                                                                              \
    FAILS(TAMIS_ERR_INVALID_ARGUMENT, word, tamis_sparse_select(c, &o, NULL, &tq, &tk, &mask));    \
  } while (0)
  BAD(TAMIS_SPARSE_DHSA_TOPK, method, 14, "options->method is 14");
  BAD(TAMIS_SPARSE_DHSA_TOPK, method, -1, "options->method");
  BAD(TAMIS_SPARSE_DHSA_TOPK, query_block, 100, "options->query_block is 100");
  BAD(TAMIS_SPARSE_DHSA_TOPK, key_block, INT32_MIN, "options->key_block");
  BAD(TAMIS_SPARSE_DHSA_TOPK, share_group, 2, "options->share_group");
  BAD(TAMIS_SPARSE_DHSA_TOPK, density, 2, "options->density");
  BAD(TAMIS_SPARSE_DHSA_TOPK, density, NAN, "options->density");
  BAD(TAMIS_SPARSE_DHSA_TOPK, score, 7, "options->score");
  BAD(TAMIS_SPARSE_DHSA_TOPK, row_min, 0.5f, "options->row_max");
  BAD(TAMIS_SPARSE_DHSA_TOPK, pv_threshold, -3, "options->pv_threshold");
  BAD(TAMIS_SPARSE_DHSA, granularity, 9, "options->granularity");
  BAD(TAMIS_SPARSE_DHSA, pooling, 9, "options->pooling");
  BAD(TAMIS_SPARSE_DHSA, budget, INT64_MIN, "options->budget");
  BAD(TAMIS_SPARSE_DHSA, instruction_tokens, INT64_MIN, "options->instruction_tokens");
  BAD(TAMIS_SPARSE_DHSA, local, -7, "options->local");
  BAD(TAMIS_SPARSE_DHSA, sinks, -7, "options->sinks");
  BAD(TAMIS_SPARSE_DHSA, predictor, (const tamis_boundary_predictor *)q, "predictor");
  BAD(TAMIS_SPARSE_DHSA_VS, vertical_ratio, -1, "options->vertical_ratio");
  BAD(TAMIS_SPARSE_DHSA_VS, sampled_rows, 1 << 30, "options->sampled_rows");
  BAD(TAMIS_SPARSE_BLOCK, budget, -5, "options->budget");
  BAD(TAMIS_SPARSE_VERTICAL_SLASH, vertical, -5, "options->vertical");
  BAD(TAMIS_SPARSE_VERTICAL_SLASH, slash, -5, "options->slash");
  BAD(TAMIS_SPARSE_BLOCK_TOPK, max_blocks, -5, "options->max_blocks");
  BAD(TAMIS_SPARSE_FLEXPREFILL, min_budget, INT64_MIN, "options->min_budget");
  BAD(TAMIS_SPARSE_FLEXPREFILL, max_budget, 5, "options->max_budget");
  BAD(TAMIS_SPARSE_FLEXPREFILL, similarity, NAN, "options->similarity");
  BAD(TAMIS_SPARSE_XATTENTION, stride, 5, "options->stride");
  BAD(TAMIS_SPARSE_XATTENTION, head_coverage, (const float *)((const char *)q + 1), "options->head_coverage");
  BAD(TAMIS_SPARSE_SPARGE, top_share, -1, "options->top_share");
  BAD(TAMIS_SPARSE_SPARGE, smooth_keys, 2, "options->smooth_keys");
  tamis_head_pattern patterns[HQ] = {{TAMIS_SPARSE_A_SHAPE, 4, 4}, {TAMIS_SPARSE_DHSA, 4, 4}};
  BAD(TAMIS_SPARSE_MINFERENCE, patterns, patterns, "options->patterns[1]");
  int64_t boundaries[3] = {0, 5, N - 1};
  o = method(TAMIS_SPARSE_DHSA);
  o.boundaries = boundaries;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n_boundaries", tamis_sparse_select(c, &o, NULL, &tq, &tk, &mask));
  o.n_boundaries = 3;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "boundaries", tamis_sparse_select(c, &o, NULL, &tq, &tk, &mask));

  tamis_attention_options rule = TAMIS_ATTENTION_OPTIONS_INIT;
  o = method(TAMIS_SPARSE_DHSA_TOPK);
  rule.causal = 0;
  FAILS(TAMIS_ERR_UNSUPPORTED, "causal", tamis_sparse_select(c, &o, &rule, &tq, &tk, &mask));
  rule.causal = 3;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "attention->causal", tamis_sparse_select(c, &o, &rule, &tq, &tk, &mask));
  rule.causal = 1;
  rule.scale = -1;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "scale", tamis_sparse_select(c, &o, &rule, &tq, &tk, &mask));
  rule.scale = 0;
  rule.compute = TAMIS_COMPUTE_BLAS;
  FAILS(TAMIS_ERR_UNSUPPORTED, "compute", tamis_sparse_prefill(c, &o, &rule, &tq, &tk, &tv, &to, NULL, NULL, NULL));
  o.dense_below = -5;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "dense_below", tamis_sparse_prefill(c, &o, NULL, &tq, &tk, &tv, &to, NULL, NULL, NULL));
  tamis_sparse_stats stats = {0};
  o.dense_below = 0;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "stats", tamis_sparse_prefill(c, &o, NULL, &tq, &tk, &tv, &to, NULL, NULL, &stats));
  tamis_tensor wrong = tensor(k, TAMIS_F32, 3, HK, N, 8);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "k->shape[2]", tamis_sparse_select(c, &o, NULL, &tq, &wrong, &mask));
  CHECK(mask == NULL);
}

/* Positions far beyond any key: no trap, and rows that see nothing. */
static void test_far_positions(tamis_context *c) {
  for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
    tamis_sparse_options o = method(methods[i]);
    for (int far = 0; far < 3; far++) {
      tamis_attention_options rule = TAMIS_ATTENTION_OPTIONS_INIT;
      tamis_sparse_mask *mask = NULL;
      tamis_tiles t = TAMIS_TILES_INIT;
      rule.q_offset = far == 0 ? -((int64_t)1 << 47) : far == 1 ? ((int64_t)1 << 47) : 5;
      rule.window = far == 2 ? INT64_MAX : 100;
      OK(tamis_sparse_select(c, &o, &rule, &tq, &tk, &mask));
      OK(tamis_sparse_mask_tiles(mask, &t));
      if (far < 2 && methods[i] < TAMIS_SPARSE_COMPAT_DHSA) CHECK(t.row_ptr[t.n_rows] == 0);
      tamis_sparse_mask_destroy(mask);
    }
  }
}

static int32_t stop(double done, void *user) {
  (void)done;
  return ++*(int *)user < 1;
}

void test_sparse_prefill(void) {
  fill_random(q, HQ * N * D, 1);
  fill_random(k, HK * N * D, 2);
  fill_random(v, HK * N * D, 3);
  tq = tensor(q, TAMIS_F32, 3, HQ, N, D);
  tk = tensor(k, TAMIS_F32, 3, HK, N, D);
  tv = tensor(v, TAMIS_F32, 3, HK, N, D);
  to = tensor(out, TAMIS_F32, 3, HQ, N, D);
  tl = tensor(lse, TAMIS_F32, 2, HQ, N);
  tamis_context *c = make_context(2);
  test_methods(c);
  test_everything_is_dense(c);
  test_planted(c);
  test_errors(c);
  test_far_positions(c);
  for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
    tamis_sparse_options o = method(methods[i]);
    tamis_sparse_mask *mask = NULL;
    int calls = 0;
    if (o.method == TAMIS_SPARSE_DENSE || o.method == TAMIS_SPARSE_A_SHAPE || o.method == TAMIS_SPARSE_FLEXPREFILL) continue;
    o.progress = stop;
    o.progress_user = &calls;
    FAILS(TAMIS_ERR_CANCELLED, "progress", tamis_sparse_select(c, &o, NULL, &tq, &tk, &mask));
    CHECK(calls == 1 && mask == NULL);
  }
  tamis_context_destroy(c);
}
