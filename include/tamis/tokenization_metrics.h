/* tamis/tokenization_metrics.h: how well a tokenizer cuts texts: fertility, compression, parity of languages, entropy and
 * Renyi efficiency of its tokens.
 *
 * A tamis_token_statistics counts integers over any number of texts; rates are made of them last, so shards can be counted
 * anywhere and merged. Texts come with their token ids (tamis_token_lists of bleu.h), or a tokenizer (tokenizer.h) runs over
 * them.
 *
 * Words are runs without white space, as Python's str.split and TAMIS_WORDS_NONE of word_ids.h cut them. A token belongs to the
 * word that holds its first byte that is no white space: " the" belongs to "the", "of the" to "of" alone, and a token of
 * nothing but white space, or of no bytes (a template's), to no word.
 */
#ifndef TAMIS_TOKENIZATION_METRICS_H
#define TAMIS_TOKENIZATION_METRICS_H

#include "bleu.h"
#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Counts that grow. */
typedef struct tamis_token_statistics tamis_token_statistics;

/* Empty counts. unknown_id: the id of the unknown token; -1: there is none, or tamis_token_statistics_encode takes it from
 * the tokenizer. Errors: INVALID_ARGUMENT (out NULL, unknown_id below -1). Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_token_statistics_create(int32_t unknown_id, tamis_token_statistics **out);
/* Thread: per handle. */
void tamis_token_statistics_destroy(tamis_token_statistics *statistics);

/* Counts texts and their tokens.
 *   tokens         sequence i are the tokens of text i; any int32
 *   text, starts   text i is bytes [starts[i], starts[i + 1]) of `text`, UTF-8; an ill-formed part counts as one code point.
 *                  starts [tokens->count + 1] ascends from 0 to at most 2^31 - 1
 *   token_starts, token_ends  int32, of every token the bytes [start, end) of its text that it came from, where its id stands
 *                  in tokens->ids (as tamis_encoded has them); both NULL: words are counted, but not which tokens are theirs
 *   progress  may be NULL; called between texts
 * Errors: INVALID_ARGUMENT (also an offset outside its text, starts after ends), CANCELLED; nothing is counted then. Thread:
 * per handle. */
TAMIS_MUST_CHECK tamis_status tamis_token_statistics_add(tamis_token_statistics *statistics, const tamis_token_lists *tokens,
                                                         const char *text, const int64_t *starts, const int32_t *token_starts,
                                                         const int32_t *token_ends, tamis_progress_fn progress,
                                                         void *progress_user);

/* The same for what a tokenizer makes of `count` texts, on the context's threads, with its offsets.
 *   options   of the encoding; NULL: without the template's tokens and with special tokens as plain text. `offsets` must be
 *             TAMIS_OFFSETS_BYTES
 *   progress  may be NULL
 * Errors: as tamis_tokenizer_encode_batch; CANCELLED; nothing is counted then. Thread: per handle. */
TAMIS_MUST_CHECK tamis_status tamis_token_statistics_encode(tamis_token_statistics *statistics, tamis_context *context,
                                                            const tamis_tokenizer *tokenizer,
                                                            const tamis_encode_options *options, const char *text,
                                                            const int64_t *starts, int64_t count, tamis_progress_fn progress,
                                                            void *progress_user);

/* Adds the counts of `other`, its texts after those there are. Errors: INVALID_ARGUMENT. Thread: per handle, both of them. */
TAMIS_MUST_CHECK tamis_status tamis_token_statistics_merge(tamis_token_statistics *statistics,
                                                           const tamis_token_statistics *other);

typedef struct tamis_token_sums {
  uint32_t struct_size;
  uint32_t reserved;
  int64_t texts;
  int64_t empty_texts;     /* without a token */
  int64_t tokens;
  int64_t unknown_tokens;
  int64_t bytes;
  int64_t code_points;
  int64_t words;
  int64_t aligned_words;   /* words of texts whose token offsets were given */
  int64_t continued_words; /* of these: with two or more tokens */
  int64_t whole_words;     /* of these: with one token, which holds every byte of the word */
  int64_t vocabulary;      /* different ids */
} tamis_token_sums;

#define TAMIS_TOKEN_SUMS_INIT {sizeof(tamis_token_sums), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

/* Errors: INVALID_ARGUMENT. Thread: any while nothing is added. */
tamis_status tamis_token_statistics_sums(const tamis_token_statistics *statistics, tamis_token_sums *sums);

/* The different ids and how often each occurs, the most frequent first, of equals the lower id. `n` receives how many there
 * are, also when `capacity` is too small (BUFFER_TOO_SMALL, nothing written); ids and counts [capacity] may be NULL when it is
 * 0.
 * Errors: INVALID_ARGUMENT, BUFFER_TOO_SMALL. Thread: as above. */
tamis_status tamis_token_statistics_frequencies(const tamis_token_statistics *statistics, int32_t *ids, int64_t *counts,
                                                int64_t capacity, int64_t *n);

typedef struct tamis_token_report_options {
  uint32_t struct_size;
  uint32_t reserved;
  double alpha;           /* 3, tokenization-scorer's default; its paper (Zouhar et al. 2023) recommends 2.5. At least 0; 1 is
                             Shannon's, infinity the min-entropy */
  int64_t vocabulary;     /* 0: the different ids seen; else the size that efficiencies are taken of, at least 1 */
  double percentile_from; /* 0.03 */
  double percentile_to;   /* 0.83; both 0 to 1 */
} tamis_token_report_options;

#define TAMIS_TOKEN_REPORT_OPTIONS_INIT {sizeof(tamis_token_report_options), 0, 3.0, 0, 0.03, 0.83}
void tamis_token_report_options_init(tamis_token_report_options *options);

/* Rates; NaN where the count below the line is 0. Entropies are in bits. */
typedef struct tamis_token_report {
  uint32_t struct_size;
  uint32_t reserved;
  double fertility;              /* tokens / words */
  double continued_word_rate;    /* continued_words / aligned_words */
  double whole_word_rate;        /* whole_words / aligned_words: single-token words */
  double bytes_per_token;
  double code_points_per_token;
  double unknown_rate;           /* unknown_tokens / tokens */
  double tokens_per_text;        /* empty texts included; seq_len of tokenization-scorer is its negative */
  double shannon_entropy;        /* - sum p log2 p */
  double shannon_efficiency;     /* / log2 V; 0 for V = 1 */
  double renyi_entropy;          /* log2(sum p^alpha) / (1 - alpha) */
  double renyi_efficiency;       /* / log2 V; 0 for V = 1 */
  double percentile_frequency;   /* sum of p over places [int(n from), int(n to)) of the n ids by falling frequency; places
                                    end before the last id, and an empty range takes one place, as tokenization-scorer 1.1.8 */
  double bits;                   /* - tokens log2(vocabulary seen) */
} tamis_token_report;

#define TAMIS_TOKEN_REPORT_INIT \
  {sizeof(tamis_token_report), 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0}

/* Errors: INVALID_ARGUMENT. Thread: as tamis_token_statistics_sums. */
tamis_status tamis_token_statistics_report(const tamis_token_statistics *statistics, const tamis_token_report_options *options,
                                           tamis_token_report *report);

/* Tokens of text i of one over those of text i of another: parity and premium of a language over a pivot (parallel texts), or
 * the normalised sequence length of tokenizer a to b (the same texts). Either output may be NULL.
 *   corpus   sum a / sum b; NaN when the sum is 0
 *   mean     of the texts' own ratios, those without a token in b left out; NaN when none is left
 * Errors: INVALID_ARGUMENT (other numbers of texts). Thread: as tamis_token_statistics_sums. */
tamis_status tamis_token_premium(const tamis_token_statistics *a, const tamis_token_statistics *b, double *corpus,
                                 double *mean);

/* Lengths of text like what was counted (UUIDs, prose), so that context limits of tokenizers compare in characters:
 *   tamis_tokens_to_characters  characters (code points) that so many tokens hold, rounded down; of a model's limit in tokens
 *                               this is its context limit in characters
 *   tamis_characters_to_tokens  tokens that so many characters take, rounded up
 * Both exact in integers. Errors: INVALID_ARGUMENT (a negative number, no token or character counted, a result beyond int64).
 * Thread: as tamis_token_statistics_sums. */
tamis_status tamis_tokens_to_characters(const tamis_token_statistics *statistics, int64_t tokens, int64_t *characters);
tamis_status tamis_characters_to_tokens(const tamis_token_statistics *statistics, int64_t characters, int64_t *tokens);

#ifdef __cplusplus
}
#endif

#endif /* TAMIS_TOKENIZATION_METRICS_H */
