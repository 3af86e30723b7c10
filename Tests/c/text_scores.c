/* tamis/text_scores.h: units of a text, Selective Context, SpecPC. */
#include "check.h"

static const char TEXT[] = "The cat sat. Dr. No left! Why?";

static void test_units(void) {
  tamis_span spans[16], runs[16];
  int64_t count = -1;
  OK(tamis_split_text(TEXT, sizeof TEXT - 1, TAMIS_UNIT_WORD, spans, 16, &count));
  CHECK(count == 7 && spans[0].start == 0 && spans[0].end == 3 && spans[6].start == 26 && spans[6].end == 30);
  OK(tamis_split_text(TEXT, sizeof TEXT - 1, TAMIS_UNIT_SENTENCE, spans, 3, &count));
  CHECK(count == 3 && spans[1].start == 13 && spans[1].end == 25);
  OK(tamis_split_text(NULL, 0, TAMIS_UNIT_WORD, NULL, 0, &count));
  CHECK(count == 0);
  FAILS(TAMIS_ERR_BUFFER_TOO_SMALL, "capacity", tamis_split_text(TEXT, sizeof TEXT - 1, TAMIS_UNIT_WORD, spans, 6, &count));
  CHECK(count == 7 && spans[0].end == 12);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "text", tamis_split_text(NULL, 5, TAMIS_UNIT_WORD, spans, 16, &count));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "length", tamis_split_text(TEXT, SIZE_MAX, TAMIS_UNIT_WORD, spans, 16, &count));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "length", tamis_split_text(TEXT, (size_t)1 << 31, TAMIS_UNIT_WORD, spans, 16, &count));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "unit", tamis_split_text(TEXT, 5, 2, spans, 16, &count));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "count", tamis_split_text(TEXT, 5, TAMIS_UNIT_WORD, spans, 16, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "spans", tamis_split_text(TEXT, 5, TAMIS_UNIT_WORD, NULL, 16, &count));

  const int32_t kept[3] = {0, 1, 4}, twice[2] = {1, 1}, beyond[1] = {7};
  char buffer[32];
  size_t needed = 0;
  OK(tamis_split_text(TEXT, sizeof TEXT - 1, TAMIS_UNIT_WORD, spans, 16, &count));
  OK(tamis_kept_spans(spans, 7, kept, 3, runs, &count));
  CHECK(count == 2 && runs[0].start == 0 && runs[0].end == 7 && runs[1].start == 17 && runs[1].end == 19);
  OK(tamis_kept_text(TEXT, sizeof TEXT - 1, runs, 2, buffer, sizeof buffer, &needed));
  CHECK(needed == 10 && strcmp(buffer, "The cat No") == 0);
  FAILS(TAMIS_ERR_BUFFER_TOO_SMALL, "capacity", tamis_kept_text(TEXT, sizeof TEXT - 1, runs, 2, buffer, 8, &needed));
  CHECK(needed == 10 && strcmp(buffer, "The cat") == 0);
  OK(tamis_kept_spans(spans, 7, NULL, 0, NULL, &count));
  CHECK(count == 0);
  OK(tamis_kept_text(TEXT, sizeof TEXT - 1, NULL, 0, buffer, sizeof buffer, NULL));
  CHECK(buffer[0] == 0);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "indices[1]", tamis_kept_spans(spans, 7, twice, 2, runs, &count));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "indices[0]", tamis_kept_spans(spans, 7, beyond, 1, runs, &count));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n_units", tamis_kept_spans(spans, INT64_MAX, kept, 3, runs, &count));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "spans[1]", tamis_kept_text(TEXT, 18, runs, 2, buffer, sizeof buffer, &needed));
  runs[1].start = INT64_MIN;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "spans[1]",
        tamis_kept_text(TEXT, sizeof TEXT - 1, runs, 2, buffer, sizeof buffer, &needed));
}

static void test_selective_context(tamis_context *c) {
  const float logits[6] = {0, 0, 0, 1, 2, 3}, scores[4] = {4, 1, NAN, 3};
  const int32_t ids[2] = {1, 2}, wrong[2] = {0, 3};
  const tamis_span tokens[2] = {{0, 4}, {4, 7}}, units[2] = {{0, 2}, {2, 7}}, crossed[2] = {{0, 3}, {2, 7}};
  float out[2];
  int32_t indices[4];
  int64_t count = -1;
  double threshold = 0;
  tamis_tensor z = tensor(logits, TAMIS_F32, 2, 2, 3);
  OK(tamis_self_information(c, &z, ids, out));
  CHECK(fabs((double)out[0] - log(3)) < 1e-6 && fabs((double)out[1] - log(1 + exp(-1) + exp(-2))) < 1e-6);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "ids[1]", tamis_self_information(c, &z, wrong, out));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "ids", tamis_self_information(c, &z, NULL, out));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "logits", tamis_self_information(c, NULL, ids, out));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out", tamis_self_information(c, &z, ids, NULL));
  int32_t shared[2] = {1, 2}; /* written over while it is read, ids would point anywhere */
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "overlaps ids", tamis_self_information(c, &z, shared, (float *)(void *)shared));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "overlaps logits", tamis_self_information(c, &z, ids, (float *)z.data));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "context", tamis_self_information(NULL, &z, ids, out));

  const float two[2] = {8, 6};
  OK(tamis_unit_scores(tokens, two, 2, units, 2, out));
  CHECK(out[0] == 4 && out[1] == 5); /* half of 8; the mean of half of 8 and 6 */
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "units[1]", tamis_unit_scores(tokens, two, 2, crossed, 2, out));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "token_scores", tamis_unit_scores(tokens, NULL, 2, units, 2, out));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n_tokens", tamis_unit_scores(tokens, two, -1, units, 2, out));

  OK(tamis_keep_informative(scores, 4, 0.5, indices, &count, &threshold));
  CHECK(threshold == 3 && count == 3 && indices[0] == 0 && indices[1] == 2 && indices[2] == 3);
  OK(tamis_keep_informative(NULL, 0, 0.5, NULL, &count, NULL));
  CHECK(count == 0);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "reduce_ratio", tamis_keep_informative(scores, 4, (double)NAN, indices, &count, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "reduce_ratio", tamis_keep_informative(scores, 4, -0.01, indices, &count, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "scores", tamis_keep_informative(NULL, 4, 0.5, indices, &count, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n is", tamis_keep_informative(scores, INT64_MIN, 0.5, indices, &count, NULL));
}

static void test_specpc(tamis_context *c) {
  enum { H = 2, W = 3, N = 40, D = 8 };
  static float rows[H * W * N], scores[N], q[H * W * D], k[N * D];
  int32_t indices[N];
  int64_t count = -1;
  tamis_specpc *specpc = NULL;
  tamis_specpc_options o = TAMIS_SPECPC_OPTIONS_INIT;
  o.window = W;
  o.starting_layer = 1;
  o.capacity = 6;
  o.kernel = 1;
  o.neighbours = 0;
  for (int i = 0; i < H * W * N; i++) rows[i] = 0.001f;
  rows[(0 * W + 2) * N + 7] = 0.9f;  /* the newest query: counts wholly */
  rows[(1 * W + 1) * N + 20] = 0.9f; /* the one before: half */
  rows[(1 * W + 0) * N + 30] = 0.9f; /* the oldest: not at all */
  tamis_tensor r = tensor(rows, TAMIS_F32, 3, H, W, N);
  OK(tamis_specpc_create(&o, N, &specpc));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "specpc", tamis_specpc_select(specpc, indices, &count));
  OK(tamis_specpc_add(specpc, 0, &r));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "specpc", tamis_specpc_scores(specpc, scores));
  OK(tamis_specpc_add(specpc, 1, &r));
  OK(tamis_specpc_scores(specpc, scores));
  CHECK(scores[7] == 0.9f && scores[20] == 0.45f && scores[30] == 0.001f && scores[0] == 0.001f);
  OK(tamis_specpc_select(specpc, indices, &count));
  CHECK(count == 6 && indices[0] == 0 && indices[1] == 7 && indices[2] == 20 && indices[3] == 37 && indices[5] == 39);
  r.shape[2] = N - 1;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "rows", tamis_specpc_add(specpc, 1, &r));
  r = tensor(rows, TAMIS_F32, 2, W, N);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "rows->ndim", tamis_specpc_add(specpc, 1, &r));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "layer", tamis_specpc_add(specpc, -1, &r));
  fill_random(q, H * W * D, 1);
  fill_random(k, N * D, 2);
  tamis_tensor tq = tensor(q, TAMIS_F32, 3, H, W, D), tk = tensor(k, TAMIS_F32, 3, 1, N, D);
  OK(tamis_specpc_add_keys(specpc, c, 2, &tq, &tk, 0));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "scale", tamis_specpc_add_keys(specpc, c, 2, &tq, &tk, NAN));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "k->shape[1]", tamis_specpc_add_keys(specpc, c, 2, &tq, &tq, 0));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "context", tamis_specpc_add_keys(specpc, NULL, 2, &tq, &tk, 0));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "specpc", tamis_specpc_add_keys(NULL, c, 2, &tq, &tk, 0));
  tamis_specpc_destroy(specpc);
  tamis_specpc_destroy(NULL);
  OK(tamis_specpc_create(&o, INT32_MAX, &specpc)); /* memory comes with the rows */
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "rows", tamis_specpc_add(specpc, 1, &r));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "specpc", tamis_specpc_select(specpc, indices, &count));
  tamis_specpc_destroy(specpc);

  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "options->window", tamis_specpc_create(&o, 2, &specpc)); /* w > n */
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n_tokens", tamis_specpc_create(&o, 0, &specpc));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out", tamis_specpc_create(&o, N, NULL));
  o.capacity = -1;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "options->capacity", tamis_specpc_create(&o, N, &specpc));
  o.capacity = 6;
  o.kernel = 0;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "options->kernel", tamis_specpc_create(&o, N, &specpc));
  o.kernel = 1;
  o.reduction = 2;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "options->reduction", tamis_specpc_create(&o, N, &specpc));
}

void test_text_scores(void) {
  tamis_context *c = make_context(2);
  test_units();
  test_selective_context(c);
  test_specpc(c);
  tamis_context_destroy(c);
}
