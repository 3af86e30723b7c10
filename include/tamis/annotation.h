/* tamis/annotation.h: from pairs of a text and its compression to word labels: the data pipeline of LLMLingua-2
 * (arXiv 2403.12968, Algorithm 1 and section 3.2), for training a compressor on pairs of one's own.
 *
 * Words are runs without white space. Two words are equal when they are so after case folding and without the punctuation and
 * symbols at their edges; a word of nothing else stays as it is. (The official code compares spaCy lemmas and leaves commas
 * out.)
 *
 * TAMIS_ALIGN_EXACT: a compression deletes words and keeps their order, so it is embedded in the text in order, as a person would
 * have deleted. The embedding of least cost is taken: g words skipped between two kept ones cost 4 times the bit length of g, so
 * that words kept together stay together; a second one that stands on another line, but does not open it, costs 8, so that a
 * speaker's name goes with the turn whose words are kept; a word whose bytes differ costs 1. Ties go to the later word: of a
 * stammer's repetitions the last is kept. A compression that is no such embedding is aligned by the window.
 *
 * TAMIS_ALIGN_WINDOW, as in the official code: each word of the compression looks for an equal, unlabelled word from the last
 * match outwards, step by step, forwards first, less than `window` words away, labels it and goes on from there, but never by
 * more than window / 2 at once. Which of several equal words it labels is chance, and it finds words that are out of order.
 *
 *   variation rate  VR = share of the compression's words that the text does not have       (a compressor that makes things up)
 *   hitting rate    HR = words of the compression that the text has / words of the text
 *   matching rate   MR = labelled words / words of the text
 *   alignment gap   AG = HR - MR                                                             (a poor alignment)
 */
#ifndef TAMIS_ANNOTATION_H
#define TAMIS_ANNOTATION_H

#include "text_scores.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef int32_t tamis_alignment;
#define TAMIS_ALIGN_EXACT 0
#define TAMIS_ALIGN_WINDOW 1

typedef struct tamis_annotation {
  uint32_t struct_size;
  int32_t words;            /* of the text */
  int32_t compressed_words; /* of the compression */
  int32_t labelled;         /* words of the text with label 1 */
  tamis_alignment alignment;/* the one that was used in the end */
  int32_t reserved;
  double variation_rate;    /* 1 for a compression without words, as the official code has it */
  double hitting_rate;      /* 0 for a text without words, and so are the next two */
  double matching_rate;
  double alignment_gap;
} tamis_annotation;

#define TAMIS_ANNOTATION_INIT {sizeof(tamis_annotation), 0, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0}

/* Labels of the words of `text`: words [capacity] receives their spans, labels [capacity] 1 (kept by `compressed`) or 0.
 * `count` receives the number of words, also when `capacity` is too small (BUFFER_TOO_SMALL, nothing written). window: words, 1 to
 * 2^30; 0 is the default, 150. words, labels and annotation may be NULL. Texts as in text_scores.h. Exact alignment of texts in
 * which words repeat so often that it would weigh more than 2^23 pairs of equal words is left to the window.
 * Errors: INVALID_ARGUMENT, BUFFER_TOO_SMALL. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_annotate(const char *text, size_t length, const char *compressed,
                                             size_t compressed_length, tamis_alignment alignment, int32_t window,
                                             tamis_span *words, int32_t *labels, int64_t capacity, int64_t *count,
                                             tamis_annotation *annotation);

typedef int32_t tamis_filter;
#define TAMIS_FILTER_NONE 0
#define TAMIS_FILTER_PAPER 1    /* drops VR above its 95th percentile, then AG above its 90th among those left */
#define TAMIS_FILTER_OFFICIAL 2 /* drops VR at or above its 90th percentile, then AG at or above its 90th among those left: with
                                   many equal values far more than a tenth, and all of them when all are equal */

/* Which of n annotated pairs to train on. Percentiles interpolate linearly; NaN is not counted and not kept. indices [n]
 * receives the pairs that stay, ascending; `count` how many. drop_variation and drop_gap: shares in [0, 1] that replace 0.05 and
 * 0.10 (or 0.10 twice) of the filter; negative: the filter's own.
 * Errors: INVALID_ARGUMENT. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_filter_annotations(const double *variation_rates, const double *alignment_gaps, int64_t n,
                                                       tamis_filter filter, double drop_variation, double drop_gap,
                                                       int32_t *indices, int64_t *count);

/* Called for each line that is left out, numbered from 1, with a sentence about it, from the calling thread. */
typedef void (*tamis_bad_line_fn)(int64_t line, const char *sentence, void *user);

typedef struct tamis_annotate_options {
  uint32_t struct_size;
  tamis_alignment alignment; /* TAMIS_ALIGN_EXACT */
  int32_t window;            /* 150 */
  tamis_filter filter;       /* TAMIS_FILTER_PAPER */
  double drop_variation;     /* -1: the filter's own */
  double drop_gap;           /* -1 */
  int32_t strict;            /* 0: bad lines are left out and reported; 1: the first one ends the call */
  int32_t reserved;          /* 0 */
  tamis_progress_fn progress;
  void *progress_user;
  tamis_bad_line_fn bad_line; /* NULL: silent */
  void *bad_line_user;
} tamis_annotate_options;

#define TAMIS_ANNOTATE_OPTIONS_INIT                                                                                 \
  {sizeof(tamis_annotate_options), TAMIS_ALIGN_EXACT, 150, TAMIS_FILTER_PAPER, -1.0, -1.0, 0, 0, NULL, NULL, NULL, NULL}
void tamis_annotate_options_init(tamis_annotate_options *options);

typedef struct tamis_annotate_report {
  uint32_t struct_size;
  uint32_t reserved;
  int64_t pairs;             /* annotated */
  int64_t bad_lines;
  int64_t empty;             /* texts without words, left out */
  int64_t dropped_variation; /* by the filter, for their variation rate */
  int64_t dropped_gap;       /* by the filter, for their alignment gap */
  int64_t kept;              /* written */
  int64_t words;             /* of the texts that were written */
  int64_t labelled;          /* of these words, those with label 1 */
} tamis_annotate_report;

#define TAMIS_ANNOTATE_REPORT_INIT {sizeof(tamis_annotate_report), 0, 0, 0, 0, 0, 0, 0, 0, 0}

/* A file of pairs to a file of labels, line by line. In: one JSON object a line with the strings "text" and "compressed"; other
 * members pass through. Out: the same object and "words" [[start, end], ..], "labels" [0, 1, ..], "variation_rate",
 * "hitting_rate", "matching_rate", "alignment_gap"; in the order of the input. Blank lines are passed over. Memory: one
 * line, and a few bytes per pair. `out_path` appears when all is done.
 * Errors: INVALID_ARGUMENT, NOT_FOUND, IO, FORMAT (strict: a bad line, by its number), CANCELLED. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_annotate_file(const char *path, const char *out_path,
                                                  const tamis_annotate_options *options, tamis_annotate_report *report);

#ifdef __cplusplus
}
#endif

#endif /* TAMIS_ANNOTATION_H */
