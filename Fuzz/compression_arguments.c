/* Encoders, compressors and compressions with arguments from the fuzz bytes. After each input a known good call must still give
 * what it gave before. (The calls that run an encoder on tokens: encoder_files.c.) */
#include "arena.h"
#include "tiny_model.h"

enum { SLOTS = 3, TEXTS = 5, TEXT = 1 << 10 };

static const char seeds[] =
    "the cats. why? ab 3.5 a [SEP] [NEW0]\n\n\xc3\xa9 | a | b |\n```ab```{\"a\":[1,2]} \xff http://a.b x\0y \xe4\xb8\xad ";

static tamis_context *good_context;
static tamis_encoder *good_encoder;
static tamis_tokenizer *good_tokenizer;
static tamis_compressor *good_compressor;
static const char *folder;

static struct {
  tamis_encoder *encoder;
  tamis_compressor *compressor;
  tamis_compression *compression;
} slot[SLOTS];

/* ------------------------------------------------------------------------------------------------ arguments */

/* Now and then no handle, or one of another kind. */
#define A_HANDLE(kind, good, of_slot)                                                  \
  static kind *a_##of_slot(input *in) {                                                \
    kind *made = slot[below(in, SLOTS)].of_slot;                                       \
    for (int i = 0; !made && i < SLOTS; i++) made = slot[i].of_slot;                   \
    if (chance(in, 32)) return chance(in, 2) ? NULL : (kind *)(void *)good_context;    \
    return made && (!(good) || chance(in, 2)) ? made : good;                           \
  }
A_HANDLE(tamis_encoder, good_encoder, encoder)
A_HANDLE(tamis_compressor, good_compressor, compressor)
A_HANDLE(tamis_compression, NULL, compression)

static tamis_context *a_context(input *in) {
  return chance(in, 24) ? (chance(in, 2) ? NULL : (tamis_context *)(void *)good_encoder) : good_context;
}

static const char *a_path(input *in) {
  static const char *const paths[] = {"", "/nowhere", "/dev/null", "/tmp", "\xff", "/proc/self/maps"};
  return chance(in, 8) ? paths[below(in, 6)] : folder;
}

/* A text in the arena; its length is now and then one that no text has. */
static const char *a_text(input *in, size_t *length) {
  static const size_t never[] = {(size_t)-1, (size_t)1 << 31, (size_t)1 << 40, (size_t)INT64_MIN};
  char *at = (char *)address(in, TEXT);
  const size_t n = below(in, chance(in, 8) ? TEXT - 1 : 90);
  size_t from = below(in, sizeof seeds - 1);
  for (size_t i = 0; at && i < n; i++) {
    at[i] = chance(in, 24) ? (char)take(in, 1) : seeds[from++ % (sizeof seeds - 1)];
    if (chance(in, 16)) from = below(in, sizeof seeds - 1);
  }
  if (at) at[n] = 0;
  *length = chance(in, 32) ? never[below(in, 4)] : n;
  return at;
}

/* A list of NUL-terminated strings and how many it claims. */
static const char *const *some_strings(input *in, int32_t *n) {
  static const char *const words[] = {"cat", ".", "\n", "the", "", "\xff", "why ?", "[CLS]", "3", " "};
  static const char *list[8];
  const uint32_t count = below(in, 4);
  for (uint32_t i = 0; i < 8; i++) list[i] = chance(in, 24) ? NULL : words[below(in, chance(in, 4) ? 10 : 4)];
  *n = chance(in, 16) ? (chance(in, 2) ? INT32_MAX : -1) : (int32_t)count;
  return chance(in, 8) ? NULL : list;
}

/* ------------------------------------------------------------------------------------------------ calls */

static void call_encoder(input *in) {
  const uint32_t i = below(in, SLOTS);
  tamis_encoder_options o = TAMIS_ENCODER_OPTIONS_INIT;
  tamis_encoder_info info = TAMIS_ENCODER_INFO_INIT;
  int calls = 0;
  o.struct_size = struct_size(in, sizeof o);
  o.precision = chance(in, 8) ? wild32(in) : (int32_t)below(in, 4) - 1;
  o.added_rows = chance(in, 4) ? wild32(in) : (int32_t)below(in, 3);
  if (chance(in, 2)) o.progress = go_on, o.progress_user = &calls;
  tamis_encoder_destroy(slot[i].encoder);
  slot[i].encoder = NULL;
  judged(tamis_encoder_create(a_context(in), chance(in, 24) ? NULL : a_path(in), chance(in, 8) ? NULL : &o,
                              chance(in, 16) ? NULL : &slot[i].encoder));
  info.struct_size = struct_size(in, sizeof info);
  judged(tamis_encoder_get_info(a_encoder(in), chance(in, 16) ? NULL : &info));
}

static void call_compressor(input *in) {
  const uint32_t i = below(in, SLOTS);
  tamis_compressor_options o = TAMIS_COMPRESSOR_OPTIONS_INIT;
  tamis_compressor **out = chance(in, 16) ? NULL : &slot[i].compressor;
  char *buffer = (char *)address(in, TEXT);
  size_t length, needed;
  int64_t tokens;
  o.struct_size = struct_size(in, sizeof o);
  o.chunk_tokens = chance(in, 4) ? wild32(in) : chance(in, 2) ? 8 + (int32_t)below(in, 17) : 0;
  o.batch_chunks = chance(in, 4) ? wild32(in) : 1 + (int32_t)below(in, 4);
  o.max_force_token = chance(in, 4) ? wild32(in) : (int32_t)below(in, 4);
  o.placeholders = chance(in, 12) ? wild32(in) : (int32_t)below(in, 2);
  o.reserved = chance(in, 32);
  tamis_compressor_destroy(slot[i].compressor);
  slot[i].compressor = NULL;
  if (chance(in, 2)) {
    judged(tamis_compressor_open(a_context(in), a_path(in), chance(in, 3) ? a_path(in) : NULL,
                                 chance(in, 8) ? wild32(in) : (int32_t)below(in, 4) - 1, chance(in, 8) ? NULL : &o, out));
  } else {
    tamis_tokenizer *counting = chance(in, 4) ? (tamis_tokenizer *)(void *)good_encoder : chance(in, 2) ? good_tokenizer : NULL;
    judged(tamis_compressor_create(a_context(in), a_encoder(in), chance(in, 24) ? NULL : good_tokenizer, counting,
                                   chance(in, 8) ? NULL : &o, out));
  }
  const char *text = a_text(in, &length);
  judged(tamis_compressor_count(a_compressor(in), text, length, chance(in, 16) ? NULL : &tokens));
  judged(tamis_compressor_default_path(buffer, chance(in, 8) ? (size_t)INT64_MIN : below(in, TEXT),
                                       chance(in, 2) ? NULL : &needed));
}

static tamis_compress_options compress_options(input *in, int *calls) {
  tamis_compress_options o = TAMIS_COMPRESS_OPTIONS_INIT;
  o.struct_size = struct_size(in, sizeof o);
  o.mode = chance(in, 16) ? wild32(in) : (int32_t)below(in, 2);
  o.rate = chance(in, 8) ? (double)wild_float(in) : (double)below(in, 5) / 4;
  o.target_token = chance(in, 4) ? wild(in) : -1;
  o.threshold = chance(in, 8) ? (double)wild_float(in) : -1;
  o.scope = chance(in, 16) ? wild32(in) : (int32_t)below(in, 3);
  o.token_to_word = chance(in, 16) ? wild32(in) : (int32_t)below(in, 2);
  o.force_reserve_digit = chance(in, 16) ? wild32(in) : (int32_t)below(in, 2);
  o.drop_consecutive = chance(in, 16) ? wild32(in) : (int32_t)below(in, 2);
  o.use_token_level_filter = chance(in, 16) ? wild32(in) : !chance(in, 4);
  o.use_context_level_filter = chance(in, 16) ? wild32(in) : (int32_t)below(in, 2);
  o.target_context = chance(in, 4) ? wild32(in) : -1;
  o.protect = chance(in, 16) ? (uint32_t)wild32(in) : below(in, 32);
  o.context_level_rate = chance(in, 4) ? (double)wild_float(in) : 1;
  o.context_level_target_token = chance(in, 4) ? wild(in) : -1;
  if (chance(in, 2)) o.force_tokens = some_strings(in, &o.n_force_tokens);
  if (chance(in, 4)) o.chunk_end_tokens = some_strings(in, &o.n_chunk_end_tokens);
  if (chance(in, 4)) {
    int32_t *ids = (int32_t *)address(in, 4 * TEXTS);
    for (int i = 0; ids && i < TEXTS; i++)
      memcpy(&ids[i], &(int32_t){chance(in, 4) ? wild32(in) : (int32_t)below(in, TEXTS)}, 4);
    o.force_context_ids = ids;
    o.n_force_context_ids = chance(in, 8) ? -1 : (int32_t)below(in, TEXTS + 1);
  }
  o.line_breaks = chance(in, 16) ? wild32(in) : (int32_t)below(in, 2);
  if (chance(in, 4)) o.progress = go_on, o.progress_user = calls;
  return o;
}

/* What a result says of itself hangs together. */
static void check_compression(input *in, const tamis_compression *c) {
  tamis_compression_report report = TAMIS_COMPRESSION_REPORT_INIT;
  tamis_context_report context = TAMIS_CONTEXT_REPORT_INIT;
  const char *text = NULL;
  const tamis_span *spans = NULL;
  const tamis_word *words = NULL;
  size_t length = 0;
  int64_t n = 0;
  const int64_t i = chance(in, 8) ? wild(in) : chance(in, 2) ? 0 : below(in, TEXTS);
  report.struct_size = struct_size(in, sizeof report);
  context.struct_size = struct_size(in, sizeof context);
  judged(tamis_compression_get_report(c, chance(in, 16) ? NULL : &report));
  judged(tamis_compression_get_context(c, i, chance(in, 16) ? NULL : &context));
  if (judged(tamis_compression_text(c, i, chance(in, 16) ? NULL : &text, chance(in, 16) ? NULL : &length)) == TAMIS_OK)
    MUST(text[length] == 0);
  if (judged(tamis_compression_spans(c, i, chance(in, 16) ? NULL : &spans, &n)) == TAMIS_OK)
    for (int64_t k = 0; k < n; k++)
      MUST(spans[k].start < spans[k].end && spans[k].end <= ARENA && (k == 0 || spans[k].start > spans[k - 1].end));
  if (judged(tamis_compression_words(c, i, &words, chance(in, 16) ? NULL : &n)) == TAMIS_OK)
    for (int64_t k = 0; k < n; k++) MUST(words[k].start <= words[k].end && words[k].tokens >= 0);
  judged(tamis_compression_word_text(c, i, &text, &length));
}

static void call_compress(input *in) {
  static const char *texts[TEXTS];
  static size_t lengths[TEXTS];
  const uint32_t i = below(in, SLOTS), n = 1 + below(in, TEXTS);
  int calls = 0;
  for (uint32_t k = 0; k < TEXTS; k++) texts[k] = a_text(in, &lengths[k]);
  const tamis_compress_options o = compress_options(in, &calls);
  tamis_compression_destroy(slot[i].compression);
  slot[i].compression = NULL;
  /* without lengths a text ends at its NUL: a later one may have been written over it, but the arena has others */
  judged(tamis_compress(a_compressor(in), chance(in, 24) ? NULL : texts, chance(in, 4) ? NULL : lengths,
                        chance(in, 16) ? -(int64_t)below(in, 9) : n, chance(in, 16) ? NULL : &o,
                        chance(in, 16) ? NULL : &slot[i].compression));
  check_compression(in, a_compression(in));
}

/* ------------------------------------------------------------------------------------------------ target */

static void compress_well(char *out, size_t capacity) {
  static const char *const texts[] = {"the cats ab. why? the cat 3.5"};
  tamis_compression *c = NULL;
  const char *text = NULL;
  size_t length = 0;
  MUST(tamis_compress(good_compressor, texts, NULL, 1, NULL, &c) == TAMIS_OK);
  MUST(tamis_compression_text(c, -1, &text, &length) == TAMIS_OK && length > 0 && length < capacity);
  memcpy(out, text, length + 1);
  tamis_compression_destroy(c);
}

static void set_up(void) {
  folder = tiny_model();
  MUST(tamis_context_create(NULL, &good_context) == TAMIS_OK);
  MUST(tamis_encoder_create(good_context, folder, NULL, &good_encoder) == TAMIS_OK);
  MUST(tamis_tokenizer_open(folder, &good_tokenizer) == TAMIS_OK);
  MUST(tamis_compressor_create(good_context, good_encoder, good_tokenizer, NULL, NULL, &good_compressor) == TAMIS_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static void (*const calls[])(input *) = {call_encoder,  call_compressor, call_compress,
                                           call_compress, call_compress,   call_compress};
  static char first[64], now[64];
  input in = {data, size};
  if (!good_context) {
    set_up();
    compress_well(first, sizeof first);
  }
  for (size_t i = 0; i < ARENA; i++) arena[i] = (uint8_t)(i * 31);
  arena[ARENA - 1] = 0;
  for (size_t i = 0; in.left > 0 && i < 64; i++) calls[below(&in, sizeof calls / sizeof *calls)](&in);
  compress_well(now, sizeof now);
  MUST(strcmp(first, now) == 0);
  for (int i = 0; i < SLOTS; i++) { /* parents first on purpose */
    tamis_encoder_destroy(slot[i].encoder);
    tamis_compressor_destroy(slot[i].compressor);
    tamis_compression_destroy(slot[i].compression);
  }
  memset(slot, 0, sizeof slot);
  return 0;
}
