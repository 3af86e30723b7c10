/* tamis/charbench.h: CharBench (arXiv 2508.02591): questions about the characters of words, and what a tokenizer has to do with
 * their answers.
 *
 * Four tasks over words of 4 to 10 letters; no word serves two of them. The page's word order comes from a set and cannot be
 * had again; here words are sorted first (PROPOSED), so the same texts give the same rows on every machine.
 */
#ifndef TAMIS_CHARBENCH_H
#define TAMIS_CHARBENCH_H

#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef int32_t tamis_charbench_task;
#define TAMIS_CHARBENCH_COUNT_UNIQUE 0    /* how many different characters */
#define TAMIS_CHARBENCH_COUNT_CHARACTER 1 /* how often a character of the word */
#define TAMIS_CHARBENCH_FIND_FIRST 2      /* its first place, from 0 on */
#define TAMIS_CHARBENCH_FIND_LAST 3       /* its last place */

typedef struct tamis_charbench_options {
  uint32_t struct_size;
  int32_t min_length; /* 4 */
  int32_t max_length; /* 10; at most 64 */
  int32_t rows;       /* 6250: of each task and length; fewer where there are fewer than four times as many words */
  uint64_t seed;      /* 42 */
  tamis_progress_fn progress; /* NULL; called between texts */
  void *progress_user;
} tamis_charbench_options;

#define TAMIS_CHARBENCH_OPTIONS_INIT {sizeof(tamis_charbench_options), 4, 10, 6250, 42, NULL, NULL}
void tamis_charbench_options_init(tamis_charbench_options *options);

/* Rows of questions. Immutable. */
typedef struct tamis_charbench tamis_charbench;

/* Takes the words of texts: what Python's re finds with \b[a-zA-Z]+\b, once each, of the wanted lengths. For each length in
 * ascending order: the words in byte order, shuffled as random.Random(seed).shuffle, the first rows of them for task 0, the
 * next for task 1 and so on; then a character for each of these, uniform over the word's places, as the same generator's
 * choice(word) (task 0 draws one too, and does not use it). One generator serves all lengths (PROPOSED, as the
 * order of draws).
 *   text, starts   text i is bytes [starts[i], starts[i + 1]); starts [count + 1] ascends from 0 to at most 2^31 - 1
 * Errors: INVALID_ARGUMENT (also fewer than four words of any wanted length: there is no row then), CANCELLED. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_charbench_create(const tamis_charbench_options *options, const char *text,
                                                     const int64_t *starts, int64_t count, tamis_charbench **out);
/* Thread: per handle. */
void tamis_charbench_destroy(tamis_charbench *bench);

/* Number of rows, by length, then task. 0 when bench is NULL. Thread: any. */
int64_t tamis_charbench_count(const tamis_charbench *bench);

typedef struct tamis_charbench_row {
  uint32_t struct_size;
  tamis_charbench_task task;
  const char *word;          /* NUL-terminated, belongs to the bench */
  int32_t word_length;
  int32_t character;         /* code of the character asked for; 0 with COUNT_UNIQUE */
  int32_t gold;              /* the answer */
  int32_t unique_characters;
} tamis_charbench_row;

#define TAMIS_CHARBENCH_ROW_INIT {sizeof(tamis_charbench_row), 0, NULL, 0, 0, 0, 0}

/* Errors: INVALID_ARGUMENT. Thread: any. */
tamis_status tamis_charbench_get(const tamis_charbench *bench, int64_t i, tamis_charbench_row *row);

/* Our wording of a question that ends where the answer begins (the data set has its own). Errors: INVALID_ARGUMENT,
 * BUFFER_TOO_SMALL. Thread: any. */
tamis_status tamis_charbench_prompt(const tamis_charbench *bench, int64_t i, char *buffer, size_t capacity, size_t *needed);

typedef struct tamis_charbench_features {
  uint32_t struct_size;
  int32_t word_length;
  int32_t number_of_tokens;
  int32_t target_token_length; /* length of the token that holds the gold place; 0 with the two counting tasks */
  int32_t gold;
  int32_t unique_characters;
  double compression_rate;     /* word_length / number_of_tokens */
  double gold_share;           /* gold / word_length */
} tamis_charbench_features;

#define TAMIS_CHARBENCH_FEATURES_INIT {sizeof(tamis_charbench_features), 0, 0, 0, 0, 0, 0.0, 0.0}

/* What row i is to a tokenizer that cuts its word into tokens of these lengths, in characters, each at least 1; their sum is
 * the word's length. Errors: INVALID_ARGUMENT. Thread: any. */
tamis_status tamis_charbench_features_of(const tamis_charbench *bench, int64_t i, const int32_t *token_lengths,
                                         int64_t n_tokens, tamis_charbench_features *features);

/* A reply as the page reads it: stripped of white space, an integer as Python's int() takes it (sign, single underscores
 * between ASCII digits), equal to gold. correct: 0 or 1; parsed: 0 where it is no integer; value: the integer, 0 where there is
 * none, nearest int64 of a larger one. parsed and value may be NULL. Errors: INVALID_ARGUMENT. Thread: any. */
tamis_status tamis_charbench_score(const char *reply, size_t n_bytes, int64_t gold, int32_t *correct, int32_t *parsed,
                                   int64_t *value);

/* ------------------------------------------------------------------------------------------------ figures of a run */

/* Pearson's r of a feature and whether the answer was right, both [n]. NaN for fewer than two rows or where one of them never
 * changes. Errors: INVALID_ARGUMENT (a feature that is not finite, correct other than 0 or 1). Thread: any. */
tamis_status tamis_charbench_correlation(const double *feature, const uint8_t *correct, int64_t n, double *r);

/* Accuracy at each different value of a feature, values ascending: values, counts, accuracy p and its error
 * sqrt(p (1 - p) / count), [capacity] each. `found` receives how many there are, also when `capacity` is too small
 * (BUFFER_TOO_SMALL, nothing else written). Errors: as above, BUFFER_TOO_SMALL. Thread: any. */
tamis_status tamis_charbench_accuracy_by_value(const double *feature, const uint8_t *correct, int64_t n, double *values,
                                               int64_t *counts, double *accuracy, double *standard_error, int64_t capacity,
                                               int64_t *found);

/* Jaccard index of the rows that two models get wrong: both wrong / either wrong; 1 when neither errs (PROPOSED). correct_a and
 * correct_b [n]. Errors: as above. Thread: any. */
tamis_status tamis_charbench_error_overlap(const uint8_t *correct_a, const uint8_t *correct_b, int64_t n, double *jaccard);

/* Counting bias: mean of value - gold over rows that are wrong, parsed, and whose gold is not 0; NaN when there is none. values
 * and gold int64 [n], parsed [n] of 0 or 1 (NULL: all). Errors: as above. Thread: any. */
tamis_status tamis_charbench_bias(const int64_t *values, const int64_t *gold, const uint8_t *parsed, int64_t n, double *bias);

#ifdef __cplusplus
}
#endif

#endif /* TAMIS_CHARBENCH_H */
