/* The smallest use of libtamis from C: open a cache, append, retrieve, attend; and the same attention as a plain loop.
 *
 *   cc minimal.c -ltamis -lm && ./a.out
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <tamis.h>

enum { TOKENS = 300, KV_HEADS = 2, Q_HEADS = 4, DIM = 32, NEEDLE = 137 };

static void check(tamis_status status) {
  if (status != TAMIS_OK) {
    fprintf(stderr, "%s: %s\n", tamis_status_name(status), tamis_last_error());
    exit(1);
  }
}

/* A view of floats [heads, n, DIM], row-major. */
static tamis_tensor view(float *data, int64_t heads, int64_t n) {
  tamis_tensor t = {0};
  t.data = data;
  t.dtype = TAMIS_F32;
  t.ndim = 3;
  t.shape[0] = heads, t.shape[1] = n, t.shape[2] = DIM;
  t.stride[0] = n * DIM, t.stride[1] = DIM, t.stride[2] = 1;
  return t;
}

/* Small, repeatable numbers in [-1, 1). */
static float noise(void) {
  static uint32_t state = 1;
  state = state * 1664525u + 1013904223u;
  return (float)(state >> 8) / 8388608.0f - 1.0f;
}

int main(void) {
  static float k[KV_HEADS * TOKENS * DIM], v[KV_HEADS * TOKENS * DIM], q[Q_HEADS * DIM], out[Q_HEADS * DIM];
  for (int i = 0; i < KV_HEADS * TOKENS * DIM; ++i) k[i] = noise(), v[i] = noise();
  for (int h = 0; h < Q_HEADS; ++h) /* every query looks for the key of token NEEDLE */
    for (int d = 0; d < DIM; ++d) q[h * DIM + d] = k[((h / (Q_HEADS / KV_HEADS)) * TOKENS + NEEDLE) * DIM + d];

  /* A context (device, threads) and a cache on it, with one sequence. */
  tamis_context *context;
  check(tamis_context_create(NULL, &context));
  tamis_kv_options kv = TAMIS_KV_OPTIONS_INIT;
  kv.kv_heads = KV_HEADS;
  kv.head_dim = DIM;
  tamis_kv_cache *cache;
  check(tamis_kv_create(context, &kv, &cache));
  tamis_sequence sequence;
  check(tamis_kv_sequence_create(cache, &sequence));

  /* Keys and values of all tokens; the last token is the one that asks. */
  tamis_tensor kt = view(k, KV_HEADS, TOKENS), vt = view(v, KV_HEADS, TOKENS), qt = view(q, Q_HEADS, 1), ot = view(out, Q_HEADS, 1);
  check(tamis_kv_append(cache, sequence, 0, &kt, &vt));

  /* TokenSelect: 4 sinks, the 8 tokens with the most votes, the 16 most recent. */
  tamis_selector_options options = TAMIS_SELECTOR_OPTIONS_INIT;
  options.q_heads = Q_HEADS;
  options.n_sink = 4, options.top_k = 8, options.n_recent = 16, options.chunk = 16;
  tamis_selector *selector;
  check(tamis_selector_create(cache, &options, &selector));
  int32_t tokens[TOKENS];
  int64_t n = 0;
  check(tamis_retrieve(selector, sequence, 0, &qt, tokens, TOKENS, &n, NULL));
  printf("attends %d of %d tokens:", (int)n, TOKENS);
  for (int64_t i = 0; i < n; ++i) printf(" %d", (int)tokens[i]);
  printf("\n");
  check(tamis_attend(selector, sequence, 0, &qt, &ot, NULL, NULL));

  /* The same in f64: softmax(q . k / sqrt(d)) v over the selected tokens. */
  double worst = 0;
  int found = 0;
  for (int64_t i = 0; i < n; ++i) found |= tokens[i] == NEEDLE;
  for (int h = 0; h < Q_HEADS; ++h) {
    double sum = 0, expected[DIM] = {0};
    for (int64_t i = 0; i < n; ++i) {
      const int64_t row = ((h / (Q_HEADS / KV_HEADS)) * TOKENS + tokens[i]) * DIM;
      double logit = 0;
      for (int d = 0; d < DIM; ++d) logit += (double)q[h * DIM + d] * k[row + d];
      const double p = exp(logit / sqrt(DIM));
      sum += p;
      for (int d = 0; d < DIM; ++d) expected[d] += p * v[row + d];
    }
    for (int d = 0; d < DIM; ++d) worst = fmax(worst, fabs(out[h * DIM + d] - expected[d] / sum));
  }
  printf("token %d %s, largest difference from the plain loop %.1e\n", NEEDLE, found ? "found" : "missed", worst);

  tamis_selector_destroy(selector);
  tamis_kv_destroy(cache);
  tamis_context_destroy(context);
  return found && worst < 1e-5 ? 0 : 1;
}
