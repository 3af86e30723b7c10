/* tokenizer.json and SentencePiece models that were tampered with, and the vocabulary texts: refused, or a tokenizer whose
 * tokens lie inside
 * the text and whose ids can be decoded. */
#include "file.h"

static const char json[] =
    "{\"version\":\"1.0\",\"truncation\":{\"max_length\":9},\"padding\":null,\"added_tokens\":["
    "{\"id\":0,\"content\":\"<u>\",\"special\":true,\"normalized\":false},{\"id\":9,\"content\":\"x y\",\"single_word\":true,"
    "\"lstrip\":true,\"rstrip\":true,\"normalized\":true,\"special\":false}],"
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Lowercase\"},"
    "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\" \"}]},"
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\s?[a-c]+|[^ab]\"},\"behavior\":\"Isolated\",\"invert\":false},"
    "{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\",\"prepend_scheme\":\"first\",\"split\":true}]},"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<u>\",\"type_id\":0}},"
    "{\"Sequence\":{\"id\":\"A\",\"type_id\":1}}],"
    "\"pair\":[{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}],"
    "\"special_tokens\":{\"<u>\":{\"id\":\"<u>\",\"ids\":[0],\"tokens\":[\"<u>\"]}}},"
    "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},"
    "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":1}]},\"model\":";
static const char bpe[] =
    "{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":\"<u>\",\"fuse_unk\":true,\"byte_fallback\":true,\"ignore_merges\":false,"
    "\"vocab\":{\"<u>\":0,\"a\":1,\"b\":2,\"ab\":3,\"\\u2581\":4,\"\xe2\x96\x81" "a\":5,\"<0xC3>\":6,\"aba\":7},"
    "\"merges\":[\"a b\",[\"\xe2\x96\x81\",\"a\"],\"ab a\"]}}";
static const char unigram[] =
    "{\"type\":\"Unigram\",\"unk_id\":0,\"byte_fallback\":true,\"vocab\":[[\"<u>\",0],[\"a\",-1.5],[\"b\",-2e0],[\"ab\",-2.25],"
    "[\"\xe2\x96\x81\",-3],[\"\xe2\x96\x81" "ab\",-4.0000000001]]}}";
static const char wordpiece[] =
    "{\"type\":\"WordPiece\",\"unk_token\":\"<u>\",\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":5,"
    "\"vocab\":{\"<u>\":0,\"a\":1,\"##b\":2,\"ab\":3,\"##a\":4,\"\xe2\x96\x81\":5}}}";
static const char lines[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n##b\nab\n";
static const char ranks[] = "YQ== 0\nYg== 1\nYWI= 2\nIA== 3\n";

static uint8_t whole[8][2048];
static size_t sizes[8];

static void add(int i, const char *a, size_t n, const char *b, size_t m) {
  MUST(n + m <= sizeof whole[i]);
  memcpy(whole[i], a, n);
  memcpy(whole[i] + n, b, m);
  sizes[i] = n + m;
}

/* pieces (text, score, type); a trainer and a normaliser */
static size_t put_piece(uint8_t *at, const char *text, float score, int type) {
  const size_t n = strlen(text);
  uint8_t *p = at;
  *p++ = 0x0a;
  *p++ = (uint8_t)(2 + n + 5 + 2);
  *p++ = 0x0a;
  *p++ = (uint8_t)n;
  memcpy(p, text, n);
  p += n;
  *p++ = 0x15;
  memcpy(p, &score, 4);
  p += 4;
  *p++ = 0x18;
  *p++ = (uint8_t)type;
  return (size_t)(p - at);
}

static void add_sentencepiece(int i, int model_type) {
  static const struct {
    const char *text;
    float score;
    int type;
  } pieces[] = {{"<unk>", 0, 2},  {"<s>", 0, 3}, {"\xe2\x96\x81", -2, 1}, {"a", -1, 1}, {"b", -3, 1},
                {"ab", -1.5f, 1}, {"xy", 0, 4},  {"<0xC3>", 0, 6}};
  uint8_t *p = whole[i];
  for (size_t k = 0; k < sizeof pieces / sizeof *pieces; k++)
    p += put_piece(p, pieces[k].text, pieces[k].score, pieces[k].type);
  const uint8_t trainer[] = {0x12, 5, 0x18, (uint8_t)model_type, 0x98, 0x02, 1};
  const uint8_t normalizer[] = {0x1a, 6, 0x18, 1, 0x20, 1, 0x28, 1};
  memcpy(p, trainer, sizeof trainer);
  p += sizeof trainer;
  memcpy(p, normalizer, sizeof normalizer);
  sizes[i] = (size_t)(p + sizeof normalizer - whole[i]);
}

static void use(input *in, tamis_tokenizer *t) {
  static const char seeds[] = "ab aba <u> x y  \xc3\xa9 xy\n\xff\xe2\x96\x81" "ab cab";
  char text[96], out[4096];
  size_t n = 0, needed = 0;
  tamis_encode_options o = TAMIS_ENCODE_OPTIONS_INIT;
  tamis_encoding *encoding = NULL;
  tamis_encoded e = TAMIS_ENCODED_INIT;
  tamis_tokenizer_info info = TAMIS_TOKENIZER_INFO_INIT;
  MUST(tamis_tokenizer_get_info(t, &info) == TAMIS_OK && info.vocabulary_size >= 0);
  while (n < sizeof text && n < in->left + 20) {
    text[n] = chance(in, 4) ? (char)take(in, 1) : seeds[below(in, sizeof seeds - 1)];
    n++;
  }
  o.add_special = !chance(in, 4);
  o.parse_special = !chance(in, 4);
  o.max_tokens = chance(in, 8) ? below(in, 20) : 0;
  if (judged(tamis_tokenizer_encode(t, &o, text, n, chance(in, 4) ? text : NULL, 0, &encoding)) != TAMIS_OK) return;
  MUST(tamis_encoding_get(encoding, 0, &e) == TAMIS_OK);
  MUST(e.n <= 8 * (int64_t)n + 16);
  for (int64_t i = 0; i < e.n; i++) {
    MUST(e.ids[i] >= 0 && e.starts[i] >= 0 && e.starts[i] <= e.ends[i] && e.ends[i] <= (int32_t)n);
    MUST(e.words[i] >= -1);
  }
  if (e.n < 200) judged(tamis_tokenizer_decode(t, e.ids, e.n, chance(in, 2), out, sizeof out, &needed));
  tamis_encoding_destroy(encoding);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static uint8_t changed[FILE_CAPACITY];
  static const tamis_tokenizer_format formats[] = {
      TAMIS_TOKENIZER_JSON,      TAMIS_TOKENIZER_JSON,     TAMIS_TOKENIZER_JSON, TAMIS_TOKENIZER_SENTENCEPIECE,
      TAMIS_TOKENIZER_SENTENCEPIECE, TAMIS_TOKENIZER_VOCAB_TXT, TAMIS_TOKENIZER_TIKTOKEN};
  input in = {data, size};
  tamis_tokenizer *t = NULL;
  if (!sizes[0]) {
    add(0, json, sizeof json - 1, bpe, sizeof bpe - 1);
    add(1, json, sizeof json - 1, unigram, sizeof unigram - 1);
    add(2, json, sizeof json - 1, wordpiece, sizeof wordpiece - 1);
    add_sentencepiece(3, 1);
    add_sentencepiece(4, 2);
    add(5, lines, sizeof lines - 1, "", 0);
    add(6, ranks, sizeof ranks - 1, "", 0);
    for (int i = 0; i < 7; i++) { /* as they are, they are good */
      if (tamis_tokenizer_from_bytes(whole[i], sizes[i], formats[i], formats[i] == TAMIS_TOKENIZER_TIKTOKEN ? "gpt2" : NULL,
                                     &t) != TAMIS_OK)
        fprintf(stderr, "file %d: %s\n", i, tamis_last_error());
      MUST(t != NULL);
      tamis_tokenizer_destroy(t);
      t = NULL;
    }
  }
  const uint32_t i = below(&in, 7);
  const size_t length = mutate(&in, whole[i], sizes[i], changed);
  const char *pattern = chance(&in, 8) ? NULL : chance(&in, 4) ? "\\s?[a-b]+|(?i:c)" : "cl100k_base";
  if (judged(tamis_tokenizer_from_bytes(changed, length, formats[i], pattern, &t)) != TAMIS_OK) return 0;
  for (int k = 0; k < 4; k++) use(&in, t);
  tamis_tokenizer_destroy(t);
  return 0;
}
