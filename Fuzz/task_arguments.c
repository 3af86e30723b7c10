/* Tokenisation metrics, CharBench and Needle Threading with arguments from the fuzz bytes. After each input a known good call
 * must still give what it gave. */
#include "arena.h"

enum { TEXT = 1 << 10, LIST = 64, SLOTS = 2 };

static const char seeds[] = "the four cats \xc3\xa9 when [1, '2'] \"x\" \xff {keys}{haystack} "
                            "\xe4\xb8\xad\xe3\x80\x80 time 12 -7 a_b once upon\n";
static const char vocabulary[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n##b\nab\nthe\ncat\n##s\n.\n";

static tamis_context *good_context;
static tamis_tokenizer *good_tokenizer;
static tamis_token_statistics *good_statistics;
static tamis_needle_task *good_task;
static tamis_charbench *good_bench;

static tamis_token_statistics *slot[SLOTS];

static tamis_token_statistics *some_statistics(input *in) {
  tamis_token_statistics *s = slot[below(in, SLOTS)];
  return s && !chance(in, 6) ? s : chance(in, 12) ? (void *)good_task : NULL;
}

/* A text in the arena; its length is now and then one that no text has. */
static const char *a_text(input *in, size_t *length) {
  static const size_t never[] = {(size_t)-1, (size_t)1 << 31, (size_t)1 << 40, (size_t)INT64_MIN, SIZE_MAX / 2};
  char *at = (char *)address(in, TEXT);
  const size_t n = below(in, chance(in, 8) ? TEXT : 64);
  for (size_t i = 0; at && i < n; i++)
    if (chance(in, 2)) at[i] = seeds[(i + below(in, 2)) % (sizeof seeds - 1)];
  *length = chance(in, 24) ? never[below(in, 5)] : n;
  return at;
}

/* count + 1 offsets into a text of TEXT bytes, ascending but for a wild one. */
static const int64_t *some_starts(input *in, uint32_t count) {
  static _Alignas(64) int64_t starts[LIST + 2];
  int64_t at = 0;
  for (uint32_t i = 0; i <= count; i++) {
    starts[i] = at;
    at += below(in, TEXT / LIST);
  }
  if (chance(in, 8)) starts[below(in, count + 1)] = wild(in);
  for (uint32_t i = 0; i <= count; i++)
    if (starts[i] > TEXT && starts[i] <= INT32_MAX) starts[i] = TEXT;
  return chance(in, 24) ? NULL : (const int64_t *)(const void *)((const char *)starts + (chance(in, 32) ? 4 : 0));
}

static void call_statistics(input *in) {
  static int32_t ids[LIST], from[LIST], to[LIST], found[LIST];
  static int64_t lists_at[LIST + 1], counts[LIST];
  const uint32_t i = below(in, SLOTS), n = below(in, 8);
  tamis_token_lists tokens;
  size_t ignored;
  double corpus, mean;
  int64_t number;
  int calls = 0;
  memset(&tokens, 0, sizeof tokens);
  switch (below(in, 8)) {
    case 0:
      tamis_token_statistics_destroy(slot[i]);
      slot[i] = NULL;
      judged(tamis_token_statistics_create(chance(in, 4) ? wild32(in) : -1, chance(in, 16) ? NULL : &slot[i]));
      break;
    case 1:
    case 2: {
      int64_t at = 0;
      for (uint32_t j = 0; j < LIST; j++) {
        ids[j] = chance(in, 8) ? wild32(in) : (int32_t)below(in, 12);
        from[j] = chance(in, 24) ? wild32(in) : (int32_t)below(in, 4);
        to[j] = chance(in, 24) ? wild32(in) : from[j] + (int32_t)below(in, 3);
      }
      for (uint32_t j = 0; j <= n; j++) {
        lists_at[j] = at;
        at += below(in, LIST / 8);
      }
      if (chance(in, 12)) lists_at[below(in, n + 1)] = wild(in) % LIST;
      tokens.ids = chance(in, 16) ? NULL : ids;
      tokens.starts = lists_at;
      tokens.count = chance(in, 16) ? -1 : (int64_t)n;
      if (chance(in, 6)) {
        tokens.starts = NULL;
        tokens.width = chance(in, 6) ? wild(in) : LIST / 8;
        if (tokens.width > LIST / 8 && tokens.width <= INT32_MAX) tokens.width = LIST / 8;
      }
      const char *text = a_text(in, &ignored);
      judged(tamis_token_statistics_add(some_statistics(in), chance(in, 16) ? NULL : &tokens, text, some_starts(in, n),
                                        chance(in, 6) ? NULL : from, chance(in, 6) ? NULL : to,
                                        chance(in, 8) ? go_on : NULL, &calls));
      break;
    }
    case 3: {
      tamis_encode_options o = TAMIS_ENCODE_OPTIONS_INIT;
      o.struct_size = struct_size(in, sizeof o);
      o.offsets = (int32_t)below(in, 2);
      o.max_tokens = wild(in);
      const char *text = a_text(in, &ignored);
      judged(tamis_token_statistics_encode(some_statistics(in), chance(in, 12) ? NULL : good_context,
                                           chance(in, 12) ? (void *)good_context : good_tokenizer, chance(in, 2) ? NULL : &o,
                                           text, some_starts(in, n), chance(in, 12) ? -wild(in) % 5 : n, NULL, NULL));
      break;
    }
    case 4: judged(tamis_token_statistics_merge(some_statistics(in), some_statistics(in))); break;
    case 5: {
      tamis_token_report_options o = TAMIS_TOKEN_REPORT_OPTIONS_INIT;
      tamis_token_report report = TAMIS_TOKEN_REPORT_INIT;
      tamis_token_sums sums = TAMIS_TOKEN_SUMS_INIT;
      o.struct_size = struct_size(in, sizeof o);
      o.alpha = (double)wild_float(in);
      o.vocabulary = chance(in, 2) ? wild(in) : 0;
      o.percentile_from = chance(in, 3) ? (double)wild_float(in) : 0.25;
      o.percentile_to = chance(in, 3) ? (double)wild_float(in) : 0.5;
      report.struct_size = struct_size(in, sizeof report);
      sums.struct_size = struct_size(in, sizeof sums);
      judged(tamis_token_statistics_report(some_statistics(in), chance(in, 8) ? NULL : &o, chance(in, 16) ? NULL : &report));
      judged(tamis_token_statistics_sums(some_statistics(in), chance(in, 16) ? NULL : &sums));
      break;
    }
    case 6:
      judged(tamis_token_statistics_frequencies(some_statistics(in), chance(in, 8) ? NULL : found,
                                                chance(in, 8) ? NULL : counts, chance(in, 3) ? -wild(in) % LIST : LIST,
                                                chance(in, 16) ? NULL : &number));
      judged(tamis_token_premium(some_statistics(in), some_statistics(in), chance(in, 4) ? NULL : &corpus, &mean));
      break;
    default:
      judged(tamis_tokens_to_characters(some_statistics(in), wild(in), chance(in, 16) ? NULL : &number));
      judged(tamis_characters_to_tokens(some_statistics(in), wild(in), chance(in, 16) ? NULL : &number));
  }
}

static void call_charbench(input *in) {
  tamis_charbench_options o = TAMIS_CHARBENCH_OPTIONS_INIT;
  tamis_charbench *bench = NULL;
  tamis_charbench_row row = TAMIS_CHARBENCH_ROW_INIT;
  tamis_charbench_features features = TAMIS_CHARBENCH_FEATURES_INIT;
  const uint32_t n = below(in, 8);
  int32_t lengths[8];
  char prompt[200];
  size_t ignored, needed;
  o.struct_size = struct_size(in, sizeof o);
  o.min_length = chance(in, 6) ? wild32(in) : 1;
  o.max_length = chance(in, 6) ? wild32(in) : 5;
  o.rows = chance(in, 4) ? wild32(in) : 2;
  o.seed = (uint64_t)wild(in);
  const char *text = a_text(in, &ignored);
  judged(tamis_charbench_create(chance(in, 16) ? NULL : &o, text, some_starts(in, n), chance(in, 12) ? -wild(in) % 5 : n,
                                chance(in, 24) ? NULL : &bench));
  const tamis_charbench *used = bench && !chance(in, 4) ? bench : chance(in, 6) ? (void *)good_task : good_bench;
  const int64_t i = chance(in, 4) ? wild(in) : below(in, 6);
  for (int j = 0; j < 8; j++) lengths[j] = chance(in, 6) ? wild32(in) : 1 + (int32_t)below(in, 2);
  row.struct_size = struct_size(in, sizeof row);
  features.struct_size = struct_size(in, sizeof features);
  judged(tamis_charbench_get(used, i, chance(in, 16) ? NULL : &row));
  judged(tamis_charbench_prompt(used, i, chance(in, 8) ? NULL : prompt, below(in, sizeof prompt + 1), &needed));
  judged(tamis_charbench_features_of(used, i, chance(in, 16) ? NULL : lengths, chance(in, 16) ? -wild(in) % 9 : below(in, 9),
                                     chance(in, 16) ? NULL : &features));
  MUST(tamis_charbench_count(used) >= 0);
  tamis_charbench_destroy(bench);
}

static void call_figures(input *in) {
  double feature[8], values[8], accuracy[8], error[8], out;
  uint8_t correct[8], other[8];
  int64_t numbers[8], gold[8], counts[8], found;
  const int64_t n = chance(in, 12) ? -(int64_t)below(in, 5) - 1 : below(in, 9);
  size_t length;
  int32_t right, parsed;
  for (int i = 0; i < 8; i++) {
    feature[i] = (double)wild_float(in);
    accuracy[i] = (double)below(in, 17) / 16;
    correct[i] = (uint8_t)(chance(in, 40) ? below(in, 256) : below(in, 2));
    other[i] = (uint8_t)below(in, 2);
    numbers[i] = wild(in);
    gold[i] = wild(in);
  }
  const char *reply = a_text(in, &length);
  judged(tamis_charbench_score(reply, length, wild(in), chance(in, 16) ? NULL : &right, &parsed,
                               chance(in, 4) ? NULL : &found));
  judged(tamis_charbench_correlation(chance(in, 16) ? NULL : feature, correct, n, chance(in, 16) ? NULL : &out));
  judged(tamis_charbench_accuracy_by_value(feature, correct, n, values, counts, accuracy, error,
                                           chance(in, 4) ? -wild(in) % 9 : 8, chance(in, 16) ? NULL : &found));
  judged(tamis_charbench_error_overlap(correct, other, n, &out));
  judged(tamis_charbench_bias(numbers, gold, chance(in, 2) ? NULL : other, n, &out));
  judged(tamis_wilson_interval(wild(in), wild(in), (double)wild_float(in), chance(in, 16) ? NULL : &out, &out));
  for (int i = 0; i < 8; i++) feature[i] = chance(in, 8) ? (double)wild_float(in) : i + 1.5;
  judged(tamis_effective_context_length(feature, accuracy, n, chance(in, 3) ? (double)wild_float(in) : 0.75, &out));
}

static void call_needles(input *in) {
  static char prompt[1 << 14];
  tamis_needle_options o = TAMIS_NEEDLE_OPTIONS_INIT;
  tamis_needle_view view = TAMIS_NEEDLE_VIEW_INIT;
  tamis_needle_score score = TAMIS_NEEDLE_SCORE_INIT;
  tamis_needle_task *task = NULL;
  size_t length, needed;
  o.struct_size = struct_size(in, sizeof o);
  o.kind = chance(in, 12) ? wild32(in) : (int32_t)below(in, 5);
  o.pairs = chance(in, 4) ? wild(in) : 1 + below(in, 60);
  if (o.pairs > 4096 && o.pairs <= 1 << 20) o.pairs = 4096; /* legal, and slow */
  o.seed = (uint64_t)wild(in);
  o.depth = chance(in, 3) ? (double)wild_float(in) : 30;
  o.needles = chance(in, 4) ? wild32(in) : 1 + (int32_t)below(in, 9);
  o.placement = chance(in, 12) ? wild32(in) : (int32_t)below(in, 2);
  o.conditional_character = chance(in, 4) ? wild32(in) : '*';
  o.thread_length = chance(in, 4) ? wild32(in) : 1 + (int32_t)below(in, 6);
  o.direction = chance(in, 12) ? wild32(in) : (int32_t)below(in, 3);
  o.threads = chance(in, 4) ? wild32(in) : 1 + (int32_t)below(in, 6);
  judged(tamis_needle_task_create(chance(in, 16) ? NULL : &o, chance(in, 24) ? NULL : &task));
  const tamis_needle_task *used = task && !chance(in, 6) ? task : chance(in, 6) ? (void *)good_bench : good_task;
  view.struct_size = struct_size(in, sizeof view);
  const uint32_t view_size = view.struct_size;
  judged(tamis_needle_task_get(used, chance(in, 16) ? NULL : &view));
  if (view_size == sizeof view && view.haystack) {
    MUST(view.haystack_bytes % 80 == 0 && (int64_t)strlen(view.haystack) == view.haystack_bytes);
    for (int64_t i = 0; i < view.n_keys; i++) MUST(strlen(view.keys[i]) == 36 && strlen(view.answers[i]) == 36);
    for (int64_t i = 0; i < view.n_positions; i++) MUST(view.positions[i] >= 0 && view.positions[i] < view.haystack_bytes / 80);
  }
  const char *text = a_text(in, &length);
  score.struct_size = struct_size(in, sizeof score);
  judged(tamis_needle_task_score(used, text, length, chance(in, 16) ? NULL : &score));
  if (text) ((char *)(uintptr_t)text)[TEXT - 1] = 0;
  judged(tamis_needle_task_prompt(used, chance(in, 3) ? NULL : text, chance(in, 8) ? NULL : prompt,
                                  chance(in, 8) ? 0 : below(in, sizeof prompt + 1), chance(in, 8) ? NULL : &needed));
  tamis_needle_task_destroy(task);
}

static void set_up(void) {
  static const char four[] = "once upon time when four bear that cold";
  static const int64_t starts[] = {0, sizeof four - 1};
  MUST(tamis_context_create(NULL, &good_context) == TAMIS_OK);
  MUST(tamis_tokenizer_from_bytes(vocabulary, sizeof vocabulary - 1, TAMIS_TOKENIZER_VOCAB_TXT, NULL, &good_tokenizer) ==
       TAMIS_OK);
  MUST(tamis_token_statistics_create(-1, &good_statistics) == TAMIS_OK);
  MUST(tamis_token_statistics_encode(good_statistics, good_context, good_tokenizer, NULL, four, starts, 1, NULL, NULL) ==
       TAMIS_OK);
  MUST(tamis_needle_task_create(NULL, &good_task) == TAMIS_OK);
  MUST(tamis_charbench_create(NULL, four, starts, 1, &good_bench) == TAMIS_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static void (*const calls[])(input *) = {call_statistics, call_statistics, call_statistics,
                                           call_charbench,  call_figures,    call_needles};
  input in = {data, size};
  tamis_token_sums sums = TAMIS_TOKEN_SUMS_INIT;
  tamis_needle_score score = TAMIS_NEEDLE_SCORE_INIT;
  if (!good_context) set_up();
  for (size_t i = 0; i < ARENA; i++) arena[i] = (uint8_t)(i * 31);
  for (size_t i = 0; in.left > 0 && i < 64; i++) calls[below(&in, sizeof calls / sizeof *calls)](&in);
  MUST(tamis_token_statistics_sums(good_statistics, &sums) == TAMIS_OK && sums.words == 8);
  MUST(tamis_needle_task_score(good_task, "1759edc3-72ae-2244-8b01-63c1cd9d2b7d", 36, &score) == TAMIS_OK);
  MUST(score.correct == 1);
  for (int i = 0; i < SLOTS; i++) {
    tamis_token_statistics_destroy(slot[i]);
    slot[i] = NULL;
  }
  return 0;
}
