/* Two threads on one context and one cache: calls are serialised, answers are those of one thread; last error is per thread. */
#include <pthread.h>

#include "check.h"

enum { H = 2, D = 16, N = 64, ROUNDS = 60 };
static float k[H * N * D], v[H * N * D], q[H * D];

typedef struct job {
  tamis_context *context;
  tamis_kv_cache *cache;
  tamis_selector *selector;
  const float *expected;
  const char *word;
  int good;
} job;

static void *work(void *argument) {
  job *j = (job *)argument;
  float out[H * D];
  tamis_tensor tk = tensor(k, TAMIS_F32, 3, H, N, D), tv = tensor(v, TAMIS_F32, 3, H, N, D);
  tamis_tensor tq = tensor(q, TAMIS_F32, 3, H, 1, D), to = tensor(out, TAMIS_F32, 3, H, 1, D);
  for (int i = 0; i < ROUNDS; i++) {
    tamis_sequence s = -1;
    int fine = tamis_kv_sequence_create(j->cache, &s) == TAMIS_OK && tamis_kv_append(j->cache, s, 0, &tk, &tv) == TAMIS_OK &&
               tamis_attend(j->selector, s, 0, &tq, &to, NULL, NULL) == TAMIS_OK &&
               memcmp(out, j->expected, sizeof out) == 0;
    /* an error of this thread, then time for the other one to make its own */
    tamis_tensor bad = tq;
    bad.shape[strcmp(j->word, "shape[0]") == 0 ? 0 : 1] = -1;
    fine = fine && tamis_attend(j->selector, s, 0, &bad, &to, NULL, NULL) == TAMIS_ERR_INVALID_ARGUMENT;
    fine = fine && tamis_attend(j->selector, s, 0, &tq, &to, NULL, NULL) == TAMIS_OK;
    fine = fine && strstr(tamis_last_error(), j->word) != NULL;
    fine = fine && tamis_kv_sequence_destroy(j->cache, s) == TAMIS_OK;
    j->good += fine;
  }
  return NULL;
}

static void *own_context(void *argument) {
  int *good = (int *)argument;
  for (int i = 0; i < 10; i++) {
    tamis_context_options o = TAMIS_CONTEXT_OPTIONS_INIT;
    tamis_context *c = NULL;
    tamis_kv_cache *cache = NULL;
    o.n_threads = 2;
    *good += tamis_context_create(&o, &c) == TAMIS_OK && tamis_kv_create(c, NULL, &cache) == TAMIS_OK;
    tamis_context_destroy(c);
    tamis_kv_destroy(cache);
  }
  return NULL;
}

void test_threads(void) {
  tamis_context *context = make_context(2);
  tamis_kv_options o = TAMIS_KV_OPTIONS_INIT;
  tamis_selector_options so = TAMIS_SELECTOR_OPTIONS_INIT;
  tamis_kv_cache *cache = NULL;
  tamis_selector *selector = NULL;
  tamis_sequence s = -1;
  float expected[H * D];
  fill_random(k, sizeof k / sizeof *k, 21);
  fill_random(v, sizeof v / sizeof *v, 22);
  fill_random(q, sizeof q / sizeof *q, 23);
  o.kv_heads = H;
  o.head_dim = D;
  so.n_sink = 2;
  so.n_recent = 8;
  so.chunk = 8;
  so.top_k = 8;
  OK(tamis_kv_create(context, &o, &cache));
  OK(tamis_selector_create(cache, &so, &selector));
  tamis_tensor tk = tensor(k, TAMIS_F32, 3, H, N, D), tv = tensor(v, TAMIS_F32, 3, H, N, D);
  tamis_tensor tq = tensor(q, TAMIS_F32, 3, H, 1, D), to = tensor(expected, TAMIS_F32, 3, H, 1, D);
  OK(tamis_kv_sequence_create(cache, &s));
  OK(tamis_kv_append(cache, s, 0, &tk, &tv));
  OK(tamis_attend(selector, s, 0, &tq, &to, NULL, NULL));

  job jobs[2] = {{context, cache, selector, expected, "shape[0]", 0}, {context, cache, selector, expected, "shape[1]", 0}};
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, work, &jobs[i]) == 0);
  for (int i = 0; i < 2; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  CHECK(jobs[0].good == ROUNDS && jobs[1].good == ROUNDS);

  int good[2] = {0, 0};
  for (int i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, own_context, &good[i]) == 0);
  for (int i = 0; i < 2; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  CHECK(good[0] == 10 && good[1] == 10);
  tamis_selector_destroy(selector);
  tamis_kv_destroy(cache);
  tamis_context_destroy(context);
}
