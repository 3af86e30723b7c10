/* tamis/bleu.h, word_ids.h, sequence_metrics.h */
#include "check.h"

static tamis_token_lists lists(const int32_t *ids, const int64_t *starts, int64_t count) {
  tamis_token_lists l;
  memset(&l, 0, sizeof l);
  l.ids = ids;
  l.starts = starts;
  l.count = count;
  return l;
}

static int32_t stop(double done, void *user) { return done < 0 || ++*(int *)user < 1; }

static void test_bleu(tamis_context *c) {
  const int32_t h[] = {1, 2, 3, 4, 5, 6, 7, 7, 7}, r[] = {1, 2, 9, 4, 5, 8, 7, 7, 3, 3};
  const int64_t hs[] = {0, 6, 9}, rs[] = {0, 6, 8, 10}, owners[] = {0, 1, 3}, bad[] = {0, 0, 3};
  const int64_t expected[2][10] = {{6, 6, 4, 2, 0, 0, 6, 5, 4, 3}, {3, 2, 2, 1, 0, 0, 3, 2, 1, 0}};
  int64_t rows[2][10];
  double scores[2] = {-1, -1}, corpus = -1;
  tamis_bleu_options o = TAMIS_BLEU_OPTIONS_INIT;
  tamis_bleu_report report = TAMIS_BLEU_REPORT_INIT;
  tamis_token_lists hyp = lists(h, hs, 2), ref = lists(r, rs, 3);

  OK(tamis_ngram_statistics(c, &hyp, &ref, owners, 1, 4, TAMIS_LENGTH_SHORTEST, 0, 0, &rows[0][0], NULL, NULL));
  CHECK(memcmp(rows, expected, sizeof rows) == 0);
  o.rule = TAMIS_BLEU_NLTK;
  o.smoothing = TAMIS_BLEU_METHOD1;
  OK(tamis_bleu_finish(&o, &rows[0][0], 2, 4, scores, &corpus));
  CHECK(scores[0] == 0.12209471671615688 && corpus > 0 && corpus < 1);
  OK(tamis_bleu(c, &o, &hyp, &ref, owners, 1, scores, NULL));
  CHECK(scores[0] == 0.12209471671615688);
  o.smoothing = TAMIS_BLEU_METHOD5;
  OK(tamis_bleu(c, &o, &hyp, &ref, owners, 1, scores, NULL));
  CHECK(scores[0] == 0.23037777369138907);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "orders", tamis_bleu_finish(&o, &rows[0][0], 2, 4, scores, NULL));
  o.smoothing = TAMIS_BLEU_METHOD6;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "method6", tamis_bleu(c, &o, &hyp, &ref, owners, 1, scores, NULL));

  o = (tamis_bleu_options)TAMIS_BLEU_OPTIONS_INIT;
  OK(tamis_bleu_details(&o, &rows[0][0], 2, 4, &report));
  OK(tamis_bleu_finish(&o, &rows[0][0], 2, 4, NULL, &corpus));
  CHECK(report.score == corpus && report.length == 9 && report.reference_length == 8 && report.matches[0] == 6);
  const int32_t picks[] = {0, 0, 1, 1, 0, 1};
  double samples[3];
  OK(tamis_bleu_resample(c, &o, &rows[0][0], 2, 4, picks, 3, 0, samples));
  CHECK(samples[2] == corpus && samples[0] > samples[1]);
  const int32_t wild[] = {0, 2};
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "resamples[0][1]", tamis_bleu_resample(c, &o, &rows[0][0], 2, 4, wild, 1, 0, samples));

  /* Two candidates of one prompt. */
  const int64_t one[] = {0, 6, 12};
  const int32_t both[] = {1, 2, 3, 4, 5, 6, 1, 2, 9, 4, 5, 8};
  tamis_token_lists two = lists(both, one, 2), first = lists(r, rs, 1);
  OK(tamis_bleu(c, &o, &two, &first, NULL, 2, scores, NULL));
  CHECK(fabs(scores[1] - 100) < 1e-9 && scores[0] < 50);
  /* Padded rows. */
  const int64_t used[] = {6, 3};
  const int32_t padded[] = {1, 2, 3, 4, 5, 6, 7, 7, 7, 1, 1, 1};
  tamis_token_lists pad;
  memset(&pad, 0, sizeof pad);
  pad.ids = padded;
  pad.lengths = used;
  pad.count = 2;
  pad.width = 6;
  int64_t again[2][10];
  OK(tamis_ngram_statistics(c, &pad, &ref, owners, 1, 4, TAMIS_LENGTH_SHORTEST, 0, 0, &again[0][0], NULL, NULL));
  CHECK(memcmp(again, expected, sizeof again) == 0);

  tamis_token_batch *batch = NULL;
  memset(again, 0, sizeof again);
  OK(tamis_token_batch_create(c, &hyp, &ref, owners, 1, &batch));
  OK(tamis_token_batch_statistics(batch, 4, TAMIS_LENGTH_SHORTEST, 0, 0, &again[0][0]));
  CHECK(memcmp(again, expected, sizeof again) == 0);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "max_n", tamis_token_batch_statistics(batch, 0, TAMIS_LENGTH_SHORTEST, 0, 0, &again[0][0]));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "batch", tamis_token_batch_statistics(NULL, 4, TAMIS_LENGTH_SHORTEST, 0, 0, &again[0][0]));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out", tamis_token_batch_create(c, &hyp, &ref, owners, 1, NULL));
  tamis_token_batch_destroy(batch);
  tamis_token_batch_destroy(NULL);

  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "reference_starts[1]", tamis_bleu(c, &o, &hyp, &ref, bad, 1, scores, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "references", tamis_bleu(c, &o, &hyp, &ref, NULL, 1, scores, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "hypotheses", tamis_bleu(c, &o, NULL, &ref, NULL, 1, scores, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "context", tamis_bleu(NULL, &o, &hyp, &ref, owners, 1, scores, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "candidates", tamis_bleu(c, &o, &hyp, &ref, owners, 0, scores, NULL));
  const int64_t falling[] = {0, 6, 5};
  hyp.starts = falling;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "starts[2]", tamis_bleu(c, &o, &hyp, &ref, owners, 1, scores, NULL));
  hyp.starts = hs;
  hyp.ids = NULL;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "ids", tamis_bleu(c, &o, &hyp, &ref, owners, 1, scores, NULL));
  rows[0][2] = 99;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "matches", tamis_bleu_finish(&o, &rows[0][0], 2, 4, scores, NULL));
  o.max_n = 0;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "max_n", tamis_bleu_finish(&o, &rows[0][0], 2, 4, scores, NULL));
  o.max_n = 4;
  o.rule = 9;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "rule", tamis_bleu_finish(&o, &rows[0][0], 2, 4, scores, NULL));
}

static void test_large_corpus(tamis_context *c) {
  enum { N = 4000, L = 600 };
  int32_t *ids = malloc(sizeof(int32_t) * N * L);
  double corpus[2] = {0, 0};
  int calls = 0;
  tamis_context *three = make_context(3);
  tamis_token_lists l;
  tamis_bleu_options o = TAMIS_BLEU_OPTIONS_INIT;
  for (int i = 0; i < N * L; i++) ids[i] = (int32_t)((i * 2654435761u) >> 20) % 50 - 25;
  memset(&l, 0, sizeof l);
  l.ids = ids;
  l.count = N / 2;
  l.width = L;
  tamis_token_lists r = l;
  r.ids = ids + N / 2 * L;
  OK(tamis_bleu(c, &o, &l, &r, NULL, 1, NULL, &corpus[0]));
  OK(tamis_bleu(three, &o, &l, &r, NULL, 1, NULL, &corpus[1]));
  CHECK(corpus[0] == corpus[1] && corpus[0] > 0);
  o.progress = stop;
  o.progress_user = &calls;
  FAILS(TAMIS_ERR_CANCELLED, "progress", tamis_bleu(c, &o, &l, &r, NULL, 1, NULL, &corpus[0]));
  CHECK(calls == 1);
  tamis_context_destroy(three);
  free(ids);
}

static void test_words(void) {
  static const char text[] = "Hello, world!Hello , world\xff";
  const int64_t starts[] = {0, 13, 27}, bad[] = {0, 14, 13};
  tamis_word_options o = TAMIS_WORD_OPTIONS_INIT;
  tamis_word_ids *words = NULL;
  tamis_token_lists l;
  int64_t vocabulary = -1;
  o.tokenizer = TAMIS_WORDS_13A;
  OK(tamis_word_ids_create(&o, text, starts, 2, &words));
  OK(tamis_word_ids_get(words, &l, &vocabulary));
  CHECK(l.count == 2 && vocabulary == 5 && l.starts[1] == 4 && l.starts[2] == 7);
  CHECK(l.ids[0] == 0 && l.ids[1] == 1 && l.ids[3] == 3 && l.ids[4] == 0 && l.ids[5] == 1 && l.ids[6] == 4);
  tamis_word_ids_destroy(words);
  tamis_word_ids_destroy(NULL);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "starts[2]", tamis_word_ids_create(&o, text, bad, 2, &words));
  o.tokenizer = 99;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "tokenizer", tamis_word_ids_create(&o, text, starts, 2, &words));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "words", tamis_word_ids_get(NULL, &l, NULL));
}

static void test_sequences(tamis_context *c) {
  const int32_t h[] = {1, 2, 3, 4, 1, 5}, r[] = {1, 2, 6, 4, 1, 5, 7}, moved[] = {4, 1, 5, 1, 2, 3};
  const int64_t hs[] = {0, 6}, rs[] = {0, 7};
  double score, corpus, triple[3], exact, f1;
  int64_t edits, counts[4], n, distinct[2][2];
  uint8_t steps[16];
  tamis_token_lists hyp = lists(h, hs, 1), ref = lists(r, rs, 1), shifted = lists(moved, hs, 1);
  tamis_chrf_options chrf = TAMIS_CHRF_OPTIONS_INIT;

  OK(tamis_ter(c, &shifted, &hyp, NULL, &score, &corpus, &edits, NULL, NULL, NULL));
  CHECK(edits == 1 && fabs(score - 100.0 / 6) < 1e-12 && corpus == score);
  OK(tamis_rouge(c, 1, &hyp, &ref, triple, NULL, NULL));
  CHECK(fabs(triple[0] - 5.0 / 6) < 1e-15 && fabs(triple[1] - 5.0 / 7) < 1e-15);
  OK(tamis_rouge(c, 0, &hyp, &ref, triple, NULL, NULL));
  CHECK(fabs(triple[2] - 10.0 / 13) < 1e-15);
  OK(tamis_rouge_lsum(c, &hyp, (const int64_t[]){0, 1}, &ref, (const int64_t[]){0, 1}, 1, triple, NULL, NULL));
  CHECK(fabs(triple[2] - 10.0 / 13) < 1e-15);
  OK(tamis_edit_distance(c, TAMIS_EDIT_LEVENSHTEIN, &ref, &hyp, &edits, counts, NULL, NULL));
  CHECK(edits == 2 && counts[0] == 5 && counts[1] == 1 && counts[2] == 1 && counts[3] == 0);
  OK(tamis_edit_alignment(r, 7, h, 6, steps, 16, &n));
  CHECK(n == 7 && steps[2] == TAMIS_EDIT_SUBSTITUTE && steps[6] == TAMIS_EDIT_DELETE);
  FAILS(TAMIS_ERR_BUFFER_TOO_SMALL, "capacity", tamis_edit_alignment(r, 7, h, 6, steps, 3, &n));
  CHECK(n == 7);
  OK(tamis_meteor(c, &hyp, &ref, NULL, 0.9, 3, 0.5, &score));
  CHECK(score > 0.6 && score < 0.75);
  OK(tamis_token_f1(c, &hyp, &ref, NULL, &exact, &f1));
  CHECK(exact == 0 && fabs(f1 - 10.0 / 13) < 1e-15);
  OK(tamis_distinct_ngrams(&hyp, 2, NULL, &distinct[0][0]));
  CHECK(distinct[0][0] == 5 && distinct[0][1] == 6 && distinct[1][0] == 5 && distinct[1][1] == 5);
  OK(tamis_repetition(&hyp, 4, counts));
  CHECK(counts[0] == 1 && counts[1] == 1 && counts[2] == 1);
  OK(tamis_chrf(c, &chrf, &hyp, &hyp, NULL, NULL, NULL, &score, &corpus, NULL));
  CHECK(score == 100 && corpus == 100);
  chrf.word_order = 2;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "hypotheses", tamis_chrf(c, &chrf, &hyp, &hyp, NULL, NULL, NULL, &score, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "at least 2", tamis_self_bleu(&hyp, 3, &score));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "window", tamis_repetition(&hyp, 0, counts));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n is", tamis_rouge(c, 17, &hyp, &ref, triple, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "alpha", tamis_meteor(c, &hyp, &ref, NULL, 1.5, 3, 0.5, &score));
}

void test_metrics(void) {
  tamis_context *c = make_context(1);
  test_bleu(c);
  test_large_corpus(c);
  test_words();
  test_sequences(c);
  tamis_context_destroy(c);
}
