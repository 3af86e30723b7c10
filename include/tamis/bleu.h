/* tamis/bleu.h: BLEU of token ids, to the last bit of the package you compare with.
 *
 * All BLEUs finish the same integers: clipped n-gram matches and n-gram totals per hypothesis, its length, and the length of
 * the nearest reference. tamis_ngram_statistics counts them, exactly, without hashes that could collide and with memory
 * linear in the tokens; tamis_bleu_finish makes scores of them; tamis_bleu does both. Rows of integers add up: a corpus is
 * the sum of its segments, so shards can be counted anywhere and finished once.
 *
 *   TAMIS_BLEU_SACREBLEU     sacreBLEU 2.6.0, 0 to 100
 *   TAMIS_BLEU_NLTK          NLTK 3.10.4 sentence_bleu and corpus_bleu, 0 to 1
 *   TAMIS_BLEU_TORCHMETRICS  torchmetrics 1.9.0 bleu_score, 0 to 1, float32
 *   TAMIS_BLEU_TENSORBLEU    the code of TensorBLEU (arXiv 2510.05485), 0 to 1, float32, quirks included: see below
 *
 * Tokens are any int32. Text becomes ids with word_ids.h.
 */
#ifndef TAMIS_BLEU_H
#define TAMIS_BLEU_H

#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Sequences of token ids.
 *   one after another   starts [count + 1], ascending: sequence i is ids[starts[i]] to ids[starts[i + 1]]; lengths NULL
 *   padded rows         starts NULL, ids [count, width], lengths [count] the tokens in use of each row, NULL for all
 * At most 2^31 - 1 tokens. A sequence may be empty. */
typedef struct tamis_token_lists {
  const int32_t *ids;
  const int64_t *starts;
  const int64_t *lengths;
  int64_t count;
  int64_t width; /* of padded rows; 0 with starts */
} tamis_token_lists;

typedef int32_t tamis_bleu_rule;
#define TAMIS_BLEU_SACREBLEU 0
#define TAMIS_BLEU_NLTK 1
#define TAMIS_BLEU_TORCHMETRICS 2
#define TAMIS_BLEU_TENSORBLEU 3

/* What stands for an order without a match. Methods 0 to 7 are NLTK's (Chen and Cherry 2014), the others of the other rules;
 * torchmetrics has NONE and ADD_K. */
typedef int32_t tamis_bleu_smoothing;
#define TAMIS_BLEU_SMOOTH_DEFAULT (-1) /* EXP; method 0 for NLTK; NONE for torchmetrics */
#define TAMIS_BLEU_METHOD0 0           /* DBL_MIN */
#define TAMIS_BLEU_METHOD1 1           /* epsilon matches */
#define TAMIS_BLEU_METHOD2 2           /* one more match and total, from 2-grams on */
#define TAMIS_BLEU_METHOD3 3           /* 1/2, 1/4, .. matches */
#define TAMIS_BLEU_METHOD4 4           /* the same, smaller for short texts */
#define TAMIS_BLEU_METHOD5 5           /* mean of the precisions of three neighbouring orders */
#define TAMIS_BLEU_METHOD6 6           /* a prior from the two orders below; needs a matching 3-gram, as NLTK asserts */
#define TAMIS_BLEU_METHOD7 7           /* 4, then 5 */
#define TAMIS_BLEU_SMOOTH_NONE 16
#define TAMIS_BLEU_SMOOTH_EXP 17       /* 1/2, 1/4, .. matches */
#define TAMIS_BLEU_SMOOTH_FLOOR 18     /* epsilon matches */
#define TAMIS_BLEU_SMOOTH_ADD_K 19     /* k more matches and totals, from 2-grams on (TensorBLEU: from 1-grams on) */

/* Which reference length counts where two are as near to the hypothesis. */
typedef int32_t tamis_length_rule;
#define TAMIS_LENGTH_SHORTEST 0 /* sacreBLEU, NLTK */
#define TAMIS_LENGTH_FIRST 1    /* torchmetrics, TensorBLEU */

#define TAMIS_BLEU_MAX_N 16

typedef struct tamis_bleu_options {
  uint32_t struct_size;
  tamis_bleu_rule rule;           /* TAMIS_BLEU_SACREBLEU */
  tamis_bleu_smoothing smoothing; /* TAMIS_BLEU_SMOOTH_DEFAULT */
  int32_t max_n;                  /* 4; 1 to TAMIS_BLEU_MAX_N */
  int32_t effective_order;        /* 0; sacreBLEU: 1 leaves out orders that are longer than the hypothesis: for sentences */
  int32_t auto_reweigh;           /* 0; NLTK: fewer than 4 tokens and weights of 0.25 each become as many equal weights */
  int32_t exact;                  /* 1; NLTK methods 5 to 7 in fractions of integers; 0: in float64, at most a few ulp off */
  int32_t has_pad;                /* 0; 1: places that hold pad_id are no tokens and break n-grams, wherever they stand */
  int32_t pad_id;                 /* 0 */
  int32_t weight_lists;           /* 0: one list of 1 / max_n each */
  double value;                   /* -1: 0.1 for METHOD1 and FLOOR (epsilon), 1 for ADD_K (k) */
  double alpha;                   /* 5; METHOD6 */
  double k;                       /* 5; METHOD4 */
  const double *weights;          /* [weight_lists, max_n]; weights of 0 are allowed */
  const int32_t *weight_counts;   /* [weight_lists] numbers in use of each list, 1 to max_n; NULL: max_n */
  tamis_progress_fn progress;     /* NULL */
  void *progress_user;
} tamis_bleu_options;

#define TAMIS_BLEU_OPTIONS_INIT                                                                                             \
  {sizeof(tamis_bleu_options), TAMIS_BLEU_SACREBLEU, TAMIS_BLEU_SMOOTH_DEFAULT, 4, 0, 0, 1, 0, 0, 0, -1.0, 5.0, 5.0, \
   NULL, NULL, NULL, NULL}
void tamis_bleu_options_init(tamis_bleu_options *options);

/* Columns of a row of statistics of max_n orders: length, reference length, matches of n = 1 .., totals of n = 1 .. */
#define TAMIS_NGRAM_COLUMNS(max_n) (2 + 2 * (max_n))

/* The integers. Segment s has the hypotheses s * candidates to (s + 1) * candidates - 1 (candidates 1 for translations, R
 * for the rewards of R samples of one prompt, which share the work on its references) and the references reference_starts[s]
 * to reference_starts[s + 1] - 1; NULL: references->count / segments each. Every segment has at least one.
 *   matches  sum over n-grams of min(count in the hypothesis, largest count in one reference)
 *   totals   the n-grams of the hypothesis, max(0, length - n + 1)
 * has_pad 1: as tamis_bleu_options. statistics int64 [hypotheses->count, TAMIS_NGRAM_COLUMNS(max_n)]. The same whatever the
 * number of threads. Scratch memory: at most 80 bytes a token of the longest segment a thread. On an OpenCL context the device
 * counts, one work-group a hypothesis, the same integers; progress is not called there.
 * Errors: INVALID_ARGUMENT, CANCELLED. Thread: any; calls on one context wait for each other. */
TAMIS_MUST_CHECK tamis_status tamis_ngram_statistics(tamis_context *context, const tamis_token_lists *hypotheses,
                                                     const tamis_token_lists *references, const int64_t *reference_starts,
                                                     int64_t candidates, int32_t max_n, tamis_length_rule rule, int32_t has_pad,
                                                     int32_t pad_id, int64_t *statistics, tamis_progress_fn progress,
                                                     void *progress_user);

/* Hypotheses and references where a context counts them: in the memory of its device, or copied on the CPU. For rewards that are
 * counted more than once, and where ids stay on the device between counts. Immutable; keeps the context alive. */
typedef struct tamis_token_batch tamis_token_batch;

/* Arguments as tamis_ngram_statistics, copied. At most 2^31 - 1 tokens on both sides together.
 * Errors: INVALID_ARGUMENT, OUT_OF_MEMORY, DEVICE. Thread: any; calls on one context wait for each other. */
TAMIS_MUST_CHECK tamis_status tamis_token_batch_create(tamis_context *context, const tamis_token_lists *hypotheses,
                                                       const tamis_token_lists *references, const int64_t *reference_starts,
                                                       int64_t candidates, tamis_token_batch **out);
/* Thread: per handle. */
void tamis_token_batch_destroy(tamis_token_batch *batch);

/* tamis_ngram_statistics of the batch: statistics int64 [hypotheses, TAMIS_NGRAM_COLUMNS(max_n)].
 * Errors: INVALID_ARGUMENT, DEVICE. Thread: any; calls on one context wait for each other. */
TAMIS_MUST_CHECK tamis_status tamis_token_batch_statistics(const tamis_token_batch *batch, int32_t max_n, tamis_length_rule rule,
                                                           int32_t has_pad, int32_t pad_id, int64_t *statistics);

/* Scores of counted rows, statistics [count, TAMIS_NGRAM_COLUMNS(orders)] with orders >= options->max_n, and >= 5 for methods 5
 * and 7, which look at 5-grams.
 *   scores  [count, max(1, weight_lists)] each row by itself; may be NULL
 *   corpus  [max(1, weight_lists)] all rows as one corpus; may be NULL. NLTK: methods 5 and 6 look at the last row only
 * An empty hypothesis scores 0. NLTK: no matching 1-gram scores 0 before any smoothing. The rows of options->has_pad have been
 * counted already: it is not used.
 * Errors: INVALID_ARGUMENT (a row that cannot be one; METHOD6 without a matching 3-gram). Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_bleu_finish(const tamis_bleu_options *options, const int64_t *statistics, int64_t count,
                                                int32_t orders, double *scores, double *corpus);

/* Counts and finishes; hypotheses, references, reference_starts and candidates as tamis_ngram_statistics. scores
 * [hypotheses->count, max(1, weight_lists)] and corpus [max(1, weight_lists)], either may be NULL.
 *
 * TAMIS_BLEU_TENSORBLEU does what the published code does, has_pad and all: EXP puts 1e-12 in place of a zero (and halves the
 * order below in a corpus), 1e-12 is inside the logarithm, an empty reference is one of length 0, and a corpus drops an
 * order for all rows when one hypothesis is shorter, and a reference column when one of its rows is. Use TAMIS_BLEU_SACREBLEU
 * with lengths and effective_order 1 for what it means.
 * Errors: INVALID_ARGUMENT, CANCELLED. Thread: any; calls on one context wait for each other. */
TAMIS_MUST_CHECK tamis_status tamis_bleu(tamis_context *context, const tamis_bleu_options *options,
                                         const tamis_token_lists *hypotheses, const tamis_token_lists *references,
                                         const int64_t *reference_starts, int64_t candidates, double *scores, double *corpus);

/* The parts of a sacreBLEU score of `max_n` orders, of the sum of the rows. */
typedef struct tamis_bleu_report {
  uint32_t struct_size;
  int32_t max_n;
  double score;
  double brevity_penalty;
  int64_t length;           /* tokens of the hypotheses */
  int64_t reference_length;
  double precisions[TAMIS_BLEU_MAX_N]; /* in per cent */
  double matches[TAMIS_BLEU_MAX_N];    /* with what add-k added */
  double totals[TAMIS_BLEU_MAX_N];
} tamis_bleu_report;

#define TAMIS_BLEU_REPORT_INIT {sizeof(tamis_bleu_report), 0, 0.0, 0.0, 0, 0, {0.0}, {0.0}, {0.0}}

/* As tamis_bleu_finish with TAMIS_BLEU_SACREBLEU and at most one list of weights.
 * Errors: INVALID_ARGUMENT. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_bleu_details(const tamis_bleu_options *options, const int64_t *statistics, int64_t count,
                                                 int32_t orders, tamis_bleu_report *report);

/* Corpus scores of resamples of the rows: resamples int32 [n_resamples, count] names rows, with repetition; scores
 * [n_resamples]. sacreBLEU's confidence interval takes 1000 of numpy's default_rng(12345); it sums in float32, which
 * single_precision 1 does too.
 * Errors: INVALID_ARGUMENT (a row out of range, another rule than TAMIS_BLEU_SACREBLEU). Thread: any; calls on one context wait
 * for each other. */
TAMIS_MUST_CHECK tamis_status tamis_bleu_resample(tamis_context *context, const tamis_bleu_options *options,
                                                  const int64_t *statistics, int64_t count, int32_t orders,
                                                  const int32_t *resamples, int64_t n_resamples, int32_t single_precision,
                                                  double *scores);

#ifdef __cplusplus
}
#endif

#endif /* TAMIS_BLEU_H */
