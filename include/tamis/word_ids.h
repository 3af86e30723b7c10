/* tamis/word_ids.h: texts as the scorers see them: their tokenizers, and numbers for the words.
 *
 * One call numbers the words of all texts that will be compared, hypotheses and references alike; the lists it gives go into
 * bleu.h and sequence_metrics.h, whole or in part (a tamis_token_lists may begin anywhere: starts + i, count n).
 */
#ifndef TAMIS_WORD_IDS_H
#define TAMIS_WORD_IDS_H

#include "bleu.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef int32_t tamis_word_tokenizer;
#define TAMIS_WORDS_NONE 0          /* runs without white space, as Python's str.split */
#define TAMIS_WORDS_13A 1           /* sacreBLEU 2.6.0's: mteval-v13a */
#define TAMIS_WORDS_INTL 2          /* mteval-v14: Unicode punctuation and symbols apart */
#define TAMIS_WORDS_CHAR 3          /* every character that is no white space */
#define TAMIS_WORDS_ZH 4            /* Chinese characters apart, then as 13a */
#define TAMIS_WORDS_TER 5           /* TER's; `normalised` and `no_punctuation` apply */
#define TAMIS_WORDS_ROUGE 6         /* rouge-score 0.1.2: runs of a-z and 0-9 of the lower-cased text */
#define TAMIS_WORDS_ROUGE_STEM 7    /* the same with Porter's stems, as NLTK has them */
#define TAMIS_WORDS_SQUAD 8         /* lower case without ASCII punctuation and the words a, an, the */
#define TAMIS_WORDS_CHRF 9          /* chrF++'s: words, with an ASCII mark at one end apart */
#define TAMIS_WORDS_CODE_POINTS 10  /* every character: its id is its code point */
#define TAMIS_WORDS_CHRF_CHARS 11   /* the same without white space */

typedef struct tamis_word_options {
  uint32_t struct_size;
  tamis_word_tokenizer tokenizer; /* TAMIS_WORDS_NONE */
  int32_t lowercase;              /* 0; 1: as Python's str.lower, before the tokenizer */
  int32_t normalised;             /* 0; TER: marks apart, as mteval */
  int32_t no_punctuation;         /* 0; TER: without . , ? : ; ! " ( ) */
  int32_t twice_from;             /* 0; TER, n > 0: texts from n on are cut, joined, cut again, as sacreBLEU's references */
  tamis_context *context;         /* NULL: the calling thread alone; else its threads share the work, for the same ids */
} tamis_word_options;

#define TAMIS_WORD_OPTIONS_INIT {sizeof(tamis_word_options), TAMIS_WORDS_NONE, 0, 0, 0, 0, NULL}
void tamis_word_options_init(tamis_word_options *options);

/* The words of some texts, numbered from 0 in order of appearance. Immutable. */
typedef struct tamis_word_ids tamis_word_ids;

/* Texts are bytes [starts[i], starts[i + 1]) of `text`; starts [count + 1] ascends from 0 to at most 2^31 - 1. They should be
 * UTF-8; each ill-formed part is read as U+FFFD.
 * Errors: INVALID_ARGUMENT. Thread: any; calls on one context wait for each other. */
TAMIS_MUST_CHECK tamis_status tamis_word_ids_create(const tamis_word_options *options, const char *text, const int64_t *starts,
                                                    int64_t count, tamis_word_ids **out);
/* Thread: per handle. */
void tamis_word_ids_destroy(tamis_word_ids *words);

/* One sequence for each text; points into `words`. vocabulary (may be NULL) receives how many different words there are, 0 for
 * code points. Errors: INVALID_ARGUMENT. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_word_ids_get(const tamis_word_ids *words, tamis_token_lists *lists, int64_t *vocabulary);

#ifdef __cplusplus
}
#endif

#endif /* TAMIS_WORD_IDS_H */
