/* tamis/retrieval.h: dense equals the oracle, budgets, lists, votes, every documented error. */
#include "check.h"

enum { HQ = 4, HK = 2, D = 16, N = 100 };
static float k[HK * N * D], v[HK * N * D], q[HQ * 8 * D], out[HQ * 8 * D], lse[HQ * 8], other[HQ * 8 * D], votes[N];
static int32_t tokens[N];

static tamis_kv_cache *make(tamis_context *c, tamis_sequence *s) {
  tamis_kv_options o = TAMIS_KV_OPTIONS_INIT;
  tamis_kv_cache *cache = NULL;
  o.kv_heads = HK;
  o.head_dim = D;
  o.page_tokens = 16;
  o.max_tokens = 256;
  OK(tamis_kv_create(c, &o, &cache));
  tamis_tensor tk = tensor(k, TAMIS_F32, 3, HK, N, D), tv = tensor(v, TAMIS_F32, 3, HK, N, D);
  OK(tamis_kv_sequence_create(cache, s));
  OK(tamis_kv_append(cache, *s, 0, &tk, &tv));
  return cache;
}

static tamis_selector_options budget(void) {
  tamis_selector_options o = TAMIS_SELECTOR_OPTIONS_INIT;
  o.q_heads = HQ;
  o.n_sink = 4;
  o.n_recent = 8;
  o.top_k = 16;
  o.chunk = 8;
  return o;
}

static void test_dense(tamis_kv_cache *cache, tamis_sequence s) {
  tamis_selector_options o = budget();
  tamis_selector *selector = NULL;
  o.method = TAMIS_SELECT_DENSE;
  OK(tamis_selector_create(cache, &o, &selector));
  tamis_tensor tq = tensor(q, TAMIS_F32, 3, HQ, 1, D), to = tensor(out, TAMIS_F32, 3, HQ, 1, D);
  tamis_tensor tl = tensor(lse, TAMIS_F32, 2, HQ, 1);
  tamis_retrieval_stats stats = TAMIS_RETRIEVAL_STATS_INIT;
  OK(tamis_attend(selector, s, 0, &tq, &to, &tl, &stats));
  CHECK(stats.queries == 1 && stats.tokens_attended == N && stats.selections == 0 && stats.chunks_dense == 1);
  OK(tamis_attend(selector, s, 0, &tq, &to, &tl, &stats));
  CHECK(stats.queries == 2); /* sums */
  double row[D], worst = 0;
  for (int h = 0; h < HQ; h++) {
    double l = oracle_attention(q + h * D, k + h / 2 * N * D, v + h / 2 * N * D, N, D, D, 1 / sqrt(D), row);
    worst = fmax(worst, fabs(l - (double)lse[h]));
    for (int i = 0; i < D; i++) worst = fmax(worst, fabs(row[i] - (double)out[h * D + i]));
  }
  CHECK(worst < 1e-5);
  tamis_selector_destroy(selector);
}

static void test_streaming_list(tamis_kv_cache *cache, tamis_sequence s) {
  tamis_selector_options o = budget();
  tamis_selector *selector = NULL;
  int64_t n = -1;
  o.method = TAMIS_SELECT_STREAMING;
  OK(tamis_selector_create(cache, &o, &selector));
  tamis_tensor tq = tensor(q, TAMIS_F32, 3, HQ, 1, D), to = tensor(out, TAMIS_F32, 3, HQ, 1, D);
  OK(tamis_retrieve(selector, s, 0, &tq, tokens, N, &n, NULL));
  CHECK(n == 12 && tokens[0] == 0 && tokens[3] == 3 && tokens[4] == N - 8 && tokens[11] == N - 1);
  OK(tamis_attend(selector, s, 0, &tq, &to, NULL, NULL));
  tamis_tensor tp = tensor(other, TAMIS_F32, 3, HQ, 1, D);
  OK(tamis_attend_tokens(selector, s, 0, &tq, tokens, n, &tp, NULL, NULL));
  CHECK(largest_difference(out, other, HQ * D) < 1e-6);
  tamis_selector_destroy(selector);
}

static void test_tokenselect(tamis_kv_cache *cache, tamis_sequence s) {
  tamis_selector_options o = budget();
  tamis_selector *selector = NULL;
  int64_t n = -1;
  OK(tamis_selector_create(cache, &o, &selector));
  tamis_tensor tq = tensor(q, TAMIS_F32, 3, HQ, 1, D), to = tensor(out, TAMIS_F32, 3, HQ, 1, D);
  OK(tamis_retrieve(selector, s, 0, &tq, tokens, N, &n, votes));
  CHECK(n == 28);
  int ascending = 1, best = 1;
  float lowest_chosen = INFINITY;
  char chosen[N] = {0};
  for (int64_t i = 0; i < n; i++) {
    ascending &= i == 0 || tokens[i] > tokens[i - 1];
    chosen[tokens[i]] = 1;
    if (tokens[i] >= 4 && tokens[i] < N - 8 && votes[tokens[i]] < lowest_chosen) lowest_chosen = votes[tokens[i]];
  }
  for (int j = 4; j < N - 8; j++) best &= chosen[j] || votes[j] <= lowest_chosen;
  CHECK(ascending && best);
  CHECK(isnan(votes[0]) && isnan(votes[N - 1]) && isfinite(votes[50]));

  int64_t needed = -1;
  FAILS(TAMIS_ERR_BUFFER_TOO_SMALL, "capacity", tamis_retrieve(selector, s, 0, &tq, tokens, 27, &needed, NULL));
  CHECK(needed == 28);
  FAILS(TAMIS_ERR_BUFFER_TOO_SMALL, "capacity", tamis_retrieve(selector, s, 0, &tq, NULL, 0, &needed, NULL));

  tamis_retrieval_stats stats = TAMIS_RETRIEVAL_STATS_INIT;
  OK(tamis_attend(selector, s, 0, &tq, &to, NULL, &stats));
  OK(tamis_attend(selector, s, 0, &tq, &to, NULL, &stats));
  CHECK(stats.selections == 1 && stats.cache_hits == 1); /* the same query reuses its selection */
  OK(tamis_selector_reset(selector, s));
  OK(tamis_attend(selector, s, 0, &tq, &to, NULL, &stats));
  CHECK(stats.selections == 2);
  OK(tamis_selector_reset(selector, -1));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "selector", tamis_selector_reset(NULL, s));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "sequence", tamis_selector_reset(selector, -2));
  tamis_selector_destroy(selector);
  tamis_selector_destroy(NULL);
}

/* A budget of 0 is sinks and window; one that covers everything is dense, bit for bit. */
static void test_budgets(tamis_kv_cache *cache, tamis_sequence s) {
  tamis_selector_options o = budget();
  tamis_selector *none = NULL, *all = NULL, *dense = NULL;
  int64_t n = -1;
  o.n_sink = o.top_k = 0;
  OK(tamis_selector_create(cache, &o, &none));
  o.top_k = INT32_MAX;
  o.n_sink = INT32_MAX;
  o.n_recent = INT32_MAX;
  OK(tamis_selector_create(cache, &o, &all));
  o.method = TAMIS_SELECT_DENSE;
  OK(tamis_selector_create(cache, &o, &dense));
  tamis_tensor tq = tensor(q, TAMIS_F32, 3, HQ, 1, D), to = tensor(out, TAMIS_F32, 3, HQ, 1, D);
  tamis_tensor tp = tensor(other, TAMIS_F32, 3, HQ, 1, D);
  OK(tamis_retrieve(none, s, 0, &tq, tokens, N, &n, NULL));
  CHECK(n == 8 && tokens[0] == N - 8);
  OK(tamis_retrieve(all, s, 0, &tq, tokens, N, &n, NULL));
  CHECK(n == N);
  OK(tamis_attend(all, s, 0, &tq, &to, NULL, NULL));
  OK(tamis_attend(dense, s, 0, &tq, &tp, NULL, NULL));
  CHECK(memcmp(out, other, sizeof(float) * HQ * D) == 0);
  tamis_selector_destroy(none);
  tamis_selector_destroy(all);
  tamis_selector_destroy(dense);
}

#define BAD(word, change)                                                           \
  do {                                                                              \
    tamis_selector_options o = budget();                                            \
    tamis_selector *made = (tamis_selector *)(void *)q;                             \
    change;                                                                         \
    FAILS(TAMIS_ERR_INVALID_ARGUMENT, word, tamis_selector_create(cache, &o, &made)); \
    CHECK(made == (tamis_selector *)(void *)q);                                     \
  } while (0)

static void test_bad_options(tamis_kv_cache *cache) {
  tamis_selector_options o;
  tamis_selector *made = NULL;
  memset(&o, 0xee, sizeof o);
  tamis_selector_options_init(&o);
  CHECK(o.struct_size == sizeof o && o.method == TAMIS_SELECT_TOKENSELECT && o.q_heads == 0 && o.n_sink == 128);
  CHECK(o.n_recent == 512 && o.top_k == 2048 && o.chunk == 512 && o.similarity == 0.9f && o.pool == 0 && o.window == 0);
  CHECK(o.positions == TAMIS_POSITIONS_COMPACT && o.scale == 0 && o.softcap == 0 && o.key0_bias == NULL);
  tamis_selector_options_init(NULL);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "cache", tamis_selector_create(NULL, &o, &made));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out", tamis_selector_create(cache, &o, NULL));
  BAD("method", o.method = 3);
  BAD("method", o.method = -1);
  BAD("q_heads", o.q_heads = 3);
  BAD("q_heads", o.q_heads = -2);
  BAD("n_sink", o.n_sink = -1);
  BAD("n_recent", o.n_recent = -1);
  BAD("n_recent", o.n_recent = 7);
  BAD("top_k", o.top_k = -1);
  BAD("chunk", o.chunk = 0);
  BAD("chunk", o.chunk = INT32_MIN);
  BAD("similarity", o.similarity = NAN);
  BAD("similarity", o.similarity = INFINITY);
  BAD("vote", o.vote = 3);
  BAD("head_map", o.head_map = 2);
  BAD("pool", o.pool = 2);
  BAD("pool", o.pool = -1);
  BAD("positions", o.positions = 2);
  BAD("scale", o.scale = NAN);
  BAD("softcap", o.softcap = -1);
  BAD("softcap", o.softcap = INFINITY);
  BAD("window", o.window = -1);
  BAD("key0_bias", o.key0_bias = (const float *)(const void *)((char *)q + 2));
  BAD("struct_size", o.struct_size = 8);
}

static void test_call_errors(tamis_kv_cache *cache, tamis_sequence s) {
  tamis_selector_options o = budget();
  tamis_selector *selector = NULL;
  int64_t n = -1;
  OK(tamis_selector_create(cache, &o, &selector));
  tamis_tensor tq = tensor(q, TAMIS_F32, 3, HQ, 1, D), to = tensor(out, TAMIS_F32, 3, HQ, 1, D), bad;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "selector", tamis_attend(NULL, s, 0, &tq, &to, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "q is NULL", tamis_attend(selector, s, 0, NULL, &to, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out is NULL", tamis_attend(selector, s, 0, &tq, NULL, NULL, NULL));
  FAILS(TAMIS_ERR_NOT_FOUND, "sequence", tamis_attend(selector, s + 50, 0, &tq, &to, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "layer", tamis_attend(selector, s, 1, &tq, &to, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "layer", tamis_attend(selector, s, -1, &tq, &to, NULL, NULL));
  bad = tensor(q, TAMIS_F32, 3, 2, 1, D);
  tamis_tensor bad_out = tensor(out, TAMIS_F32, 3, 2, 1, D);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "q", tamis_attend(selector, s, 0, &bad, &bad_out, NULL, NULL));
  bad = tensor(q, TAMIS_F32, 3, HQ, 1, 8);
  bad_out = tensor(out, TAMIS_F32, 3, HQ, 1, 8);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "q", tamis_attend(selector, s, 0, &bad, &bad_out, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out", tamis_attend(selector, s, 0, &tq, &bad_out, NULL, NULL));
  bad = tq, bad.shape[1] = N + 1, bad.stride[1] = 0, bad.stride[0] = D; /* more queries than tokens */
  static float big[HQ * (N + 1) * D];
  bad_out = tensor(big, TAMIS_F32, 3, HQ, N + 1, D);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "q", tamis_attend(selector, s, 0, &bad, &bad_out, NULL, NULL));
  bad = tq, bad.dtype = TAMIS_I8;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "q->dtype", tamis_attend(selector, s, 0, &bad, &to, NULL, NULL));
  bad = to, bad.data = q;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out", tamis_attend(selector, s, 0, &tq, &bad, NULL, NULL));
  tamis_tensor tl = tensor(lse, TAMIS_F32, 2, HQ, 2);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "lse", tamis_attend(selector, s, 0, &tq, &to, &tl, NULL));
  tamis_retrieval_stats stats = TAMIS_RETRIEVAL_STATS_INIT;
  stats.struct_size = 0;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "stats", tamis_attend(selector, s, 0, &tq, &to, NULL, &stats));
  CHECK(stats.queries == 0);

  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n is NULL", tamis_retrieve(selector, s, 0, &tq, tokens, N, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "indices", tamis_retrieve(selector, s, 0, &tq, NULL, N, &n, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "capacity", tamis_retrieve(selector, s, 0, &tq, tokens, -1, &n, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "capacity", tamis_retrieve(selector, s, 0, &tq, tokens, INT64_MAX, &n, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "votes",
        tamis_retrieve(selector, s, 0, &tq, tokens, N, &n, (float *)(void *)((char *)votes + 1)));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "selector", tamis_retrieve(NULL, s, 0, &tq, tokens, N, &n, NULL));
  FAILS(TAMIS_ERR_NOT_FOUND, "sequence", tamis_retrieve(selector, -5, 0, &tq, tokens, N, &n, NULL));
  bad = tensor(k, TAMIS_F32, 3, HQ, 9, D); /* more than a chunk */
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "q", tamis_retrieve(selector, s, 0, &bad, tokens, N, &n, NULL));
  CHECK(n == -1);

  const int32_t twice[] = {1, 1, N - 1}, falling[] = {5, 4, N - 1}, beyond[] = {0, N}, negative[] = {-1, N - 1},
                open[] = {0, 1};
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "tokens[1]", tamis_attend_tokens(selector, s, 0, &tq, twice, 3, &to, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "tokens[1]", tamis_attend_tokens(selector, s, 0, &tq, falling, 3, &to, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "tokens", tamis_attend_tokens(selector, s, 0, &tq, beyond, 2, &to, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "tokens[0]", tamis_attend_tokens(selector, s, 0, &tq, negative, 2, &to, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "tokens", tamis_attend_tokens(selector, s, 0, &tq, open, 2, &to, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "tokens", tamis_attend_tokens(selector, s, 0, &tq, NULL, 2, &to, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n is", tamis_attend_tokens(selector, s, 0, &tq, open, 0, &to, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n is", tamis_attend_tokens(selector, s, 0, &tq, open, INT64_MAX, &to, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "selector", tamis_attend_tokens(NULL, s, 0, &tq, open, 2, &to, NULL, NULL));
  OK(tamis_attend(selector, s, 0, &tq, &to, NULL, NULL)); /* as good as before */
  tamis_selector_destroy(selector);
}

void test_retrieval(void) {
  tamis_context *c = make_context(2);
  tamis_sequence s = -1;
  fill_random(k, sizeof k / sizeof *k, 11);
  fill_random(v, sizeof v / sizeof *v, 12);
  fill_random(q, sizeof q / sizeof *q, 13);
  tamis_kv_cache *cache = make(c, &s);
  test_bad_options(cache);
  test_dense(cache, s);
  test_streaming_list(cache, s);
  test_tokenselect(cache, s);
  test_budgets(cache, s);
  test_call_errors(cache, s);
  tamis_kv_destroy(cache);
  tamis_context_destroy(c);
}
