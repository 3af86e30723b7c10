/* tamis/kv_cache.h without its snapshots: sequences, pages, errors, handles that outlive their parents. */
#include "check.h"

enum { LAYERS = 2, HEADS = 2, D = 8, PAGE = 16, MAX = 64 };
static float k[HEADS * MAX * D], v[HEADS * MAX * D], back[HEADS * MAX * D], back_v[HEADS * MAX * D];

static tamis_kv_options small(void) {
  tamis_kv_options o = TAMIS_KV_OPTIONS_INIT;
  o.layers = LAYERS;
  o.kv_heads = HEADS;
  o.head_dim = D;
  o.page_tokens = PAGE;
  o.max_tokens = MAX;
  return o;
}

static tamis_kv_cache *make(tamis_context *c) {
  tamis_kv_options o = small();
  tamis_kv_cache *cache = NULL;
  OK(tamis_kv_create(c, &o, &cache));
  return cache;
}

static tamis_status append(tamis_kv_cache *cache, tamis_sequence s, int32_t layer, int n) {
  tamis_tensor tk = tensor(k, TAMIS_F32, 3, HEADS, n, D), tv = tensor(v, TAMIS_F32, 3, HEADS, n, D);
  return tamis_kv_append(cache, s, layer, &tk, &tv);
}

static int64_t length(tamis_kv_cache *cache, tamis_sequence s, int32_t layer) {
  int64_t n = -7;
  OK(tamis_kv_length(cache, s, layer, &n));
  return n;
}

static void test_options(tamis_context *c) {
  tamis_kv_options o;
  memset(&o, 0xee, sizeof o);
  tamis_kv_options_init(&o);
  CHECK(o.struct_size == sizeof o && o.layers == 1 && o.kv_heads == 1 && o.head_dim == 64 && o.dtype == TAMIS_F32);
  CHECK(o.page_tokens == 64 && o.max_tokens == 4096 && o.rope.style == TAMIS_ROPE_NONE && o.rope.base == 10000);
  CHECK(o.rope.scale == 1 && o.scoring_copy == -1);
  tamis_kv_options_init(NULL);

  o = small();
  o.max_tokens = 33;
  o.rope.style = TAMIS_ROPE_HALF;
  tamis_kv_cache *cache = NULL;
  OK(tamis_kv_create(c, &o, &cache));
  tamis_kv_options seen = TAMIS_KV_OPTIONS_INIT;
  OK(tamis_kv_get_options(cache, &seen));
  CHECK(seen.max_tokens == 48 && seen.layers == LAYERS && seen.rope.style == TAMIS_ROPE_HALF);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "options", tamis_kv_get_options(cache, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "cache", tamis_kv_get_options(NULL, &seen));
  seen.struct_size = 8;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "struct_size", tamis_kv_get_options(cache, &seen));
  tamis_kv_destroy(cache);
  tamis_kv_destroy(NULL);
}

#define BAD(status, word, change)                         \
  do {                                                    \
    tamis_kv_options o = small();                         \
    tamis_kv_cache *cache = (tamis_kv_cache *)(void *)k;  \
    change;                                               \
    FAILS(status, word, tamis_kv_create(c, &o, &cache));  \
    CHECK(cache == (tamis_kv_cache *)(void *)k);          \
  } while (0)
#define INVALID(word, change) BAD(TAMIS_ERR_INVALID_ARGUMENT, word, change)

static void test_bad_options(tamis_context *c) {
  tamis_kv_options defaults = small();
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out", tamis_kv_create(c, &defaults, NULL));
  tamis_kv_cache *none = NULL;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "context", tamis_kv_create(NULL, &defaults, &none));
  INVALID("layers", o.layers = 0);
  INVALID("layers", o.layers = -1);
  INVALID("kv_heads", o.kv_heads = 0);
  INVALID("kv_heads", o.kv_heads = INT32_MIN);
  INVALID("head_dim", o.head_dim = 0);
  INVALID("head_dim", o.head_dim = 12);
  INVALID("head_dim", o.head_dim = 264);
  INVALID("dtype", o.dtype = TAMIS_I32);
  INVALID("dtype", o.dtype = 99);
  INVALID("page_tokens", o.page_tokens = 0);
  INVALID("page_tokens", o.page_tokens = 17);
  INVALID("page_tokens", o.page_tokens = 4112);
  INVALID("max_tokens", o.max_tokens = 0);
  INVALID("max_tokens", o.max_tokens = -1);
  INVALID("max_tokens", o.max_tokens = INT64_MAX);
  INVALID("rope.style", o.rope.style = 3);
  INVALID("rope.rotary_dims", (o.rope.style = TAMIS_ROPE_HALF, o.rope.rotary_dims = 3));
  INVALID("rope.rotary_dims", (o.rope.style = TAMIS_ROPE_HALF, o.rope.rotary_dims = D + 2));
  INVALID("rope.rotary_dims", (o.rope.style = TAMIS_ROPE_HALF, o.rope.rotary_dims = -2));
  INVALID("rope.base", (o.rope.style = TAMIS_ROPE_HALF, o.rope.base = 0));
  INVALID("rope.base", (o.rope.style = TAMIS_ROPE_HALF, o.rope.base = (double)NAN));
  INVALID("rope.scale", (o.rope.style = TAMIS_ROPE_HALF, o.rope.scale = (double)INFINITY));
  INVALID("scoring_copy", o.scoring_copy = TAMIS_F32);
  INVALID("scoring_copy", o.scoring_copy = -2);
  INVALID("struct_size", o.struct_size = 0);
  BAD(TAMIS_ERR_OUT_OF_MEMORY, "options->", (o.layers = INT32_MAX, o.kv_heads = INT32_MAX, o.max_tokens = INT32_MAX));
}

static void test_append_read(tamis_context *c) {
  tamis_kv_cache *cache = make(c);
  tamis_sequence s = -1;
  OK(tamis_kv_sequence_create(cache, &s));
  CHECK(length(cache, s, 0) == 0);
  OK(append(cache, s, 0, 20));
  OK(append(cache, s, 1, 5)); /* layers run apart */
  CHECK(length(cache, s, 0) == 20 && length(cache, s, 1) == 5);
  tamis_tensor tk = tensor(back, TAMIS_F32, 3, HEADS, 20, D), tv = tensor(back_v, TAMIS_F32, 3, HEADS, 20, D);
  OK(tamis_kv_read(cache, s, 0, 0, &tk, &tv));
  CHECK(memcmp(back, k, sizeof(float) * 20 * D * HEADS) == 0 && memcmp(back_v, v, sizeof(float) * 20 * D * HEADS) == 0);
  OK(tamis_kv_read(cache, s, 0, 0, &tk, NULL));
  tk = tensor(back, TAMIS_F32, 3, HEADS, 1, D);
  OK(tamis_kv_read(cache, s, 0, 19, &tk, NULL));
  CHECK(memcmp(back, k + 19 * D, sizeof(float) * D) == 0);

  OK(tamis_kv_truncate(cache, s, 10));
  CHECK(length(cache, s, 0) == 10 && length(cache, s, 1) == 5);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n_tokens", tamis_kv_truncate(cache, s, -1));

  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "start", tamis_kv_read(cache, s, 0, -1, &tk, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "start", tamis_kv_read(cache, s, 0, 10, &tk, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "start", tamis_kv_read(cache, s, 0, INT64_MAX, &tk, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "k and v", tamis_kv_read(cache, s, 0, 0, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "v is", tamis_kv_read(cache, s, 0, 0, &tk, &tk)); /* overlap */
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "layer", tamis_kv_read(cache, s, LAYERS, 0, &tk, NULL));
  FAILS(TAMIS_ERR_NOT_FOUND, "sequence", tamis_kv_read(cache, s + 99, 0, 0, &tk, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "cache", tamis_kv_read(NULL, s, 0, 0, &tk, NULL));
  tamis_kv_destroy(cache);
}

static void test_append_errors(tamis_context *c) {
  tamis_kv_cache *cache = make(c);
  tamis_sequence s = -1;
  OK(tamis_kv_sequence_create(cache, &s));
  tamis_tensor tk = tensor(k, TAMIS_F32, 3, HEADS, 4, D), tv = tensor(v, TAMIS_F32, 3, HEADS, 4, D), bad;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "cache", tamis_kv_append(NULL, s, 0, &tk, &tv));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "k is NULL", tamis_kv_append(cache, s, 0, NULL, &tv));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "v is NULL", tamis_kv_append(cache, s, 0, &tk, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "layer", tamis_kv_append(cache, s, LAYERS, &tk, &tv));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "layer", tamis_kv_append(cache, s, -1, &tk, &tv));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "layer", tamis_kv_append(cache, s, INT32_MAX, &tk, &tv));
  FAILS(TAMIS_ERR_NOT_FOUND, "sequence", tamis_kv_append(cache, 12345, 0, &tk, &tv));
  FAILS(TAMIS_ERR_NOT_FOUND, "sequence", tamis_kv_append(cache, INT64_MIN, 0, &tk, &tv));
  bad = tk, bad.shape[0] = 1;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "v is", tamis_kv_append(cache, s, 0, &bad, &tv));
  tamis_tensor one_k = tensor(k, TAMIS_F32, 3, 1, 4, D), one_v = tensor(v, TAMIS_F32, 3, 1, 4, D);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "k", tamis_kv_append(cache, s, 0, &one_k, &one_v));
  tamis_tensor wide_k = tensor(k, TAMIS_F32, 3, HEADS, 2, 2 * D), wide_v = tensor(v, TAMIS_F32, 3, HEADS, 2, 2 * D);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "k", tamis_kv_append(cache, s, 0, &wide_k, &wide_v));
  bad = tk, bad.shape[1] = 0;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "k->shape[1]", tamis_kv_append(cache, s, 0, &bad, &tv));
  bad = tk, bad.stride[2] = 2;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "k->stride[2]", tamis_kv_append(cache, s, 0, &bad, &tv));
  bad = tk, bad.dtype = TAMIS_I32;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "k->dtype", tamis_kv_append(cache, s, 0, &bad, &tv));
  /* A huge n over strides of 0: a small buffer, but more than the cache can hold. */
  bad = tk, bad.shape[1] = INT32_MAX, bad.stride[1] = 0;
  tamis_tensor bad_v = tv;
  bad_v.shape[1] = INT32_MAX, bad_v.stride[1] = 0;
  FAILS(TAMIS_ERR_CACHE_FULL, "", tamis_kv_append(cache, s, 0, &bad, &bad_v));
  CHECK(length(cache, s, 0) == 0);

  OK(append(cache, s, 0, MAX));
  FAILS(TAMIS_ERR_CACHE_FULL, "", append(cache, s, 0, 1));
  CHECK(length(cache, s, 0) == MAX); /* nothing was appended, nothing lost */
  OK(append(cache, s, 1, MAX));
  OK(tamis_kv_truncate(cache, s, MAX - PAGE));
  OK(append(cache, s, 0, PAGE));
  tamis_kv_destroy(cache);
}

static void test_fork(tamis_context *c) {
  tamis_kv_cache *cache = make(c);
  tamis_sequence s = -1, t = -1, u = -7;
  OK(tamis_kv_sequence_create(cache, &s));
  OK(append(cache, s, 0, 20));
  OK(append(cache, s, 1, 18));
  OK(tamis_kv_sequence_fork(cache, s, -1, &t));
  CHECK(t != s && length(cache, t, 0) == 18 && length(cache, t, 1) == 18);
  OK(append(cache, t, 0, 1));
  CHECK(length(cache, s, 0) == 20 && length(cache, t, 0) == 19);
  tamis_tensor tk = tensor(back, TAMIS_F32, 3, HEADS, 1, D);
  OK(tamis_kv_read(cache, s, 0, 18, &tk, NULL));
  CHECK(memcmp(back, k + 18 * D, sizeof(float) * D) == 0); /* the fork's append did not reach the parent */
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n_tokens", tamis_kv_sequence_fork(cache, s, 19, &u));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n_tokens", tamis_kv_sequence_fork(cache, s, -2, &u));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n_tokens", tamis_kv_sequence_fork(cache, s, INT64_MAX, &u));
  FAILS(TAMIS_ERR_NOT_FOUND, "", tamis_kv_sequence_fork(cache, 999, 1, &u));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out", tamis_kv_sequence_fork(cache, s, 1, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "cache", tamis_kv_sequence_fork(NULL, s, 1, &u));
  CHECK(u == -7);

  tamis_kv_memory m;
  memset(&m, 0, sizeof m);
  m.struct_size = sizeof m;
  OK(tamis_kv_memory_report(cache, &m));
  CHECK(m.sequences == 2 && m.pages_total == MAX / PAGE && m.pages_used >= 2 && m.pages_shared >= 1);
  CHECK(m.bytes_used == m.pages_used * m.page_bytes && m.bytes_scoring_copy == 0 && m.tokens == 39);
  CHECK(m.page_bytes == LAYERS * 2 * HEADS * PAGE * D * 4);
  m.struct_size = 0;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "struct_size", tamis_kv_memory_report(cache, &m));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "report", tamis_kv_memory_report(cache, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "cache", tamis_kv_memory_report(NULL, &m));

  OK(tamis_kv_sequence_destroy(cache, s));
  FAILS(TAMIS_ERR_NOT_FOUND, "", tamis_kv_sequence_destroy(cache, s));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "cache", tamis_kv_sequence_destroy(NULL, t));
  CHECK(length(cache, t, 0) == 19);
  OK(tamis_kv_sequence_destroy(cache, t));
  m.struct_size = sizeof m;
  OK(tamis_kv_memory_report(cache, &m));
  CHECK(m.sequences == 0 && m.pages_used == 0 && m.tokens == 0);
  int64_t n;
  FAILS(TAMIS_ERR_NOT_FOUND, "", tamis_kv_length(cache, t, 0, &n));
  FAILS(TAMIS_ERR_NOT_FOUND, "", tamis_kv_truncate(cache, t, 0));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out", tamis_kv_sequence_create(cache, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "cache", tamis_kv_sequence_create(NULL, &u));
  OK(tamis_kv_sequence_create(cache, &u));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out", tamis_kv_length(cache, u, 0, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "layer", tamis_kv_length(cache, u, LAYERS, &n));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "layer", tamis_kv_length(cache, u, -1, &n));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "cache", tamis_kv_length(NULL, u, 0, &n));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "cache", tamis_kv_truncate(NULL, u, 0));
  CHECK(u > t); /* names are never reused */
  tamis_kv_destroy(cache);
}

/* Storage dtypes keep what they promise; non-finite values pass. */
static void test_dtypes(tamis_context *c) {
  static const struct {
    tamis_dtype dtype;
    double error;
  } kinds[] = {{TAMIS_F32, 0}, {TAMIS_F16, 5e-4}, {TAMIS_BF16, 4e-3}, {TAMIS_I8, 4e-3}};
  for (size_t i = 0; i < 4; i++) {
    tamis_kv_options o = small();
    tamis_kv_cache *cache = NULL;
    tamis_sequence s;
    o.dtype = kinds[i].dtype;
    o.scoring_copy = i % 2 ? TAMIS_BF16 : TAMIS_I8;
    OK(tamis_kv_create(c, &o, &cache));
    OK(tamis_kv_sequence_create(cache, &s));
    OK(append(cache, s, 0, 3));
    tamis_tensor tk = tensor(back, TAMIS_F32, 3, HEADS, 3, D);
    OK(tamis_kv_read(cache, s, 0, 0, &tk, NULL));
    CHECK(largest_difference(back, k, HEADS * 3 * D) <= kinds[i].error);
    float saved = k[0];
    k[0] = NAN;
    k[1] = INFINITY;
    OK(append(cache, s, 0, 1));
    tk = tensor(back, TAMIS_F32, 3, HEADS, 1, D);
    OK(tamis_kv_read(cache, s, 0, 3, &tk, NULL));
    CHECK(kinds[i].dtype == TAMIS_I8 ? back[0] == 0 && back[1] == 0 : isnan(back[0]) && isinf(back[1]));
    k[0] = saved;
    fill_random(k, sizeof k / sizeof *k, 5);
    tamis_kv_destroy(cache);
  }
}

/* Parents may go first. */
static void test_destroy_order(void) {
  tamis_context *c = make_context(2);
  tamis_kv_cache *cache = make(c);
  tamis_selector_options o = TAMIS_SELECTOR_OPTIONS_INIT;
  tamis_selector *selector = NULL;
  tamis_sequence s;
  OK(tamis_selector_create(cache, &o, &selector));
  OK(tamis_kv_sequence_create(cache, &s));
  tamis_context_destroy(c);
  OK(append(cache, s, 0, 2));
  OK(append(cache, s, 1, 2));
  tamis_kv_destroy(cache);
  tamis_tensor q = tensor(k, TAMIS_F32, 3, HEADS, 1, D), out = tensor(back, TAMIS_F32, 3, HEADS, 1, D);
  OK(tamis_attend(selector, s, 0, &q, &out, NULL, NULL));
  tamis_selector_destroy(selector);
}

void test_kv_cache(void) {
  tamis_context *c = make_context(1);
  fill_random(k, sizeof k / sizeof *k, 5);
  fill_random(v, sizeof v / sizeof *v, 6);
  test_options(c);
  test_bad_options(c);
  test_append_read(c);
  test_append_errors(c);
  test_fork(c);
  test_dtypes(c);
  test_destroy_order();
  tamis_context_destroy(c);
}
