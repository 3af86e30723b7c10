/* The same calls on an OpenCL context: attention, cache and selection agree with the oracle and with the CPU. Run by name
 * (`c opencl`), as it needs a device. */
#include "check.h"

enum { HQ = 4, HK = 2, D = 32, N = 300 };
static float k[HK * N * D], v[HK * N * D], q[HQ * D], out[HQ * D], lse[HQ], device_out[HQ * D], cpu_out[HQ * D];
static int32_t tokens[N], cpu_tokens[N];

static void against_the_oracle(void) {
  double row[D], worst = 0;
  for (int h = 0; h < HQ; h++) {
    double l = oracle_attention(q + h * D, k + h / 2 * N * D, v + h / 2 * N * D, N, D, D, 1 / sqrt(D), row);
    worst = fmax(worst, fabs(l - (double)lse[h]));
    for (int i = 0; i < D; i++) worst = fmax(worst, fabs(row[i] - (double)out[h * D + i]));
  }
  CHECK(worst < 1e-5);
}

/* Fills a cache of the context, attends densely, then retrieves and attends by TokenSelect. */
static int64_t decode(tamis_context *c, int32_t *chosen, float *result) {
  tamis_kv_options o = TAMIS_KV_OPTIONS_INIT;
  tamis_selector_options method = TAMIS_SELECTOR_OPTIONS_INIT;
  tamis_kv_cache *cache = NULL;
  tamis_selector *dense = NULL, *select = NULL;
  tamis_sequence s = -1;
  int64_t n = 0;
  o.kv_heads = HK;
  o.head_dim = D;
  o.page_tokens = 16;
  o.max_tokens = 512;
  OK(tamis_kv_create(c, &o, &cache));
  OK(tamis_kv_sequence_create(cache, &s));
  tamis_tensor tk = tensor(k, TAMIS_F32, 3, HK, N, D), tv = tensor(v, TAMIS_F32, 3, HK, N, D);
  OK(tamis_kv_append(cache, s, 0, &tk, &tv));
  tamis_tensor tq = tensor(q, TAMIS_F32, 3, HQ, 1, D), to = tensor(out, TAMIS_F32, 3, HQ, 1, D);
  tamis_tensor tl = tensor(lse, TAMIS_F32, 2, HQ, 1), tr = tensor(result, TAMIS_F32, 3, HQ, 1, D);
  method.q_heads = HQ;
  method.method = TAMIS_SELECT_DENSE;
  OK(tamis_selector_create(cache, &method, &dense));
  OK(tamis_attend(dense, s, 0, &tq, &to, &tl, NULL));
  against_the_oracle();
  method.method = TAMIS_SELECT_TOKENSELECT;
  method.n_sink = 4;
  method.n_recent = method.chunk = 16;
  method.top_k = 40;
  OK(tamis_selector_create(cache, &method, &select));
  OK(tamis_retrieve(select, s, 0, &tq, chosen, N, &n, NULL));
  OK(tamis_attend(select, s, 0, &tq, &tr, NULL, NULL));
  /* A full cache and a wrong shape leave cache and selector usable. */
  FAILS(TAMIS_ERR_CACHE_FULL, "pages", tamis_kv_append(cache, s, 0, &tk, &tv));
  tq.shape[0] = HQ - 1;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "q", tamis_attend(select, s, 0, &tq, &tr, NULL, NULL));
  tq.shape[0] = HQ;
  OK(tamis_attend(select, s, 0, &tq, &tr, NULL, NULL));
  tamis_context_destroy(c); /* children keep what they need of it */
  OK(tamis_attend(select, s, 0, &tq, &tr, NULL, NULL));
  tamis_kv_destroy(cache);
  tamis_selector_destroy(select);
  tamis_selector_destroy(dense);
  return n;
}

void test_opencl(void) {
  tamis_context_options options = TAMIS_CONTEXT_OPTIONS_INIT;
  tamis_context *context = NULL;
  char name[256];
  fill_random(k, sizeof k / sizeof *k, 1);
  fill_random(v, sizeof v / sizeof *v, 2);
  fill_random(q, sizeof q / sizeof *q, 3);
  options.device = TAMIS_DEVICE_OPENCL;
  options.opencl_index = 999;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "opencl_index", tamis_context_create(&options, &context));
  options.opencl_index = 0;
  OK(tamis_context_create(&options, &context));
  if (context == NULL) return;
  OK(tamis_context_device_name(context, name, sizeof name, NULL));
  CHECK(strncmp(name, "CPU v", 5) != 0);

  tamis_tensor tq = tensor(q, TAMIS_F32, 3, HQ, 1, D), to = tensor(out, TAMIS_F32, 3, HQ, 1, D);
  tamis_tensor tk = tensor(k, TAMIS_F32, 3, HK, N, D), tv = tensor(v, TAMIS_F32, 3, HK, N, D);
  tamis_tensor tl = tensor(lse, TAMIS_F32, 2, HQ, 1);
  OK(tamis_attention(context, NULL, &tq, &tk, &tv, &to, &tl));
  against_the_oracle();

  int64_t n = decode(context, tokens, device_out), expected = decode(make_context(1), cpu_tokens, cpu_out);
  CHECK(n == expected && n == 60);
  CHECK(memcmp(tokens, cpu_tokens, sizeof(int32_t) * 60) == 0);
  CHECK(largest_difference(device_out, cpu_out, HQ * D) < 1e-5);
}
