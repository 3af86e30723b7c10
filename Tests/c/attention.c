/* tamis/attention.h: against loops in double, every documented error, merge. */
#include "check.h"

enum { HQ = 4, HK = 2, N = 40, D = 16 };
static float q[HQ * N * D], k[HK * N * D], v[HK * N * D], out[HQ * N * D], lse[HQ * N], part[2][HQ * N * D],
    part_lse[2][HQ * N];

typedef struct call {
  tamis_attention_options options;
  tamis_tensor q, k, v, out, lse;
} call;

static call fresh(void) {
  call a;
  tamis_attention_options_init(&a.options);
  a.q = tensor(q, TAMIS_F32, 3, HQ, N, D);
  a.k = tensor(k, TAMIS_F32, 3, HK, N, D);
  a.v = tensor(v, TAMIS_F32, 3, HK, N, D);
  a.out = tensor(out, TAMIS_F32, 3, HQ, N, D);
  a.lse = tensor(lse, TAMIS_F32, 2, HQ, N);
  return a;
}

static tamis_status run(tamis_context *c, const call *a) {
  return tamis_attention(c, &a->options, &a->q, &a->k, &a->v, &a->out, &a->lse);
}

static void test_against_oracle(tamis_context *c) {
  call a = fresh();
  double worst = 0, worst_lse = 0, row[D];
  OK(run(c, &a));
  for (int h = 0; h < HQ; h++)
    for (int i = 0; i < N; i++) {
      const float *keys = k + (h / (HQ / HK)) * N * D, *values = v + (h / (HQ / HK)) * N * D;
      double l = oracle_attention(q + (h * N + i) * D, keys, values, i + 1, D, D, 1 / sqrt(D), row);
      for (int x = 0; x < D; x++) worst = fmax(worst, fabs(row[x] - (double)out[(h * N + i) * D + x]));
      worst_lse = fmax(worst_lse, fabs(l - (double)lse[h * N + i]));
    }
  CHECK(worst < 1e-5);
  CHECK(worst_lse < 1e-5);

  /* NULL options are the same call, and a batch of one */
  float *copy = (float *)malloc(sizeof out);
  memcpy(copy, out, sizeof out);
  OK(tamis_attention(c, NULL, &a.q, &a.k, &a.v, &a.out, NULL));
  CHECK(memcmp(copy, out, sizeof out) == 0);
  tamis_tensor q4 = tensor(q, TAMIS_F32, 4, 1, HQ, N, D), k4 = tensor(k, TAMIS_F32, 4, 1, HK, N, D);
  tamis_tensor v4 = tensor(v, TAMIS_F32, 4, 1, HK, N, D), o4 = tensor(out, TAMIS_F32, 4, 1, HQ, N, D);
  tamis_tensor l4 = tensor(lse, TAMIS_F32, 3, 1, HQ, N);
  OK(tamis_attention(c, NULL, &q4, &k4, &v4, &o4, &l4));
  CHECK(memcmp(copy, out, sizeof out) == 0);
  free(copy);
}

static void test_rows_without_keys(tamis_context *c) {
  call a = fresh();
  a.options.q_offset = -3;
  OK(run(c, &a));
  CHECK(out[0] == 0 && out[2 * D] == 0 && lse[0] == -INFINITY && lse[2] == -INFINITY && isfinite(lse[3]));
  a = fresh();
  a.options.window = INT64_MAX; /* longer than everything: no window */
  OK(run(c, &a));
  CHECK(isfinite(lse[N - 1]));
  a.options.window = 1; /* each query sees its own key only */
  OK(run(c, &a));
  CHECK(largest_difference(out, v, D) < 1e-6);
}

#define BAD(status, word, change)   \
  do {                              \
    call a = fresh();               \
    change;                         \
    FAILS(status, word, run(c, &a)); \
  } while (0)
#define INVALID(word, change) BAD(TAMIS_ERR_INVALID_ARGUMENT, word, change)

static void test_errors(tamis_context *c) {
  call a = fresh();
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "context", tamis_attention(NULL, NULL, &a.q, &a.k, &a.v, &a.out, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "q is NULL", tamis_attention(c, NULL, NULL, &a.k, &a.v, &a.out, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "k is NULL", tamis_attention(c, NULL, &a.q, NULL, &a.v, &a.out, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "v is NULL", tamis_attention(c, NULL, &a.q, &a.k, NULL, &a.out, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out is NULL", tamis_attention(c, NULL, &a.q, &a.k, &a.v, NULL, NULL));
  INVALID("causal", a.options.causal = 2);
  INVALID("window", a.options.window = -1);
  INVALID("q_offset", a.options.q_offset = INT64_MAX);
  INVALID("q_offset", a.options.q_offset = INT64_MIN + 1);
  INVALID("scale", a.options.scale = NAN);
  INVALID("scale", a.options.scale = INFINITY);
  INVALID("softcap", a.options.softcap = NAN);
  INVALID("softcap", a.options.softcap = -1);
  INVALID("compute", a.options.compute = 3);
  INVALID("compute", a.options.compute = -1);
  INVALID("key0_bias", a.options.key0_bias = (const float *)(const void *)((const char *)q + 1));
  INVALID("struct_size", a.options.struct_size = 0);
  INVALID("q->ndim", a.q.ndim = 2);
  INVALID("q->ndim", a.q.ndim = 5);
  INVALID("k->ndim", (a.k.ndim = 4, a.k.shape[3] = 1, a.k.stride[3] = 1));
  INVALID("q->shape[0]", (a.q.shape[0] = 3, a.out.shape[0] = 3, a.lse.shape[0] = 3));
  INVALID("v is", a.v.shape[1] = N - 1);
  INVALID("k->shape[2]", (a.k.shape[2] = 8, a.v.shape[2] = 8));
  INVALID("out is", a.out.shape[1] = N - 1);
  INVALID("lse is", a.lse.shape[1] = N - 1);
  INVALID("lse->ndim", a.lse.ndim = 4);
  INVALID("lse->dtype", a.lse.dtype = TAMIS_F16);
  INVALID("k->stride[2]", a.k.stride[2] = 2);
  INVALID("v->stride[2]", a.v.stride[2] = -1);
  INVALID("out", a.out.data = q);
  INVALID("out", a.out.data = k + 4);
  INVALID("lse", a.lse.data = v);
  INVALID("lse", a.lse.data = out);
  BAD(TAMIS_ERR_UNSUPPORTED, "q->dtype", a.q.dtype = TAMIS_I8);
  BAD(TAMIS_ERR_UNSUPPORTED, "out->dtype", a.out.dtype = TAMIS_I32);
  BAD(TAMIS_ERR_UNSUPPORTED, "v->dtype", a.v.dtype = TAMIS_F16);
  BAD(TAMIS_ERR_UNSUPPORTED, "head_dim", (a.q.shape[2] = a.k.shape[2] = a.v.shape[2] = a.out.shape[2] = 12));
  a = fresh();
  OK(run(c, &a)); /* the context is as good as before */
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
  tamis_status status = run(c, &a);
  CHECK(calls == 0 ? status == TAMIS_OK : status == TAMIS_ERR_CANCELLED);
  a = fresh();
  OK(run(c, &a));
}

/* Attention over two halves of the keys, merged, is attention over all keys. */
static void test_merge(tamis_context *c) {
  tamis_attention_options all = TAMIS_ATTENTION_OPTIONS_INIT;
  all.causal = 0;
  call a = fresh();
  OK(tamis_attention(c, &all, &a.q, &a.k, &a.v, &a.out, &a.lse));
  tamis_tensor parts[2], lses[2];
  for (int s = 0; s < 2; s++) {
    tamis_tensor ks = a.k, vs = a.v;
    ks.data = k + s * 15 * D;
    vs.data = v + s * 15 * D;
    ks.shape[1] = vs.shape[1] = s == 0 ? 15 : N - 15;
    parts[s] = tensor(part[s], TAMIS_F32, 3, HQ, N, D);
    lses[s] = tensor(part_lse[s], TAMIS_F32, 2, HQ, N);
    OK(tamis_attention(c, &all, &a.q, &ks, &vs, &parts[s], &lses[s]));
  }
  float *whole = (float *)malloc(sizeof out);
  memcpy(whole, out, sizeof out);
  OK(tamis_attention_merge(c, 2, parts, lses, &a.out, &a.lse));
  CHECK(largest_difference(whole, out, HQ * N * D) < 1e-5);
  OK(tamis_attention_merge(c, 2, parts, lses, &parts[0], &lses[0])); /* into a part */
  CHECK(largest_difference(whole, part[0], HQ * N * D) < 1e-5);
  free(whole);

  for (int i = 0; i < HQ * N; i++) part_lse[0][i] = part_lse[1][i] = -INFINITY;
  OK(tamis_attention_merge(c, 2, parts, lses, &a.out, &a.lse));
  CHECK(out[0] == 0 && out[HQ * N * D - 1] == 0 && lse[0] == -INFINITY);

  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n is 0", tamis_attention_merge(c, 0, parts, lses, &a.out, &a.lse));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n is -1", tamis_attention_merge(c, -1, parts, lses, &a.out, &a.lse));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "parts", tamis_attention_merge(c, 2, NULL, lses, &a.out, &a.lse));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "part_lse", tamis_attention_merge(c, 2, parts, NULL, &a.out, &a.lse));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out", tamis_attention_merge(c, 2, parts, lses, NULL, &a.lse));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "lse", tamis_attention_merge(c, 2, parts, lses, &a.out, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "context", tamis_attention_merge(NULL, 2, parts, lses, &a.out, &a.lse));
  parts[1].shape[2] = 8;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "parts[i]", tamis_attention_merge(c, 2, parts, lses, &a.out, &a.lse));
  parts[1].shape[2] = D;
  lses[1].dtype = TAMIS_F16;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "part_lse[i]", tamis_attention_merge(c, 2, parts, lses, &a.out, &a.lse));
}

static void test_options_init(void) {
  tamis_attention_options a;
  memset(&a, 0xee, sizeof a);
  tamis_attention_options_init(&a);
  CHECK(a.struct_size == sizeof a && a.causal == 1 && a.q_offset == TAMIS_AT_END && a.window == 0 && a.scale == 0);
  CHECK(a.softcap == 0 && a.key0_bias == NULL && a.compute == TAMIS_COMPUTE_AUTO && a.progress == NULL);
  CHECK(a.progress_user == NULL);
  tamis_attention_options_init(NULL);
}

void test_attention(void) {
  tamis_context *c = make_context(2);
  fill_random(q, HQ * N * D, 1);
  fill_random(k, HK * N * D, 2);
  fill_random(v, HK * N * D, 3);
  test_options_init();
  test_against_oracle(c);
  test_rows_without_keys(c);
  test_errors(c);
  test_cancel(c);
  test_merge(c);
  tamis_context_destroy(c);
}
