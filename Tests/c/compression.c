/* tamis/compression.h: a call with the compressor that ships, its result, and what is refused. */
#include "check.h"
#include <unistd.h>

static const char text[] = "John said that the meeting would start at 10:30 on Monday, and that everyone should bring the 3.5 "
                           "kg sample to the office.";

static int32_t refuse(double done, void *user) { return user != NULL && done > 2; }

static void test_result(tamis_compressor *compressor) {
  tamis_compress_options options = TAMIS_COMPRESS_OPTIONS_INIT;
  const char *texts[2] = {text, "a\0b"};
  size_t lengths[2] = {sizeof text - 1, 3}, length = 0;
  const char *force[1] = {"office"}, *out = NULL;
  const tamis_span *spans = NULL;
  const tamis_word *words = NULL;
  tamis_compression *c = NULL;
  tamis_compression_report report = TAMIS_COMPRESSION_REPORT_INIT;
  tamis_context_report first = TAMIS_CONTEXT_REPORT_INIT;
  int64_t n = 0, count = 0;
  options.rate = 0.4;
  options.force_tokens = force;
  options.n_force_tokens = 1;
  OK(tamis_compress(compressor, texts, lengths, 2, &options, &c));
  OK(tamis_compression_get_report(c, &report));
  CHECK(report.contexts == 2 && report.words > report.words_kept && report.compressed_tokens < report.origin_tokens);
  OK(tamis_compressor_count(compressor, text, sizeof text - 1, &count));
  OK(tamis_compression_get_context(c, 0, &first));
  CHECK(first.kept == 1 && first.origin_tokens == count && first.score > 0 && first.score < 1);
  OK(tamis_compression_text(c, 0, &out, &length));
  CHECK(strlen(out) == length && length < sizeof text && strstr(out, "office") != NULL);
  OK(tamis_compression_spans(c, 0, &spans, &n));
  int ascending = n > 0;
  for (int64_t i = 0; i < n; i++)
    ascending &= spans[i].start < spans[i].end && spans[i].end <= (int64_t)sizeof text - 1 &&
                 (i == 0 || spans[i].start > spans[i - 1].end);
  CHECK(ascending);
  OK(tamis_compression_words(c, 0, &words, &n));
  int forced = 0;
  for (int64_t i = 0; i < n; i++)
    forced += (words[i].flags & TAMIS_WORD_FORCED) != 0 && memcmp(text + words[i].start, "office", 6) == 0;
  CHECK(forced == 1);
  OK(tamis_compression_word_text(c, 0, &out, &length));
  CHECK(length == 0);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "i is 2", tamis_compression_text(c, 2, &out, &length));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "i is -1", tamis_compression_words(c, -1, &words, &n));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "text", tamis_compression_text(c, 0, NULL, &length));
  tamis_compression_destroy(c);

  options.rate = 1;
  OK(tamis_compress(compressor, texts, lengths, 2, &options, &c));
  OK(tamis_compression_text(c, -1, &out, &length));
  CHECK(length == sizeof text - 1 + 2 + 3 && memcmp(out, text, sizeof text - 1) == 0 &&
        memcmp(out + length - 3, "a\0b", 3) == 0);
  tamis_compression_destroy(c);
}

static void test_refusals(tamis_compressor *compressor) {
  const char *texts[1] = {text}, *empty[1] = {""};
  tamis_compression *c = NULL;
  tamis_compress_options o = TAMIS_COMPRESS_OPTIONS_INIT;
  const double rates[] = {-0.1, 1.01, NAN, INFINITY};
  for (int i = 0; i < 4; i++) {
    o.rate = rates[i];
    FAILS(TAMIS_ERR_INVALID_ARGUMENT, "rate", tamis_compress(compressor, texts, NULL, 1, &o, &c));
  }
  o.rate = 0.5;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "compressor", tamis_compress(NULL, texts, NULL, 1, &o, &c));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "texts", tamis_compress(compressor, NULL, NULL, 1, &o, &c));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n is 0", tamis_compress(compressor, texts, NULL, 0, &o, &c));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out", tamis_compress(compressor, texts, NULL, 1, &o, NULL));
  const size_t huge[1] = {(size_t)1 << 40};
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "texts", tamis_compress(compressor, texts, huge, 1, &o, &c));
  o.mode = 7;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "mode", tamis_compress(compressor, texts, NULL, 1, &o, &c));
  o.mode = TAMIS_COMPRESS_NATIVE;
  o.protect = 1u << 20;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "protect", tamis_compress(compressor, texts, NULL, 1, &o, &c));
  o.protect = 0;
  o.n_force_tokens = 1;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "force_tokens", tamis_compress(compressor, texts, NULL, 1, &o, &c));
  o.force_tokens = empty;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "force_tokens", tamis_compress(compressor, texts, NULL, 1, &o, &c));
  o.n_force_tokens = INT32_MAX;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n_force_tokens", tamis_compress(compressor, texts, NULL, 1, &o, &c));
  o.n_force_tokens = 0;
  o.target_token = -5;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "target_token", tamis_compress(compressor, texts, NULL, 1, &o, &c));
  o.target_token = -1;
  o.progress = refuse;
  FAILS(TAMIS_ERR_CANCELLED, "", tamis_compress(compressor, texts, NULL, 1, &o, &c));
}

void test_compression(void) {
  tamis_context *context = NULL;
  tamis_compressor *compressor = NULL;
  tamis_compressor_options options = TAMIS_COMPRESSOR_OPTIONS_INIT;
  char path[4096];
  OK(tamis_context_create(NULL, &context));
  FAILS(TAMIS_ERR_NOT_FOUND, "path",
        tamis_compressor_open(context, "/nowhere/at/all", NULL, TAMIS_PRECISION_STORED, NULL, &compressor));
  options.chunk_tokens = -1;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "chunk_tokens",
        tamis_compressor_open(context, NULL, NULL, TAMIS_PRECISION_STORED, &options, &compressor));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "encoder", tamis_compressor_create(context, NULL, NULL, NULL, NULL, &compressor));
  tamis_compressor_destroy(NULL);
  tamis_compression_destroy(NULL);
  if (tamis_compressor_default_path(path, sizeof path, NULL) == TAMIS_OK) {
    CHECK(access(path, R_OK) == 0);
    OK(tamis_compressor_open(context, NULL, NULL, TAMIS_PRECISION_STORED, NULL, &compressor));
    tamis_context_destroy(context); /* the compressor keeps what it needs */
    context = NULL;
    test_result(compressor);
    test_refusals(compressor);
    tamis_compressor_destroy(compressor);
  }
  tamis_context_destroy(context);
}
