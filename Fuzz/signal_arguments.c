/* Training signals with arguments from the fuzz bytes. After each input known good calls must still succeed. */
#include "arena.h"

enum { ROWS = 4, WIDTH = 12, ALL = ROWS * WIDTH, ROOM = MAX_ELEMENTS };

static tamis_context *good_context;

static tamis_context *a_context(input *in) { return chance(in, 24) ? NULL : good_context; }

/* A count up to n, now and then one that nothing has so many of. */
static int64_t a_count(input *in, int64_t n) {
  static const int64_t never[] = {-1, INT64_MIN, INT64_MAX, (int64_t)1 << 31, -40};
  return chance(in, 16) ? never[below(in, 5)] : (int64_t)below(in, (uint32_t)n + 1);
}

static double wild_double(input *in) {
  uint64_t bits;
  double value;
  if (!chance(in, 12)) return (double)below(in, 64) / 32.0 - (chance(in, 3) ? 1 : 0);
  bits = take(in, 8);
  memcpy(&value, &bits, sizeof value);
  return value;
}

static double *numbers(input *in) {
  double *values = (double *)address(in, ROOM);
  for (int i = 0; values && i < 2 * ALL; i++) {
    const double value = wild_double(in);
    memcpy(&values[i], &value, sizeof value);
  }
  return values;
}

static int64_t *integers(input *in, int64_t most) {
  int64_t *values = (int64_t *)address(in, ROOM);
  for (int i = 0; values && i < 2 * ALL; i++) {
    const int64_t value = chance(in, 24) ? wild(in) : chance(in, 3) ? TAMIS_NO_LABEL : (int64_t)below(in, (uint32_t)most);
    memcpy(&values[i], &value, sizeof value);
  }
  return values;
}

static int32_t *ids(input *in, uint32_t most) {
  int32_t *values = (int32_t *)address(in, ROOM);
  for (int i = 0; values && i < 2 * ALL; i++) {
    const int32_t value = chance(in, 100) ? wild32(in) : (int32_t)below(in, most);
    memcpy(&values[i], &value, sizeof value);
  }
  return values;
}

static uint8_t *flags(input *in, uint32_t most) {
  uint8_t *values = (uint8_t *)address(in, ROOM);
  for (int i = 0; values && i < 2 * ALL; i++) values[i] = chance(in, 100) ? (uint8_t)take(in, 1) : (uint8_t)below(in, most);
  return values;
}

static void *room(input *in) { return address(in, ROOM); }
static void *may(input *in, void *pointer) { return chance(in, 3) ? NULL : pointer; }

static tamis_token_lists lists(input *in, uint32_t most) {
  static int64_t starts[ROWS + 1];
  tamis_token_lists l = {ids(in, most), NULL, NULL, a_count(in, ROWS), 0};
  if (chance(in, 2)) {
    l.width = a_count(in, WIDTH);
    if (chance(in, 3)) l.lengths = integers(in, WIDTH);
    return l;
  }
  for (int i = 0; i <= ROWS; i++) starts[i] = i ? starts[i - 1] + below(in, WIDTH) : below(in, 3);
  if (chance(in, 12)) starts[below(in, ROWS + 1)] = -(int64_t)below(in, 9);
  l.starts = starts;
  return l;
}

static tamis_sparse_targets targets(input *in) {
  static int64_t starts[2][ROWS + 1];
  static int turn;
  int64_t *own = starts[turn ^= 1];
  int32_t *tokens = ids(in, 3);
  int32_t last = 0;
  for (int i = 0; tokens && i < ALL && !chance(in, 40); i++) {
    last += 1 + (int32_t)below(in, 2);
    memcpy(&tokens[i], &last, sizeof last);
  }
  for (int i = 0; i <= ROWS; i++) own[i] = i ? own[i - 1] + below(in, 5) : below(in, 3);
  if (chance(in, 12)) own[below(in, ROWS + 1)] = -(int64_t)below(in, 9);
  return (tamis_sparse_targets){tokens, numbers(in), chance(in, 24) ? NULL : own, a_count(in, ROWS)};
}

static void call_selection(input *in) {
  const int64_t batch = a_count(in, ROWS), tokens = a_count(in, WIDTH);
  switch (below(in, 5)) {
    case 0:
      judged(tamis_sstoken_scores(numbers(in), numbers(in), may(in, numbers(in)), integers(in, 9), batch, tokens,
                                  wild_double(in), may(in, room(in)), room(in)));
      break;
    case 1:
      judged(tamis_select_tokens(numbers(in), integers(in, 9), batch, tokens, wild_double(in), (int32_t)below(in, 3),
                                 (int32_t)below(in, 3), room(in), may(in, room(in))));
      break;
    case 2: {
      tamis_tensor a = tensor3(in, 2, WIDTH, WIDTH);
      judged(tamis_prompt_attention(a_context(in), maybe(in, &a), flags(in, 2), (int32_t)below(in, 3),
                                    address(in, 8 * MAX_ELEMENTS)));
      break;
    }
    case 3: {
      tamis_attention_options o = TAMIS_ATTENTION_OPTIONS_INIT;
      tamis_tensor q = tensor3(in, 2, WIDTH, 8), k = tensor3(in, 1, WIDTH, 8);
      o.struct_size = struct_size(in, sizeof o);
      if (chance(in, 4)) o.q_offset = wild(in);
      if (chance(in, 4)) o.window = wild(in);
      if (chance(in, 8)) o.scale = wild_float(in);
      if (chance(in, 8)) o.causal = wild32(in);
      uint8_t *prompt = address(in, MAX_ELEMENTS);
      for (int i = 0; prompt && i < 64; i++) prompt[i] = (uint8_t)below(in, 2);
      judged(tamis_prompt_attention_keys(a_context(in), chance(in, 4) ? NULL : &o, maybe(in, &q), maybe(in, &k), prompt,
                                         (int32_t)below(in, 3), address(in, 8 * MAX_ELEMENTS)));
      break;
    }
    default: {
      tamis_tensor h = tensor2(in, ROWS, WIDTH), c = tensor2(in, ROWS, WIDTH);
      judged(tamis_ema_update(a_context(in), maybe(in, &h), maybe(in, &c), wild_double(in)));
    }
  }
}

static tamis_answers answers(input *in) {
  return (tamis_answers){numbers(in), numbers(in), may(in, numbers(in)), may(in, flags(in, 2)), may(in, room(in))};
}

static void call_pairs(input *in) {
  const int64_t batch = a_count(in, ROWS), tokens = a_count(in, WIDTH);
  tamis_answers a = answers(in), b = answers(in);
  int64_t critical;
  switch (below(in, 6)) {
    case 0: {
      tamis_cdpo_weight_options o = {struct_size(in, sizeof o), (int32_t)below(in, 3), (int32_t)below(in, 2),
                                     (int32_t)below(in, 3), (int32_t)below(in, 2), (int32_t)below(in, 2)};
      judged(tamis_cdpo_weights(chance(in, 4) ? NULL : &o, numbers(in), a_count(in, ALL), room(in)));
      break;
    }
    case 1:
      judged(tamis_cdpo_loss(chance(in, 16) ? NULL : &a, &b, batch, tokens, wild_double(in), (int32_t)below(in, 3), room(in),
                             may(in, room(in))));
      break;
    case 2:
      judged(tamis_critical_token(integers(in, 9), a_count(in, ALL), wild(in), wild(in), chance(in, 16) ? NULL : &critical));
      break;
    case 3: judged(tamis_pass_at_k(integers(in, 9), a_count(in, ALL), wild(in), wild(in), room(in))); break;
    case 4: judged(tamis_treg_rewards(numbers(in), numbers(in), a_count(in, ALL), room(in))); break;
    default: {
      tamis_treg_options o = {struct_size(in, sizeof o), (int32_t)below(in, 3), (int32_t)below(in, 2), chance(in, 16),
                              wild_double(in), wild_double(in)};
      judged(tamis_treg_loss(chance(in, 4) ? NULL : &o, &a, chance(in, 16) ? NULL : &b, batch, tokens, room(in),
                             may(in, room(in)), may(in, room(in))));
    }
  }
}

static void call_budgets(input *in) {
  tamis_rmt_options o = TAMIS_RMT_OPTIONS_INIT;
  const int64_t step = chance(in, 4) ? wild(in) : below(in, 1001), n = a_count(in, ALL);
  o.struct_size = struct_size(in, sizeof o);
  if (chance(in, 6)) o.steps = wild(in);
  if (chance(in, 6)) o.first_budget = wild(in);
  if (chance(in, 6)) o.least_budget = wild(in);
  if (chance(in, 6)) o.decay = wild_double(in);
  if (chance(in, 6)) o.phase1 = wild_double(in);
  if (chance(in, 6)) o.hard2 = wild_double(in);
  if (chance(in, 6)) o.largest_reward = wild_double(in);
  switch (below(in, 4)) {
    case 0: judged(tamis_rmt_schedule(&o, step, may(in, room(in)), may(in, room(in)))); break;
    case 1: judged(tamis_rmt_rewards(&o, step, flags(in, 2), integers(in, 9), n, may(in, room(in)), may(in, room(in)))); break;
    case 2:
      judged(tamis_rmt_tiers(numbers(in), may(in, flags(in, 2)), n, may(in, numbers(in)), room(in), may(in, room(in))));
      break;
    default: judged(tamis_rmt_sample(&o, step, take(in, 8), flags(in, 3), n, a_count(in, ALL), room(in)));
  }
}

static void call_losses(input *in) {
  tamis_caft_options o = {struct_size(in, sizeof o), chance(in, 8) ? wild32(in) : (int32_t)below(in, 2), (int32_t)below(in, 6),
                          (int32_t)below(in, 3), chance(in, 4) ? wild(in) : 0, chance(in, 4) ? wild(in) : 2,
                          wild_double(in), wild_double(in), wild_double(in)};
  const int64_t n = a_count(in, ALL), batch = a_count(in, ROWS), tokens = a_count(in, WIDTH);
  if (o.heads > 1 && o.heads <= 1024) o.heads = 1; /* what the arrays have room for */
  switch (below(in, 5)) {
    case 0: judged(tamis_tool_call_weights(flags(in, 3), n, wild_double(in), room(in))); break;
    case 1:
      judged(tamis_tool_call_loss(numbers(in), flags(in, 3), n, wild_double(in), wild_double(in), room(in), may(in, room(in))));
      break;
    case 2: {
      tamis_token_lists others = lists(in, 3);
      judged(tamis_tool_name_keys(ids(in, 3), a_count(in, WIDTH), chance(in, 16) ? NULL : &others, room(in), room(in)));
      break;
    }
    case 3:
      judged(tamis_caft_weights(chance(in, 16) ? NULL : &o, integers(in, 9), batch, tokens, may(in, room(in)),
                                may(in, room(in))));
      break;
    default:
      judged(tamis_caft_loss(&o, numbers(in), integers(in, 9), batch, tokens, room(in), may(in, room(in))));
  }
}

static void call_texts(input *in) {
  tamis_token_lists l = lists(in, WIDTH);
  tamis_sparse_targets a = targets(in), b = targets(in);
  tamis_tensor z = tensor2(in, ROWS, WIDTH);
  const int64_t vocabulary = chance(in, 4) ? a_count(in, ALL) : WIDTH;
  int64_t count;
  switch (below(in, 8)) {
    case 0: judged(tamis_token_counts(&l, vocabulary, may(in, room(in)), may(in, room(in)))); break;
    case 1:
      judged(tamis_function_tokens((const uint64_t *)integers(in, 9), vocabulary, wild_double(in), room(in), may(in, &count)));
      break;
    case 2:
      judged(tamis_function_nll(&l, flags(in, 2), vocabulary, numbers(in), may(in, flags(in, 2)), numbers(in),
                                integers(in, 9)));
      break;
    case 3: judged(tamis_inverse_document_frequency(integers(in, 9), vocabulary, wild(in), room(in))); break;
    case 4:
      judged(tamis_text_target(ids(in, WIDTH), a_count(in, ALL), numbers(in), may(in, flags(in, 2)), vocabulary, room(in),
                               room(in), chance(in, 16) ? NULL : &count));
      break;
    case 5:
      judged(tamis_model_target(a_context(in), maybe(in, &z), may(in, flags(in, 2)), may(in, flags(in, 2)), wild(in),
                                address(in, 4 * MAX_ELEMENTS), address(in, 8 * MAX_ELEMENTS), &count,
                                may(in, address(in, 8 * MAX_ELEMENTS))));
      break;
    case 6:
      judged(tamis_mix_targets(&a, chance(in, 16) ? NULL : &b, wild_double(in), room(in), room(in), room(in)));
      break;
    default:
      if (chance(in, 2)) judged(tamis_target_kl(a_context(in), maybe(in, &z), &a, address(in, 8 * MAX_ELEMENTS)));
      else
        judged(tamis_text_overlap(a_context(in), maybe(in, &z), &l, wild(in), may(in, address(in, 8 * MAX_ELEMENTS)),
                                  may(in, address(in, 8 * MAX_ELEMENTS))));
  }
}

static void call_keys(input *in) {
  tamis_key_options o = {struct_size(in, sizeof o), chance(in, 24), chance(in, 3) ? wild(in) : 1 + below(in, 4),
                         chance(in, 3) ? wild(in) : 4 + below(in, 8)};
  tamis_key_report report = {.struct_size = struct_size(in, sizeof report)};
  tamis_tensor z = tensor(in, 1, (int64_t[]){WIDTH}), w = tensor2(in, WIDTH, ROWS);
  int32_t token;
  if (o.top > MAX_ELEMENTS && o.top <= INT32_MAX) o.top = WIDTH;
  int32_t *clusters = (int32_t *)address(in, 4 * MAX_ELEMENTS);
  for (int i = 0; clusters && i < ALL; i++) {
    const int32_t cluster = chance(in, 40) ? wild32(in) : (int32_t)below(in, 4);
    memcpy(&clusters[i], &cluster, sizeof cluster);
  }
  switch (below(in, 4)) {
    case 0:
      judged(tamis_key_diagnostic(a_context(in), chance(in, 8) ? NULL : &o, maybe(in, &z), clusters, may(in, &w),
                                  may(in, flags(in, 2)), may(in, address(in, 4 * MAX_ELEMENTS)), &report));
      break;
    case 1:
      judged(tamis_key_neighbors(a_context(in), maybe(in, &w), ids(in, WIDTH), a_count(in, WIDTH), a_count(in, WIDTH), room(in),
                                 may(in, room(in))));
      break;
    case 2: judged(tamis_decorrelated_rank(ids(in, WIDTH), a_count(in, ALL), clusters, a_count(in, ALL), room(in))); break;
    default: judged(tamis_unused_token(maybe(in, &z), flags(in, 2), chance(in, 16) ? NULL : &token));
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static void (*const calls[])(input *) = {call_selection, call_pairs, call_budgets, call_losses, call_texts, call_keys};
  const double scores[4] = {1, 3, 2, 3};
  const int64_t labels[4] = {5, 6, 7, TAMIS_NO_LABEL};
  int64_t selected[4];
  input in = {data, size};
  if (!good_context) MUST(tamis_context_create(NULL, &good_context) == TAMIS_OK);
  for (size_t i = 0; i < ARENA; i++) arena[i] = (uint8_t)(i * 31);
  for (size_t i = 0; in.left > 0 && i < 64; i++) calls[below(&in, sizeof calls / sizeof *calls)](&in);
  MUST(tamis_select_tokens(scores, labels, 1, 4, 0.5, TAMIS_ROUND_UP, TAMIS_TOKENS_OF_SAMPLE, selected, NULL) == TAMIS_OK);
  MUST(selected[0] == TAMIS_NO_LABEL && selected[1] == 6 && selected[2] == 7 && selected[3] == TAMIS_NO_LABEL);
  return 0;
}
