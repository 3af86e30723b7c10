/* tamis/logit_metrics.h: what a model's logits say of each token, in one pass over them.
 *
 * Rows of logits z [T, V] or [B, T, V] in f32, f16 or bf16; p = softmax(z / temperature). Natural logarithms; nats.
 *   lse         ln sum_v exp z_v                              nll          lse - z_y, for the target y
 *   entropy     -sum p ln p, at least 0                       varentropy   variance of -ln p under p
 *   collision   sum p^2                                       confidence   the largest p
 *   rank        1 + number of z_v > z_y (optimistic)          ties         others equal to z_y; rank + ties is pessimistic
 *   brier       1 - 2 p_y + sum p^2                           margin       z_1 - z_2 of the two largest; +inf where V is 1
 * Only what is asked for is computed; nll alone takes one exp an element. A row is read once (once more where said), in blocks
 * that stay in the first-level cache; no tensor of [B, T, V] is made. Every row is cut into parts of 32768 entries whose sums
 * are merged in order, so the bits do not depend on the number of threads or on how rows are split over calls.
 *
 * Rules
 *   -inf         an entry that is not in the vocabulary: 0 * inf is 0. A row of nothing else gives NaN.
 *   NaN, +inf    anywhere in a row: NaN in the row's outputs (top -1, rank and ties 0); summary counts it and adds nothing.
 *   ignored      rows whose target is ignore_index: every output 0 (top -1), and nothing is added to a summary.
 *   accuracy     sums of f32 lanes over runs of 128 entries, f64 above: for V up to 2^18 the error of lse, nll and entropy is
 *                at most 1e-6 max(1, |value|), that of varentropy 1e-6 max(1, E (z - max z)^2), of probabilities 1e-6.
 * Tensors of any strides; neighbouring entries of a row are the fast case, others are gathered a block at a time.
 * An OpenCL context copies rows to the device and computes there, one work-group a row, in f32.
 */
#ifndef TAMIS_LOGIT_METRICS_H
#define TAMIS_LOGIT_METRICS_H

#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tamis_logit_options {
  uint32_t struct_size;
  int32_t top_k;          /* 1, or more: k of top_k_mass and of summary->within_top_k; above V it is V */
  int32_t ignore_index;   /* -100: targets that are skipped */
  uint32_t reserved;      /* 0 */
  double temperature;     /* 1; finite, above 0: z / temperature stands for z everywhere */
  double label_smoothing; /* 0, to 1: of `loss` */
  tamis_progress_fn progress; /* NULL */
  void *progress_user;
} tamis_logit_options;

#define TAMIS_LOGIT_OPTIONS_INIT {sizeof(tamis_logit_options), 1, -100, 0, 1.0, 0.0, NULL, NULL}
void tamis_logit_options_init(tamis_logit_options *options);

/* Where results go: arrays of as many elements as there are rows (B * T, t fastest); NULL: not computed. They must not overlap
 * the inputs or each other. Those marked y need targets. */
typedef struct tamis_logit_outputs {
  uint32_t struct_size;
  uint32_t reserved;      /* 0 */
  float *nll;             /* y */
  float *loss;            /* y: (1 - e) nll + e (lse - mean), e = label_smoothing */
  float *lse;
  float *entropy;
  float *varentropy;
  float *collision;
  float *confidence;
  float *margin;
  float *probability;     /* y: exp(-nll) */
  float *brier;           /* y */
  float *top_k_mass;      /* sum of the k largest p */
  float *mean;            /* mean of the entries that are not -inf */
  int32_t *top;           /* the largest entry; of equal ones the lowest */
  int32_t *rank;          /* y */
  int32_t *ties;          /* y */
} tamis_logit_outputs;

#define TAMIS_LOGIT_OUTPUTS_INIT \
  {sizeof(tamis_logit_outputs), 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL}

/* What a summary sums. */
#define TAMIS_LOGIT_SUM_NLL 1
#define TAMIS_LOGIT_SUM_LOSS 2
#define TAMIS_LOGIT_SUM_ENTROPY 4
#define TAMIS_LOGIT_SUM_CORRECT 8 /* tokens whose `top` is the target */
#define TAMIS_LOGIT_SUM_TOP_K 16  /* tokens whose rank is at most top_k */
#define TAMIS_LOGIT_SUM_BRIER 32

/* Running sums over the rows that are neither ignored nor NaN. Pass the same struct with the next part of a text: rows are
 * added one after another, so a split changes no bit. All but `tokens`, `entropy` and `nan_rows` need targets.
 * bins: confidence calibration as torchmetrics 1.9.0 has it: n_bins + 1 triples (tokens, sum of confidences, correct ones);
 * bin i holds confidences in [i / n_bins, (i + 1) / n_bins), the last one 1.0. Zeros at first; finished by
 * tamis_calibration_error. */
typedef struct tamis_logit_summary {
  uint32_t struct_size;
  int32_t sums;           /* TAMIS_LOGIT_SUM_NLL; which of the sums are wanted, or-ed */
  int32_t n_bins;         /* 0, to 65536 */
  uint32_t reserved;      /* 0 */
  double *bins;           /* [n_bins + 1, 3]; NULL with n_bins 0 */
  int64_t tokens;
  int64_t nan_rows;
  int64_t correct;
  int64_t within_top_k;
  double nll, loss, entropy, brier;
} tamis_logit_summary;

#define TAMIS_LOGIT_SUMMARY_INIT {sizeof(tamis_logit_summary), TAMIS_LOGIT_SUM_NLL, 0, 0, NULL, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0}

/* logits [T, V] or [B, T, V]; targets int32 [rows] in 0 to V - 1 or ignore_index, NULL where nothing needs them. outputs or
 * summary may be NULL, not both. Work: bandwidth-bound but for 16-bit logits with several sums at a time (docs/metrics.md);
 * top_k_mass keeps 4 k bytes of candidates for a part of a row. After an error outputs and summary hold what they held, after
 * CANCELLED, DEVICE or OUT_OF_MEMORY outputs are undefined.
 * Errors: INVALID_ARGUMENT, OUT_OF_MEMORY, DEVICE, CANCELLED. Thread: any; calls on one context wait for each other. */
TAMIS_MUST_CHECK tamis_status tamis_logit_metrics(tamis_context *context, const tamis_logit_options *options,
                                                  const tamis_tensor *logits, const int32_t *targets,
                                                  tamis_logit_outputs *outputs, tamis_logit_summary *summary);

/* ------------------------------------------------------------------------------------------------ two models */

typedef struct tamis_divergence_outputs {
  uint32_t struct_size;
  uint32_t reserved;      /* 0 */
  float *kl;              /* sum P ln(P / Q); +inf where Q is 0 and P is not; exactly 0 for equal rows */
  float *reverse_kl;      /* sum Q ln(Q / P) */
  float *js;              /* (KL(P, M) + KL(Q, M)) / 2, M = (P + Q) / 2; at most ln 2 */
  float *total_variation; /* sum |P - Q| / 2 */
} tamis_divergence_outputs;

#define TAMIS_DIVERGENCE_OUTPUTS_INIT {sizeof(tamis_divergence_outputs), 0, NULL, NULL, NULL, NULL}

/* Divergences of rows p and q, of one shape; arrays [rows], NULL: not computed. kl and reverse_kl read the rows once, js and
 * total_variation once more. Of the options temperature and progress count. A row with NaN or +inf in p or in q gives NaN.
 * Error: at most 1e-6 max(1, |value|) and 1e-7 times the mean under P (Q) of |ln P - ln Q|. Errors and threads as above. */
TAMIS_MUST_CHECK tamis_status tamis_logit_divergence(tamis_context *context, const tamis_logit_options *options,
                                                     const tamis_tensor *p, const tamis_tensor *q,
                                                     tamis_divergence_outputs *outputs);

/* Contrastive estimation of critical tokens (cDPO, arXiv 2411.19943): out[row] = ln s,
 *   s = softmax_v((1 + beta) positive - beta negative)[target],   beta at least 0; the published code has 1
 * one pass over both. -inf in positive removes the entry; -inf in negative alone is +inf in the sum: NaN. Rows of ignore_index
 * (of the options, as temperature and progress) give 0. Errors and threads as above. */
TAMIS_MUST_CHECK tamis_status tamis_contrastive_log_probs(tamis_context *context, const tamis_logit_options *options,
                                                          const tamis_tensor *positive, const tamis_tensor *negative,
                                                          const int32_t *targets, double beta, float *out);

/* ------------------------------------------------------------------------------------------------ finishing sums */

/* exp(nll / units): perplexity for tokens, word_perplexity for words, byte_perplexity for bytes. NaN unless units > 0.
 * Thread: any. */
double tamis_perplexity(double nll, double units);

/* nll / (ln 2 * units): bits per byte, per character, per token. NaN unless units > 0. Thread: any. */
double tamis_bits_per_unit(double nll, double units);

typedef int32_t tamis_calibration_norm;
#define TAMIS_CALIBRATION_L1 0  /* sum over bins of share |accuracy - confidence| */
#define TAMIS_CALIBRATION_L2 1  /* sqrt of the sum of share (accuracy - confidence)^2 */
#define TAMIS_CALIBRATION_MAX 2 /* the largest |accuracy - confidence| */

/* Expected calibration error of a summary's bins [n_bins + 1, 3]; 0 without tokens. Errors: INVALID_ARGUMENT (a bin that is not
 * finite or below 0). Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_calibration_error(const double *bins, int32_t n_bins, tamis_calibration_norm norm,
                                                      double *error);

/* The same with bins of equal mass: n tokens in order of confidence, of equal ones the earlier first, bin i those from
 * i n / n_bins on. PROPOSED. confidence [n] in 0 to 1, correct [n] of 0 and 1. Errors: INVALID_ARGUMENT. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_adaptive_calibration_error(const float *confidence, const uint8_t *correct, int64_t n,
                                                               int32_t n_bins, tamis_calibration_norm norm, double *error);

/* The temperature in 1/1000 to 1000 with the least NLL of the targets: Newton's method in 1 / temperature (convex), one pass
 * over the logits a step, from options->temperature on. nll: the mean at the answer; passes: steps taken; both may be NULL.
 * Rows with NaN or of ignore_index are left out; without any other row it is INVALID_ARGUMENT. PROPOSED. Errors and threads as
 * tamis_logit_metrics. */
TAMIS_MUST_CHECK tamis_status tamis_fit_temperature(tamis_context *context, const tamis_logit_options *options,
                                                    const tamis_tensor *logits, const int32_t *targets, double *temperature,
                                                    double *nll, int32_t *passes);

/* ------------------------------------------------------------------------------------------------ sliding windows */

/* A text of `tokens` scored by windows of at most `window` tokens, `stride` (1 to window) apart. The first window scores all of
 * its tokens, each later one its last stride tokens, and the last one what is left, with as much context as the window holds:
 * every token is scored exactly once. The number of windows. Errors: INVALID_ARGUMENT. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_sliding_window_count(int64_t tokens, int64_t window, int64_t stride, int64_t *count);

/* Window `index`: the model sees tokens [begin, end) and [scored, end) are counted. Token 0 of a text has no prediction unless
 * a BOS token comes before it. Errors: INVALID_ARGUMENT. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_sliding_window(int64_t tokens, int64_t window, int64_t stride, int64_t index,
                                                   int64_t *begin, int64_t *scored, int64_t *end);

#ifdef __cplusplus
}
#endif

#endif /* TAMIS_LOGIT_METRICS_H */
