/* A steady decode step (append one token, attend, in every layer) allocates nothing. This program's own malloc and the like
 * stand before the C library's for libtamis.so too; they count while `counting` is set. */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <tamis.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static atomic_int counting;
static atomic_long made;

static void note(void) {
  if (counting) made++;
}
void *malloc(size_t n) { note(); return __libc_malloc(n); }
void *calloc(size_t n, size_t m) { note(); return __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { note(); return __libc_realloc(p, n); }
void *aligned_alloc(size_t a, size_t n) { note(); return __libc_memalign(a, n); }
void *memalign(size_t a, size_t n) { note(); return __libc_memalign(a, n); }
int posix_memalign(void **p, size_t a, size_t n) {
  note();
  *p = __libc_memalign(a, n);
  return *p ? 0 : 12;
}

enum { LAYERS = 2, KV_HEADS = 2, Q_HEADS = 8, DIM = 64, PAGE = 64, PREFILL = 12 * PAGE, WARM_UP = 12, STEPS = 40 };

static int passed, failed;

static int check(int holds, const char *what, const char *detail) {
  if (holds) passed++;
  else failed++, printf("FAIL %s: %s\n", what, detail);
  return holds;
}

static float noise(void) {
  static uint32_t state = 1;
  state = state * 1664525u + 1013904223u;
  return (float)(state >> 8) / 8388608.0f - 1.0f;
}

static tamis_tensor view(float *data, int64_t heads, int64_t n) {
  tamis_tensor t = {0};
  t.data = data, t.dtype = TAMIS_F32, t.ndim = 3;
  t.shape[0] = heads, t.shape[1] = n, t.shape[2] = DIM;
  t.stride[0] = n * DIM, t.stride[1] = DIM, t.stride[2] = 1;
  return t;
}

static float k[KV_HEADS * PREFILL * DIM], v[KV_HEADS * PREFILL * DIM], q[Q_HEADS * DIM], out[Q_HEADS * DIM], lse[Q_HEADS];

static int append(tamis_kv_cache *cache, tamis_sequence s, int32_t layer, int64_t n) {
  for (int64_t i = 0; i < KV_HEADS * n * DIM; i++) k[i] = noise(), v[i] = noise();
  tamis_tensor tk = view(k, KV_HEADS, n), tv = view(v, KV_HEADS, n);
  return tamis_kv_append(cache, s, layer, &tk, &tv) == TAMIS_OK;
}

static int step(tamis_kv_cache *cache, tamis_selector *selector, tamis_sequence s, tamis_retrieval_stats *stats) {
  for (int32_t layer = 0; layer < LAYERS; layer++) {
    for (int i = 0; i < Q_HEADS * DIM; i++) q[i] = noise();
    tamis_tensor tq = view(q, Q_HEADS, 1), to = view(out, Q_HEADS, 1), tl = {0};
    tl.data = lse, tl.dtype = TAMIS_F32, tl.ndim = 2;
    tl.shape[0] = Q_HEADS, tl.shape[1] = 1, tl.stride[0] = 1, tl.stride[1] = 1;
    if (!append(cache, s, layer, 1) || tamis_attend(selector, s, layer, &tq, &to, &tl, stats) != TAMIS_OK) return 0;
  }
  return 1;
}

typedef struct { const char *name; tamis_method method; float similarity; int64_t hits, selections; } way;

static const way ways[] = {
  {"dense", TAMIS_SELECT_DENSE, 2, 0, 0},
  {"StreamingLLM", TAMIS_SELECT_STREAMING, 2, 0, 0},
  {"TokenSelect", TAMIS_SELECT_TOKENSELECT, 2, 0, LAYERS * STEPS},
  {"TokenSelect, selection cache hits", TAMIS_SELECT_TOKENSELECT, -1, LAYERS * STEPS, 0},
  {"TokenSelect, selection cache misses", TAMIS_SELECT_TOKENSELECT, 1, 0, LAYERS * STEPS},
};

static void run(int threads, tamis_dtype dtype, const char *dtype_name, tamis_dtype copy, const way *w) {
  char name[160];
  snprintf(name, sizeof name, "%s, %s%s, %d thread%s", w->name, dtype_name, copy >= 0 ? " with an i8 scoring copy" : "",
           threads, threads == 1 ? "" : "s");
  tamis_context_options context_options = TAMIS_CONTEXT_OPTIONS_INIT;
  context_options.n_threads = threads;
  tamis_kv_options kv = TAMIS_KV_OPTIONS_INIT;
  kv.layers = LAYERS, kv.kv_heads = KV_HEADS, kv.head_dim = DIM, kv.dtype = dtype, kv.page_tokens = PAGE,
  kv.scoring_copy = copy;
  kv.rope.style = TAMIS_ROPE_HALF;
  tamis_selector_options options = TAMIS_SELECTOR_OPTIONS_INIT;
  options.method = w->method, options.q_heads = Q_HEADS, options.similarity = w->similarity;
  options.n_sink = 8, options.n_recent = 64, options.top_k = 96, options.chunk = 64;
  tamis_context *context = NULL;
  tamis_kv_cache *cache = NULL;
  tamis_selector *selector = NULL;
  tamis_sequence s = 0;
  made = 0;
  counting = 1;
  int ready = tamis_context_create(&context_options, &context) == TAMIS_OK &&
              tamis_kv_create(context, &kv, &cache) == TAMIS_OK &&
              tamis_selector_create(cache, &options, &selector) == TAMIS_OK && tamis_kv_sequence_create(cache, &s) == TAMIS_OK;
  counting = 0;
  if (!check(ready, name, tamis_last_error())) return;
  check(made > 0, name, "creating handles was not counted: the counter does not stand before the C library's functions");

  /* All that follows the prefill lies in one page. */
  for (int32_t layer = 0; layer < LAYERS; layer++) ready = ready && append(cache, s, layer, PREFILL);
  tamis_retrieval_stats stats = TAMIS_RETRIEVAL_STATS_INIT;
  for (int i = 0; i < WARM_UP; i++) ready = ready && step(cache, selector, s, &stats);
  stats = (tamis_retrieval_stats)TAMIS_RETRIEVAL_STATS_INIT;
  made = 0;
  counting = 1;
  for (int i = 0; i < STEPS; i++) ready = ready && step(cache, selector, s, &stats);
  counting = 0;
  if (check(ready, name, tamis_last_error())) {
    char detail[80];
    snprintf(detail, sizeof detail, "%ld allocations in %d steps", (long)made, STEPS);
    check(made == 0, name, detail);
    check(stats.cache_hits == w->hits && stats.selections == w->selections && stats.queries == LAYERS * STEPS, name,
          "the steps did not take the way they were meant to take");
  }
  tamis_selector_destroy(selector);
  tamis_kv_destroy(cache);
  tamis_context_destroy(context);
}

_Static_assert(WARM_UP + STEPS < PAGE, "a new page may allocate");

int main(void) {
  for (int threads = 1; threads <= 2; threads++) {
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
      run(threads, TAMIS_F32, "f32", -1, &ways[i]);
      run(threads, TAMIS_BF16, "bf16", TAMIS_I8, &ways[i]);
      run(threads, TAMIS_I8, "i8", -1, &ways[i]);
    }
  }
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
