/* tamis/sinks.h: attention paid to the initial token and to other sinks, re-weighted without training.
 *
 * ZeroTuning (arXiv 2505.11739): the weight of token 0 times gamma, renormalised, in chosen heads,
 *   a'_0 = gamma a_0 / D,   a'_j = a_j / D,   D = 1 + (gamma - 1) a_0
 * The same as adding ln gamma to its logit: key0_bias of tamis_attention_options and of tamis_selector_options, with dense,
 * sparse and cached attention. It costs nothing. docs/sinks.md shows both methods in use.
 * ACT (arXiv 2406.15765): in chosen heads, weights of sinks other than token 0 times beta, the freed mass to the other tokens
 * in proportion to their weights. Needs column statistics, so it is a call of its own.
 */
#ifndef TAMIS_SINKS_H
#define TAMIS_SINKS_H

#include "attention.h"
#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ----------------------------------------------------------------------------------------------- ZeroTuning */

/* bias[i] = ln gamma[i] for n >= 1 of them; gamma[i] is at least 1e-4 and finite, and 1 gives exactly 0, with which attention
 * is plain attention bit for bit. `bias` may be `gamma`. Errors: INVALID_ARGUMENT. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_zero_tuning_bias(const float *gamma, int64_t n, float *bias);

typedef int32_t tamis_zero_tuning_unit;
#define TAMIS_ZERO_TUNING_HEADS 0       /* one head index in all layers at a time (mode 1 of the official code) */
#define TAMIS_ZERO_TUNING_LAYER_HEADS 1 /* every (layer, head) */
#define TAMIS_ZERO_TUNING_LAYERS 2      /* every layer, all its heads */

/* How good a model is with these gammas: accuracy on a calibration set, or minus the mean entropy of its answers (the
 * unsupervised form). gamma [layers][heads], 1 where nothing is changed. Writes *score, higher is better; returns 0 to stop the
 * search. */
typedef int32_t (*tamis_zero_tuning_score_fn)(const float *gamma, int32_t layers, int32_t heads, double *score, void *user);

typedef struct tamis_zero_tuning_options {
  uint32_t struct_size;
  int32_t layers;                /* 1 */
  int32_t heads;                 /* query heads of a layer; 1 */
  tamis_zero_tuning_unit unit;   /* HEADS */
  float probe_gamma;             /* 2: units are classified by the score with this gamma in one of them */
  float share;                   /* 0.4: in the dominant class, this share of all units at most is tuned, at least one */
  float gamma_min;               /* 0.25: the grid's first gamma, at least 1e-4 */
  float gamma_max;               /* 4: its last */
  float gamma_step;              /* 0.25; the grid is tried from low to high, and 1 is always the baseline */
} tamis_zero_tuning_options;

#define TAMIS_ZERO_TUNING_OPTIONS_INIT \
  {sizeof(tamis_zero_tuning_options), 1, 1, TAMIS_ZERO_TUNING_HEADS, 2.0f, 0.4f, 0.25f, 4.0f, 0.25f}
void tamis_zero_tuning_options_init(tamis_zero_tuning_options *options);

typedef struct tamis_zero_tuning_result {
  uint32_t struct_size;
  int32_t evaluations;           /* calls of the scoring function */
  int32_t up, down, neutral;     /* units whose score rose, fell, stayed at the probe */
  int32_t tuned;                 /* units that carry the best gamma; 0: nothing beat the baseline */
  float gamma;                   /* the best gamma, 1 when nothing beat the baseline */
  uint32_t reserved;
  double baseline;               /* score with all gammas 1 */
  double best;                   /* score of the answer */
} tamis_zero_tuning_result;

#define TAMIS_ZERO_TUNING_RESULT_INIT {sizeof(tamis_zero_tuning_result), 0, 0, 0, 0, 0, 1.0f, 0, 0.0, 0.0}

/* Classifies heads and searches gamma (section 4 of the paper): the score of every unit at probe_gamma; the larger of the
 * classes "rose" and "fell" (of equal ones, the former); in it the units with the largest effect; then the grid with all of
 * them together.
 *   gamma         [layers][heads], receives the answer; 1 everywhere when nothing beat the baseline
 *   unit_effect   NULL, or [units] doubles: score at the probe minus the baseline; units as `unit` has it
 * Calls `score` 1 + units times, and once for every gamma of the grid but 1. Of equal scores the baseline wins, then the
 * earlier gamma; of equal effects the lower unit. A NaN score counts as minus infinity. At most 2^24 heads in all layers.
 * Errors: INVALID_ARGUMENT, CANCELLED. Thread: any; the callback runs on this thread and may call the library. */
TAMIS_MUST_CHECK tamis_status tamis_zero_tuning_search(const tamis_zero_tuning_options *options, tamis_zero_tuning_score_fn score,
                                                       void *user, float *gamma, double *unit_effect,
                                                       tamis_zero_tuning_result *result);

/* ------------------------------------------------------------------------------------------------------ ACT */

typedef struct tamis_act_options {
  uint32_t struct_size;
  float threshold;         /* 0.1: token j >= 1 is a sink when its mean weight, over the rows that see it, is above this */
  float beta;              /* 0.4: what a sink's weight is multiplied by, 0 to 1; 1 changes nothing */
  int32_t min_rows;        /* 1, or more: tokens that fewer rows have seen are no sinks */
  const uint8_t *heads;    /* q_heads flags: 1 calibrates the head; NULL: all heads */
} tamis_act_options;

#define TAMIS_ACT_OPTIONS_INIT {sizeof(tamis_act_options), 0.1f, 0.4f, 1, NULL}
void tamis_act_options_init(tamis_act_options *options);

/* Column sums and row counts of one layer's heads, carried from prefill to decode steps, so that a decode row is a row like any
 * other. Grows with the keys: 8 bytes a key and calibrated head. Calls with one state are serialised by its context. */
typedef struct tamis_act_state tamis_act_state;
/* Errors: INVALID_ARGUMENT, OUT_OF_MEMORY. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_act_state_create(tamis_context *context, int32_t q_heads, tamis_act_state **out);
/* Thread: per handle. */
void tamis_act_state_destroy(tamis_act_state *state);
/* Forgets everything: a new sequence. Errors: INVALID_ARGUMENT. Thread: per handle. */
tamis_status tamis_act_state_reset(tamis_act_state *state);

/* Attention with calibrated heads. Tensors [q_heads, q_len, head_dim] and [kv_heads, k_len, head_dim] (one sequence), options
 * as tamis_attention, causal only; out of heads that are not calibrated has the bits of tamis_attention.
 *   c_j = mean over the rows that see j of p_ij;   S = {j >= 1 : c_j > threshold};   m_i = sum over S of p_ij
 *   p'_ij = beta p_ij (j in S),   p_ij (1 + (1 - beta) m_i / (1 - m_i)) (j not in S);   a row with 1 - m_i < 1e-6 stays
 *   state   NULL: the columns' statistics are of this call's rows. Else they are added to those of the calls before, whose keys
 *           are the first of k, and the sinks are those of all rows so far. q_offset must be the number of rows seen, k must
 *           reach to the last row, the calibrated heads must be those of the calls before. A call that fails leaves a state as
 *           it was.
 *   lse     NULL, or of the attention before calibration
 * Attention once; the scores of calibrated heads once more, for the sums of the columns; attention over the columns of S. A row
 * with m_i above 3/4 takes attention over the columns outside S too, as rounding errors of o - o_S grow with 1 / (1 - m_i). No
 * [q_len, k_len] table. A weight that is NaN counts as 0 in the sums. Needs a CPU context.
 * Errors: INVALID_ARGUMENT, UNSUPPORTED (not causal; dtype or head_dim; OpenCL), OUT_OF_MEMORY, CANCELLED. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_act_attention(tamis_context *context, const tamis_attention_options *options,
                                                  const tamis_act_options *act, tamis_act_state *state, const tamis_tensor *q,
                                                  const tamis_tensor *k, const tamis_tensor *v, const tamis_tensor *out,
                                                  const tamis_tensor *lse);

/* The sinks of a head after the last call with this state, ascending; none where the head is not calibrated. `n` receives how
 * many, also when the buffer is too small. Errors: INVALID_ARGUMENT, BUFFER_TOO_SMALL. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_act_sinks(const tamis_act_state *state, int32_t head, int32_t *tokens, int64_t capacity,
                                              int64_t *n);

#ifdef __cplusplus
}
#endif

#endif /* TAMIS_SINKS_H */
