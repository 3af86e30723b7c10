/* Tokenizers, encodings, decoders, text scores, clusters and annotation with arguments from the fuzz bytes. After each input a
 * known good call must still succeed. */
#include "arena.h"

#include <unistd.h>

enum { SLOTS = 3, TEXT = 1 << 10, LIST = 64 };

static const char vocabulary[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n##b\nab\nthe\ncat\n##s\n.\n";
static const char ranks[] = "YQ== 0\nYg== 1\nYWI= 2\nIA== 3\nYyA= 4\nww== 5\n";
static const char seeds[] = "ab the cats [SEP] a. \xc3\xa9 Dr. No left!\nWhy? 3.5 \xe4\xb8\xad\xe3\x80\x82 \xff x\0y e.g. it\t";

static tamis_context *good_context;
static tamis_tokenizer *good_tokenizer;

static struct {
  tamis_tokenizer *tokenizer;
  tamis_encoding *encoding;
  tamis_decoder *decoder;
  tamis_specpc *specpc;
} slot[SLOTS];

/* ------------------------------------------------------------------------------------------------ arguments */

static tamis_context *a_context(input *in) {
  return chance(in, 24) ? (chance(in, 2) ? NULL : (void *)good_tokenizer) : good_context;
}
static tamis_tokenizer *a_tokenizer(input *in) {
  tamis_tokenizer *t = slot[below(in, SLOTS)].tokenizer;
  return t && chance(in, 2) ? t : chance(in, 24) ? (chance(in, 2) ? NULL : (void *)good_context) : good_tokenizer;
}
/* One that was made, if there is any; now and then a handle of another kind. */
#define A_MADE(kind, name)                                                            \
  static kind *a_##name(input *in) {                                                  \
    const uint32_t from = below(in, SLOTS);                                           \
    if (chance(in, 24)) return (kind *)(void *)good_context;                          \
    for (uint32_t i = 0; i < SLOTS; i++)                                              \
      if (slot[(from + i) % SLOTS].name) return slot[(from + i) % SLOTS].name;        \
    return NULL;                                                                      \
  }
A_MADE(tamis_encoding, encoding)
A_MADE(tamis_decoder, decoder)
A_MADE(tamis_specpc, specpc)

/* A text in the arena; its length is now and then one that no text has. */
static const char *a_text(input *in, size_t *length) {
  char *at = (char *)address(in, TEXT);
  static const size_t never[] = {(size_t)-1, (size_t)1 << 31, (size_t)1 << 40, (size_t)INT64_MIN, SIZE_MAX / 2};
  size_t n = below(in, chance(in, 8) ? TEXT : 48);
  for (size_t i = 0; at && i < n; i++)
    if (chance(in, 2)) at[i] = seeds[(i + below(in, 2)) % (sizeof seeds - 1)];
  *length = chance(in, 24) ? never[below(in, 5)] : n;
  return at;
}

/* n + 1 offsets into a text of TEXT bytes, ascending but for a wild one. */
static const int64_t *some_offsets(input *in, int64_t *n) {
  static _Alignas(64) int64_t offsets[LIST + 2];
  const uint32_t count = below(in, chance(in, 4) ? LIST : 6);
  int64_t at = 0;
  for (uint32_t i = 0; i <= count; i++) {
    offsets[i] = at;
    at += below(in, TEXT / LIST);
  }
  if (chance(in, 8)) offsets[below(in, count + 1)] = wild(in);
  for (uint32_t i = 0; i <= count; i++)
    if (offsets[i] > TEXT && offsets[i] < (int64_t)1 << 47) offsets[i] = TEXT;
  *n = chance(in, 16) ? -(int64_t)below(in, 8) : count;
  if (*n > count) *n = count;
  return chance(in, 24) ? NULL : (const int64_t *)((const char *)offsets + (chance(in, 32) ? 4 : 0));
}

/* Ascending runs of a text of TEXT bytes, now and then touching, crossing or wild. */
static const tamis_span *some_spans(input *in, int64_t *n) {
  const uint32_t count = below(in, chance(in, 4) ? LIST : 6);
  tamis_span *spans = (tamis_span *)address(in, LIST * sizeof *spans);
  int64_t at = 0;
  *n = chance(in, 16) ? (chance(in, 2) ? INT64_MAX : -(int64_t)below(in, 8)) : count;
  if (*n > count && *n <= INT32_MAX) *n = count;
  if (!spans) return NULL;
  for (uint32_t i = 0; i < count; i++) {
    const tamis_span span = {at, at + below(in, 12)};
    memcpy(&spans[i], &span, sizeof span);
    at = span.end + below(in, 3) - (chance(in, 16) ? 2 : 0);
  }
  if (count && chance(in, 8)) {
    const int64_t value = wild(in);
    memcpy((int64_t *)(void *)spans + below(in, 2 * count), &value, sizeof value);
  }
  return spans;
}

static const int32_t *some_ids(input *in, int64_t *n) {
  const uint32_t count = below(in, chance(in, 4) ? LIST : 6);
  int32_t *ids = (int32_t *)address(in, LIST * sizeof *ids);
  for (uint32_t i = 0; ids && i < count; i++) {
    const int32_t id = chance(in, 12) ? wild32(in) : (int32_t)below(in, 12);
    memcpy(&ids[i], &id, sizeof id);
  }
  *n = chance(in, 16) ? (chance(in, 2) ? INT64_MAX : -(int64_t)below(in, 8)) : count;
  if (*n > count && *n <= INT32_MAX) *n = count;
  return ids;
}

/* Numbers; some are NaN, infinite, huge. */
static const float *some_floats(input *in, uint32_t n) {
  float *values = (float *)address(in, 4 * n + 4);
  for (uint32_t i = 0; values && i < n; i++) {
    const float value = wild_float(in);
    memcpy(&values[i], &value, sizeof value);
  }
  return values;
}

static void *some_room(input *in, size_t bytes) { return address(in, bytes); }

static tamis_encode_options encode_options(input *in) {
  tamis_encode_options o = TAMIS_ENCODE_OPTIONS_INIT;
  o.struct_size = struct_size(in, sizeof o);
  o.add_special = chance(in, 12) ? wild32(in) : (int32_t)below(in, 2);
  o.parse_special = chance(in, 12) ? wild32(in) : (int32_t)below(in, 2);
  o.offsets = chance(in, 12) ? wild32(in) : (int32_t)below(in, 2);
  o.max_tokens = chance(in, 4) ? wild(in) : 0;
  return o;
}

/* ------------------------------------------------------------------------------------------------ tokenizers */

static void call_make(input *in) {
  static const char *const paths[] = {"",     "/",        "/nowhere",      "/dev/null", "/proc/self/maps",
                                      "/tmp", "\xff\xfe", "/proc/self/mem"};
  static const char *const patterns[] = {"gpt2", "cl100k_base", "o200k_base", "[a-b]+|\\s", "(", "\xff", "", "(?i:a)|x{2,3}"};
  const uint32_t i = below(in, SLOTS);
  tamis_tokenizer **out = chance(in, 16) ? NULL : &slot[i].tokenizer;
  int64_t n;
  tamis_tokenizer_destroy(slot[i].tokenizer);
  slot[i].tokenizer = NULL;
  switch (below(in, 4)) {
    case 0: judged(tamis_tokenizer_open(chance(in, 8) ? NULL : paths[below(in, 8)], out)); break;
    case 1: {
      const int tiktoken = chance(in, 2);
      size_t size = tiktoken ? sizeof ranks - 1 : sizeof vocabulary - 1;
      const char *bytes = tiktoken ? ranks : vocabulary;
      if (chance(in, 8)) bytes = a_text(in, &size);
      else if (chance(in, 8)) size = below(in, (uint32_t)size);
      const int32_t format = chance(in, 8) ? wild32(in) : tiktoken ? TAMIS_TOKENIZER_TIKTOKEN : TAMIS_TOKENIZER_VOCAB_TXT;
      judged(tamis_tokenizer_from_bytes(bytes, size, format, chance(in, 3) ? NULL : patterns[below(in, 8)], out));
      break;
    }
    default: {
      size_t unused;
      const char *contents = a_text(in, &unused);
      const int64_t *offsets = some_offsets(in, &n);
      tamis_token_flags *flags = chance(in, 2) ? NULL : (tamis_token_flags *)some_room(in, 4 * LIST);
      for (int k = 0; flags && k < LIST; k++) {
        const int32_t flag = chance(in, 32) ? wild32(in) : (int32_t)below(in, 32);
        memcpy(&flags[k], &flag, sizeof flag);
      }
      judged(tamis_tokenizer_add(a_tokenizer(in), contents, offsets, (int32_t)n, flags, out));
    }
  }
}

static void call_vocabulary(input *in) {
  const tamis_tokenizer *t = a_tokenizer(in);
  tamis_tokenizer_info info = TAMIS_TOKENIZER_INFO_INIT;
  char *buffer = (char *)some_room(in, LIST);
  size_t needed = 0, length;
  int32_t id = chance(in, 3) ? wild32(in) : (int32_t)below(in, 12);
  info.struct_size = struct_size(in, sizeof info);
  judged(tamis_tokenizer_get_info(t, chance(in, 16) ? NULL : &info));
  judged(tamis_tokenizer_piece(t, id, buffer, chance(in, 16) ? (size_t)wild(in) % LIST : below(in, LIST),
                               chance(in, 2) ? NULL : &needed));
  MUST(tamis_tokenizer_is_special(t, id) == 0 || tamis_tokenizer_is_special(t, id) == 1);
  const char *piece = a_text(in, &length);
  judged(tamis_tokenizer_id(t, piece, length, chance(in, 16) ? NULL : &id));
}

static void check_encoding(input *in, const tamis_encoding *encoding) {
  const int64_t count = tamis_encoding_count(encoding);
  tamis_encoded e = TAMIS_ENCODED_INIT;
  MUST(count >= 0 && count <= LIST);
  for (int64_t i = 0; i < count; i++) {
    MUST(tamis_encoding_get(encoding, i, &e) == TAMIS_OK);
    for (int64_t k = 0; k < e.n; k++) MUST(e.starts[k] >= 0 && e.starts[k] <= e.ends[k] && e.words[k] >= -1 && e.ids[k] >= 0);
  }
  e.struct_size = struct_size(in, sizeof e);
  judged(tamis_encoding_get(encoding, wild(in), chance(in, 16) ? NULL : &e));
}

static void call_encode(input *in) {
  const uint32_t i = below(in, SLOTS);
  tamis_encode_options o = encode_options(in);
  const tamis_encode_options *options = chance(in, 8) ? NULL : &o;
  tamis_encoding **out = chance(in, 16) ? NULL : &slot[i].encoding;
  size_t length, length2 = 0;
  int64_t n;
  int calls = 0;
  const char *text = a_text(in, &length), *pair = chance(in, 2) ? NULL : a_text(in, &length2);
  tamis_encoding_destroy(slot[i].encoding);
  slot[i].encoding = NULL;
  switch (below(in, 4)) {
    case 0: judged(tamis_tokenizer_count(a_tokenizer(in), options, text, length, chance(in, 16) ? NULL : &n)); break;
    case 1: {
      const int64_t *offsets = some_offsets(in, &n);
      judged(tamis_tokenizer_encode_batch(a_context(in), a_tokenizer(in), options, text, offsets, n,
                                          chance(in, 2) ? go_on : NULL, &calls, out));
      break;
    }
    default: judged(tamis_tokenizer_encode(a_tokenizer(in), options, text, length, pair, length2, out));
  }
  check_encoding(in, a_encoding(in));
}

static void call_decode(input *in) {
  const uint32_t i = below(in, SLOTS);
  char *buffer = (char *)some_room(in, TEXT);
  const size_t capacity = chance(in, 16) ? (size_t)INT64_MIN + below(in, 9) : below(in, chance(in, 2) ? TEXT : 4);
  const int32_t skip = chance(in, 12) ? wild32(in) : (int32_t)below(in, 2);
  size_t needed = 0, unused;
  int64_t n;
  switch (below(in, 5)) {
    case 0: {
      const int32_t *ids = some_ids(in, &n);
      judged(tamis_tokenizer_decode(a_tokenizer(in), ids, n, skip, buffer, capacity, chance(in, 2) ? NULL : &needed));
      break;
    }
    case 1: {
      const char *pieces = a_text(in, &unused);
      const int64_t *offsets = some_offsets(in, &n);
      judged(tamis_tokenizer_decode_pieces(a_tokenizer(in), pieces, offsets, n, buffer, capacity, &needed));
      break;
    }
    case 2:
      tamis_decoder_destroy(slot[i].decoder);
      slot[i].decoder = NULL;
      judged(tamis_decoder_create(a_tokenizer(in), skip, chance(in, 16) ? NULL : &slot[i].decoder));
      break;
    case 3: judged(tamis_decoder_finish(a_decoder(in), buffer, capacity, &needed)); break;
    default:
      judged(tamis_decoder_push(a_decoder(in), chance(in, 8) ? wild32(in) : (int32_t)below(in, 12), buffer, capacity, &needed));
  }
}

/* ------------------------------------------------------------------------------------------------ scores and units */

static void call_units(input *in) {
  size_t length, needed = 0;
  int64_t n, m, found = 0;
  const char *text = a_text(in, &length);
  tamis_span *room = (tamis_span *)some_room(in, TEXT * sizeof *room);
  int64_t *count = chance(in, 16) ? NULL : &found;
  switch (below(in, 3)) {
    case 0:
      judged(tamis_split_text(text, length, chance(in, 8) ? wild32(in) : (int32_t)below(in, 2), room,
                              chance(in, 4) ? wild(in) : TEXT, count));
      break;
    case 1: {
      const tamis_span *units = some_spans(in, &n);
      const int32_t *indices = some_ids(in, &m);
      judged(tamis_kept_spans(units, n, indices, m, room, count));
      break;
    }
    default: {
      const tamis_span *spans = some_spans(in, &n);
      judged(tamis_kept_text(text, length, spans, n, (char *)room, chance(in, 8) ? (size_t)-1 - below(in, 9) : below(in, TEXT),
                             chance(in, 2) ? NULL : &needed));
    }
  }
}

static void call_scores(input *in) {
  int64_t n, m, found = 0;
  double threshold;
  switch (below(in, 3)) {
    case 0: {
      tamis_tensor z = tensor2(in, 1 + below(in, 20), 2 + below(in, 30));
      int32_t *ids = (int32_t *)address(in, 4 * MAX_ELEMENTS);
      float *out = (float *)(chance(in, 8) ? (void *)(ids + below(in, 3)) : some_room(in, 4 * MAX_ELEMENTS));
      for (int i = 0; ids && i < 20; i++) memcpy(&ids[i], &(int32_t){chance(in, 64) ? wild32(in) : i & 1}, 4);
      judged(tamis_self_information(a_context(in), maybe(in, &z), ids, out));
      break;
    }
    case 1: {
      const tamis_span *tokens = some_spans(in, &n), *units = some_spans(in, &m);
      judged(tamis_unit_scores(tokens, some_floats(in, LIST), n, units, m, (float *)some_room(in, 4 * LIST)));
      break;
    }
    default:
      n = chance(in, 8) ? -(int64_t)below(in, 8) : below(in, LIST);
      if (n > LIST) n = LIST;
      judged(tamis_keep_informative(some_floats(in, LIST), n, (double)wild_float(in), (int32_t *)some_room(in, 4 * LIST),
                                    chance(in, 16) ? NULL : &found, chance(in, 2) ? NULL : &threshold));
  }
}

static void call_specpc(input *in) {
  const uint32_t i = below(in, SLOTS);
  const int64_t tokens = chance(in, 4) ? 40 : 24, window = chance(in, 4) ? 1 : 4, heads = 1 + below(in, 3);
  tamis_specpc_options o = TAMIS_SPECPC_OPTIONS_INIT;
  int64_t found = 0;
  switch (below(in, 5)) {
    case 0:
      o.struct_size = struct_size(in, sizeof o);
      o.window = chance(in, 8) ? wild32(in) : (int32_t)window;
      o.starting_layer = chance(in, 8) ? wild32(in) : (int32_t)below(in, 2);
      o.reduction = chance(in, 8) ? wild32(in) : (int32_t)below(in, 2);
      o.weighted_query = chance(in, 8) ? wild32(in) : (int32_t)below(in, 2);
      o.smoothing = chance(in, 8) ? wild32(in) : (int32_t)below(in, 3);
      o.kernel = chance(in, 4) ? wild32(in) : 1 + (int32_t)below(in, 9);
      o.neighbours = chance(in, 4) ? wild32(in) : (int32_t)below(in, 9) - 1;
      o.capacity = chance(in, 4) ? wild(in) : below(in, 60);
      tamis_specpc_destroy(slot[i].specpc);
      slot[i].specpc = NULL;
      judged(tamis_specpc_create(chance(in, 16) ? NULL : &o, chance(in, 8) ? wild(in) : tokens,
                                 chance(in, 16) ? NULL : &slot[i].specpc));
      break;
    case 1: {
      tamis_tensor rows = tensor3(in, heads, chance(in, 2) ? 1 : window, tokens);
      judged(tamis_specpc_add(a_specpc(in), chance(in, 8) ? wild32(in) : (int32_t)below(in, 3), maybe(in, &rows)));
      break;
    }
    case 2: {
      tamis_tensor q = tensor3(in, heads, window, 8), k = tensor3(in, 1, tokens, 8);
      judged(tamis_specpc_add_keys(a_specpc(in), a_context(in), chance(in, 8) ? wild32(in) : 1, maybe(in, &q), maybe(in, &k),
                                   wild_float(in)));
      break;
    }
    /* what was made with more tokens than the arena has room for holds no rows, and says so */
    case 3: judged(tamis_specpc_scores(a_specpc(in), (float *)some_room(in, 4 * MAX_ELEMENTS))); break;
    default:
      judged(tamis_specpc_select(a_specpc(in), (int32_t *)some_room(in, 4 * MAX_ELEMENTS), chance(in, 16) ? NULL : &found));
  }
}

static void call_clusters(input *in) {
  tamis_cluster_options o = TAMIS_CLUSTER_OPTIONS_INIT;
  tamis_cluster_report report = TAMIS_CLUSTER_REPORT_INIT;
  int64_t found = 0;
  int calls = 0;
  if (chance(in, 3)) {
    int32_t *order = (int32_t *)some_room(in, 4 * LIST), *offsets = (int32_t *)some_room(in, 4 * LIST);
    const int32_t k = 1 + (int32_t)below(in, 5);
    for (int32_t i = 0; order && i < LIST; i++) memcpy(&order[i], &(int32_t){(i ^ 1) % LIST}, 4);
    for (int32_t i = 0; offsets && i < LIST; i++)
      memcpy(&offsets[i], &(int32_t){chance(in, 16) ? wild32(in) % LIST : 2 * i}, 4);
    judged(tamis_representatives(order, offsets, chance(in, 8) ? -(int32_t)below(in, 8) : k,
                                 chance(in, 2) ? NULL : (const int32_t *)address(in, 4 * LIST), wild(in),
                                 (int32_t *)some_room(in, 4 * LIST), chance(in, 16) ? NULL : &found));
    return;
  }
  const int64_t n = 1 + below(in, 24), d = 1 + below(in, 6);
  tamis_tensor points = tensor2(in, n, d), centres = tensor2(in, 9, d);
  float *values = points.data && (uintptr_t)points.data % 4 == 0 ? (float *)points.data : NULL;
  for (int64_t i = 0; values && i < n * d && (uint8_t *)(values + n * d) < arena + ARENA; i++) values[i] = wild_float(in);
  o.struct_size = struct_size(in, sizeof o);
  o.k = chance(in, 8) ? wild32(in) : (int32_t)below(in, 6);
  o.restarts = chance(in, 8) ? wild32(in) % 40 : 1 + (int32_t)below(in, 3);
  o.max_iterations = chance(in, 8) ? wild32(in) % 400 : 1 + (int32_t)below(in, 20);
  o.tolerance = (double)wild_float(in);
  o.seed = take(in, 8);
  o.normalise = chance(in, 8) ? wild32(in) : (int32_t)below(in, 2);
  o.reserved = chance(in, 16);
  if (chance(in, 2)) o.progress = go_on, o.progress_user = &calls;
  report.struct_size = struct_size(in, sizeof report);
  judged(tamis_cluster(a_context(in), chance(in, 16) ? NULL : &o, maybe(in, &points),
                       (int32_t *)some_room(in, 4 * MAX_ELEMENTS),
                       chance(in, 2) ? NULL : (int32_t *)some_room(in, 4 * MAX_ELEMENTS),
                       chance(in, 2) ? NULL : (int32_t *)some_room(in, 4 * MAX_ELEMENTS), chance(in, 2) ? NULL : &centres,
                       chance(in, 4) ? NULL : &report));
}

/* ------------------------------------------------------------------------------------------------ annotation */

static void ignore_line(int64_t line, const char *sentence, void *user) {
  MUST(line >= 1 && sentence[0] != 0 && user == good_context);
}

static char folder[] = "/tmp/tamis-fuzz-XXXXXX", from[64], to[64];

static void take_away(void) {
  unlink(from);
  unlink(to);
  rmdir(folder);
}

static void call_annotate_file(input *in) {
  static const char good[] =
      "{\"text\":\"the cat sat\",\"compressed\":\"cat sat\"}\n\n{\"text\":\"\\u00e9 b\",\"compressed\":\"b\",\"id\":[1]}\n";
  tamis_annotate_options o = TAMIS_ANNOTATE_OPTIONS_INIT;
  tamis_annotate_report report = TAMIS_ANNOTATE_REPORT_INIT;
  char bytes[sizeof good];
  int calls = 0;
  if (!from[0]) {
    MUST(mkdtemp(folder) != NULL);
    snprintf(from, sizeof from, "%s/pairs", folder);
    snprintf(to, sizeof to, "%s/labels", folder);
    atexit(take_away);
  }
  memcpy(bytes, good, sizeof good);
  while (chance(in, 2)) bytes[below(in, sizeof good - 1)] = (char)take(in, 1);
  FILE *file = fopen(from, "wb");
  MUST(file && fwrite(bytes, 1, sizeof good - 1 - (chance(in, 4) ? below(in, 40) : 0), file) > 0 && fclose(file) == 0);
  o.struct_size = struct_size(in, sizeof o);
  o.alignment = chance(in, 8) ? wild32(in) : (int32_t)below(in, 2);
  o.window = chance(in, 8) ? wild32(in) : 150;
  o.filter = chance(in, 8) ? wild32(in) : (int32_t)below(in, 3);
  o.drop_variation = chance(in, 2) ? -1 : (double)wild_float(in);
  o.drop_gap = chance(in, 2) ? -1 : (double)wild_float(in);
  o.strict = chance(in, 8) ? wild32(in) : (int32_t)below(in, 2);
  if (chance(in, 2)) o.progress = go_on, o.progress_user = &calls;
  if (chance(in, 2)) o.bad_line = ignore_line, o.bad_line_user = good_context;
  report.struct_size = struct_size(in, sizeof report);
  judged(tamis_annotate_file(chance(in, 16) ? "/nowhere/pairs" : from, chance(in, 16) ? "/nowhere/labels" : to,
                             chance(in, 8) ? NULL : &o, chance(in, 2) ? NULL : &report));
}

static void call_annotation(input *in) {
  size_t length, length2;
  int64_t n, found = 0;
  tamis_annotation annotation = TAMIS_ANNOTATION_INIT;
  if (chance(in, 8)) {
    call_annotate_file(in);
  } else if (chance(in, 3)) {
    double *rates = (double *)address(in, 8 * LIST), *gaps = (double *)address(in, 8 * LIST);
    for (int i = 0; i < LIST; i++) {
      const double rate = (double)wild_float(in), gap = (double)wild_float(in);
      if (rates) memcpy(&rates[i], &rate, sizeof rate);
      if (gaps) memcpy(&gaps[i], &gap, sizeof gap);
    }
    n = chance(in, 8) ? -(int64_t)below(in, 8) : below(in, LIST);
    if (n > LIST) n = LIST;
    judged(tamis_filter_annotations(rates, gaps, n, chance(in, 8) ? wild32(in) : (int32_t)below(in, 3),
                                    chance(in, 2) ? -1 : (double)wild_float(in), chance(in, 2) ? -1 : (double)wild_float(in),
                                    (int32_t *)some_room(in, 4 * LIST), chance(in, 16) ? NULL : &found));
  } else {
    const char *text = a_text(in, &length), *compressed = a_text(in, &length2);
    annotation.struct_size = struct_size(in, sizeof annotation);
    judged(tamis_annotate(text, length, compressed, length2, chance(in, 8) ? wild32(in) : (int32_t)below(in, 2),
                          chance(in, 2) ? wild32(in) : 0,
                          chance(in, 4) ? NULL : (tamis_span *)some_room(in, TEXT * sizeof(tamis_span)),
                          chance(in, 4) ? NULL : (int32_t *)some_room(in, 4 * TEXT), chance(in, 4) ? wild(in) : TEXT,
                          chance(in, 16) ? NULL : &found, chance(in, 4) ? NULL : &annotation));
  }
}

/* ------------------------------------------------------------------------------------------------ target */

/* Something to call from the start. */
static void prepare(void) {
  tamis_specpc_options o = TAMIS_SPECPC_OPTIONS_INIT;
  o.window = 4;
  o.starting_layer = 0;
  MUST(tamis_specpc_create(&o, 24, &slot[0].specpc) == TAMIS_OK);
  MUST(tamis_decoder_create(good_tokenizer, 0, &slot[0].decoder) == TAMIS_OK);
}

static void forget(void) { /* parents first on purpose */
  for (int i = 0; i < SLOTS; i++) {
    tamis_tokenizer_destroy(slot[i].tokenizer);
    tamis_encoding_destroy(slot[i].encoding);
    tamis_decoder_destroy(slot[i].decoder);
    tamis_specpc_destroy(slot[i].specpc);
  }
  memset(slot, 0, sizeof slot);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static void (*const calls[])(input *) = {call_make,   call_vocabulary, call_encode,   call_encode,   call_decode, call_decode,
                                           call_units,  call_scores,     call_specpc,   call_specpc,   call_clusters,
                                           call_annotation};
  static const int32_t expected[] = {2, 7, 8, 9, 6, 10, 3};
  input in = {data, size};
  tamis_encoding *encoding = NULL;
  tamis_encoded e = TAMIS_ENCODED_INIT;
  if (!good_context) {
    MUST(tamis_context_create(NULL, &good_context) == TAMIS_OK);
    MUST(tamis_tokenizer_from_bytes(vocabulary, sizeof vocabulary - 1, TAMIS_TOKENIZER_VOCAB_TXT, NULL, &good_tokenizer) ==
         TAMIS_OK);
  }
  for (size_t i = 0; i < ARENA; i++) arena[i] = (uint8_t)(i * 31);
  prepare();
  for (size_t i = 0; in.left > 0 && i < 64; i++) calls[below(&in, sizeof calls / sizeof *calls)](&in);
  MUST(tamis_tokenizer_encode(good_tokenizer, NULL, "the cats ab.", 12, NULL, 0, &encoding) == TAMIS_OK);
  MUST(tamis_encoding_get(encoding, 0, &e) == TAMIS_OK && e.n == 7 && memcmp(e.ids, expected, sizeof expected) == 0);
  tamis_encoding_destroy(encoding);
  forget();
  return 0;
}
