/* tamis/tokenization_metrics.h, charbench.h, needle_threading.h */
#include "check.h"

static const char *const vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\nca\n##ts\ndog\n";

static int32_t stop(double done, void *user) { return done < 0 || ++*(int *)user < 1; }

static void test_tokenization(tamis_context *c) {
  const int32_t ids[] = {7, 9, 9, 3, 7}, from[] = {0, 3, 7, 0, 1}, to[] = {3, 6, 9, 2, 2};
  const int64_t lists_at[] = {0, 3, 5}, texts_at[] = {0, 9, 11};
  const char *text = "the c\xc3\xa4tsab"; /* "the c\u00e4ts" and "ab" */
  tamis_token_lists tokens;
  tamis_token_statistics *s = NULL, *t = NULL;
  tamis_token_sums sums = TAMIS_TOKEN_SUMS_INIT;
  tamis_token_report report = TAMIS_TOKEN_REPORT_INIT;
  tamis_token_report_options options = TAMIS_TOKEN_REPORT_OPTIONS_INIT, filled;
  int32_t found[3];
  int64_t counts[3], n = 0, length = 0;
  double corpus = 0, mean = 0;
  memset(&tokens, 0, sizeof tokens);
  tokens.ids = ids;
  tokens.starts = lists_at;
  tokens.count = 2;
  tamis_token_report_options_init(&filled);
  CHECK(memcmp(&filled, &options, sizeof filled) == 0);

  OK(tamis_token_statistics_create(3, &s));
  OK(tamis_token_statistics_add(s, &tokens, text, texts_at, from, to, NULL, NULL));
  OK(tamis_token_statistics_sums(s, &sums));
  CHECK(sums.texts == 2 && sums.tokens == 5 && sums.unknown_tokens == 1 && sums.bytes == 11 && sums.code_points == 10);
  CHECK(sums.words == 3 && sums.aligned_words == 3 && sums.continued_words == 2 && sums.whole_words == 1);
  CHECK(sums.vocabulary == 3 && sums.empty_texts == 0);
  FAILS(TAMIS_ERR_BUFFER_TOO_SMALL, "capacity", tamis_token_statistics_frequencies(s, NULL, NULL, 0, &n));
  CHECK(n == 3);
  OK(tamis_token_statistics_frequencies(s, found, counts, 3, &n));
  CHECK(found[0] == 7 && counts[0] == 2 && found[1] == 9 && counts[1] == 2 && found[2] == 3 && counts[2] == 1);
  OK(tamis_token_statistics_report(s, NULL, &report));
  CHECK(report.fertility == 5.0 / 3 && report.bytes_per_token == 2.2 && report.unknown_rate == 0.2);
  CHECK(fabs(report.shannon_entropy - (0.8 * log2(2.5) + 0.2 * log2(5))) < 1e-14);
  CHECK(fabs(report.renyi_entropy + log2(2 * 0.064 + 0.008) / 2) < 1e-14);
  CHECK(fabs(report.renyi_efficiency - report.renyi_entropy / log2(3)) < 1e-15);
  options.vocabulary = 1;
  OK(tamis_token_statistics_report(s, &options, &report));
  CHECK(report.renyi_efficiency == 0 && report.shannon_efficiency == 0);
  OK(tamis_tokens_to_characters(s, 10, &length));
  CHECK(length == 20);
  OK(tamis_characters_to_tokens(s, 21, &length));
  CHECK(length == 11);

  OK(tamis_token_statistics_create(-1, &t));
  OK(tamis_token_statistics_add(t, &tokens, text, texts_at, NULL, NULL, NULL, NULL));
  OK(tamis_token_premium(s, t, &corpus, &mean));
  CHECK(corpus == 1 && mean == 1);
  OK(tamis_token_statistics_merge(t, s));
  OK(tamis_token_statistics_sums(t, &sums));
  CHECK(sums.tokens == 10 && sums.unknown_tokens == 1 && sums.aligned_words == 3 && sums.words == 6);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "a has 2 texts and b 4", tamis_token_premium(s, t, &corpus, NULL));

  /* What fails counts nothing. */
  const int32_t beyond[] = {3, 6, 10, 2, 2};
  const int64_t falling[] = {0, 9, 8}, no_zero[] = {1, 9, 11};
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "text 0: token 2",
        tamis_token_statistics_add(s, &tokens, text, texts_at, from, beyond, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "starts[2]", tamis_token_statistics_add(s, &tokens, text, falling, from, to, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "starts[0]", tamis_token_statistics_add(s, &tokens, text, no_zero, from, to, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "token_ends",
        tamis_token_statistics_add(s, &tokens, text, texts_at, from, NULL, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "text is NULL",
        tamis_token_statistics_add(s, &tokens, NULL, texts_at, from, to, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "tokens", tamis_token_statistics_add(s, NULL, text, texts_at, from, to, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "statistics",
        tamis_token_statistics_add(NULL, &tokens, text, texts_at, from, to, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "other", tamis_token_statistics_merge(s, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "unknown_id", tamis_token_statistics_create(-7, &t));
  options.alpha = -1;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "alpha", tamis_token_statistics_report(s, &options, &report));
  int told = 0;
  FAILS(TAMIS_ERR_CANCELLED, "progress", tamis_token_statistics_add(s, &tokens, text, texts_at, from, to, stop, &told));
  CHECK(told == 1);
  OK(tamis_token_statistics_sums(s, &sums));
  CHECK(sums.tokens == 5);
  tamis_token_statistics_destroy(t);

  /* A tokenizer over texts. */
  tamis_tokenizer *tokenizer = NULL;
  tamis_encode_options encode = TAMIS_ENCODE_OPTIONS_INIT;
  const char *pets = "the cats the dog cow";
  const int64_t pets_at[] = {0, 8, 8, 20};
  int calls = 0;
  OK(tamis_tokenizer_from_bytes(vocabulary, strlen(vocabulary), TAMIS_TOKENIZER_VOCAB_TXT, NULL, &tokenizer));
  OK(tamis_token_statistics_create(-1, &t));
  OK(tamis_token_statistics_encode(t, c, tokenizer, NULL, pets, pets_at, 3, NULL, NULL));
  OK(tamis_token_statistics_sums(t, &sums));
  CHECK(sums.texts == 3 && sums.empty_texts == 1 && sums.tokens == 6 && sums.unknown_tokens == 1 && sums.words == 5);
  CHECK(sums.continued_words == 1 && sums.whole_words == 4);
  FAILS(TAMIS_ERR_CANCELLED, "", tamis_token_statistics_encode(t, c, tokenizer, NULL, pets, pets_at, 3, stop, &calls));
  encode.offsets = TAMIS_OFFSETS_CHARACTERS;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "offsets",
        tamis_token_statistics_encode(t, c, tokenizer, &encode, pets, pets_at, 3, NULL, NULL));
  encode.offsets = TAMIS_OFFSETS_BYTES;
  OK(tamis_token_statistics_encode(t, c, tokenizer, &encode, pets, pets_at, 1, NULL, NULL));
  OK(tamis_token_statistics_sums(t, &sums));
  CHECK(sums.tokens == 11); /* with [CLS] and [SEP] */
  tamis_tokenizer_destroy(tokenizer);
  tamis_token_statistics_destroy(t);
  tamis_token_statistics_destroy(s);
  tamis_token_statistics_destroy(NULL);
}

static void test_charbench(void) {
  const char *text = "once upon a time there were four bears; they_ate stra\xc3\x9f" "en that caf\xc3\xa9 had 3bad when WHEN";
  const int64_t starts[] = {0, (int64_t)strlen(text)};
  tamis_charbench_options options = TAMIS_CHARBENCH_OPTIONS_INIT, filled;
  tamis_charbench *bench = NULL;
  tamis_charbench_row row = TAMIS_CHARBENCH_ROW_INIT;
  tamis_charbench_features features = TAMIS_CHARBENCH_FEATURES_INIT;
  char prompt[256];
  tamis_charbench_options_init(&filled);
  CHECK(memcmp(&filled, &options, sizeof filled) == 0);

  OK(tamis_charbench_create(NULL, text, starts, 1, &bench));
  CHECK(tamis_charbench_count(bench) == 8); /* once upon time were four that when WHEN, two for each task; two words of 5 */
  for (int64_t i = 0; i < 8; i++) {
    OK(tamis_charbench_get(bench, i, &row));
    const char *first = strchr(row.word, row.character), *last = strrchr(row.word, row.character);
    CHECK(row.word_length == 4 && (int)strlen(row.word) == 4 && row.task == (int32_t)(i / 2) && strstr(text, row.word));
    CHECK((row.task == TAMIS_CHARBENCH_COUNT_UNIQUE) == (row.character == 0));
    if (row.task == TAMIS_CHARBENCH_FIND_FIRST) CHECK(first && row.gold == first - row.word);
    if (row.task == TAMIS_CHARBENCH_FIND_LAST) CHECK(last && row.gold == last - row.word);
    const int32_t lengths[] = {1, 3};
    OK(tamis_charbench_features_of(bench, i, lengths, 2, &features));
    CHECK(features.number_of_tokens == 2 && features.compression_rate == 2 && features.gold_share == row.gold / 4.0);
    CHECK(features.target_token_length == (row.task < TAMIS_CHARBENCH_FIND_FIRST ? 0 : row.gold == 0 ? 1 : 3));
    OK(tamis_charbench_prompt(bench, i, prompt, sizeof prompt, NULL));
    CHECK(strstr(prompt, row.word) != NULL);
  }
  const int32_t short_word[] = {1, 2};
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "token_lengths", tamis_charbench_features_of(bench, 0, short_word, 2, &features));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "i is 8", tamis_charbench_get(bench, 8, &row));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "i is -1", tamis_charbench_prompt(bench, -1, prompt, sizeof prompt, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "bench", tamis_charbench_get(NULL, 0, &row));
  FAILS(TAMIS_ERR_BUFFER_TOO_SMALL, "capacity", tamis_charbench_prompt(bench, 0, prompt, 10, NULL));
  tamis_charbench_destroy(bench);
  bench = NULL;
  options.min_length = 5;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "fewer than 4 words", tamis_charbench_create(&options, text, starts, 1, &bench));
  options.max_length = 4;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "min_length", tamis_charbench_create(&options, text, starts, 1, &bench));
  int told = 0;
  options = filled;
  options.progress = stop;
  options.progress_user = &told;
  FAILS(TAMIS_ERR_CANCELLED, "progress", tamis_charbench_create(&options, text, starts, 1, &bench));
  CHECK(bench == NULL && told == 1 && tamis_charbench_count(NULL) == 0);

  int32_t correct = -1, parsed = -1;
  int64_t value = -1;
  OK(tamis_charbench_score(" +4\n", 4, 4, &correct, &parsed, &value));
  CHECK(correct == 1 && parsed == 1 && value == 4);
  OK(tamis_charbench_score("4.", 2, 4, &correct, &parsed, &value));
  CHECK(correct == 0 && parsed == 0 && value == 0);
  OK(tamis_charbench_score(NULL, 0, 0, &correct, NULL, NULL));
  CHECK(correct == 0);
  const double feature[] = {1, 1, 2, 2};
  const uint8_t right[] = {0, 1, 1, 1}, odd[] = {0, 1, 2, 1}, none[] = {1, 1, 0, 0};
  double r = 0, values[2], accuracy[2], error[2];
  int64_t counts[2], n = 0;
  const int64_t said[] = {3, 9, 5, 1}, gold[] = {1, 9, 0, 2};
  OK(tamis_charbench_correlation(feature, right, 4, &r));
  CHECK(fabs(r - 1 / sqrt(3)) < 1e-15);
  OK(tamis_charbench_accuracy_by_value(feature, right, 4, values, counts, accuracy, error, 2, &n));
  CHECK(n == 2 && counts[0] == 2 && accuracy[0] == 0.5 && accuracy[1] == 1 && error[0] == sqrt(0.125) && values[1] == 2);
  FAILS(TAMIS_ERR_BUFFER_TOO_SMALL, "capacity",
        tamis_charbench_accuracy_by_value(feature, right, 4, values, counts, accuracy, error, 1, &n));
  OK(tamis_charbench_error_overlap(right, none, 4, &r));
  CHECK(r == 0);
  OK(tamis_charbench_bias(said, gold, NULL, 4, &r));
  CHECK(r == 0.5); /* (2 - 1) / 2: the second is right, the third's gold is 0 */
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "correct[2]", tamis_charbench_correlation(feature, odd, 4, &r));
}

static void test_needles(void) {
  tamis_needle_options o = TAMIS_NEEDLE_OPTIONS_INIT, filled;
  tamis_needle_view view = TAMIS_NEEDLE_VIEW_INIT;
  tamis_needle_score score = TAMIS_NEEDLE_SCORE_INIT;
  tamis_needle_task *task = NULL;
  char buffer[4096];
  size_t needed = 0;
  tamis_needle_options_init(&filled);
  CHECK(memcmp(&filled, &o, sizeof filled) == 0);

  OK(tamis_needle_task_create(NULL, &task));
  OK(tamis_needle_task_get(task, &view));
  CHECK(view.haystack_bytes == 2000 && strlen(view.haystack) == 2000 && view.n_positions == 1 && view.positions[0] == 12);
  CHECK(strncmp(view.haystack, "{\"e3e70682-c209-4cac-629f-6fbed82c07cd\": \"f728b4fa", 50) == 0);
  CHECK(strcmp(view.keys[0], "247a8333-f7b0-b7d2-cda8-056c3d15eef7") == 0);
  CHECK(strcmp(view.answers[0], "1759edc3-72ae-2244-8b01-63c1cd9d2b7d") == 0);
  OK(tamis_needle_task_score(task, view.answers[0], 36, &score));
  CHECK(score.correct == 1 && score.accuracy == 1);
  OK(tamis_needle_task_score(task, "\xff", 1, &score));
  CHECK(score.correct == 0 && score.expected == 1 && score.f1 == 0);
  OK(tamis_needle_task_prompt(task, NULL, buffer, sizeof buffer, &needed));
  CHECK(needed > 2000 && strstr(buffer, view.haystack) && strstr(buffer + 2000, view.keys[0]));
  OK(tamis_needle_task_prompt(task, "{keys}{", buffer, sizeof buffer, &needed));
  CHECK(strcmp(buffer, "\"247a8333-f7b0-b7d2-cda8-056c3d15eef7\"{") == 0);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "prompt_template", tamis_needle_task_prompt(task, "\xc3", buffer, sizeof buffer, &needed));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "reply", tamis_needle_task_score(task, NULL, 4, &score));
  tamis_needle_task_destroy(task);

  o.kind = TAMIS_NEEDLE_MULTI_THREADING;
  o.thread_length = 4;
  o.threads = 3;
  o.direction = TAMIS_THREAD_BACKWARD;
  OK(tamis_needle_task_create(&o, &task));
  OK(tamis_needle_task_get(task, &view));
  CHECK(view.n_keys == 3 && view.n_answers == 3 && view.n_positions == 12);
  for (int i = 0; i < 12; i++) {
    if (i % 4 == 0) continue;
    const char *before = view.haystack + 80 * view.positions[i - 1], *after = view.haystack + 80 * view.positions[i];
    CHECK(after < before && memcmp(before + 42, after + 2, 36) == 0);
  }
  snprintf(buffer, sizeof buffer, "[\"%s\", '%s', \"x\"]", view.answers[0], view.answers[1]);
  OK(tamis_needle_task_score(task, buffer, strlen(buffer), &score));
  CHECK(score.matched == 2 && score.predicted == 3 && score.correct == 0 && fabs(score.f1 - 2.0 / 3) < 1e-15);
  tamis_needle_task_destroy(task);

  task = NULL;
  o.threads = 7;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "threads is 7", tamis_needle_task_create(&o, &task));
  o = (tamis_needle_options)TAMIS_NEEDLE_OPTIONS_INIT;
  o.pairs = 0;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "pairs", tamis_needle_task_create(&o, &task));
  o.pairs = INT64_MAX;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "pairs", tamis_needle_task_create(&o, &task));
  o.pairs = 25;
  o.depth = NAN;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "depth", tamis_needle_task_create(&o, &task));
  o.depth = 0;
  o.kind = 9;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "kind", tamis_needle_task_create(&o, &task));
  CHECK(task == NULL);

  const double sizes[] = {1000, 2000, 4000}, shares[] = {1, 1, 0.5};
  double low = 0, high = 0, length = 0;
  OK(tamis_effective_context_length(sizes, shares, 3, 0.75, &length));
  CHECK(fabs(length - 2000 * sqrt(2)) < 1e-9);
  OK(tamis_wilson_interval(197, 200, 1.96, &low, &high));
  CHECK(fabs(low - 0.957) < 5e-4 && fabs(high - 0.995) < 5e-4);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "won", tamis_wilson_interval(3, 2, 1.96, &low, &high));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "lengths[1]", tamis_effective_context_length(shares, shares, 3, 0.75, &length));
}

void test_tasks(void) {
  tamis_context *c = make_context(1);
  test_tokenization(c);
  test_charbench();
  test_needles();
  tamis_context_destroy(c);
}
