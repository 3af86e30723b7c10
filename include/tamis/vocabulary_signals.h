/* tamis/vocabulary_signals.h: training signals that look at whole vocabularies: function tokens, Text2Token targets, clusters
 * of LM-head keys (KeyNavi, ICN).
 *
 * Flags over a vocabulary are u8 [vocabulary], 0 or 1. Logits and LM-head rows are tensors, f32, f16 or bf16, any strides;
 * sums are in f64, in an order that does not depend on the number of threads. docs/signals.md has the formulas, and says what
 * is PROPOSED: our choice, where the paper or its code leaves one open. A vocabulary has 1 to 2^31 - 1 tokens. Ties go to the
 * lower id. Outputs that may be NULL are not computed.
 * Errors of all: INVALID_ARGUMENT. Thread: any; calls on one context wait for each other.
 */
#ifndef TAMIS_VOCABULARY_SIGNALS_H
#define TAMIS_VOCABULARY_SIGNALS_H

#include "bleu.h"
#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------------ function tokens */

/* Occurrences of each token, and in how many of the documents it is: counts, documents [vocabulary]; one may be NULL. */
TAMIS_MUST_CHECK tamis_status tamis_token_counts(const tamis_token_lists *lists, int64_t vocabulary, uint64_t *counts,
                                                 int64_t *documents);

/* Function tokens (arXiv 2510.08203): by falling count, the smallest prefix of the vocabulary that makes up `share` of all
 * occurrences, above 0 to 1 (the paper's 0.4); the token that crosses the line is one (PROPOSED). counts [vocabulary]: at most
 * 2^63 in all, not all 0. flags [vocabulary] receives 1 for these; n (may be NULL) how many. The type of a token is
 * flags[id]. */
TAMIS_MUST_CHECK tamis_status tamis_function_tokens(const uint64_t *counts, int64_t vocabulary, double share, uint8_t *flags,
                                                    int64_t *n);

#define TAMIS_FUNCTION_FUNCTION 0
#define TAMIS_FUNCTION_CONTENT 1 /* a content token after a function token: where the loss is */
#define TAMIS_CONTENT_FUNCTION 2
#define TAMIS_CONTENT_CONTENT 3

/* Losses by the types of the token before and of the token itself: sums, counts [4] are added to, so that shards add up. nll
 * f64 [ids], packed row after row as ids are (padded places are not read); the first token of a sequence has none before it and
 * is not counted. mask (may be NULL) in the layout of nll: tokens that count. */
TAMIS_MUST_CHECK tamis_status tamis_function_nll(const tamis_token_lists *lists, const uint8_t *flags, int64_t vocabulary,
                                                 const double *nll, const uint8_t *mask, double *sums, int64_t *counts);

/* ------------------------------------------------------------------------------------------------ Text2Token */

/* idf[v] = ln((1 + n) / (1 + documents[v])) + 1, PROPOSED; documents, idf [vocabulary], 0 <= documents[v] <= n. */
TAMIS_MUST_CHECK tamis_status tamis_inverse_document_frequency(const int64_t *documents, int64_t vocabulary, int64_t n,
                                                               double *idf);

/* Text2Token's data-driven target (arXiv 2510.10224; formulas PROPOSED): q(v) = tf(v) idf(v) / sum over the n tokens `ids` of a
 * text without those flagged in `excluded` (function tokens, specials; NULL: none). idf at least 0, [vocabulary]. targets, q
 * have room for n: tokens with q > 0, ascending; count receives how many, 0 when nothing is left. */
TAMIS_MUST_CHECK tamis_status tamis_text_target(const int32_t *ids, int64_t n, const double *idf, const uint8_t *excluded,
                                                int64_t vocabulary, int32_t *targets, double *q, int64_t *count);

/* The model-derived target: softmax of the mean of the rows of logits [rows, vocabulary] in use (NULL: all), without
 * `excluded`, the k largest (32), renormalised. targets (ascending), q [min(k, vocabulary)]. A row in use must be finite, or
 * -inf where a token is ruled out, and one token must remain. mean [vocabulary] (may be NULL): the mean logits. */
TAMIS_MUST_CHECK tamis_status tamis_model_target(tamis_context *context, const tamis_tensor *logits, const uint8_t *rows,
                                                 const uint8_t *excluded, int64_t k, int32_t *targets, double *q,
                                                 int64_t *count, double *mean);

/* Sparse distributions: row i is tokens[starts[i]] to tokens[starts[i + 1]], ascending and each once, with q > 0. */
typedef struct tamis_sparse_targets {
  const int32_t *tokens;
  const double *q;
  const int64_t *starts; /* [rows + 1], ascending */
  int64_t rows;
} tamis_sparse_targets;

/* (1 - lambda) a + lambda b, row by row, lambda 0 to 1; an empty row leaves the other as it is. targets, q have room for the
 * entries of both, starts [rows + 1] receives where the rows are. */
TAMIS_MUST_CHECK tamis_status tamis_mix_targets(const tamis_sparse_targets *a, const tamis_sparse_targets *b, double lambda,
                                                int32_t *targets, double *q, int64_t *starts);

/* KL(q || softmax(z)) = sum q ln q - sum q z + lse(z) of each row of logits [rows, vocabulary] and of targets, whose q add up
 * to 1 within 1e-4 (of which lse takes the sum). An empty row gives 0; a NaN in a row of logits NaN. losses [rows]. */
TAMIS_MUST_CHECK tamis_status tamis_target_kl(tamis_context *context, const tamis_tensor *logits,
                                              const tamis_sparse_targets *targets, double *losses);

/* How much of a text its embedding's distribution shows, PROPOSED: overlap, the share of the k largest logits that are tokens
 * of the text; mass, the sum of softmax(z) over the text's different tokens. logits [texts->count, vocabulary]; 1 <= k <=
 * vocabulary. NaN logits are -inf in the ranking and NaN in the mass. overlap, mass [texts->count], either may be NULL. */
TAMIS_MUST_CHECK tamis_status tamis_text_overlap(tamis_context *context, const tamis_tensor *logits,
                                                 const tamis_token_lists *texts, int64_t k, double *overlap, double *mass);

/* ------------------------------------------------------------------------------------------------ KeyNavi, ICN */

typedef struct tamis_key_options {
  uint32_t struct_size;
  int32_t reserved;  /* 0 */
  int64_t main;      /* 10: K, the ranks whose clusters are the main ones */
  int64_t top;       /* 100: N, the ranks looked at; K < N <= vocabulary */
} tamis_key_options;

#define TAMIS_KEY_OPTIONS_INIT {sizeof(tamis_key_options), 0, 10, 100}
void tamis_key_options_init(tamis_key_options *options);

/* NaN where there is nothing to take a mean of. */
typedef struct tamis_key_report {
  uint32_t struct_size;
  int32_t reserved;
  int64_t inside;              /* of ranks K + 1 to N, the tokens in a main cluster */
  int64_t outside;             /* the others */
  double share;                /* inside / (N - K) */
  double inside_rank;          /* mean rank, from 1 */
  double outside_rank;
  double inside_accuracy;      /* mean of correct */
  double outside_accuracy;
  double precision;            /* mean over i < N of the mean of correct[0 .. i] by rank: the MAP-like score, N ranks (PROPOSED) */
  double entropy;              /* PROPOSED: of the clusters of the N tokens, in nats */
  double correlation;          /* PROPOSED: Spearman's rho of cosine(key of rank 1, key of rank r) and r, r = 2 to N */
} tamis_key_report;

#define TAMIS_KEY_REPORT_INIT {sizeof(tamis_key_report), 0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0}

/* Do the tokens behind the best one rank high for their keys' sake (arXiv 2410.02284)? Of one row of logits [vocabulary]:
 *   clusters  [vocabulary] the cluster of each LM-head row, at least 0, as tamis_cluster gives them
 *   keys the LM head [vocabulary, d], for `correlation`; NULL: NaN. A key of zeros has cosine 0; rho is 0 where all cosines
 *   are
 *             equal, and negative where near keys rank high
 *   correct   [vocabulary] flags of tokens that are right, for accuracies and precision; NULL: NaN
 *   ranked    [top] the N tokens by falling logit, may be NULL
 * NaN logits are -inf. */
TAMIS_MUST_CHECK tamis_status tamis_key_diagnostic(tamis_context *context, const tamis_key_options *options,
                                                   const tamis_tensor *logits, const int32_t *clusters,
                                                   const tamis_tensor *keys, const uint8_t *correct, int32_t *ranked,
                                                   tamis_key_report *report);

/* The m keys with the largest cosine to that of each of the n tokens `ids`, itself left out; 1 <= m < vocabulary. neighbors,
 * cosines (may be NULL) [n, m], nearest first. Equal keys have cosine 1; a key of zeros 0. */
TAMIS_MUST_CHECK tamis_status tamis_key_neighbors(tamis_context *context, const tamis_tensor *keys, const int32_t *ids,
                                                  int64_t n, int64_t m, int32_t *neighbors, float *cosines);

/* PROPOSED: the n tokens `ranked`, best first, so that the best of each cluster comes before the second of any; both parts
 * keep their order. order [n] may be ranked. */
TAMIS_MUST_CHECK tamis_status tamis_decorrelated_rank(const int32_t *ranked, int64_t n, const int32_t *clusters,
                                                      int64_t vocabulary, int32_t *order);

/* ICN's first token: of the tokens without a flag in `used` [vocabulary] the one with the highest logit; NaN counts as -inf.
 * Errors also: NOT_FOUND (every token has been used). */
TAMIS_MUST_CHECK tamis_status tamis_unused_token(const tamis_tensor *logits, const uint8_t *used, int32_t *token);

#ifdef __cplusplus
}
#endif

#endif /* TAMIS_VOCABULARY_SIGNALS_H */
