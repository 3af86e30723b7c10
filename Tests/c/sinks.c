/* tamis/sinks.h: ZeroTuning's bias and search, ACT against loops in double, states, every documented error. */
#include "check.h"

enum { HQ = 4, HK = 2, N = 48, D = 16 };
static float q[HQ * N * D], k[HK * N * D], v[HK * N * D], out[HQ * N * D], other[HQ * N * D], lse[HQ * N], other_lse[HQ * N];
static double want[HQ * N * D];

/* -------------------------------------------------------------------------------------------- ZeroTuning */

static void test_bias(void) {
  float gamma[4] = {1, 2, 1e-4f, 3e38f}, bias[4] = {9, 9, 9, 9};
  OK(tamis_zero_tuning_bias(gamma, 4, bias));
  CHECK(bias[0] == 0 && fabs(bias[1] - log(2)) < 1e-7 && fabs(bias[2] - log(1e-4)) < 1e-6 && fabs(bias[3] - log(3e38)) < 1e-4);
  OK(tamis_zero_tuning_bias(gamma, 4, gamma)); /* in place */
  CHECK(memcmp(gamma, bias, sizeof bias) == 0);
  const float bad[] = {0, -1, 9e-5f, INFINITY, NAN};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    float pair[2] = {2, bad[i]}, untouched[2] = {7, 7};
    FAILS(TAMIS_ERR_INVALID_ARGUMENT, "gamma[1]", tamis_zero_tuning_bias(pair, 2, untouched));
    CHECK(untouched[0] == 7 && untouched[1] == 7);
  }
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "gamma is NULL", tamis_zero_tuning_bias(NULL, 1, bias));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "bias is NULL", tamis_zero_tuning_bias(bias, 1, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "gamma is 0x", tamis_zero_tuning_bias((const float *)(const void *)((char *)bias + 1), 1, bias));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n is 0", tamis_zero_tuning_bias(bias, 0, bias));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n is", tamis_zero_tuning_bias(bias, INT64_MAX, bias));
}

/* Gamma in the weights themselves: one query over its keys, in double. */
static void test_bias_is_the_post_scale(tamis_context *c) {
  tamis_attention_options o = TAMIS_ATTENTION_OPTIONS_INIT;
  float gamma[HQ] = {0.5f, 1, 4, 30}, bias[HQ];
  tamis_tensor tq = tensor(q, TAMIS_F32, 3, HQ, N, D), tk = tensor(k, TAMIS_F32, 3, HK, N, D), tv = tensor(v, TAMIS_F32, 3, HK, N, D);
  tamis_tensor to = tensor(out, TAMIS_F32, 3, HQ, N, D), plain = tensor(other, TAMIS_F32, 3, HQ, N, D);
  tamis_tensor tl = tensor(lse, TAMIS_F32, 2, HQ, N);
  double worst = 0;
  OK(tamis_attention(c, NULL, &tq, &tk, &tv, &plain, &tl));
  OK(tamis_zero_tuning_bias(gamma, HQ, bias));
  o.key0_bias = bias;
  OK(tamis_attention(c, &o, &tq, &tk, &tv, &to, NULL));
  for (int h = 0; h < HQ; h++)
    for (int i = 0; i < N; i++) {
      double z = 0, a0;
      for (int x = 0; x < D; x++) z += (double)q[(h * N + i) * D + x] * (double)k[h / 2 * N * D + x];
      a0 = exp(z / sqrt(D) - (double)lse[h * N + i]);
      for (int x = 0; x < D; x++) {
        /* (gamma a_0 v_0 + sum of the rest) / D = (o + (gamma - 1) a_0 v_0) / (1 + (gamma - 1) a_0) */
        double g = (double)gamma[h] - 1;
        double o1 = ((double)other[(h * N + i) * D + x] + g * a0 * (double)v[h / 2 * N * D + x]) / (1 + g * a0);
        worst = fmax(worst, fabs(o1 - (double)out[(h * N + i) * D + x]));
      }
    }
  CHECK(worst < 3e-6);
  CHECK(memcmp(out + N * D, other + N * D, sizeof(float) * N * D) == 0); /* gamma 1 */
}

typedef struct planted {
  int calls, stop_at, nan_at;
} planted;

/* Best where heads 1 and 3 of all layers have gamma 3. */
static int32_t planted_score(const float *gamma, int32_t layers, int32_t heads, double *score, void *user) {
  planted *p = (planted *)user;
  double sum = 0;
  if (++p->calls == p->stop_at) return 0;
  for (int l = 0; l < layers; l++)
    for (int h = 1; h < heads; h += 2) sum -= h * fabs((double)gamma[l * heads + h] - 3);
  *score = p->calls == p->nan_at ? (double)NAN : sum;
  return 1;
}

static void test_search(void) {
  tamis_zero_tuning_options o = TAMIS_ZERO_TUNING_OPTIONS_INIT;
  tamis_zero_tuning_result r = TAMIS_ZERO_TUNING_RESULT_INIT;
  planted p = {0, 0, 0};
  float gamma[12], again[12];
  double effect[12];
  CHECK(o.layers == 1 && o.heads == 1 && o.unit == TAMIS_ZERO_TUNING_HEADS && o.probe_gamma == 2 && o.share == 0.4f);
  CHECK(o.gamma_min == 0.25f && o.gamma_max == 4 && o.gamma_step == 0.25f);
  o.layers = 3;
  o.heads = 4;
  o.share = 0.5f;
  OK(tamis_zero_tuning_search(&o, planted_score, &p, gamma, effect, &r));
  CHECK(p.calls == r.evaluations && r.evaluations == 1 + 4 + 15);
  CHECK(r.up == 2 && r.down == 0 && r.neutral == 2 && r.tuned == 2 && r.gamma == 3 && r.baseline == -24 && r.best == 0);
  CHECK(effect[0] == 0 && effect[1] == 3 && effect[2] == 0 && effect[3] == 9);
  for (int i = 0; i < 12; i++) CHECK(gamma[i] == (i % 2 ? 3 : 1));
  o.share = 0.25f; /* one head: the larger effect */
  OK(tamis_zero_tuning_search(&o, planted_score, &p, gamma, NULL, &r));
  CHECK(r.tuned == 1 && gamma[3] == 3 && gamma[1] == 1);
  o.unit = TAMIS_ZERO_TUNING_LAYER_HEADS;
  OK(tamis_zero_tuning_search(&o, planted_score, &p, again, effect, &r));
  CHECK(r.up == 6 && r.tuned == 3 && again[3] == 3 && again[7] == 3 && again[11] == 3 && again[1] == 1 && effect[11] == 3);
  o.unit = TAMIS_ZERO_TUNING_LAYERS;
  OK(tamis_zero_tuning_search(&o, planted_score, &p, again, effect, &r));
  CHECK(r.up == 3 && r.tuned == 1 && again[0] == 3 && again[3] == 3 && again[4] == 1 && effect[0] == 4);

  /* NaN is minus infinity: head 3's probe falls */
  p.calls = 0;
  p.nan_at = 5;
  o.unit = TAMIS_ZERO_TUNING_HEADS;
  OK(tamis_zero_tuning_search(&o, planted_score, &p, gamma, effect, &r));
  CHECK(r.up == 1 && r.down == 1 && effect[3] == -INFINITY && r.tuned == 1 && gamma[1] == 3 && gamma[3] == 1);
  p.nan_at = 0;

  tamis_zero_tuning_options_init(&o);
  CHECK(o.struct_size == sizeof o && o.probe_gamma == 2);
  o.heads = 4;
  for (p.stop_at = 1; p.stop_at <= 20; p.stop_at++) {
    p.calls = 0;
    FAILS(TAMIS_ERR_CANCELLED, "evaluation", tamis_zero_tuning_search(&o, planted_score, &p, gamma, NULL, &r));
  }
  p.calls = p.stop_at = 0;
#define BAD(word, change)                                                                                              \
  do {                                                                                                                 \
    tamis_zero_tuning_options b = o;                                                                                   \
    b.change;                                                                                                          \
    FAILS(TAMIS_ERR_INVALID_ARGUMENT, word, tamis_zero_tuning_search(&b, planted_score, &p, gamma, effect, &r));       \
  } while (0)
  BAD("struct_size", struct_size = 8);
  BAD("options->layers", layers = 0);
  BAD("options->heads", heads = -1);
  BAD("heads is", heads = INT32_MAX);
  BAD("layers is", layers = INT32_MAX);
  BAD("options->unit", unit = 3);
  BAD("probe_gamma", probe_gamma = 1);
  BAD("probe_gamma", probe_gamma = NAN);
  BAD("share", share = 0);
  BAD("share", share = NAN);
  BAD("share", share = 1.5f);
  BAD("gamma_min", gamma_min = 0);
  BAD("gamma_max", gamma_max = 0.1f);
  BAD("gamma_max", gamma_max = INFINITY);
  BAD("gamma_step", gamma_step = 0);
  BAD("gamma_step", gamma_step = -INFINITY);
  BAD("gamma_step", gamma_step = 1e-30f);
#undef BAD
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "score is NULL", tamis_zero_tuning_search(&o, NULL, &p, gamma, effect, &r));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "gamma is NULL", tamis_zero_tuning_search(&o, planted_score, &p, NULL, effect, &r));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "result is NULL", tamis_zero_tuning_search(&o, planted_score, &p, gamma, effect, NULL));
  r.struct_size = 4;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "result->struct_size", tamis_zero_tuning_search(&o, planted_score, &p, gamma, effect, &r));
  CHECK(p.calls == 0);
}

/* --------------------------------------------------------------------------------------------------- ACT */

/* Whole table of weights of head h, then the sinks and the edit; returns how many sinks. */
static int oracle_act(int h, double threshold, double beta, int32_t *sinks) {
  static double p[N][N];
  const float *kh = k + h / (HQ / HK) * N * D, *vh = v + h / (HQ / HK) * N * D;
  int n = 0;
  for (int i = 0; i < N; i++) {
    double sum = 0;
    for (int j = 0; j <= i; j++) {
      double z = 0;
      for (int x = 0; x < D; x++) z += (double)q[(h * N + i) * D + x] * (double)kh[j * D + x];
      sum += p[i][j] = exp(z / sqrt(D));
    }
    for (int j = 0; j < N; j++) p[i][j] = j <= i ? p[i][j] / sum : 0;
  }
  for (int j = 1; j < N; j++) {
    double mean = 0;
    for (int i = j; i < N; i++) mean += p[i][j] / (N - j);
    if (mean > threshold) sinks[n++] = j;
  }
  for (int i = 0; i < N; i++) {
    double m = 0, row[N], *o = want + (h * N + i) * D;
    for (int s = 0; s < n; s++) m += p[i][sinks[s]];
    for (int j = 0; j < N; j++) row[j] = p[i][j] * (1 + (1 - beta) * m / (1 - m));
    for (int s = 0; s < n; s++) row[sinks[s]] = beta * p[i][sinks[s]];
    for (int x = 0; x < D; x++) o[x] = 0;
    for (int j = 0; j <= i; j++)
      for (int x = 0; x < D; x++) o[x] += row[j] * (double)vh[j * D + x];
  }
  return n;
}

typedef struct call {
  tamis_attention_options options;
  tamis_act_options act;
  tamis_tensor q, k, v, out, lse;
} call;

static call fresh(void) {
  call a;
  tamis_attention_options_init(&a.options);
  tamis_act_options_init(&a.act);
  a.q = tensor(q, TAMIS_F32, 3, HQ, N, D);
  a.k = tensor(k, TAMIS_F32, 3, HK, N, D);
  a.v = tensor(v, TAMIS_F32, 3, HK, N, D);
  a.out = tensor(out, TAMIS_F32, 3, HQ, N, D);
  a.lse = tensor(lse, TAMIS_F32, 2, HQ, N);
  return a;
}

static tamis_status run(tamis_context *c, const call *a, tamis_act_state *state) {
  return tamis_act_attention(c, &a->options, &a->act, state, &a->q, &a->k, &a->v, &a->out, &a->lse);
}

static void test_act_oracle(tamis_context *c) {
  call a = fresh();
  tamis_act_state *state = NULL;
  int32_t sinks[N], found[N];
  int64_t n = -1;
  int some = 0;
  double worst = 0;
  a.act.threshold = 0.06f;
  OK(tamis_act_state_create(c, HQ, &state));
  OK(tamis_act_sinks(state, 0, NULL, 0, &n));
  CHECK(n == 0);
  OK(run(c, &a, state));
  for (int h = 0; h < HQ; h++) {
    int expected = oracle_act(h, 0.06f, 0.4f, sinks);
    some += expected;
    OK(tamis_act_sinks(state, h, found, N, &n));
    CHECK(n == expected && memcmp(sinks, found, sizeof(int32_t) * (size_t)expected) == 0);
    if (expected > 0) {
      FAILS(TAMIS_ERR_BUFFER_TOO_SMALL, "capacity is", tamis_act_sinks(state, h, found, expected - 1, &n));
      CHECK(n == expected);
    }
  }
  for (int i = 0; i < HQ * N * D; i++) worst = fmax(worst, fabs(want[i] - (double)out[i]));
  CHECK(some > 4);
  CHECK(worst < 5e-6);
  tamis_tensor plain = tensor(other, TAMIS_F32, 3, HQ, N, D), plain_lse = tensor(other_lse, TAMIS_F32, 2, HQ, N);
  OK(tamis_attention(c, NULL, &a.q, &a.k, &a.v, &plain, &plain_lse));
  CHECK(memcmp(lse, other_lse, sizeof lse) == 0);
  CHECK(memcmp(out, other, sizeof out) != 0);

  /* a state once more: it has to be reset first */
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "q_offset is 0; expected 48", run(c, &a, state));
  OK(tamis_act_state_reset(state));
  OK(tamis_act_sinks(state, 1, NULL, 0, &n));
  CHECK(n == 0);
  memcpy(other, out, sizeof out);
  OK(run(c, &a, NULL)); /* without a state */
  CHECK(memcmp(out, other, sizeof out) == 0);

  /* heads by flags, beta 1, and a threshold nothing reaches */
  const uint8_t flags[HQ] = {0, 1, 0, 0};
  a.act.heads = flags;
  OK(run(c, &a, state));
  CHECK(memcmp(out + N * D, other + N * D, sizeof(float) * N * D) == 0);
  OK(tamis_attention(c, NULL, &a.q, &a.k, &a.v, &plain, NULL));
  CHECK(memcmp(out, other, sizeof(float) * N * D) == 0 && memcmp(out + 2 * N * D, other + 2 * N * D, sizeof(float) * 2 * N * D) == 0);
  a.act.heads = NULL;
  a.act.beta = 1;
  OK(run(c, &a, NULL));
  CHECK(memcmp(out, other, sizeof out) == 0);
  a.act.beta = 0.4f;
  a.act.threshold = 1;
  OK(tamis_act_attention(c, NULL, &a.act, NULL, &a.q, &a.k, &a.v, &a.out, NULL));
  CHECK(memcmp(out, other, sizeof out) == 0);
  tamis_act_state_destroy(state);
  tamis_act_state_destroy(NULL);
}

/* One row at a time with a state: after the last, the sinks of one call with all rows. */
static void test_act_steps(tamis_context *c) {
  tamis_act_state *steps = NULL, *whole = NULL;
  int32_t a_sinks[N], b_sinks[N];
  int64_t a_n, b_n;
  call a = fresh();
  a.act.threshold = 0.06f;
  OK(tamis_act_state_create(c, HQ, &whole));
  OK(tamis_act_state_create(c, HQ, &steps));
  OK(run(c, &a, whole));
  for (int t = 0; t < N; t++) {
    call b = a;
    b.q.shape[1] = b.out.shape[1] = b.lse.shape[1] = 1;
    b.q.data = q + t * D;
    b.out.data = other + t * D;
    b.lse.data = other_lse + t;
    b.k.shape[1] = b.v.shape[1] = t + 1;
    OK(run(c, &b, steps));
  }
  for (int h = 0; h < HQ; h++) {
    OK(tamis_act_sinks(whole, h, a_sinks, N, &a_n));
    OK(tamis_act_sinks(steps, h, b_sinks, N, &b_n));
    CHECK(a_n == b_n && memcmp(a_sinks, b_sinks, sizeof(int32_t) * (size_t)a_n) == 0);
    CHECK(largest_difference(out + ((h + 1) * N - 1) * D, other + ((h + 1) * N - 1) * D, D) < 1e-5);
  }
  CHECK(largest_difference(lse, other_lse, HQ * N) < 1e-5);
  tamis_act_state_destroy(whole);
  tamis_act_state_destroy(steps);
}

static int32_t count_down(double done, void *user) {
  (void)done;
  return --*(int *)user > 0;
}

static void test_act_errors(tamis_context *c) {
  tamis_act_state *state = NULL, *foreign = NULL;
  tamis_context *another = make_context(1);
  int64_t n;
  call a = fresh();
  OK(tamis_act_state_create(c, HQ, &state));
  OK(tamis_act_state_create(another, HQ, &foreign));
  tamis_context_destroy(another); /* the state keeps it */
#define BAD(status, word, change)                   \
  do {                                              \
    a = fresh();                                    \
    change;                                         \
    FAILS(status, word, run(c, &a, state));         \
  } while (0)
#define INVALID(word, change) BAD(TAMIS_ERR_INVALID_ARGUMENT, word, change)
  const uint8_t odd[HQ] = {1, 0, 2, 1};
  INVALID("threshold", a.act.threshold = -1);
  INVALID("threshold", a.act.threshold = NAN);
  INVALID("beta", a.act.beta = -0.5f);
  INVALID("beta", a.act.beta = 1.5f);
  INVALID("beta", a.act.beta = NAN);
  INVALID("min_rows", a.act.min_rows = 0);
  INVALID("heads[2]", a.act.heads = odd);
  INVALID("act->struct_size", a.act.struct_size = 0);
  INVALID("options->struct_size", a.options.struct_size = 0);
  INVALID("scale", a.options.scale = NAN);
  INVALID("q_offset", a.options.q_offset = 3);
  INVALID("window", a.options.window = -1);
  INVALID("q->ndim", a.q.ndim = 2);
  INVALID("k->shape[2]", (a.k.shape[2] = 8, a.v.shape[2] = 8));
  INVALID("lse", a.lse.data = out);
  INVALID("out", a.out.data = q);
  BAD(TAMIS_ERR_UNSUPPORTED, "causal", a.options.causal = 0);
  BAD(TAMIS_ERR_UNSUPPORTED, "q->dtype", a.q.dtype = TAMIS_I8);
  a = fresh();
  tamis_tensor q4 = tensor(q, TAMIS_F32, 4, 1, HQ, N, D), k4 = tensor(k, TAMIS_F32, 4, 1, HK, N, D);
  tamis_tensor v4 = tensor(v, TAMIS_F32, 4, 1, HK, N, D), o4 = tensor(out, TAMIS_F32, 4, 1, HQ, N, D);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "q->ndim is 4", tamis_act_attention(c, NULL, NULL, state, &q4, &k4, &v4, &o4, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "context", tamis_act_attention(NULL, NULL, NULL, NULL, &a.q, &a.k, &a.v, &a.out, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "q is NULL", tamis_act_attention(c, NULL, NULL, NULL, NULL, &a.k, &a.v, &a.out, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "another context", run(c, &a, foreign));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "state is no live", run(c, &a, (tamis_act_state *)(void *)c));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "state is NULL", tamis_act_sinks(NULL, 0, NULL, 0, &n));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "state is NULL", tamis_act_state_reset(NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "head is 4", tamis_act_sinks(state, HQ, NULL, 0, &n));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "head is -1", tamis_act_sinks(state, -1, NULL, 0, &n));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "capacity", tamis_act_sinks(state, 0, NULL, -1, &n));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n is NULL", tamis_act_sinks(state, 0, NULL, 0, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "tokens is NULL", tamis_act_sinks(state, 0, NULL, 3, &n));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "q_heads", tamis_act_state_create(c, 0, &foreign));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "q_heads", tamis_act_state_create(c, INT32_MAX, &foreign));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out is NULL", tamis_act_state_create(c, 1, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "context", tamis_act_state_create(NULL, 1, &foreign));

  /* cancelled wherever it is asked: the state is as it was, and the next call is the first */
  for (int asked = 1; asked < 100; asked++) {
    int left = asked;
    a = fresh();
    a.options.progress = count_down;
    a.options.progress_user = &left;
    tamis_status status = run(c, &a, state);
    if (status == TAMIS_OK) {
      CHECK(asked > 2);
      break;
    }
    FAILS(TAMIS_ERR_CANCELLED, "progress", status);
    OK(tamis_act_sinks(state, 0, NULL, 0, &n));
  }
  CHECK(tamis_act_sinks(state, 0, NULL, 0, &n) == TAMIS_OK || n > 0);
  tamis_act_state_destroy(state);
  tamis_act_state_destroy(foreign);
}

void test_sinks(void) {
  tamis_context *c = make_context(2);
  fill_random(q, HQ * N * D, 31);
  fill_random(k, HK * N * D, 32);
  fill_random(v, HK * N * D, 33);
  for (int i = 0; i < HQ * N * D; i++) q[i] *= 3;
  test_bias();
  test_bias_is_the_post_scale(c);
  test_search();
  test_act_oracle(c);
  test_act_steps(c);
  test_act_errors(c);
  tamis_context_destroy(c);
}
