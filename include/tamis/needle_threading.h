/* tamis/needle_threading.h: Needle Threading (arXiv 2411.05000): long texts of key-value pairs of UUIDs, questions that follow
 * one or many of them, scores, and the effective context length.
 *
 *   {"e3e70682-c209-4cac-629f-6fbed82c07cd": "f728b4fa-4248-5e3a-0a5d-2f346baa9455",
 *   "eb1167b3-67a9-c378-7c65-c1e582e2e662": ..}
 *
 * The haystack is the published data set's to the byte where that is known (repeat 0, checked on its example row): a Mersenne
 * Twister seeded as CPython's random.Random(seed), key and value of each pair 128 bits of it. 80 characters a pair. What the
 * data set does not say is chosen here and marked PROPOSED.
 */
#ifndef TAMIS_NEEDLE_THREADING_H
#define TAMIS_NEEDLE_THREADING_H

#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef int32_t tamis_needle_kind;
#define TAMIS_NEEDLE_SINGLE 0          /* the value of one key at a depth */
#define TAMIS_NEEDLE_MULTIPLE 1        /* the values of several keys */
#define TAMIS_NEEDLE_CONDITIONAL 2     /* the values of all keys that hold a special character */
#define TAMIS_NEEDLE_THREADING 3       /* the end of a chain: a pair's value is the key of the next */
#define TAMIS_NEEDLE_MULTI_THREADING 4 /* the ends of several chains */

typedef int32_t tamis_needle_placement;
#define TAMIS_NEEDLE_RANDOM 0    /* anywhere */
#define TAMIS_NEEDLE_CLUSTERED 1 /* pairs next to each other, at a random place */

typedef int32_t tamis_thread_direction;
#define TAMIS_THREAD_FORWARD 0  /* later pairs of a chain stand later in the text */
#define TAMIS_THREAD_BACKWARD 1 /* .. earlier */
#define TAMIS_THREAD_RANDOM 2

typedef struct tamis_needle_options {
  uint32_t struct_size;
  tamis_needle_kind kind;              /* TAMIS_NEEDLE_SINGLE */
  int64_t pairs;                       /* 25: 2000 characters; 1 to 2^20 */
  uint64_t seed;                       /* 0; the number of the repeat (PROPOSED for repeats after 0) */
  double depth;                        /* 50; SINGLE: 0 to 100 per cent. Pair floor(depth (pairs - 1) / 100) (PROPOSED) */
  int32_t needles;                     /* 1; MULTIPLE and CONDITIONAL: at least 1, at most pairs */
  tamis_needle_placement placement;    /* TAMIS_NEEDLE_RANDOM; MULTIPLE and CONDITIONAL */
  int32_t conditional_character;       /* '*'; a visible ASCII character that is no hex digit, hyphen, quote or backslash */
  int32_t thread_length;               /* 2; pairs of a chain, at least 1 */
  tamis_thread_direction direction;    /* TAMIS_THREAD_FORWARD */
  int32_t threads;                     /* 1; MULTI_THREADING: chains; threads * thread_length is at most pairs */
} tamis_needle_options;

#define TAMIS_NEEDLE_OPTIONS_INIT                                                                                       \
  {sizeof(tamis_needle_options), TAMIS_NEEDLE_SINGLE, 25, 0, 50.0, 1, TAMIS_NEEDLE_RANDOM, '*', 2, TAMIS_THREAD_FORWARD, 1}
void tamis_needle_options_init(tamis_needle_options *options);

/* A haystack, its question and its answers. Immutable. */
typedef struct tamis_needle_task tamis_needle_task;

/* Draws, after those of the haystack, go on with the same generator (PROPOSED), as CPython's random.Random has them:
 *   MULTIPLE     sample(range(pairs), needles); clustered: first = randrange(pairs - needles + 1), then sample(range(first,
 *                first + needles), needles). Keys are asked in the order drawn, answers are in that order
 *   CONDITIONAL  places drawn in the same way; then, in the order of the text, randrange(32): which hex digit of the key
 *                becomes the character. Answers are in the order of the text
 *   THREADING    sample(range(pairs), thread_length), sorted for FORWARD, sorted falling for BACKWARD: pair i of the chain
 *                gets the value of pair i - 1 as its key. The first key is asked, the last value is the answer
 *   MULTI_THREADING  sample(range(pairs), threads * thread_length), thread_length of them for each chain in turn
 * Fields that a kind does not use must be in range by themselves. Memory: about 160 bytes a pair.
 * Errors: INVALID_ARGUMENT, OUT_OF_MEMORY. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_needle_task_create(const tamis_needle_options *options, tamis_needle_task **out);
/* Thread: per handle. */
void tamis_needle_task_destroy(tamis_needle_task *task);

/* What a task consists of. Everything belongs to the task; texts are NUL-terminated. */
typedef struct tamis_needle_view {
  uint32_t struct_size;
  tamis_needle_kind kind;
  const char *haystack;
  int64_t haystack_bytes;      /* = characters: 80 pairs */
  const char *const *keys;     /* [n_keys] asked for, in order; CONDITIONAL: those that hold the character, for the record */
  int64_t n_keys;
  const char *const *answers;  /* [n_answers] */
  int64_t n_answers;
  const int64_t *positions;    /* [n_positions] pairs that are needles; MULTI_THREADING: chain after chain, in chain order */
  int64_t n_positions;
} tamis_needle_view;

#define TAMIS_NEEDLE_VIEW_INIT {sizeof(tamis_needle_view), 0, NULL, 0, NULL, 0, NULL, 0, NULL, 0}

/* Errors: INVALID_ARGUMENT. Thread: any. */
tamis_status tamis_needle_task_get(const tamis_needle_task *task, tamis_needle_view *view);

/* The prompt: `prompt_template` with {haystack}, {keys} (quoted, with commas) and {character} replaced; other braces stay.
 * NULL: our own wording, which asks for the value, or for a list of them, and ends where the answer begins. The data
 * set's exact wording is in its `question` field and is not at hand here: give it as a template for numbers that compare.
 * It must be UTF-8, and the prompt at most 2^31 - 1 bytes. Errors: INVALID_ARGUMENT, BUFFER_TOO_SMALL. Thread: any. */
tamis_status tamis_needle_task_prompt(const tamis_needle_task *task, const char *prompt_template, char *buffer, size_t capacity,
                                      size_t *needed);

typedef struct tamis_needle_score {
  uint32_t struct_size;
  int32_t correct;      /* 1: all that was expected was found, and for CONDITIONAL nothing else */
  int64_t expected;     /* answers */
  int64_t predicted;    /* values read in the reply; CONDITIONAL: different ones */
  int64_t matched;
  double accuracy;      /* matched / expected; = recall */
  double precision;     /* matched / predicted; 0 when none was read */
  double f1;
} tamis_needle_score;

#define TAMIS_NEEDLE_SCORE_INIT {sizeof(tamis_needle_score), 0, 0, 0, 0, 0.0, 0.0, 0.0}

/* Scores a reply, any bytes.
 *   SINGLE, THREADING            the reply stripped of white space, read as a literal (quotes at both ends go), and as many of
 *                                its characters as the answer has are equal to it
 *   MULTIPLE, MULTI_THREADING    value i of a list with answer i in the same way. A list is what stands between the first [ and
 *                                its ], else the whole reply; values are separated by commas or line ends, empty
 *                                ones do not count
 *   CONDITIONAL                  the same values in any order, each counted once (PROPOSED: recall as accuracy, F1 beside it)
 * Errors: INVALID_ARGUMENT. Thread: any. */
tamis_status tamis_needle_task_score(const tamis_needle_task *task, const char *reply, size_t n_bytes,
                                     tamis_needle_score *score);

/* ------------------------------------------------------------------------------------------------ figures of a run */

/* Wilson score interval of a share: centre (p + z^2/2n) / (1 + z^2/n), half width z sqrt(p (1 - p) / n + z^2 / 4n^2) / (1 +
 * z^2/n). z 1.96 for 95 %. [0, 1] of no trials. Errors: INVALID_ARGUMENT (won outside 0 to trials, z negative or not finite).
 * Thread: any. */
tamis_status tamis_wilson_interval(int64_t won, int64_t trials, double z, double *low, double *high);

/* Effective context length in the unit of `lengths` (characters, so that tokenizers compare): where accuracy first falls below
 * the threshold (0.75 on the page), accuracy being linear between lengths over their logarithm (PROPOSED). 0: below it at the
 * smallest length; the largest length: never below it.
 *   lengths     [n] above 0, ascending
 *   accuracies  [n] 0 to 1
 * Errors: INVALID_ARGUMENT. Thread: any. */
tamis_status tamis_effective_context_length(const double *lengths, const double *accuracies, int64_t n, double threshold,
                                            double *length);

#ifdef __cplusplus
}
#endif

#endif /* TAMIS_NEEDLE_THREADING_H */
