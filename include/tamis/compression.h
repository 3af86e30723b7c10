/* tamis/compression.h: shorter prompts. Words of a text are kept or dropped by the keep-probability that an encoder with a
 * two-label head gives its tokens (LLMLingua-2, arXiv 2403.12968). Nothing is rewritten, added or moved.
 *
 *   score   the text is cut into chunks the encoder can take, at the ends of sentences where there are any; softmax of the head,
 *           label 1, per token; a word's probability is the mean (or the first) of its tokens'
 *   spend   the most probable words, until the budget of counted tokens is used up; ties from left to right
 *   use     the kept words, in the order of the text
 *
 * TAMIS_COMPRESS_NATIVE, the default, works on the bytes of the original text:
 *   - a word is a run of the text between white space, split at punctuation and symbols; 3.5, 1,000, don't, e-mail addresses and
 *     URLs are one word; scripts written without spaces (Han, Kana, Thai, Lao, Khmer, Myanmar) are split as the encoder's
 *     tokenizer splits them, never inside a character and its marks;
 *   - the result is spans of the text. Between two kept words that were neighbours everything stays as it was. Where words were cut
 *     the next word keeps the white space that stood before it. Where it had none, punctuation joins what is left before it, and
 *     another word takes one white space of the cut; where the cut had none, a single space is put between two letters or digits
 *     that would else grow together;
 *   - with everything kept (rate 1) the result is the text, byte for byte, invalid UTF-8 and NUL bytes included;
 *   - the words kept at a rate include those kept at any lower rate, save that a word longer than what is left of the budget is
 *     stepped over when it would leave more than one per cent of the budget unused, and labels under TAMIS_PROTECT_SPEAKERS;
 *   - a forced token that stands for itself (not a piece of a longer run of letters and digits) forces the words it touches; forced
 *     and protected words are kept even beyond the budget. A forced line break asks for TAMIS_LINE_BREAKS_KEEP;
 *   - text that looks like a special token ("[SEP]", "<|endoftext|>") is text;
 *   - texts of any length up to 2^31 - 1 bytes stream through the encoder in batches of bounded size. Besides the text and the
 *     result memory grows by about 30 bytes per word.
 *
 * TAMIS_COMPRESS_COMPAT repeats the decisions of the Python package llmlingua 0.2.2, its quirks included: placeholders [NEW0] ..
 * for forced tokens, chunks turned back into text and tokenised again, special ids of BERT for every model, unknown
 * characters dropped, percentile thresholds per chunk with numpy's arithmetic, weights counted on the pieces, decoder text. What
 * raises an exception there is INVALID_ARGUMENT here. Only the text of special tokens is counted as ordinary text, where the
 * package raises.
 */
#ifndef TAMIS_COMPRESSION_H
#define TAMIS_COMPRESSION_H

#include "core.h"
#include "encoder.h"
#include "span.h"
#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------------ compressor */

typedef struct tamis_compressor_options {
  uint32_t struct_size;
  int32_t chunk_tokens;    /* 0: as many as the encoder takes (at most 512); else at least 8: tokens per chunk, special tokens
                              included. TAMIS_COMPRESS_NATIVE only */
  int32_t batch_chunks;    /* 50: chunks per call of the encoder; changes nothing but memory and the rhythm of progress */
  int32_t max_force_token; /* 100: forced tokens a call may name; compat: placeholders added to the vocabulary */
  int32_t placeholders;    /* 0; 1: tamis_compressor_open adds the placeholders' rows to the encoder, which TAMIS_COMPRESS_COMPAT
                              needs for forced tokens that are not one piece */
  int32_t reserved;        /* 0 */
} tamis_compressor_options;

#define TAMIS_COMPRESSOR_OPTIONS_INIT {sizeof(tamis_compressor_options), 0, 50, 100, 0, 0}
void tamis_compressor_options_init(tamis_compressor_options *options);

/* An encoder, its tokenizer, and a tokenizer to count with. Keeps them alive. */
typedef struct tamis_compressor tamis_compressor;

/* From parts that are loaded already.
 *   encoder    with a head of two labels; label 1 is "keep". For TAMIS_COMPRESS_COMPAT with forced tokens that are not one piece
 *              it needs a row for each placeholder: tamis_encoder_options.added_rows = max_force_token
 *   tokenizer  the encoder's own
 *   counting   what tokens are counted with; NULL: `tokenizer`
 * Errors: INVALID_ARGUMENT (also when the tokenizer has ids the encoder has no row for, or no [CLS] and [SEP] or <s> and </s>),
 * UNSUPPORTED (no head of two labels). Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_compressor_create(tamis_context *context, tamis_encoder *encoder,
                                                      tamis_tokenizer *tokenizer, tamis_tokenizer *counting,
                                                      const tamis_compressor_options *options, tamis_compressor **out);

/* From a folder with an encoder and its tokenizer.
 *   path       NULL: the compressor that comes with the library (English), looked for as tamis_compressor_default_path says
 *   counting   NULL, or the path of a tokenizer or of a .tiktoken file of ranks to count with
 *   precision  of the encoder's linear layers
 * Errors: those of tamis_encoder_create, tamis_tokenizer_open and tamis_compressor_create. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_compressor_open(tamis_context *context, const char *path, const char *counting,
                                                    tamis_precision precision, const tamis_compressor_options *options,
                                                    tamis_compressor **out);

/* Where the compressor that comes with the library lies: the first of these folders that exists:
 *   $TAMIS_MODELS/compressor-en; share/tamis/models/compressor-en beside the folder of the library or program, or of the wheel;
 *   Models/compressor-en in a folder above it.
 * Errors: NOT_FOUND, BUFFER_TOO_SMALL. Thread: any. */
tamis_status tamis_compressor_default_path(char *buffer, size_t capacity, size_t *needed);

/* Thread: per handle. */
void tamis_compressor_destroy(tamis_compressor *compressor);

/* Tokens of a text as this compressor counts them. Errors: INVALID_ARGUMENT. Thread: any. */
tamis_status tamis_compressor_count(const tamis_compressor *compressor, const char *text, size_t length, int64_t *tokens);

/* ------------------------------------------------------------------------------------------------ compress */

typedef int32_t tamis_compress_mode;
#define TAMIS_COMPRESS_NATIVE 0
#define TAMIS_COMPRESS_COMPAT 1

/* What one budget is shared by (native; compat is always CHUNK). */
typedef int32_t tamis_threshold_scope;
#define TAMIS_SCOPE_CHUNK 0   /* every chunk is cut to the same rate */
#define TAMIS_SCOPE_CONTEXT 1 /* every text is */
#define TAMIS_SCOPE_PROMPT 2  /* texts compete: one threshold for all */

typedef int32_t tamis_word_probability;
#define TAMIS_WORD_MEAN 0
#define TAMIS_WORD_FIRST 1

/* Bits of tamis_compress_options.protect (native): what stays well-formed. CODE and TABLES ask for TAMIS_LINE_BREAKS_KEEP. */
#define TAMIS_PROTECT_CODE 1    /* fenced code blocks and `inline code` stay as they are */
#define TAMIS_PROTECT_URLS 2    /* URLs and e-mail addresses are kept */
#define TAMIS_PROTECT_LINKS 4   /* Markdown links and images, text and address, are kept */
#define TAMIS_PROTECT_TABLES 8  /* Markdown tables: head and rule are kept, other rows are kept or dropped whole */
#define TAMIS_PROTECT_JSON 16   /* a text that is a JSON array or object loses whole members and elements, and stays JSON */
#define TAMIS_PROTECT_SPEAKERS 32 /* a transcript, three quarters of whose lines are `Name: words` (at most 32 characters and 4 words
                                   before the colon): a label is kept where words of its turn are and the last turn that kept any was
                                   someone else's, and dropped elsewhere, whatever its probability */

typedef int32_t tamis_line_breaks;
#define TAMIS_LINE_BREAKS_FOLLOW 0 /* a cut leaves the white space before the next word */
#define TAMIS_LINE_BREAKS_KEEP 1   /* a cut that holds a line break leaves one, a cut that holds an empty line leaves an empty line */

typedef struct tamis_compress_options {
  uint32_t struct_size;
  tamis_compress_mode mode;           /* TAMIS_COMPRESS_NATIVE */
  double rate;                        /* 0.5: share of the counted tokens to keep, 0 to 1 (compat: above 1 means 1) */
  int64_t target_token;               /* -1: none; else counted tokens to keep over all texts, and `rate` is not used */
  double threshold;                   /* -1: none; else keep words with a greater probability, whatever the rate
                                         (SecurityLingua: 0.5) */
  tamis_threshold_scope scope;        /* TAMIS_SCOPE_CONTEXT */
  tamis_word_probability token_to_word; /* TAMIS_WORD_MEAN */
  int32_t force_reserve_digit;        /* 0; 1: words with a digit are forced */
  int32_t drop_consecutive;           /* 0; 1: a forced token that would follow the same forced token is dropped */
  int32_t use_token_level_filter;     /* 1; 0: contexts are dropped whole, words are not */
  int32_t use_context_level_filter;   /* 0; 1: drop the texts with the lowest mean probability first */
  int32_t target_context;             /* -1: none; else texts to keep */
  uint32_t protect;                   /* 0: TAMIS_PROTECT_ bits */
  double context_level_rate;          /* 1: share of the texts to keep; 1 without other wishes: (rate + 1) / 2 */
  int64_t context_level_target_token; /* -1: none; else counted tokens the kept texts may have */
  const char *const *force_tokens;    /* NUL-terminated UTF-8, none empty: always kept */
  const char *const *chunk_end_tokens; /* where a chunk had better end. NULL: after . ! ? and line breaks (compat: ".", "\n") */
  const int32_t *force_context_ids;   /* texts that are never dropped whole */
  int32_t n_force_tokens;
  int32_t n_chunk_end_tokens;
  int32_t n_force_context_ids;
  tamis_line_breaks line_breaks;      /* TAMIS_LINE_BREAKS_FOLLOW */
  tamis_progress_fn progress;         /* NULL: none */
  void *progress_user;
} tamis_compress_options;

#define TAMIS_COMPRESS_OPTIONS_INIT                                                                                 \
  {sizeof(tamis_compress_options), TAMIS_COMPRESS_NATIVE, 0.5, -1, -1.0, TAMIS_SCOPE_CONTEXT, TAMIS_WORD_MEAN, 0, 0, 1, 0, -1, \
   0, 1.0, -1, NULL, NULL, NULL, 0, 0, 0, TAMIS_LINE_BREAKS_FOLLOW, NULL, NULL}
void tamis_compress_options_init(tamis_compress_options *options);

/* What came of it. Does not refer to the texts or the compressor. */
typedef struct tamis_compression tamis_compression;

/* Compresses n >= 1 texts ("contexts" of a prompt). Text i is texts[i][0 .. lengths[i]), any bytes; lengths NULL: NUL-terminated.
 * Empty texts give empty results. With a target or a rate the counted tokens of the result exceed the budget only by forced and
 * protected words.
 * Errors: INVALID_ARGUMENT (a rate that is negative, above 1 or NaN; more than max_force_token forced tokens or an empty one; a
 * text of 2^31 bytes or more; compat: what raises in llmlingua), OUT_OF_MEMORY, DEVICE, CANCELLED.
 * Thread: any (calls on one context wait for each other). */
TAMIS_MUST_CHECK tamis_status tamis_compress(tamis_compressor *compressor, const char *const *texts, const size_t *lengths,
                                             int64_t n, const tamis_compress_options *options, tamis_compression **out);

/* Thread: per handle. */
void tamis_compression_destroy(tamis_compression *compression);

/* ------------------------------------------------------------------------------------------------ result */

typedef struct tamis_compression_report {
  uint32_t struct_size;
  int32_t contexts;          /* texts kept */
  int64_t origin_tokens;     /* counted tokens of all texts */
  int64_t compressed_tokens; /* counted tokens of the kept texts after compression; separators between texts not counted */
  int64_t words;
  int64_t words_kept;
  int64_t encoder_tokens;    /* tokens the encoder ran over, special tokens included */
  int64_t chunks;
  double encoder_seconds;    /* inside the encoder */
  double seconds;            /* of the whole call */
} tamis_compression_report;

#define TAMIS_COMPRESSION_REPORT_INIT {sizeof(tamis_compression_report), 0, 0, 0, 0, 0, 0, 0, 0.0, 0.0}

/* Errors: INVALID_ARGUMENT. Thread: any. */
tamis_status tamis_compression_get_report(const tamis_compression *compression, tamis_compression_report *report);

typedef struct tamis_context_report {
  uint32_t struct_size;
  int32_t kept;              /* 1; 0: dropped whole by the context-level filter */
  int64_t origin_tokens;
  int64_t compressed_tokens;
  double score;              /* mean probability of its words; NaN when the encoder did not run over it */
} tamis_context_report;

#define TAMIS_CONTEXT_REPORT_INIT {sizeof(tamis_context_report), 0, 0, 0, 0.0}

/* Of text i. Errors: INVALID_ARGUMENT. Thread: any. */
tamis_status tamis_compression_get_context(const tamis_compression *compression, int64_t i, tamis_context_report *report);

/* The compressed form of text i (empty when dropped), or, for i = -1, of all kept ones with an empty line ("\n\n") between
 * them. Any bytes; *text stays valid until the compression is destroyed, and is followed by a NUL. Errors: INVALID_ARGUMENT.
 * Thread: any. */
tamis_status tamis_compression_text(const tamis_compression *compression, int64_t i, const char **text, size_t *length);

/* Native: the runs of text i that were kept, ascending and apart, white space they keep included. Compat: none.
 * *spans stays valid until the compression is destroyed. Errors: INVALID_ARGUMENT. Thread: any. */
tamis_status tamis_compression_spans(const tamis_compression *compression, int64_t i, const tamis_span **spans, int64_t *n);

#define TAMIS_WORD_KEPT 1
#define TAMIS_WORD_FORCED 2  /* by a forced token, a digit or a protected region */

typedef struct tamis_word {
  int64_t start;             /* native: bytes [start, end) of text i; compat: of tamis_compression_word_text */
  int64_t end;
  float probability;         /* NaN when the encoder did not run over it */
  int32_t tokens;            /* counted tokens; its weight */
  uint32_t flags;            /* TAMIS_WORD_ bits */
  uint32_t pieces;           /* tokens of the encoder; compat: 0 */
} tamis_word;

/* The words of text i, in order. *words stays valid until the compression is destroyed. Errors: INVALID_ARGUMENT. Thread: any. */
tamis_status tamis_compression_words(const tamis_compression *compression, int64_t i, const tamis_word **words, int64_t *n);

/* Compat: the words of text i one after another, as the encoder's tokenizer spells them. Native: an empty text, as the words
 * are where the caller's text has them. Errors: INVALID_ARGUMENT. Thread: any. */
tamis_status tamis_compression_word_text(const tamis_compression *compression, int64_t i, const char **text, size_t *length);

#ifdef __cplusplus
}
#endif

#endif /* TAMIS_COMPRESSION_H */
