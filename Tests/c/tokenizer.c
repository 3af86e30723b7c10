/* tamis/tokenizer.h: a vocabulary written here, and every argument that is wrong. */
#include <pthread.h>
#include <unistd.h>

#include "check.h"

static const char json[] = "{\"added_tokens\":[{\"id\":0,\"content\":\"[UNK]\",\"special\":true,\"normalized\":false},"
                           "{\"id\":1,\"content\":\"<s>\",\"special\":true,\"normalized\":false}],"
                           "\"pre_tokenizer\":{\"type\":\"WhitespaceSplit\"},"
                           "\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"<s>\",1],\"sep\":[\"<s>\",1]},"
                           "\"decoder\":{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":false},"
                           "\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\","
                           "\"max_input_chars_per_word\":100,"
                           "\"vocab\":{\"[UNK]\":0,\"<s>\":1,\"sieve\":2,\"##s\":3,\"caf\xc3\xa9\":4}}}";

static tamis_tokenizer *make(void) {
  tamis_tokenizer *t = NULL;
  OK(tamis_tokenizer_from_bytes(json, sizeof json - 1, TAMIS_TOKENIZER_JSON, NULL, &t));
  return t;
}

static void test_vocabulary(const tamis_tokenizer *t) {
  tamis_tokenizer_info info = TAMIS_TOKENIZER_INFO_INIT;
  char piece[16];
  size_t needed = 0;
  int32_t id = -1;
  OK(tamis_tokenizer_get_info(t, &info));
  CHECK(info.model == TAMIS_MODEL_WORDPIECE && info.vocabulary_size == 5 && info.added_tokens == 2);
  CHECK(info.unknown_id == 0 && info.pad_id == -1 && info.byte_level == 0 && info.max_tokens == 0);
  CHECK(info.template_tokens == 2 && info.pair_tokens == 3);
  OK(tamis_tokenizer_piece(t, 4, piece, sizeof piece, &needed));
  CHECK(strcmp(piece, "caf\xc3\xa9") == 0 && needed == 5);
  FAILS(TAMIS_ERR_BUFFER_TOO_SMALL, "capacity", tamis_tokenizer_piece(t, 4, piece, 5, &needed));
  CHECK(strcmp(piece, "caf") == 0);
  FAILS(TAMIS_ERR_NOT_FOUND, "id", tamis_tokenizer_piece(t, 5, piece, sizeof piece, NULL));
  FAILS(TAMIS_ERR_NOT_FOUND, "id", tamis_tokenizer_piece(t, INT32_MIN, piece, sizeof piece, NULL));
  OK(tamis_tokenizer_id(t, "##s", 3, &id));
  CHECK(id == 3);
  FAILS(TAMIS_ERR_NOT_FOUND, "piece", tamis_tokenizer_id(t, "nothing", 7, &id));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "piece", tamis_tokenizer_id(t, NULL, 7, &id));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "id", tamis_tokenizer_id(t, "##s", 3, NULL));
  CHECK(tamis_tokenizer_is_special(t, 1) == 1 && tamis_tokenizer_is_special(t, 2) == 0 &&
        tamis_tokenizer_is_special(NULL, 1) == 0);
  info.struct_size = 8;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "struct_size", tamis_tokenizer_get_info(t, &info));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "info", tamis_tokenizer_get_info(t, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "tokenizer", tamis_tokenizer_get_info(NULL, &info));
}

static int is(const tamis_encoded *e, int n, const int32_t *ids, const int32_t *starts, const int32_t *ends,
              const int32_t *words, const int32_t *types) {
  const size_t size = (size_t)n * sizeof *ids;
  return e->n == n && memcmp(e->ids, ids, size) == 0 && memcmp(e->starts, starts, size) == 0 &&
         memcmp(e->ends, ends, size) == 0 && memcmp(e->words, words, size) == 0 && memcmp(e->types, types, size) == 0;
}

static void test_encode(const tamis_tokenizer *t) {
  tamis_encode_options o = TAMIS_ENCODE_OPTIONS_INIT;
  tamis_encoded e = TAMIS_ENCODED_INIT;
  tamis_encoding *encoding = NULL;
  int64_t n = 0;
  const char *text = "caf\xc3\xa9 sieves";
  OK(tamis_tokenizer_encode(t, NULL, text, strlen(text), NULL, 0, &encoding));
  CHECK(tamis_encoding_count(encoding) == 1);
  OK(tamis_encoding_get(encoding, 0, &e));
  CHECK(is(&e, 5, (int32_t[]){1, 4, 2, 3, 1}, (int32_t[]){0, 0, 6, 11, 0}, (int32_t[]){0, 5, 11, 12, 0},
           (int32_t[]){-1, 0, 1, 1, -1}, (int32_t[]){0, 0, 0, 0, 0}));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "i is", tamis_encoding_get(encoding, 1, &e));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "i is", tamis_encoding_get(encoding, -1, &e));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out", tamis_encoding_get(encoding, 0, NULL));
  tamis_encoding_destroy(encoding);

  o.offsets = TAMIS_OFFSETS_CHARACTERS;
  OK(tamis_tokenizer_encode(t, &o, text, strlen(text), "sieve caf\xc3\xa9", 11, &encoding));
  OK(tamis_encoding_get(encoding, 0, &e));
  CHECK(is(&e, 8, (int32_t[]){1, 4, 2, 3, 1, 2, 4, 1}, (int32_t[]){0, 0, 5, 10, 0, 0, 6, 0},
           (int32_t[]){0, 4, 10, 11, 0, 5, 10, 0}, (int32_t[]){-1, 0, 1, 1, -1, 0, 1, -1},
           (int32_t[]){0, 0, 0, 0, 0, 1, 1, 1}));
  tamis_encoding_destroy(encoding);
  OK(tamis_tokenizer_count(t, NULL, text, strlen(text), &n));
  CHECK(n == 5);

  OK(tamis_tokenizer_encode(t, NULL, NULL, 0, NULL, 0, &encoding)); /* empty: the template */
  OK(tamis_encoding_get(encoding, 0, &e));
  CHECK(e.n == 2 && e.ids[0] == 1 && e.ids[1] == 1);
  tamis_encoding_destroy(encoding);

  tamis_encode_options_init(&o);
  o.add_special = 0;
  OK(tamis_tokenizer_encode(t, &o, "<s> \xff<s>", 8, NULL, 0, &encoding)); /* a byte that is no UTF-8 */
  OK(tamis_encoding_get(encoding, 0, &e));
  CHECK(e.n == 3 && e.ids[0] == 1 && e.ids[1] == 0 && e.ids[2] == 1 && e.starts[1] == 4 && e.ends[1] == 5 && e.starts[2] == 5);
  tamis_encoding_destroy(encoding);
  o.parse_special = 0;
  OK(tamis_tokenizer_encode(t, &o, "<s>", 3, NULL, 0, &encoding));
  OK(tamis_encoding_get(encoding, 0, &e));
  CHECK(e.n == 1 && e.ids[0] == 1); /* the model has the piece as a word */
  tamis_encoding_destroy(encoding);

  tamis_encode_options_init(&o);
  o.max_tokens = 3;
  OK(tamis_tokenizer_count(t, &o, text, strlen(text), &n));
  CHECK(n == 3);
  o.max_tokens = 1;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "max_tokens", tamis_tokenizer_count(t, &o, text, strlen(text), &n));
  o.max_tokens = -1;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "max_tokens", tamis_tokenizer_count(t, &o, text, strlen(text), &n));
  tamis_encode_options_init(&o);
  o.add_special = 2;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "add_special", tamis_tokenizer_count(t, &o, text, strlen(text), &n));
  tamis_encode_options_init(&o);
  o.offsets = 2;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "offsets", tamis_tokenizer_count(t, &o, text, strlen(text), &n));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "text", tamis_tokenizer_encode(t, NULL, NULL, 3, NULL, 0, &encoding));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "text", tamis_tokenizer_encode(t, NULL, text, (size_t)1 << 31, NULL, 0, &encoding));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "text", tamis_tokenizer_encode(t, NULL, text, SIZE_MAX, NULL, 0, &encoding));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "pair", tamis_tokenizer_encode(t, NULL, text, 3, NULL, 1, &encoding));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out", tamis_tokenizer_encode(t, NULL, text, 3, NULL, 0, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "tokenizer", tamis_tokenizer_encode(NULL, NULL, text, 3, NULL, 0, &encoding));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n is", tamis_tokenizer_count(t, NULL, text, 3, NULL));
  CHECK(tamis_encoding_count(NULL) == 0);
  tamis_encoding_destroy(NULL);
}

static int32_t stop(double done, void *user) {
  (void)done;
  ++*(int *)user;
  return 0;
}

static void test_batch(const tamis_tokenizer *t) {
  tamis_context *context = make_context(2);
  tamis_encoding *encoding = NULL;
  tamis_encoded e = TAMIS_ENCODED_INIT;
  const char *texts = "sievesievesx";
  int64_t offsets[] = {0, 5, 5, 11, 12};
  int calls = 0;
  OK(tamis_tokenizer_encode_batch(context, t, NULL, texts, offsets, 4, NULL, NULL, &encoding));
  CHECK(tamis_encoding_count(encoding) == 4);
  OK(tamis_encoding_get(encoding, 1, &e));
  CHECK(e.n == 2);
  OK(tamis_encoding_get(encoding, 2, &e));
  CHECK(e.n == 4 && e.ids[1] == 2 && e.ids[2] == 3 && e.starts[1] == 0 && e.ends[2] == 6);
  OK(tamis_encoding_get(encoding, 3, &e));
  CHECK(e.n == 3 && e.ids[1] == 0);
  tamis_encoding_destroy(encoding);
  OK(tamis_tokenizer_encode_batch(context, t, NULL, NULL, offsets, 0, NULL, NULL, &encoding));
  CHECK(tamis_encoding_count(encoding) == 0);
  tamis_encoding_destroy(encoding);
  FAILS(TAMIS_ERR_CANCELLED, "progress",
        tamis_tokenizer_encode_batch(context, t, NULL, texts, offsets, 4, stop, &calls, &encoding));
  CHECK(calls == 1);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n is",
        tamis_tokenizer_encode_batch(context, t, NULL, texts, offsets, -1, NULL, NULL, &encoding));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "offsets",
        tamis_tokenizer_encode_batch(context, t, NULL, texts, NULL, 1, NULL, NULL, &encoding));
  offsets[2] = 4;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "offsets[2]",
        tamis_tokenizer_encode_batch(context, t, NULL, texts, offsets, 4, NULL, NULL, &encoding));
  offsets[2] = INT64_MAX;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "offsets[2]",
        tamis_tokenizer_encode_batch(context, t, NULL, texts, offsets, 2, NULL, NULL, &encoding));
  offsets[0] = 1;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "offsets[0]",
        tamis_tokenizer_encode_batch(context, t, NULL, texts, offsets, 1, NULL, NULL, &encoding));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "context",
        tamis_tokenizer_encode_batch(NULL, t, NULL, texts, offsets, 1, NULL, NULL, &encoding));
  tamis_context_destroy(context);
}

static void test_decode(const tamis_tokenizer *t) {
  const int32_t ids[] = {1, 2, 3, 99, -5, 4, 1};
  const int64_t borders[] = {0, 5, 8};
  char text[64];
  size_t needed = 0;
  tamis_decoder *decoder = NULL;
  OK(tamis_tokenizer_decode(t, ids, 7, 1, text, sizeof text, &needed));
  CHECK(strcmp(text, "sieves caf\xc3\xa9") == 0 && needed == 12);
  OK(tamis_tokenizer_decode(t, ids, 7, 0, text, sizeof text, NULL));
  CHECK(strcmp(text, "<s> sieves caf\xc3\xa9 <s>") == 0);
  OK(tamis_tokenizer_decode(t, NULL, 0, 1, text, sizeof text, &needed));
  CHECK(needed == 0);
  FAILS(TAMIS_ERR_BUFFER_TOO_SMALL, "capacity", tamis_tokenizer_decode(t, ids, 7, 1, text, 12, &needed));
  CHECK(needed == 12);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "ids", tamis_tokenizer_decode(t, NULL, 1, 1, text, sizeof text, &needed));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n is", tamis_tokenizer_decode(t, ids, -1, 1, text, sizeof text, &needed));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "skip_special", tamis_tokenizer_decode(t, ids, 1, 2, text, sizeof text, &needed));
  OK(tamis_tokenizer_decode_pieces(t, "sieve##s", borders, 2, text, sizeof text, NULL));
  CHECK(strcmp(text, "sieves") == 0);

  OK(tamis_decoder_create(t, 1, &decoder));
  OK(tamis_decoder_push(decoder, 2, text, sizeof text, NULL));
  CHECK(strcmp(text, "sieve") == 0);
  FAILS(TAMIS_ERR_BUFFER_TOO_SMALL, "capacity", tamis_decoder_push(decoder, 4, text, 2, &needed));
  CHECK(needed == 6);
  OK(tamis_decoder_push(decoder, 4, text, sizeof text, NULL)); /* not lost, not twice */
  CHECK(strcmp(text, " caf\xc3\xa9") == 0);
  OK(tamis_decoder_push(decoder, 1, text, sizeof text, NULL));
  CHECK(text[0] == 0);
  OK(tamis_decoder_finish(decoder, text, sizeof text, &needed));
  CHECK(needed == 0);
  OK(tamis_decoder_push(decoder, 2, text, sizeof text, NULL));
  CHECK(strcmp(text, "sieve") == 0); /* a new text begins without a space */
  tamis_decoder_destroy(decoder);
  tamis_decoder_destroy(NULL);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "decoder", tamis_decoder_push(NULL, 1, text, sizeof text, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "skip_special", tamis_decoder_create(t, -1, &decoder));
}

static void test_add(const tamis_tokenizer *t) {
  const int64_t borders[] = {0, 3, 8, 11};
  const tamis_token_flags flags[] = {TAMIS_TOKEN_SPECIAL, TAMIS_TOKEN_LSTRIP, TAMIS_TOKEN_SINGLE_WORD};
  tamis_tokenizer *more = NULL;
  tamis_encoding *encoding = NULL;
  tamis_encoded e = TAMIS_ENCODED_INIT;
  OK(tamis_tokenizer_add(t, "<a>sieveabc", borders, 3, flags, &more));
  OK(tamis_tokenizer_encode(more, NULL, "x <a>  sieve abcd abc", 21, NULL, 0, &encoding));
  OK(tamis_encoding_get(encoding, 0, &e));
  CHECK(e.n == 7 && e.ids[2] == 5 && e.ids[3] == 2 && e.starts[3] == 5 && e.ends[3] == 12 && e.ids[4] == 0 && e.ids[5] == 6);
  tamis_encoding_destroy(encoding);
  tamis_tokenizer_destroy(more);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "flags[0]", tamis_tokenizer_add(t, "<a>", borders, 1, (tamis_token_flags[]){32}, &more));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "empty", tamis_tokenizer_add(t, "<a>", (int64_t[]){0, 0}, 1, NULL, &more));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "UTF-8", tamis_tokenizer_add(t, "<\xff>", borders, 1, NULL, &more));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out", tamis_tokenizer_add(t, "<a>", borders, 1, NULL, NULL));
}

static void *encode_many(void *argument) {
  const tamis_tokenizer *t = (const tamis_tokenizer *)argument;
  for (int i = 0; i < 300; i++) {
    int64_t n = 0;
    if (tamis_tokenizer_count(t, NULL, "sieves caf\xc3\xa9 sieve x", 20, &n) != TAMIS_OK || n != 7) return argument;
  }
  return NULL;
}

static void test_shared(tamis_tokenizer *t) {
  pthread_t threads[3];
  void *failed = NULL;
  for (int i = 0; i < 3; i++) CHECK(pthread_create(&threads[i], NULL, encode_many, t) == 0);
  for (int i = 0; i < 3; i++) {
    pthread_join(threads[i], &failed);
    CHECK(failed == NULL);
  }
}

static void test_files(void) {
  const char *directory = getenv("TMPDIR");
  char folder[256], path[300];
  tamis_tokenizer *t = NULL;
  FILE *f;
  snprintf(folder, sizeof folder, "%s/tamis-tokenizer-XXXXXX", directory ? directory : "/tmp");
  if (!mkdtemp(folder)) return;
  FAILS(TAMIS_ERR_NOT_FOUND, "holds no", tamis_tokenizer_open(folder, &t));
  snprintf(path, sizeof path, "%s/tokenizer.json", folder);
  if ((f = fopen(path, "wb"))) fwrite(json, 1, sizeof json - 1, f), fclose(f);
  OK(tamis_tokenizer_open(folder, &t));
  tamis_tokenizer_destroy(t);
  OK(tamis_tokenizer_open(path, &t));
  tamis_tokenizer_destroy(t);
  if ((f = fopen(path, "wb"))) fwrite(json, 1, 200, f), fclose(f);
  FAILS(TAMIS_ERR_FORMAT, "JSON", tamis_tokenizer_open(path, &t));
  unlink(path);
  rmdir(folder);
  FAILS(TAMIS_ERR_NOT_FOUND, "path", tamis_tokenizer_open("/nonexistent.json", &t));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "path", tamis_tokenizer_open(NULL, &t));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "path", tamis_tokenizer_open("", &t));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out", tamis_tokenizer_open("x", NULL));
  FAILS(TAMIS_ERR_FORMAT, "", tamis_tokenizer_from_bytes(NULL, 0, TAMIS_TOKENIZER_JSON, NULL, &t));
  FAILS(TAMIS_ERR_FORMAT, "",
        tamis_tokenizer_from_bytes("\x0a\xff\xff\xff\xff\x0f", 6, TAMIS_TOKENIZER_SENTENCEPIECE, NULL, &t));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "format", tamis_tokenizer_from_bytes(json, 4, 9, NULL, &t));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "pattern", tamis_tokenizer_from_bytes("YQ== 0\n", 7, TAMIS_TOKENIZER_TIKTOKEN, NULL, &t));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "bytes", tamis_tokenizer_from_bytes(NULL, 7, TAMIS_TOKENIZER_JSON, NULL, &t));
}

void test_tokenizer(void) {
  tamis_tokenizer *t = make();
  if (!t) return;
  test_vocabulary(t);
  test_encode(t);
  test_batch(t);
  test_decode(t);
  test_add(t);
  test_shared(t);
  tamis_tokenizer_destroy(t);
  tamis_tokenizer_destroy(NULL);
  test_files();
}
