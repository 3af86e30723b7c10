/* Contexts, caches, selectors, attention and tensor operations of the C API with arguments from the fuzz bytes: wild shapes,
 * strides, pointers, enums, sizes. After each input a known good call must still succeed. (Text: text_arguments.c,
 * compression_arguments.c.) */
#include "arena.h"

enum { SLOTS = 3 };

static tamis_context *good_context;
static tamis_kv_cache *good_cache;
static tamis_selector *good_selector;
static tamis_sequence good_sequence;

static struct {
  tamis_context *context;
  tamis_kv_cache *cache;
  tamis_selector *selector;
} slot[SLOTS];

/* ------------------------------------------------------------------------------------------------ arguments */

static tamis_context *a_context(input *in) {
  tamis_context *c = chance(in, 16) ? NULL : slot[below(in, SLOTS)].context;
  return c && chance(in, 2) ? c : chance(in, 32) ? NULL : good_context;
}
static tamis_kv_cache *a_cache(input *in) {
  tamis_kv_cache *c = slot[below(in, SLOTS)].cache;
  return c && !chance(in, 4) ? c : chance(in, 32) ? (tamis_kv_cache *)(void *)good_context : good_cache;
}
static tamis_selector *a_selector(input *in) {
  tamis_selector *s = slot[below(in, SLOTS)].selector;
  return s && !chance(in, 4) ? s : chance(in, 32) ? NULL : good_selector;
}
/* Never the good sequence of the good cache: the check at the end needs it whole. */
static tamis_sequence a_sequence(input *in, const tamis_kv_cache *cache) {
  tamis_sequence s = chance(in, 8) ? wild(in) : (tamis_sequence)below(in, 6);
  return cache == good_cache && s == good_sequence ? s + 1 : s;
}

/* ------------------------------------------------------------------------------------------------ calls */

static void call_context(input *in) {
  tamis_context_options o = TAMIS_CONTEXT_OPTIONS_INIT;
  const uint32_t i = below(in, SLOTS);
  char name[32];
  size_t needed;
  o.struct_size = struct_size(in, sizeof o);
  o.n_threads = chance(in, 4) ? wild32(in) : 1 + (int32_t)below(in, 3);
  if (o.n_threads > 3 && o.n_threads <= 1024) o.n_threads = 2;
  o.device = chance(in, 8) ? 2 + wild32(in) % 100 : TAMIS_DEVICE_CPU;
  if (o.device == TAMIS_DEVICE_OPENCL) o.device = 7;
  o.log_level = chance(in, 8) ? wild32(in) : TAMIS_LOG_DEBUG;
  tamis_context_destroy(slot[i].context);
  slot[i].context = NULL;
  judged(tamis_context_create(chance(in, 8) ? NULL : &o, chance(in, 16) ? NULL : &slot[i].context));
  judged(tamis_context_device_name(a_context(in), chance(in, 4) ? NULL : name, below(in, sizeof name + 1), &needed));
  MUST(tamis_context_threads(a_context(in)) >= 0);
}

static tamis_rope a_rope(input *in) {
  tamis_rope rope = TAMIS_ROPE_INIT;
  rope.style = chance(in, 8) ? wild32(in) : (tamis_rope_style)below(in, 3);
  rope.rotary_dims = chance(in, 4) ? wild32(in) : 0;
  rope.base = chance(in, 8) ? (double)wild_float(in) : 10000;
  rope.scale = chance(in, 8) ? (double)wild_float(in) : 1;
  return rope;
}

static void call_cache(input *in) {
  tamis_kv_options o = TAMIS_KV_OPTIONS_INIT;
  const uint32_t i = below(in, SLOTS);
  o.struct_size = struct_size(in, sizeof o);
  o.layers = chance(in, 8) ? wild32(in) : 1 + (int32_t)below(in, 2);
  o.kv_heads = chance(in, 8) ? wild32(in) : 1 + (int32_t)below(in, 2);
  o.head_dim = chance(in, 8) ? wild32(in) : 8;
  o.dtype = chance(in, 8) ? wild32(in) : (tamis_dtype)below(in, 4);
  o.page_tokens = chance(in, 8) ? wild32(in) : 16;
  o.max_tokens = chance(in, 8) ? wild(in) : 64;
  o.rope = a_rope(in);
  o.scoring_copy = chance(in, 2) ? wild32(in) % 5 : -1;
  tamis_kv_destroy(slot[i].cache);
  slot[i].cache = NULL;
  judged(tamis_kv_create(a_context(in), chance(in, 16) ? NULL : &o, chance(in, 16) ? NULL : &slot[i].cache));
  o.struct_size = sizeof o;
  judged(tamis_kv_get_options(a_cache(in), chance(in, 16) ? NULL : &o));
}

static void call_selector(input *in) {
  tamis_selector_options o = TAMIS_SELECTOR_OPTIONS_INIT;
  const uint32_t i = below(in, SLOTS);
  o.struct_size = struct_size(in, sizeof o);
  o.method = chance(in, 8) ? wild32(in) : (tamis_method)below(in, 3);
  o.q_heads = chance(in, 8) ? wild32(in) : 2 * (int32_t)below(in, 3);
  o.n_sink = chance(in, 8) ? wild32(in) : (int32_t)below(in, 9);
  o.n_recent = chance(in, 8) ? wild32(in) : 8 + (int32_t)below(in, 9);
  o.top_k = chance(in, 8) ? wild32(in) : (int32_t)below(in, 20);
  o.chunk = chance(in, 8) ? wild32(in) : 1 + (int32_t)below(in, 8);
  o.similarity = chance(in, 4) ? wild_float(in) : 0.5f;
  o.vote = chance(in, 8) ? wild32(in) : (tamis_vote)below(in, 3);
  o.head_map = chance(in, 8) ? wild32(in) : (tamis_head_map)below(in, 2);
  o.pool = chance(in, 4) ? wild32(in) : 0;
  o.positions = chance(in, 8) ? wild32(in) : (tamis_positions)below(in, 2);
  o.scale = wild_float(in);
  o.softcap = wild_float(in);
  o.window = chance(in, 4) ? wild(in) : 0;
  if (o.q_heads < 1024 && chance(in, 4)) o.key0_bias = (const float *)address(in, 1 << 12);
  tamis_selector_destroy(slot[i].selector);
  slot[i].selector = NULL;
  judged(tamis_selector_create(a_cache(in), chance(in, 16) ? NULL : &o, chance(in, 16) ? NULL : &slot[i].selector));
}

static void call_sequences(input *in) {
  tamis_kv_cache *cache = a_cache(in);
  tamis_sequence s = a_sequence(in, cache), out = 0;
  tamis_kv_memory memory;
  int64_t n;
  memset(&memory, 0, sizeof memory);
  memory.struct_size = struct_size(in, sizeof memory);
  switch (below(in, 6)) {
    case 0: judged(tamis_kv_sequence_create(cache, chance(in, 16) ? NULL : &out)); break;
    case 1: judged(tamis_kv_sequence_fork(cache, s, chance(in, 2) ? -1 : wild(in), chance(in, 16) ? NULL : &out)); break;
    case 2: judged(tamis_kv_sequence_destroy(cache, s)); break;
    case 3: judged(tamis_kv_length(cache, s, chance(in, 8) ? wild32(in) : 0, chance(in, 16) ? NULL : &n)); break;
    case 4: judged(tamis_kv_truncate(cache, s, wild(in))); break;
    default: judged(tamis_kv_memory_report(cache, chance(in, 16) ? NULL : &memory)); break;
  }
}

static void call_append(input *in) {
  tamis_kv_cache *cache = a_cache(in);
  const int64_t heads = 1 + below(in, 2), n = 1 + below(in, 24);
  tamis_tensor k = tensor3(in, heads, n, 8), v = tensor3(in, heads, n, 8);
  tamis_sequence s = a_sequence(in, cache);
  int32_t layer = chance(in, 8) ? wild32(in) : (int32_t)below(in, 2);
  if (chance(in, 2)) judged(tamis_kv_append(cache, s, layer, maybe(in, &k), maybe(in, &v)));
  else judged(tamis_kv_read(cache, s, layer, chance(in, 2) ? wild(in) : 0, maybe(in, &k), maybe(in, &v)));
}

static void call_attend(input *in) {
  tamis_selector *selector = a_selector(in);
  const int64_t heads = 1 + below(in, 4), n = 1 + below(in, 5);
  tamis_tensor q = tensor3(in, heads, n, 8), out = tensor3(in, heads, n, 8), lse = tensor2(in, heads, n);
  tamis_sequence s = chance(in, 8) ? wild(in) : (tamis_sequence)below(in, 6);
  int32_t layer = chance(in, 8) ? wild32(in) : (int32_t)below(in, 2);
  tamis_retrieval_stats stats = TAMIS_RETRIEVAL_STATS_INIT;
  int64_t found = 0;
  stats.struct_size = struct_size(in, sizeof stats);
  switch (below(in, 4)) {
    case 0: {
      int32_t list[64];
      const uint32_t count = below(in, 64);
      for (uint32_t i = 0; i < count; i++) list[i] = chance(in, 16) ? wild32(in) : (int32_t)i;
      judged(tamis_attend_tokens(selector, s, layer, maybe(in, &q), chance(in, 16) ? NULL : list,
                                 chance(in, 16) ? -5 : (int64_t)count, maybe(in, &out), chance(in, 2) ? NULL : &lse, &stats));
      break;
    }
    case 1: {
      int32_t *list = (int32_t *)address(in, 1 << 13);
      judged(tamis_retrieve(selector, s, layer, maybe(in, &q), list, chance(in, 8) ? -wild(in) % 1024 : below(in, 1024),
                            chance(in, 16) ? NULL : &found, chance(in, 2) ? NULL : (float *)address(in, 1 << 13)));
      break;
    }
    case 2: judged(tamis_selector_reset(selector, chance(in, 2) ? -1 : wild(in))); break;
    default:
      judged(tamis_attend(selector, s, layer, maybe(in, &q), maybe(in, &out), chance(in, 2) ? NULL : &lse,
                          chance(in, 2) ? NULL : &stats));
  }
}

static void call_attention(input *in) {
  tamis_attention_options o = TAMIS_ATTENTION_OPTIONS_INIT;
  const int64_t hq = 1 + below(in, 4), hk = 1 + below(in, 2), n = 1 + below(in, 20), m = 1 + below(in, 20),
                d = 8 * (1 + below(in, 3));
  tamis_tensor q = tensor3(in, hq, n, d), k = tensor3(in, hk, m, d), v = tensor3(in, hk, m, d), out = tensor3(in, hq, n, d);
  tamis_tensor lse = tensor2(in, hq, n), parts[2], lses[2];
  int calls = 0;
  o.struct_size = struct_size(in, sizeof o);
  o.causal = chance(in, 8) ? wild32(in) : (int32_t)below(in, 2);
  o.q_offset = chance(in, 2) ? wild(in) : TAMIS_AT_END;
  o.window = chance(in, 2) ? wild(in) : 0;
  o.scale = wild_float(in);
  o.softcap = wild_float(in);
  o.compute = chance(in, 8) ? wild32(in) : (tamis_compute)below(in, 3);
  if (chance(in, 4)) o.key0_bias = (const float *)address(in, 4 * MAX_ELEMENTS);
  if (chance(in, 2)) o.progress = go_on, o.progress_user = &calls;
  judged(tamis_attention(a_context(in), chance(in, 8) ? NULL : &o, maybe(in, &q), maybe(in, &k), maybe(in, &v), maybe(in, &out),
                         chance(in, 2) ? NULL : &lse));
  for (int i = 0; i < 2; i++) parts[i] = tensor3(in, hq, n, d), lses[i] = tensor2(in, hq, n);
  judged(tamis_attention_merge(a_context(in), chance(in, 8) ? -wild32(in) % 3 : 2, maybe(in, parts), maybe(in, lses),
                               maybe(in, &out), maybe(in, &lse)));
}

static int32_t a_score(const float *gamma, int32_t layers, int32_t heads, double *score, void *user) {
  input *in = (input *)user;
  *score = chance(in, 2) ? (double)wild_float(in) : (double)gamma[layers * heads - 1];
  return !chance(in, 8) && in->left > 0;
}

static void call_zero_tuning(input *in) {
  tamis_zero_tuning_options o = TAMIS_ZERO_TUNING_OPTIONS_INIT;
  tamis_zero_tuning_result r = TAMIS_ZERO_TUNING_RESULT_INIT;
  o.struct_size = struct_size(in, sizeof o);
  if (o.struct_size > sizeof o && o.struct_size <= 4096) o.struct_size = sizeof o;
  r.struct_size = struct_size(in, sizeof r);
  if (r.struct_size > sizeof r && r.struct_size <= 4096) r.struct_size = sizeof r;
  o.layers = chance(in, 8) ? wild32(in) % 5 - 4 : 1 + (int32_t)below(in, 6);
  o.heads = chance(in, 8) ? wild32(in) % 5 - 4 : 1 + (int32_t)below(in, 6);
  o.unit = chance(in, 8) ? wild32(in) : (tamis_zero_tuning_unit)below(in, 3);
  if (chance(in, 3)) o.probe_gamma = wild_float(in);
  if (chance(in, 3)) o.share = wild_float(in);
  if (chance(in, 3)) o.gamma_min = wild_float(in);
  if (chance(in, 3)) o.gamma_max = wild_float(in);
  if (chance(in, 3)) o.gamma_step = wild_float(in);
  judged(tamis_zero_tuning_search(chance(in, 8) ? NULL : &o, chance(in, 16) ? NULL : a_score, in, (float *)address(in, 1 << 10),
                                  chance(in, 2) ? NULL : (double *)address(in, 1 << 10), chance(in, 16) ? NULL : &r));
  const int64_t n = chance(in, 8) ? wild(in) % 9 - 8 : (int64_t)below(in, 40);
  judged(tamis_zero_tuning_bias((const float *)address(in, 160), n, (float *)address(in, 160)));
}

static void call_act(input *in) {
  tamis_attention_options o = TAMIS_ATTENTION_OPTIONS_INIT;
  tamis_act_options act = TAMIS_ACT_OPTIONS_INIT;
  tamis_context *c = a_context(in);
  tamis_act_state *state = NULL;
  int64_t count = 0;
  int calls = 0;
  const int64_t hq = 1 + below(in, 4), hk = 1 + below(in, 2), d = 8 * (1 + below(in, 3));
  judged(tamis_act_state_create(c, chance(in, 8) ? wild32(in) : (int32_t)hq, chance(in, 16) ? NULL : &state));
  for (int call = 0; call < 3; call++) {
    const int64_t n = 1 + below(in, 20), m = 1 + below(in, 20);
    tamis_tensor q = tensor3(in, hq, n, d), k = tensor3(in, hk, m, d), v = tensor3(in, hk, m, d), out = tensor3(in, hq, n, d);
    tamis_tensor lse = tensor2(in, hq, n);
    act.struct_size = struct_size(in, sizeof act);
    if (act.struct_size > sizeof act && act.struct_size <= 4096) act.struct_size = sizeof act;
    o.causal = chance(in, 8) ? wild32(in) : 1;
    o.q_offset = chance(in, 4) ? wild(in) : chance(in, 2) ? (int64_t)below(in, 20) : TAMIS_AT_END;
    o.window = chance(in, 4) ? wild(in) : 0;
    o.scale = chance(in, 4) ? wild_float(in) : 0;
    o.softcap = chance(in, 4) ? wild_float(in) : 0;
    if (chance(in, 4)) o.key0_bias = (const float *)address(in, 4 * MAX_ELEMENTS);
    act.threshold = chance(in, 3) ? wild_float(in) : 0.05f;
    act.beta = chance(in, 3) ? wild_float(in) : 0.4f;
    act.min_rows = chance(in, 4) ? wild32(in) : 1;
    act.heads = chance(in, 4) ? (const uint8_t *)address(in, MAX_ELEMENTS) : NULL;
    if (chance(in, 2)) o.progress = go_on, o.progress_user = &calls;
    judged(tamis_act_attention(chance(in, 8) ? good_context : c, chance(in, 8) ? NULL : &o, chance(in, 8) ? NULL : &act,
                               chance(in, 4) ? NULL : state, maybe(in, &q), maybe(in, &k), maybe(in, &v), maybe(in, &out),
                               chance(in, 2) ? NULL : &lse));
    judged(tamis_act_sinks(state, chance(in, 4) ? wild32(in) : (int32_t)below(in, 5), (int32_t *)address(in, 128),
                           chance(in, 8) ? wild(in) % 9 - 8 : (int64_t)below(in, 20), chance(in, 16) ? NULL : &count));
    if (chance(in, 3)) judged(tamis_act_state_reset(state));
  }
  tamis_act_state_destroy(state);
}

/* Lists are as long as the library may read: a row holds no more tiles than there are keys. */
static void call_sparse(input *in) {
  static int64_t row_ptr[MAX_ELEMENTS + 1];
  static int32_t index[MAX_ELEMENTS];
  tamis_attention_options o = TAMIS_ATTENTION_OPTIONS_INIT;
  tamis_tiles tiles = TAMIS_TILES_INIT, back = TAMIS_TILES_INIT;
  tamis_sparse_stats stats = TAMIS_SPARSE_STATS_INIT;
  tamis_sparse_mask *mask = NULL;
  const int64_t *boundaries;
  int64_t count;
  const int64_t hq = 1 + below(in, 4), hk = 1 + below(in, 2), n = 1 + below(in, 20), m = 1 + below(in, 20);
  const int64_t d = 8 * (1 + below(in, 3));
  tamis_tensor q = tensor3(in, hq, n, d), k = tensor3(in, hk, m, d), v = tensor3(in, hk, m, d), out = tensor3(in, hq, n, d);
  tamis_tensor lse = tensor2(in, hq, n);
  o.struct_size = struct_size(in, sizeof o);
  if (o.struct_size > sizeof o && o.struct_size <= 4096) o.struct_size = sizeof o;
  o.causal = chance(in, 8) ? wild32(in) : (int32_t)below(in, 2);
  o.q_offset = chance(in, 2) ? wild(in) : TAMIS_AT_END;
  o.window = chance(in, 2) ? wild(in) : 0;
  o.compute = chance(in, 8) ? wild32(in) : (tamis_compute)below(in, 3);
  tiles.struct_size = struct_size(in, sizeof tiles);
  if (tiles.struct_size > sizeof tiles && tiles.struct_size <= 4096) tiles.struct_size = sizeof tiles;
  tiles.heads = chance(in, 8) ? wild32(in) : chance(in, 2) ? 1 : (int32_t)hq;
  tiles.query_block = chance(in, 4) ? wild32(in) : 32;
  tiles.key_block = chance(in, 4) ? wild32(in) : 4;
  tiles.n_rows = chance(in, 8) ? wild(in) : tiles.heads;
  if (tiles.n_rows > MAX_ELEMENTS) tiles.n_rows = -tiles.n_rows; /* more rows than we own */
  memset(row_ptr, 0, sizeof row_ptr);
  memset(index, 0, sizeof index);
  for (int64_t i = 1; i <= hq; i++) row_ptr[i] = row_ptr[i - 1] + below(in, 2);
  while (chance(in, 4)) row_ptr[below(in, 9)] = wild(in);
  while (chance(in, 4)) index[below(in, 9)] = wild32(in);
  tiles.row_ptr = chance(in, 16) ? NULL : row_ptr;
  tiles.index = chance(in, 16) ? NULL : index;
  judged(tamis_sparse_attention(a_context(in), chance(in, 8) ? NULL : &o, chance(in, 8) ? NULL : &tiles,
                                chance(in, 2) ? wild_float(in) : 0, maybe(in, &q), maybe(in, &k), maybe(in, &v), maybe(in, &out),
                                chance(in, 2) ? NULL : &lse));
  judged(tamis_sparse_mask_create(chance(in, 16) ? NULL : &tiles, chance(in, 8) ? wild(in) : 1,
                                  chance(in, 8) ? -wild(in) % 1024 : n, chance(in, 8) ? wild(in) : m,
                                  chance(in, 16) ? NULL : &mask));
  const tamis_sparse_mask *named = mask ? mask : chance(in, 2) ? NULL : (const tamis_sparse_mask *)(const void *)good_context;
  judged(tamis_sparse_mask_tiles(named, chance(in, 16) ? NULL : &back));
  judged(tamis_sparse_mask_boundaries(named, chance(in, 16) ? NULL : &boundaries, chance(in, 16) ? NULL : &count));
  stats.struct_size = struct_size(in, sizeof stats);
  if (stats.struct_size > sizeof stats) stats.struct_size = sizeof stats;
  judged(tamis_sparse_mask_stats(named, chance(in, 8) ? NULL : &o, wild32(in), chance(in, 16) ? NULL : &stats));
  tamis_sparse_mask_destroy(mask);
}

static void call_ops(input *in) {
  const int64_t n = 1 + below(in, 20), d = 1 + below(in, 40);
  tamis_tensor a = tensor2(in, n, d), b = chance(in, 4) ? a : tensor2(in, n, d);
  tamis_rope rope = a_rope(in);
  int64_t count = 0;
  judged(tamis_convert(a_context(in), maybe(in, &a), maybe(in, &b)));
  judged(tamis_rope_apply(a_context(in), chance(in, 16) ? NULL : &rope, maybe(in, &a),
                          chance(in, 2) ? NULL : (const int64_t *)address(in, 8 * MAX_ELEMENTS), wild(in), maybe(in, &b)));
  judged(tamis_top_k(a_context(in), (const float *)address(in, 4096), chance(in, 8) ? -wild(in) % 1024 : below(in, 1024),
                     wild(in), (int32_t *)address(in, 4096), chance(in, 16) ? NULL : &count));
  MUST(tamis_dtype_size(wild32(in)) <= 4);
}

/* ------------------------------------------------------------------------------------------------ target */

static float good_row[2 * 40 * 8], good_out[2 * 8];

static tamis_tensor packed(void *data, int64_t heads, int64_t n) {
  tamis_tensor t;
  memset(&t, 0, sizeof t);
  t.data = data;
  t.ndim = 3;
  t.shape[0] = heads, t.shape[1] = n, t.shape[2] = 8;
  t.stride[0] = n * 8, t.stride[1] = 8, t.stride[2] = 1;
  return t;
}

/* ------------------------------------------------------------------------------------------------ metrics */

/* Lists of up to 8 sequences in the arena: ascending starts or padded rows, now and then wild. */
static tamis_token_lists some_lists(input *in) {
  tamis_token_lists l;
  memset(&l, 0, sizeof l);
  l.count = below(in, 8);
  int32_t *ids = (int32_t *)address(in, 4096);
  int64_t *numbers = (int64_t *)address(in, 128);
  const int tidy = ids && numbers && (uintptr_t)ids % 4 == 0 && (uintptr_t)numbers % 8 == 0;
  if (tidy && ((uint8_t *)ids + 4096 <= (uint8_t *)numbers || (uint8_t *)numbers + 128 <= (uint8_t *)ids)) {
    for (int i = 0; i < 512; i++) ids[i] = chance(in, 40) ? wild32(in) : (int32_t)below(in, 5);
    int64_t at = 0;
    for (int i = 0; i <= 8; i++) {
      numbers[i] = at;
      if (chance(in, 2)) at += below(in, 60);
    }
  }
  l.ids = ids;
  if (chance(in, 3)) {
    l.width = chance(in, 12) ? wild(in) : below(in, 60);
    l.lengths = chance(in, 3) ? numbers : NULL;
    if (l.width > 60 && l.width <= INT32_MAX) l.width = 9; /* a caller's lie beyond the arena */
  } else {
    l.starts = numbers;
    /* what stands there must not reach outside the arena */
    if (numbers && (uintptr_t)numbers % 8 == 0)
      for (int i = 0; i <= 8; i++)
        if (numbers[i] > 1024 && numbers[i] <= INT32_MAX) numbers[i] = 1024;
  }
  if (chance(in, 12)) l.count = wild(in);
  if (l.count > 8 && l.count <= INT32_MAX) l.count = 8;
  if (chance(in, 20)) l.width = wild(in);
  if (l.width > 60 && l.width <= INT32_MAX) l.width = 9;
  return l;
}

static const tamis_token_lists *maybe_lists(input *in, const tamis_token_lists *l) { return chance(in, 24) ? NULL : l; }

static void call_metrics(input *in) {
  static double scores[1024];
  static int64_t rows[8192];
  static uint8_t steps[4096];
  double corpus[64];
  tamis_context *c = a_context(in);
  const tamis_token_lists a = some_lists(in), b = some_lists(in);
  const tamis_token_lists *h = maybe_lists(in, &a), *r = maybe_lists(in, &b);
  int64_t owners[10] = {0};
  for (int i = 1; i < 10; i++) owners[i] = chance(in, 30) ? wild(in) : owners[i - 1] + 1;
  const int64_t *o = chance(in, 2) ? owners : NULL;
  switch (below(in, 11)) {
    case 0: {
      tamis_bleu_options options = TAMIS_BLEU_OPTIONS_INIT;
      const double weights[] = {(double)wild_float(in), 0.5, 0.25, 0.125, 0, 1, 1, 1};
      options.rule = chance(in, 12) ? wild32(in) : (tamis_bleu_rule)below(in, 4);
      options.smoothing = chance(in, 3) ? wild32(in) : (tamis_bleu_smoothing)below(in, 20);
      options.max_n = chance(in, 8) ? wild32(in) : 1 + (int32_t)below(in, 4);
      options.effective_order = chance(in, 12) ? wild32(in) : (int32_t)below(in, 2);
      options.auto_reweigh = (int32_t)below(in, 2);
      options.exact = (int32_t)below(in, 2);
      options.has_pad = (int32_t)below(in, 2);
      options.pad_id = wild32(in);
      options.value = (double)wild_float(in);
      options.alpha = (double)wild_float(in);
      options.k = (double)wild_float(in);
      options.weights = chance(in, 2) ? weights : NULL;
      options.weight_lists = options.weights ? (int32_t)below(in, 3) : 0;
      if (options.weights && options.max_n > 4 && options.max_n <= 16) options.max_n = 4;
      judged(tamis_bleu(c, &options, h, r, o, chance(in, 4) ? wild(in) : 1, chance(in, 8) ? NULL : scores,
                        chance(in, 8) ? NULL : corpus));
      break;
    }
    case 1:
      judged(tamis_ngram_statistics(c, h, r, o, chance(in, 4) ? wild(in) : 1, chance(in, 4) ? wild32(in) : 4, wild32(in),
                                    (int32_t)below(in, 2), wild32(in), chance(in, 8) ? NULL : rows, NULL, NULL));
      break;
    case 2: {
      tamis_chrf_options options = TAMIS_CHRF_OPTIONS_INIT;
      options.char_order = chance(in, 4) ? wild32(in) : 6;
      options.word_order = chance(in, 2) ? wild32(in) : 0;
      options.beta = (double)wild_float(in);
      judged(tamis_chrf(c, &options, h, r, maybe_lists(in, &a), maybe_lists(in, &b), o, scores, corpus, NULL));
      break;
    }
    case 3: judged(tamis_ter(c, h, r, o, scores, corpus, rows, NULL, NULL, NULL)); break;
    case 4: judged(tamis_rouge(c, chance(in, 4) ? wild32(in) : (int32_t)below(in, 4), h, r, scores, NULL, NULL)); break;
    case 5: judged(tamis_rouge_lsum(c, h, owners, r, owners, below(in, 9), scores, NULL, NULL)); break;
    case 6:
      judged(tamis_meteor(c, h, r, o, (double)wild_float(in), (double)wild_float(in), (double)wild_float(in), scores));
      judged(tamis_token_f1(c, h, r, o, scores, scores + 512));
      break;
    case 7:
      judged(tamis_edit_distance(c, chance(in, 3) ? wild32(in) : (int32_t)below(in, 3), r, h, rows,
                                 chance(in, 2) ? rows + 4096 : NULL, NULL, NULL));
      judged(tamis_edit_alignment(a.ids, below(in, 60), b.ids, below(in, 60), steps, chance(in, 4) ? wild(in) : 120, rows));
      break;
    case 8:
      judged(tamis_distinct_ngrams(h, chance(in, 3) ? wild32(in) : 4, rows, rows + 4096));
      judged(tamis_self_bleu(h, chance(in, 3) ? wild32(in) : 3, scores));
      judged(tamis_repetition(h, wild(in), rows));
      break;
    case 9: {
      tamis_token_batch *batch = NULL;
      if (judged(tamis_token_batch_create(c, h, r, o, chance(in, 8) ? wild(in) : 1, &batch)) == TAMIS_OK && a.count < 100)
        judged(tamis_token_batch_statistics(batch, chance(in, 4) ? wild32(in) : 4, (tamis_length_rule)below(in, 3),
                                            (int32_t)below(in, 3), (int32_t)below(in, 4), rows));
      tamis_token_batch_destroy(batch);
      break;
    }
    default: {
      tamis_word_options options = TAMIS_WORD_OPTIONS_INIT;
      tamis_word_ids *words = NULL;
      tamis_token_lists found;
      char text[64];
      const int64_t starts[4] = {0, below(in, 20), 20 + below(in, 20), 40 + below(in, 24)};
      for (size_t i = 0; i < sizeof text; i++) text[i] = (char)take(in, 1);
      options.tokenizer = chance(in, 8) ? wild32(in) : (tamis_word_tokenizer)below(in, 12);
      options.lowercase = (int32_t)below(in, 2);
      options.normalised = (int32_t)below(in, 2);
      options.no_punctuation = (int32_t)below(in, 2);
      options.context = c;
      if (judged(tamis_word_ids_create(&options, text, starts, chance(in, 8) ? -wild(in) % 4 : 3, &words)) == TAMIS_OK) {
        MUST(tamis_word_ids_get(words, &found, NULL) == TAMIS_OK && found.starts[0] == 0);
        if (found.count > 1) MUST(tamis_self_bleu(&found, 4, scores) == TAMIS_OK);
      }
      tamis_word_ids_destroy(words);
    }
  }
}

/* Logits in the arena, results in arrays that hold whatever shape a tensor may have. */
static void call_logits(input *in) {
  static float floats[13][MAX_ELEMENTS];
  static int32_t ints[3][MAX_ELEMENTS], targets[MAX_ELEMENTS];
  static double bins[3 * 65];
  tamis_logit_options o = TAMIS_LOGIT_OPTIONS_INIT;
  tamis_logit_outputs out = TAMIS_LOGIT_OUTPUTS_INIT;
  tamis_logit_summary sum = TAMIS_LOGIT_SUMMARY_INIT;
  tamis_divergence_outputs two = TAMIS_DIVERGENCE_OUTPUTS_INIT;
  tamis_context *c = a_context(in);
  const int64_t rows = 1 + below(in, 6), width = 1 + below(in, 40);
  tamis_tensor z = chance(in, 2) ? tensor2(in, rows, width) : tensor3(in, 1 + below(in, 3), rows, width);
  tamis_tensor w = chance(in, 2) ? z : tensor2(in, rows, width);
  const int32_t *y = chance(in, 8) ? NULL : targets;
  double value[2];
  int64_t number[3];
  int calls = 0;
  for (int i = 0; i < MAX_ELEMENTS; i++) targets[i] = (int32_t)(i % width);
  if (chance(in, 4)) targets[below(in, 8)] = wild32(in);
  if (chance(in, 4)) targets[below(in, 8)] = -100;
  o.struct_size = struct_size(in, sizeof o);
  o.top_k = chance(in, 3) ? wild32(in) : 1 + (int32_t)below(in, 6);
  o.ignore_index = chance(in, 8) ? wild32(in) : -100;
  o.reserved = chance(in, 40);
  o.temperature = chance(in, 2) ? 1 : (double)wild_float(in);
  o.label_smoothing = chance(in, 2) ? 0 : (double)wild_float(in) / 4;
  if (chance(in, 4)) o.progress = go_on, o.progress_user = &calls;
  const tamis_logit_options *options = chance(in, 8) ? NULL : &o;
  switch (below(in, 6)) {
    case 0:
    case 1: {
      float **f[] = {&out.nll, &out.loss, &out.lse, &out.entropy, &out.varentropy, &out.collision, &out.confidence, &out.margin,
                     &out.probability, &out.brier, &out.top_k_mass, &out.mean};
      int32_t **n[] = {&out.top, &out.rank, &out.ties};
      for (int i = 0; i < 12; i++) *f[i] = chance(in, 2) ? floats[chance(in, 40) ? 0 : i] : NULL;
      for (int i = 0; i < 3; i++) *n[i] = chance(in, 2) ? ints[i] : NULL;
      if (chance(in, 20)) out.nll = (float *)z.data;
      out.struct_size = struct_size(in, sizeof out);
      sum.struct_size = struct_size(in, sizeof sum);
      sum.sums = chance(in, 8) ? wild32(in) : (int32_t)below(in, 64);
      sum.n_bins = chance(in, 8) ? wild32(in) : (int32_t)below(in, 65);
      if (sum.n_bins > 64 && sum.n_bins <= 65536) sum.n_bins = 64;
      sum.bins = sum.n_bins && !chance(in, 12) ? bins : NULL;
      sum.tokens = chance(in, 12) ? wild(in) : 3;
      judged(tamis_logit_metrics(c, options, maybe(in, &z), y, chance(in, 4) ? NULL : &out, chance(in, 2) ? NULL : &sum));
      break;
    }
    case 2:
      two.kl = floats[0], two.reverse_kl = chance(in, 2) ? floats[1] : NULL, two.js = chance(in, 2) ? floats[2] : NULL;
      two.total_variation = chance(in, 2) ? floats[chance(in, 8) ? 0 : 3] : NULL;
      two.struct_size = struct_size(in, sizeof two);
      judged(tamis_logit_divergence(c, options, maybe(in, &z), maybe(in, &w), chance(in, 12) ? NULL : &two));
      break;
    case 3:
      judged(tamis_contrastive_log_probs(c, options, maybe(in, &z), maybe(in, &w), y, (double)wild_float(in),
                                         chance(in, 12) ? NULL : floats[12]));
      break;
    case 4:
      judged(tamis_fit_temperature(c, options, maybe(in, &z), y, chance(in, 12) ? NULL : value, chance(in, 2) ? NULL : value + 1,
                                   chance(in, 2) ? NULL : ints[0]));
      break;
    default: {
      uint8_t correct[40];
      float confidence[40];
      for (int i = 0; i < 40; i++) correct[i] = (uint8_t)below(in, 2), confidence[i] = wild_float(in) / 4;
      for (int i = 0; i < 3 * 65; i++) bins[i] = (double)wild_float(in);
      const int32_t wide = chance(in, 3) ? wild32(in) : 10;
      judged(tamis_calibration_error(bins, wide > 64 && wide <= 65536 ? 64 : wide, wild32(in), value));
      judged(tamis_adaptive_calibration_error(confidence, correct, below(in, 40), wide, (int32_t)below(in, 4), value));
      (void)tamis_perplexity((double)wild_float(in), (double)wild(in)), (void)tamis_bits_per_unit(1, (double)wild_float(in));
      judged(tamis_sliding_window_count(wild(in), wild(in), wild(in), chance(in, 12) ? NULL : number));
      judged(tamis_sliding_window(wild(in), wild(in), wild(in), wild(in), number, number + 1, chance(in, 12) ? NULL : number + 2));
    }
  }
}

static void set_up(void) {
  tamis_kv_options o = TAMIS_KV_OPTIONS_INIT;
  tamis_selector_options so = TAMIS_SELECTOR_OPTIONS_INIT;
  for (size_t i = 0; i < sizeof good_row / sizeof *good_row; i++) good_row[i] = (float)(i * 7 % 11) / 11.0f;
  tamis_tensor rows = packed(good_row, 2, 40);
  o.kv_heads = 2;
  o.head_dim = 8;
  o.page_tokens = 16;
  o.max_tokens = 160;
  so.n_sink = 2;
  so.n_recent = so.chunk = 4;
  so.top_k = 8;
  MUST(tamis_context_create(NULL, &good_context) == TAMIS_OK);
  MUST(tamis_kv_create(good_context, &o, &good_cache) == TAMIS_OK);
  MUST(tamis_selector_create(good_cache, &so, &good_selector) == TAMIS_OK);
  MUST(tamis_kv_sequence_create(good_cache, &good_sequence) == TAMIS_OK);
  MUST(tamis_kv_append(good_cache, good_sequence, 0, &rows, &rows) == TAMIS_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static void (*const calls[])(input *) = {call_context, call_cache,  call_selector,  call_sequences, call_sequences,
                                           call_append,  call_append, call_attend,    call_attend,    call_attention,
                                           call_ops,     call_sparse, call_act,       call_act,       call_zero_tuning,
                                           call_metrics, call_metrics,  call_logits,    call_logits};
  input in = {data, size};
  float before[16];
  if (!good_context) set_up();
  for (size_t i = 0; i < ARENA; i++) arena[i] = (uint8_t)(i * 31);
  for (size_t i = 0; in.left > 0 && i < 64; i++) calls[below(&in, sizeof calls / sizeof *calls)](&in);
  tamis_tensor q = packed(good_row, 2, 1), out = packed(good_out, 2, 1);
  MUST(tamis_attend(good_selector, good_sequence, 0, &q, &out, NULL, NULL) == TAMIS_OK);
  memcpy(before, good_out, sizeof before);
  MUST(tamis_selector_reset(good_selector, -1) == TAMIS_OK);
  MUST(tamis_attend(good_selector, good_sequence, 0, &q, &out, NULL, NULL) == TAMIS_OK);
  MUST(memcmp(before, good_out, sizeof before) == 0);
  for (int i = 0; i < SLOTS; i++) { /* parents first on purpose */
    tamis_context_destroy(slot[i].context);
    tamis_kv_destroy(slot[i].cache);
    tamis_selector_destroy(slot[i].selector);
  }
  memset(slot, 0, sizeof slot);
  /* what other calls left in the good cache */
  for (tamis_sequence s = 0; s < 4096; s++)
    if (s != good_sequence && tamis_kv_sequence_destroy(good_cache, s) != TAMIS_OK && s > 80) break;
  return 0;
}
