/* tamis/sequence_metrics.h: scores of token sequences other than BLEU: chrF, TER, ROUGE, METEOR, exact match and F1, edit
 * distances with alignments, diversity and repetition.
 *
 * Every function takes ids (bleu.h); word_ids.h makes them of texts as each metric wants them. Batches: hypothesis i has the
 * references reference_starts[i] to reference_starts[i + 1] - 1, NULL: references->count / hypotheses->count each, at least
 * one. Outputs that may be NULL are not computed. Same bits whatever the number of threads.
 * Errors of all: INVALID_ARGUMENT; where there is a progress function, CANCELLED. Thread: any; calls on one context wait for
 * each other.
 */
#ifndef TAMIS_SEQUENCE_METRICS_H
#define TAMIS_SEQUENCE_METRICS_H

#include "bleu.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------------ chrF */

typedef struct tamis_chrf_options {
  uint32_t struct_size;
  int32_t char_order;         /* 6; 1 to 16 */
  int32_t word_order;         /* 0; chrF++: 2 */
  int32_t eps_smoothing;      /* 0: F of the mean precision and recall of the orders that exist; 1: mean F of all orders */
  double beta;                /* 2: recall counts beta^2 times */
  tamis_progress_fn progress; /* NULL */
  void *progress_user;
} tamis_chrf_options;

#define TAMIS_CHRF_OPTIONS_INIT {sizeof(tamis_chrf_options), 6, 0, 0, 2.0, NULL, NULL}
void tamis_chrf_options_init(tamis_chrf_options *options);

/* chrF and chrF++ of sacreBLEU 2.6.0, 0 to 100: characters as TAMIS_WORDS_CHRF_CHARS, words as TAMIS_WORDS_CHRF (NULL for
 * word_order 0); any ids will do for either. Of several references the one with the largest F counts, the first of equals.
 *   scores      [hypotheses->count] may be NULL
 *   corpus      one number, of the summed statistics; may be NULL
 *   statistics  int64 [hypotheses->count, 3 (char_order + word_order)]: per order the n-grams of the hypothesis (0 where the
 *               reference has none), of the reference, and the matches; may be NULL */
TAMIS_MUST_CHECK tamis_status tamis_chrf(tamis_context *context, const tamis_chrf_options *options,
                                         const tamis_token_lists *hypotheses, const tamis_token_lists *references,
                                         const tamis_token_lists *hypothesis_words, const tamis_token_lists *reference_words,
                                         const int64_t *reference_starts, double *scores, double *corpus, int64_t *statistics);

/* ------------------------------------------------------------------------------------------------ TER */

/* Translation edit rate of sacreBLEU 2.6.0 (Snover et al. 2006, after Tercom): shifts of blocks of up to 10 words by up to 50
 * places, each one edit, then an edit distance within a beam.
 *   scores   [hypotheses->count] per cent of the mean reference length; may be NULL
 *   corpus   of the sums; may be NULL
 *   edits    [hypotheses->count] the fewest over the references; may be NULL
 *   lengths  [hypotheses->count] mean reference lengths; may be NULL
 * Without reference words: 100 for any edit, else 0. */
TAMIS_MUST_CHECK tamis_status tamis_ter(tamis_context *context, const tamis_token_lists *hypotheses,
                                        const tamis_token_lists *references, const int64_t *reference_starts, double *scores,
                                        double *corpus, int64_t *edits, double *lengths, tamis_progress_fn progress,
                                        void *progress_user);

/* ------------------------------------------------------------------------------------------------ ROUGE */

/* ROUGE-n of prediction i with target i, as rouge-score 0.1.2: scores [predictions->count, 3], precision, recall, F1. n 1 to
 * 16; n = 0 is ROUGE-L, the longest common subsequence. predictions->count = targets->count. */
TAMIS_MUST_CHECK tamis_status tamis_rouge(tamis_context *context, int32_t n, const tamis_token_lists *predictions,
                                          const tamis_token_lists *targets, double *scores, tamis_progress_fn progress,
                                          void *progress_user);

/* ROUGE-Lsum of `count` pairs of texts that are lists of sentences: text i of the predictions is the sentences
 * prediction_starts[i] to prediction_starts[i + 1] - 1, of the targets likewise; both [count + 1]. scores [count, 3]. A pair of
 * sentences takes 4 bytes a pair of tokens. */
TAMIS_MUST_CHECK tamis_status tamis_rouge_lsum(tamis_context *context, const tamis_token_lists *predictions,
                                               const int64_t *prediction_starts, const tamis_token_lists *targets,
                                               const int64_t *target_starts, int64_t count, double *scores,
                                               tamis_progress_fn progress, void *progress_user);

/* ------------------------------------------------------------------------------------------------ METEOR, exact match, F1 */

/* METEOR's stage of equal tokens (nltk 3.10.4 without stems and synonyms): scores [hypotheses->count], the best over
 * references. alpha 0.9, beta 3 and gamma 0.5 are usual. */
TAMIS_MUST_CHECK tamis_status tamis_meteor(tamis_context *context, const tamis_token_lists *hypotheses,
                                           const tamis_token_lists *references, const int64_t *reference_starts, double alpha,
                                           double beta, double gamma, double *scores);

/* Exact match (0 or 1) and F1 of the bags of tokens, [hypotheses->count] each, the best over references; either may be NULL.
 * Two empty sequences agree; an empty one and another do not (SQuAD 2.0). Words: TAMIS_WORDS_SQUAD. */
TAMIS_MUST_CHECK tamis_status tamis_token_f1(tamis_context *context, const tamis_token_lists *hypotheses,
                                             const tamis_token_lists *references, const int64_t *reference_starts,
                                             double *exact, double *f1);

/* ------------------------------------------------------------------------------------------------ edit distance */

typedef int32_t tamis_edit_kind;
#define TAMIS_EDIT_LEVENSHTEIN 0 /* substitutions, deletions, insertions */
#define TAMIS_EDIT_INDEL 1       /* deletions and insertions: |a| + |b| - 2 LCS */
#define TAMIS_EDIT_OSA 2         /* Levenshtein with swaps of neighbours (optimal string alignment); O(|a| |b|) */

/* distances [references->count] of reference i and hypothesis i, 64 tokens a step. counts int64 [count, 4] (may be NULL;
 * Levenshtein only): matches, substitutions, deletions and insertions of one alignment, the one rapidfuzz (and so jiwer
 * 4.0.0) takes. Words: WER; characters (TAMIS_WORDS_CODE_POINTS): CER.
 * Errors also: UNSUPPORTED (counts of sequences whose product is above 2^33). */
TAMIS_MUST_CHECK tamis_status tamis_edit_distance(tamis_context *context, tamis_edit_kind kind,
                                                  const tamis_token_lists *references, const tamis_token_lists *hypotheses,
                                                  int64_t *distances, int64_t *counts, tamis_progress_fn progress,
                                                  void *progress_user);

#define TAMIS_EDIT_MATCH 0
#define TAMIS_EDIT_SUBSTITUTE 1
#define TAMIS_EDIT_DELETE 2 /* a reference token that the hypothesis lacks */
#define TAMIS_EDIT_INSERT 3

/* That alignment itself: steps from the beginning, TAMIS_EDIT_MATCH to TAMIS_EDIT_INSERT, at most reference_length +
 * hypothesis_length. `count` receives their number, also when `capacity` is too small (BUFFER_TOO_SMALL, nothing written). */
TAMIS_MUST_CHECK tamis_status tamis_edit_alignment(const int32_t *reference, int64_t reference_length,
                                                   const int32_t *hypothesis, int64_t hypothesis_length, uint8_t *steps,
                                                   int64_t capacity, int64_t *count);

/* ------------------------------------------------------------------------------------------------ diversity, repetition */

/* Different n-grams and all n-grams, n = 1 to max_n (1 to 16): each [lists->count, max_n, 2] of every sequence, all [max_n,
 * 2] of the set; either may be NULL. distinct-n is their ratio; seq-rep-n (arXiv 1908.04319) is 1 - it. */
TAMIS_MUST_CHECK tamis_status tamis_distinct_ngrams(const tamis_token_lists *lists, int32_t max_n, int64_t *each, int64_t *all);

/* Self-BLEU-n (Texygen, arXiv 1802.01886): scores [lists->count], BLEU of each sequence with all others as references, weights
 * 1 / max_n, NLTK's method1. One pass, linear in the tokens. At least two sequences. */
TAMIS_MUST_CHECK tamis_status tamis_self_bleu(const tamis_token_lists *lists, int32_t max_n, double *scores);

/* Of each sequence, [lists->count, 3]: tokens that are among the `window` (at least 1) before them (rep-l, arXiv
 * 1908.04319); the longest run of one token; the longest stretch that occurs twice, which may overlap itself. */
TAMIS_MUST_CHECK tamis_status tamis_repetition(const tamis_token_lists *lists, int64_t window, int64_t *counts);

#ifdef __cplusplus
}
#endif

#endif /* TAMIS_SEQUENCE_METRICS_H */
