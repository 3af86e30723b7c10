/* tamis/token_signals.h, tamis/vocabulary_signals.h: training signals. */
#include "check.h"

#define NO TAMIS_NO_LABEL
#define INVALID TAMIS_ERR_INVALID_ARGUMENT

static int near(double a, double b) { return fabs(a - b) <= 1e-12 * (1 + fabs(b)); }

static int same_bytes(const void *a, unsigned char byte, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (((const unsigned char *)a)[i] != byte) return 0;
  return 1;
}

static void test_sstoken(tamis_context *c) {
  const int64_t labels[6] = {NO, 7, 8, 9, 10, 11};
  const double current[6] = {NAN, 1, 1, 1, 1, 1}, history[6] = {NAN, 3, 1, 2, 2, 1.5};
  const double attention[6] = {NAN, 0.1, 0.9, 0.2, 0.2, 0.4};
  const uint8_t prompt[6] = {1, 0, 0, 1, 0, 0}, wrong[6] = {2, 0, 0, 0, 0, 0};
  double excess[6], scores[6], mass[6], bad[6], other[6];
  int64_t selected[6], kept = -1;

  OK(tamis_sstoken_scores(current, history, attention, labels, 1, 6, 0.5, excess, scores));
  CHECK(excess[0] == 0 && excess[1] == 2 && excess[5] == 0.5);
  CHECK(scores[0] == 0 && fabs(scores[1] - 0.55) < 1e-8 && fabs(scores[2] - 0.45) < 1e-8 && scores[3] == scores[4]);
  OK(tamis_select_tokens(scores, labels, 1, 6, 0.6, TAMIS_ROUND_UP, TAMIS_TOKENS_OF_SAMPLE, selected, &kept));
  CHECK(kept == 3 && selected[0] == NO && selected[1] == 7 && selected[2] == 8 && selected[3] == 9 && selected[4] == NO);
  OK(tamis_select_tokens(scores, labels, 1, 6, 0.59, TAMIS_ROUND_DOWN, TAMIS_TOKENS_OF_BATCH, selected, NULL));
  CHECK(selected[1] == 7 && selected[2] == 8 && selected[3] == NO);
  OK(tamis_select_tokens(scores, labels, 1, 6, 1, TAMIS_ROUND_UP, TAMIS_TOKENS_OF_SAMPLE, selected, NULL));
  CHECK(memcmp(selected, labels, sizeof labels) == 0);
  OK(tamis_select_tokens(scores, selected, 2, 3, 0.5, TAMIS_ROUND_UP, TAMIS_TOKENS_OF_SAMPLE, selected, NULL)); /* in place */
  CHECK(selected[1] == 7 && selected[2] == NO && selected[3] == 9 && selected[4] == 10 && selected[5] == NO);

  memset(selected, 0x5a, sizeof selected);
  memcpy(bad, scores, sizeof bad);
  bad[4] = NAN;
  FAILS(INVALID, "scores[4] is nan",
        tamis_select_tokens(bad, labels, 1, 6, 0.6, TAMIS_ROUND_UP, TAMIS_TOKENS_OF_SAMPLE, selected, NULL));
  FAILS(INVALID, "ratio", tamis_select_tokens(scores, labels, 1, 6, 1.01, TAMIS_ROUND_UP, 0, selected, NULL));
  FAILS(INVALID, "rounding", tamis_select_tokens(scores, labels, 1, 6, 1, 2, TAMIS_TOKENS_OF_SAMPLE, selected, NULL));
  FAILS(INVALID, "scope", tamis_select_tokens(scores, labels, 1, 6, 1, TAMIS_ROUND_UP, -1, selected, NULL));
  FAILS(INVALID, "batch", tamis_select_tokens(scores, labels, 0, 6, 1, TAMIS_ROUND_UP, 0, selected, NULL));
  FAILS(INVALID, "product", tamis_select_tokens(scores, labels, 1 << 20, 1 << 20, 1, TAMIS_ROUND_UP, 0, selected, NULL));
  FAILS(INVALID, "tokens", tamis_select_tokens(scores, labels, 1, INT64_MAX, 1, TAMIS_ROUND_UP, 0, selected, NULL));
  CHECK(same_bytes(selected, 0x5a, sizeof selected)); /* a failed call writes nothing */
  FAILS(INVALID, "gamma", tamis_sstoken_scores(current, history, attention, labels, 1, 6, (double)NAN, NULL, scores));
  FAILS(INVALID, "attention is NULL", tamis_sstoken_scores(current, history, NULL, labels, 1, 6, 0.9, NULL, scores));
  FAILS(INVALID, "history[0] is nan",
        tamis_sstoken_scores(current, history, attention, (int64_t[6]){0}, 1, 6, 1, NULL, scores));
  FAILS(INVALID, "labels", tamis_sstoken_scores(current, history, attention, NULL, 1, 6, 1, NULL, scores));
  FAILS(INVALID, "scores", tamis_sstoken_scores(current, history, attention, labels, 1, 6, 1, NULL, NULL));

  enum { T = 6, D = 8 };
  float table[2 * T * T], q[2 * T * D] = {0}, k[T * D] = {0};
  for (int i = 0; i < 2 * T * T; i++) table[i] = i % T <= i / T % T ? 1.0f / (float)(i / T % T + 1) : 0;
  tamis_tensor ta = tensor(table, TAMIS_F32, 3, 2, T, T);
  tamis_tensor tq = tensor(q, TAMIS_F32, 3, 2, T, D), tk = tensor(k, TAMIS_F32, 3, 1, T, D);
  OK(tamis_prompt_attention(c, &ta, prompt, TAMIS_PROMPT_MASK, mass));
  CHECK(mass[0] == 1 && mass[2] == (double)(1.0f / 3) && mass[3] == 0.5);
  OK(tamis_prompt_attention_keys(c, NULL, &tq, &tk, prompt, TAMIS_PROMPT_MASK, other));
  for (int t = 0; t < T; t++) CHECK(fabs(mass[t] - other[t]) < 1e-6);
  OK(tamis_prompt_attention(c, &ta, prompt, TAMIS_PROMPT_PREFIX, mass));
  CHECK(mass[1] == 1 && fabs(mass[5] - 2.0 / 6) < 1e-7);
  FAILS(INVALID, "prompt[0] is 2", tamis_prompt_attention(c, &ta, wrong, TAMIS_PROMPT_MASK, mass));
  FAILS(INVALID, "rule", tamis_prompt_attention(c, &ta, prompt, 2, mass));
  FAILS(INVALID, "mass", tamis_prompt_attention(c, &ta, prompt, 0, NULL));
  FAILS(INVALID, "context", tamis_prompt_attention(NULL, &ta, prompt, 0, mass));
  tk.shape[2] = 4;
  FAILS(INVALID, "k", tamis_prompt_attention_keys(c, NULL, &tq, &tk, prompt, 0, mass));

  tamis_tensor old = tensor(q, TAMIS_F32, 1, 4), new = tensor(table, TAMIS_F32, 1, 4);
  q[0] = 1;
  OK(tamis_ema_update(c, &old, &new, 0.75));
  CHECK(q[0] == 1 && q[1] == 0);
  FAILS(INVALID, "overlaps", tamis_ema_update(c, &old, &old, 0.75));
  FAILS(INVALID, "alpha", tamis_ema_update(c, &old, &new, 2));
}

static void test_pairs(void) {
  const double policy[2] = {-1, -2}, reference[2] = {-2, -2}, other[2] = {-3, -1}, reward[2] = {0.25, -0.25};
  double chosen_gradient[2], loss = -1, losses[1], w[1], weights[4], rewards[2], back[2];
  const double scores[2] = {0.9, 0};
  tamis_cdpo_weight_options o = TAMIS_CDPO_WEIGHT_OPTIONS_INIT;
  o.leading_zero = 1;
  OK(tamis_cdpo_weights(&o, scores, 2, weights));
  CHECK(weights[0] == 0 && near(weights[1], 0.1) && weights[2] == 1 && weights[3] == 1);
  o.side = 2;
  FAILS(INVALID, "options->side", tamis_cdpo_weights(&o, scores, 2, weights));
  FAILS(INVALID, "scores[0]", tamis_cdpo_weights(NULL, policy, 2, weights));
  FAILS(INVALID, "n is -1", tamis_cdpo_weights(NULL, scores, -1, weights));

  tamis_answers plus = {policy, reference, NULL, NULL, chosen_gradient}, minus = {other, reference, NULL, NULL, NULL};
  OK(tamis_cdpo_loss(&plus, &minus, 1, 2, 1, TAMIS_SUM_THEN_SIGMOID, &loss, losses)); /* D+ = 1, D- = 0 */
  CHECK(near(loss, log1p(exp(-1))) && loss == losses[0] && near(chosen_gradient[0], -1 / (1 + exp(1))));
  OK(tamis_cdpo_loss(&plus, &minus, 1, 2, 1, TAMIS_BY_POSITION, &loss, NULL)); /* margins 2 and -1 */
  CHECK(near(loss, (log1p(exp(-2)) + log1p(exp(1))) / 2));
  FAILS(INVALID, "reduction", tamis_cdpo_loss(&plus, &minus, 1, 2, 1, 7, &loss, NULL));
  FAILS(INVALID, "beta", tamis_cdpo_loss(&plus, &minus, 1, 2, 0, 0, &loss, NULL));
  FAILS(INVALID, "rejected is NULL", tamis_cdpo_loss(&plus, NULL, 1, 2, 1, 0, &loss, NULL));
  FAILS(INVALID, "loss is NULL", tamis_cdpo_loss(&plus, &minus, 1, 2, 1, 0, NULL, NULL));

  OK(tamis_treg_rewards(policy, other, 2, rewards));
  OK(tamis_treg_rewards(other, policy, 2, back));
  CHECK(near(rewards[0], 1 / (1 + exp(-2)) - 0.5) && rewards[0] == -back[0] && rewards[1] == -back[1]);
  FAILS(INVALID, "chosen->weights", tamis_treg_loss(NULL, &plus, &minus, 1, 2, &loss, NULL, NULL));
  plus.weights = minus.weights = reward;
  tamis_treg_options t = TAMIS_TREG_OPTIONS_INIT;
  t.beta = 1;
  OK(tamis_treg_loss(&t, &plus, &minus, 1, 2, &loss, losses, w)); /* regularisers -0.25 and 0.5 */
  CHECK(near(w[0], 1 / (1 + exp(1))) && near(loss, log1p(exp(-1)) + 0.25 * w[0] * 0.25));
  t.reserved = 1;
  FAILS(INVALID, "reserved", tamis_treg_loss(&t, &plus, &minus, 1, 2, &loss, NULL, NULL));

  const int64_t correct[7] = {60, 0, 4, 50, 0, 0, 1};
  int64_t critical = -2;
  double pass[7];
  OK(tamis_critical_token(correct, 7, 64, 3, &critical));
  CHECK(critical == 4);
  OK(tamis_critical_token(NULL, 0, 64, 3, &critical));
  CHECK(critical == -1);
  FAILS(INVALID, "correct[0] is 60", tamis_critical_token(correct, 7, 59, 3, &critical));
  OK(tamis_pass_at_k(correct, 7, 64, 2, pass));
  CHECK(pass[1] == 0 && pass[0] == 1 - 4.0 / 64 * 3 / 63 && near(pass[2], 1 - 60.0 / 64 * 59 / 63));
  FAILS(INVALID, "k is 65", tamis_pass_at_k(correct, 7, 64, 65, pass));
}

static void test_budgets_and_weights(void) {
  tamis_rmt_options o = TAMIS_RMT_OPTIONS_INIT;
  int64_t budget = 0, places[4], count = 0;
  double p[3], rewards[3], used[2], loss, weights[12], heads[2], s;
  const double entropies[6] = {0.1, 2, 0.3, 0.4, 1, 1.5};
  const uint8_t correct[3] = {1, 0, 1};
  uint8_t tiers[6];
  const int64_t lengths[3] = {800, 400, 1700};
  OK(tamis_rmt_schedule(&o, 1000, &budget, p));
  CHECK(budget == 160 && p[0] == 0.1 && p[2] == 0.6);
  OK(tamis_rmt_rewards(&o, 0, correct, lengths, 3, rewards, NULL));
  CHECK(near(rewards[0], 1) && near(rewards[1], 0.05) && near(rewards[2], 0.9));
  OK(tamis_rmt_tiers(entropies, NULL, 6, NULL, tiers, used));
  CHECK(used[0] == 0.3 && used[1] == 1 && tiers[0] == 0 && tiers[1] == 2 && tiers[3] == 1 && tiers[4] == 1 && tiers[5] == 2);
  OK(tamis_rmt_sample(&o, 0, 42, tiers, 6, 4, places));
  CHECK(places[0] == 3 && places[1] == 0 && places[2] == 2 && places[3] == 2); /* as SplitMix64 in Python has it */
  FAILS(INVALID, "step is 1001", tamis_rmt_schedule(&o, 1001, &budget, p));
  FAILS(INVALID, "tiers has no token", tamis_rmt_sample(&o, 0, 0, tiers, 0, 1, places));
  o.easy1 = 0.7;
  FAILS(INVALID, "easy1", tamis_rmt_schedule(&o, 0, &budget, p));
  o.struct_size = 4;
  FAILS(INVALID, "struct_size", tamis_rmt_schedule(&o, 0, &budget, p));

  const uint8_t classes[6] = {1, 0, 0, 0, 2, 255};
  const double ce[6] = {1, 2, 3, 4, 5, NAN};
  OK(tamis_tool_call_weights(classes, 6, 9, weights));
  CHECK(weights[0] == 3 && weights[1] == 1 && weights[4] == 1 && weights[5] == 0);
  OK(tamis_tool_call_loss(ce, classes, 6, 9, 0, &loss, weights));
  CHECK(near(loss, 17.0 / 7) && near(weights[0], 3.0 / 7) && weights[5] == 0);
  FAILS(INVALID, "ce[5] is nan", tamis_tool_call_loss(ce, (uint8_t[6]){0}, 6, 9, 0, &loss, NULL));
  const int32_t name[3] = {5, 6, 7}, others[5] = {5, 6, 8, 9, 4};
  const int64_t starts[3] = {0, 4, 5};
  const tamis_token_lists lists = {others, starts, NULL, 2, 0};
  OK(tamis_tool_name_keys(name, 3, &lists, places, &count));
  CHECK(count == 2 && places[0] == 0 && places[1] == 2);
  FAILS(INVALID, "length is 0", tamis_tool_name_keys(name, 0, &lists, places, &count));

  tamis_caft_options caft = TAMIS_CAFT_OPTIONS_INIT;
  const int64_t labels[4] = {1, 2, NO, 3};
  const double losses[8] = {1, NAN, 3, NAN, NAN, 7, NAN, NAN};
  caft.heads = 1;
  caft.schedule = TAMIS_CAFT_LINEAR;
  caft.step = 1;
  caft.steps = 2;
  OK(tamis_caft_weights(&caft, labels, 1, 4, &s, weights));
  CHECK(s == 0.5 && weights[0] == 0.5 && weights[1] == 0 && weights[2] == 0.5 && near(weights[5], 0.004) && weights[4] == 0);
  OK(tamis_caft_loss(&caft, losses, labels, 1, 4, &loss, heads));
  CHECK(heads[0] == 2 && heads[1] == 7 && near(loss, 2.028));
  OK(tamis_caft_weights(&caft, NULL, 0, 0, &s, NULL)); /* the schedule alone */
  caft.schedule = 5;
  FAILS(INVALID, "schedule", tamis_caft_weights(&caft, labels, 1, 4, &s, weights));
}

static void test_vocabulary(tamis_context *c) {
  const int32_t ids[5] = {0, 1, 1, 2, 1};
  const int64_t starts[3] = {0, 3, 5}, nowhere[3] = {0, 3, 2};
  tamis_token_lists lists = {ids, starts, NULL, 2, 0};
  uint64_t counts[3];
  int64_t documents[3], n = 0, groups[4] = {0, 0, 0, 1}, count = 0, rows[2];
  uint8_t flags[3];
  const double nll[5] = {NAN, 2, 3, NAN, 5};
  double sums[4] = {0, 0, 0, 1}, idf[3], q[6], losses[1], mean[3], overlap[1], mass[1];
  int32_t targets[6];
  OK(tamis_token_counts(&lists, 3, counts, documents));
  CHECK(counts[0] == 1 && counts[1] == 3 && counts[2] == 1 && documents[1] == 2);
  OK(tamis_function_tokens(counts, 3, 0.4, flags, &n));
  CHECK(n == 1 && flags[1] == 1 && flags[0] == 0);
  OK(tamis_function_nll(&lists, flags, 3, nll, NULL, sums, groups));
  CHECK(sums[TAMIS_FUNCTION_FUNCTION] == 3 && sums[TAMIS_CONTENT_FUNCTION] == 7 && sums[3] == 1);
  CHECK(groups[TAMIS_CONTENT_FUNCTION] == 2 && groups[3] == 1);
  FAILS(INVALID, "token 1 of sequence 0 is 1", tamis_token_counts(&lists, 1, counts, documents));
  FAILS(INVALID, "counts and documents", tamis_token_counts(&lists, 3, NULL, NULL));
  FAILS(INVALID, "share", tamis_function_tokens(counts, 3, 0, flags, NULL));

  OK(tamis_inverse_document_frequency(documents, 3, 2, idf));
  CHECK(idf[1] == 1 && near(idf[0], log(1.5) + 1));
  OK(tamis_text_target(ids, 5, idf, flags, 3, targets, q, &count));
  CHECK(count == 2 && targets[0] == 0 && targets[1] == 2 && q[0] == 0.5);
  float z[6] = {1, 2, 3, 3, 2, 1};
  tamis_tensor logits = tensor(z, TAMIS_F32, 2, 2, 3), one = tensor(z, TAMIS_F32, 2, 1, 3), row = tensor(z, TAMIS_F32, 1, 3);
  OK(tamis_model_target(c, &logits, NULL, NULL, 2, targets, q, &count, mean));
  CHECK(count == 2 && targets[0] == 0 && targets[1] == 1 && q[0] == 0.5 && mean[2] == 2);
  const int32_t ta[1] = {2}, tb[2] = {0, 2};
  const double qa[1] = {1}, qb[2] = {0.5, 0.5};
  const int64_t sa[2] = {0, 1}, sb[2] = {0, 2};
  const tamis_sparse_targets a = {ta, qa, sa, 1}, b = {tb, qb, sb, 1}, bad = {ta, qa, nowhere + 1, 1};
  OK(tamis_mix_targets(&a, &b, 0.5, targets, q, rows));
  CHECK(rows[0] == 0 && rows[1] == 2 && targets[0] == 0 && targets[1] == 2 && q[0] == 0.25 && q[1] == 0.75);
  OK(tamis_target_kl(c, &one, &a, losses));
  CHECK(near(losses[0], log(1 + exp(-1) + exp(-2))));
  FAILS(INVALID, "targets->starts[1] is 2 after 3", tamis_target_kl(c, &one, &bad, losses));
  lists.count = 1;
  OK(tamis_text_overlap(c, &one, &lists, 1, overlap, mass));
  CHECK(overlap[0] == 0 && near(mass[0], 1 - 1 / (1 + exp(-1) + exp(-2))));

  const int32_t clusters[3] = {4, 4, 7};
  int32_t ranked[3], token = -1, near_ids[2];
  float keys[6] = {1, 0, 1, 0, 0, 1}, cosines[2];
  tamis_tensor w = tensor(keys, TAMIS_F32, 2, 3, 2);
  tamis_key_options o = TAMIS_KEY_OPTIONS_INIT;
  tamis_key_report report = TAMIS_KEY_REPORT_INIT;
  o.main = 1;
  o.top = 3;
  OK(tamis_key_diagnostic(c, &o, &row, clusters, &w, flags, ranked, &report));
  CHECK(ranked[0] == 2 && ranked[2] == 0 && report.inside == 0 && report.outside == 2 && report.share == 0);
  CHECK(isnan(report.inside_rank) && report.outside_rank == 2.5 && report.outside_accuracy == 0.5 && report.correlation == 0);
  CHECK(near(report.precision, (0 + 0.5 + 1.0 / 3) / 3));
  OK(tamis_key_neighbors(c, &w, targets, 1, 2, near_ids, cosines));
  CHECK(near_ids[0] == 1 && near_ids[1] == 2 && cosines[0] == 1 && cosines[1] == 0);
  OK(tamis_decorrelated_rank((int32_t[3]){0, 1, 2}, 3, clusters, 3, ranked));
  CHECK(ranked[0] == 0 && ranked[1] == 2 && ranked[2] == 1);
  OK(tamis_unused_token(&row, (uint8_t[3]){0, 0, 1}, &token));
  CHECK(token == 1);
  FAILS(TAMIS_ERR_NOT_FOUND, "all 3 tokens", tamis_unused_token(&row, (uint8_t[3]){1, 1, 1}, &token));
  o.main = 3;
  FAILS(INVALID, "options->main", tamis_key_diagnostic(c, &o, &row, clusters, NULL, NULL, NULL, &report));
  FAILS(INVALID, "options->top", tamis_key_diagnostic(c, NULL, &row, clusters, NULL, NULL, NULL, &report));
  FAILS(INVALID, "logits->ndim", tamis_unused_token(&one, flags, &token));
}

void test_signals(void) {
  tamis_context *c = make_context(2);
  test_sstoken(c);
  test_pairs();
  test_budgets_and_weights();
  test_vocabulary(c);
  tamis_context_destroy(c);
}
