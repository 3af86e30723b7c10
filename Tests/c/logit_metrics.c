/* tamis/logit_metrics.h */
#include "check.h"

enum { ROWS = 3, V = 5 };
static const float z[ROWS][V] = {{0, 0, 0, 0, 0}, {1, 3, 2, -1, 3}, {10000, 0, 0, 0, 0}};
static const int32_t y[ROWS] = {4, 2, 0};

static int32_t stop(double done, void *user) { return done < 0 || ++*(int *)user < 1; }

static void test_rows(tamis_context *c) {
  float nll[ROWS], entropy[ROWS], lse[ROWS], brier[ROWS], mass[ROWS], margin[ROWS];
  int32_t top[ROWS], rank[ROWS], ties[ROWS];
  tamis_logit_options o = TAMIS_LOGIT_OPTIONS_INIT;
  tamis_logit_outputs out = TAMIS_LOGIT_OUTPUTS_INIT;
  tamis_tensor t = tensor(z, TAMIS_F32, 2, ROWS, V);
  o.top_k = 2;
  out.nll = nll, out.entropy = entropy, out.lse = lse, out.brier = brier, out.top_k_mass = mass, out.margin = margin;
  out.top = top, out.rank = rank, out.ties = ties;
  OK(tamis_logit_metrics(c, &o, &t, y, &out, NULL));
  CHECK(fabsf(nll[0] - logf(5)) < 1e-6f && fabsf(entropy[0] - logf(5)) < 1e-6f && rank[0] == 1 && ties[0] == 4 && top[0] == 0);
  double sum = exp(1) + 2 * exp(3) + exp(2) + exp(-1);
  CHECK(fabs((double)nll[1] - (log(sum) - 2)) < 1e-6 && fabs((double)lse[1] - log(sum)) < 1e-6);
  CHECK(rank[1] == 3 && ties[1] == 0 && top[1] == 1 && margin[1] == 0 && fabs((double)mass[1] - 2 * exp(3) / sum) < 1e-6);
  CHECK(nll[2] == 0 && entropy[2] == 0 && brier[2] == 0 && margin[2] == 10000);

  /* A batch [1, T, V], f16 and strides. */
  uint16_t half[2][V][2] = {{{0x3c00, 1}, {0x4200, 1}, {0x4000, 1}, {0xbc00, 1}, {0x4200, 1}}, {{0, 1}, {0x7e00, 1}, {0, 1}}};
  tamis_tensor strided = tensor(half, TAMIS_F16, 3, 1, 2, V);
  strided.stride[1] = 2 * V;
  strided.stride[2] = 2;
  const int32_t two[] = {2, 0};
  memset(&out, 0, sizeof out);
  out.struct_size = sizeof out;
  out.nll = nll, out.rank = rank;
  nll[2] = 77;
  OK(tamis_logit_metrics(c, NULL, &strided, two, &out, NULL));
  CHECK(fabs((double)nll[0] - (log(sum) - 2)) < 1e-6 && isnan(nll[1]) && rank[1] == 0 && nll[2] == 77);

  /* Summaries in two parts are that of the whole. */
  double bins[2][16][3] = {{{0}}};
  tamis_logit_summary whole = TAMIS_LOGIT_SUMMARY_INIT, parts = TAMIS_LOGIT_SUMMARY_INIT;
  whole.sums = parts.sums = TAMIS_LOGIT_SUM_NLL | TAMIS_LOGIT_SUM_ENTROPY | TAMIS_LOGIT_SUM_CORRECT | TAMIS_LOGIT_SUM_TOP_K;
  whole.n_bins = parts.n_bins = 15;
  whole.bins = &bins[0][0][0], parts.bins = &bins[1][0][0];
  OK(tamis_logit_metrics(c, NULL, &t, y, NULL, &whole));
  t.shape[0] = 1;
  OK(tamis_logit_metrics(c, NULL, &t, y, NULL, &parts));
  t = tensor(z[1], TAMIS_F32, 2, ROWS - 1, V);
  OK(tamis_logit_metrics(c, NULL, &t, y + 1, NULL, &parts));
  CHECK(whole.tokens == 3 && whole.correct == 1 && whole.within_top_k == 2 && whole.nll == parts.nll);
  CHECK(whole.entropy == parts.entropy && memcmp(bins[0], bins[1], sizeof bins[0]) == 0 && bins[0][15][0] == 1);
  double error = -1, most = -1;
  OK(tamis_calibration_error(whole.bins, 15, TAMIS_CALIBRATION_L1, &error));
  OK(tamis_calibration_error(whole.bins, 15, TAMIS_CALIBRATION_MAX, &most));
  CHECK(error > 0 && most >= error && most <= 1);
  CHECK(fabs(tamis_perplexity(whole.nll, 3) - exp(whole.nll / 3)) < 1e-12 && isnan(tamis_perplexity(1, 0)));
  CHECK(fabs(tamis_bits_per_unit(log(2) * 8, 4) - 2) < 1e-12);
}

static void test_bad_input(tamis_context *c) {
  float nll[ROWS] = {7, 7, 7};
  double wild[3][3] = {{1, NAN, 0}};
  int32_t bad[] = {0, 5, 0};
  tamis_logit_options o = TAMIS_LOGIT_OPTIONS_INIT;
  tamis_logit_outputs out = TAMIS_LOGIT_OUTPUTS_INIT;
  tamis_logit_summary s = TAMIS_LOGIT_SUMMARY_INIT;
  tamis_tensor t = tensor(z, TAMIS_F32, 2, ROWS, V);
  double value = 7;
  out.nll = nll;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "targets[1] is 5", tamis_logit_metrics(c, NULL, &t, bad, &out, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "targets is NULL", tamis_logit_metrics(c, NULL, &t, NULL, &out, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "targets is NULL", tamis_logit_metrics(c, NULL, &t, NULL, NULL, &s));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "outputs and summary", tamis_logit_metrics(c, NULL, &t, y, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "logits", tamis_logit_metrics(c, NULL, NULL, y, &out, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "context", tamis_logit_metrics(NULL, NULL, &t, y, &out, NULL));
  o.temperature = -1;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "temperature", tamis_logit_metrics(c, &o, &t, y, &out, NULL));
  o.temperature = 1, o.top_k = 0;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "top_k", tamis_logit_metrics(c, &o, &t, y, &out, NULL));
  o.top_k = 1, o.label_smoothing = NAN;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "label_smoothing", tamis_logit_metrics(c, &o, &t, y, &out, NULL));
  s.n_bins = 3;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "summary->bins", tamis_logit_metrics(c, NULL, &t, y, NULL, &s));
  s.n_bins = -1;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n_bins", tamis_logit_metrics(c, NULL, &t, y, NULL, &s));
  s.n_bins = 0, s.sums = 64;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "sums", tamis_logit_metrics(c, NULL, &t, y, NULL, &s));
  s.sums = 1, s.tokens = -1;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "summary", tamis_logit_metrics(c, NULL, &t, y, NULL, &s));
  t.dtype = TAMIS_I8;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "dtype", tamis_logit_metrics(c, NULL, &t, y, &out, NULL));
  t.dtype = TAMIS_F32, t.ndim = 1;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "ndim", tamis_logit_metrics(c, NULL, &t, y, &out, NULL));
  CHECK(nll[0] == 7 && nll[1] == 7 && nll[2] == 7);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "bins[0][1]", tamis_calibration_error(&wild[0][0], 2, TAMIS_CALIBRATION_L1, &value));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "norm", tamis_calibration_error(&wild[0][0], 2, 9, &value));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n_bins", tamis_calibration_error(&wild[0][0], 0, 0, &value));
  CHECK(value == 7);
}

static void test_two_models(tamis_context *c) {
  static const float w[ROWS][V] = {{0, 0, 0, 0, 1}, {1, 3, 2, -1, 3}, {10000, 0, 0, 0, -INFINITY}};
  float kl[ROWS], reverse[ROWS], js[ROWS], tv[ROWS], s[ROWS];
  tamis_divergence_outputs out = TAMIS_DIVERGENCE_OUTPUTS_INIT;
  tamis_tensor p = tensor(z, TAMIS_F32, 2, ROWS, V), q = tensor(w, TAMIS_F32, 2, ROWS, V), narrow = tensor(w, TAMIS_F32, 2, ROWS, 4);
  out.kl = kl, out.reverse_kl = reverse, out.js = js, out.total_variation = tv;
  OK(tamis_logit_divergence(c, NULL, &p, &q, &out));
  const double lq = log(4 + exp(1)), e = exp(1 - lq), r = exp(-lq);
  CHECK(fabs((double)kl[0] - (lq - log(5) - 0.2)) < 1e-6);
  CHECK(fabs((double)reverse[0] - (4 * r * log(5 * r) + e * log(5 * e))) < 1e-6);
  CHECK(fabs((double)tv[0] - (e - 0.2)) < 1e-6 && js[0] > 0 && js[0] < kl[0]);
  CHECK(kl[1] == 0 && reverse[1] == 0 && js[1] == 0 && tv[1] == 0 && kl[2] == INFINITY && reverse[2] == 0);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "q is", tamis_logit_divergence(c, NULL, &p, &narrow, &out));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "outputs", tamis_logit_divergence(c, NULL, &p, &q, NULL));
  OK(tamis_contrastive_log_probs(c, NULL, &p, &q, y, 1, s));
  CHECK(fabs((double)s[0] - (-1 - log(4 + exp(-1)))) < 1e-6);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "beta", tamis_contrastive_log_probs(c, NULL, &p, &q, y, NAN, s));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "targets", tamis_contrastive_log_probs(c, NULL, &p, &q, NULL, 1, s));
}

static void test_fit_and_windows(tamis_context *c) {
  static const float hot[4][2] = {{4, 0}, {4, 0}, {4, 0}, {4, 0}};
  const int32_t right[] = {0, 0, 0, 1}; /* three of four: the best has e^(4 / t) = 3 */
  tamis_tensor t = tensor(hot, TAMIS_F32, 2, 4, 2);
  double temperature = -1, nll = -1;
  int32_t passes = -1;
  int64_t begin, scored, end, count, next = 0;
  OK(tamis_fit_temperature(c, NULL, &t, right, &temperature, &nll, &passes));
  CHECK(fabs(temperature - 4 / log(3)) < 1e-4 && passes > 1 && fabs(nll - (0.25 * log(4) + 0.75 * log(4 / 3.0))) < 1e-6);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "temperature is NULL", tamis_fit_temperature(c, NULL, &t, right, NULL, NULL, NULL));
  OK(tamis_sliding_window_count(1000003, 1024, 500, &count));
  for (int64_t i = 0; i < count; i++) {
    OK(tamis_sliding_window(1000003, 1024, 500, i, &begin, &scored, &end));
    if (scored != next || end - begin > 1024) break;
    next = end;
  }
  CHECK(next == 1000003);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "index", tamis_sliding_window(10, 4, 2, 4, &begin, &scored, &end));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "stride", tamis_sliding_window_count(10, 4, INT64_MIN, &count));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "window", tamis_sliding_window_count(10, INT64_MAX, 1, &count));
}

static void test_cancel(tamis_context *c) {
  enum { MANY = 40000, WIDTH = 1000 };
  uint16_t *large = calloc((size_t)MANY * WIDTH, 2);
  float *lse = malloc(sizeof(float) * MANY);
  int calls = 0;
  tamis_logit_options o = TAMIS_LOGIT_OPTIONS_INIT;
  tamis_logit_outputs out = TAMIS_LOGIT_OUTPUTS_INIT;
  tamis_tensor t = tensor(large, TAMIS_BF16, 2, MANY, WIDTH);
  out.lse = lse;
  o.progress = stop, o.progress_user = &calls;
  FAILS(TAMIS_ERR_CANCELLED, "progress", tamis_logit_metrics(c, &o, &t, NULL, &out, NULL));
  CHECK(calls == 1);
  free(large);
  free(lse);
}

void test_logit_metrics(void) {
  tamis_context *c = make_context(2);
  test_rows(c);
  test_bad_input(c);
  test_two_models(c);
  test_fit_and_windows(c);
  test_cancel(c);
  tamis_context_destroy(c);
}
