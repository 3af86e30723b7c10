/* tamis/token_signals.h: which tokens to train on, and how much: ssToken, cDPO, T-REG, RMT, TL-Training, CAFT.
 *
 * Losses and log-probabilities come in, weights, labels, losses and gradients come out; the model stays the host's. Signals
 * that read logits or LM-head rows are in vocabulary_signals.h. docs/signals.md has the formulas, and says what is PROPOSED:
 * our choice, where the paper or its code leaves one open.
 *
 * Conventions
 *  - Arrays are packed, [tokens] or [batch, tokens], batch * tokens from 1 to 2^31 - 1; f64, in which all arithmetic is.
 *  - The number at place t is that of token t (logits at t - 1); token 0 has none, and place 0 holds what the caller likes: 0.
 *    CAFT alone stands at the logits' places.
 *  - Masks are u8, 0 or 1; labels are int64, and -100 is no label. Places outside a mask are not read: they may hold NaN.
 *    What is read must be finite and at most 1e90 in magnitude.
 *  - Natural logarithms. Ties go to the lower index. Outputs that may be NULL are not computed.
 * Errors of all: INVALID_ARGUMENT. Thread: any; calls on one context wait for each other.
 */
#ifndef TAMIS_TOKEN_SIGNALS_H
#define TAMIS_TOKEN_SIGNALS_H

#include "attention.h"
#include "bleu.h"
#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TAMIS_NO_LABEL (-100)

/* ------------------------------------------------------------------------------------------------ ssToken */

/* Which keys are the prompt, of a mask that says so token by token. */
typedef int32_t tamis_prompt_rule;
#define TAMIS_PROMPT_MASK 0   /* those of the mask: the prompts of all turns */
#define TAMIS_PROMPT_PREFIX 1 /* the first n tokens, n of them in the mask, wherever they stand: the official code */

/* Attention mass on the prompt (arXiv 2510.18250): mass[t] = mean over heads of sum over prompt keys j of A[h, t, j].
 * attention [heads, queries, keys] (f32, f16, bf16; any strides): softmax rows under the causal mask. prompt [keys], mass
 * [queries]. Sums in f64. */
TAMIS_MUST_CHECK tamis_status tamis_prompt_attention(tamis_context *context, const tamis_tensor *attention,
                                                     const uint8_t *prompt, tamis_prompt_rule rule, double *mass);

/* The same from q [q_heads, queries, head_dim] and k [kv_heads, keys, head_dim], as tamis_attention takes them (rotated):
 * attention over values that are 1 for prompt keys and 0 for others, so there is no [queries, keys] table; memory is one head's
 * values, and 1024 rows of the query heads that share them. Options as tamis_attention. Accurate to about 1e-6 in f32.
 * Errors also: UNSUPPORTED (dtype or head_dim), OUT_OF_MEMORY, CANCELLED. */
TAMIS_MUST_CHECK tamis_status tamis_prompt_attention_keys(tamis_context *context, const tamis_attention_options *options,
                                                          const tamis_tensor *q, const tamis_tensor *k, const uint8_t *prompt,
                                                          tamis_prompt_rule rule, double *mass);

/* ssToken's score of response tokens (labels other than -100):
 *   REL_t = history_t - current_t   (losses: the log-ratio of the model to its own history)
 *   norm  = (REL - min) / (max - min + 1e-8), over the response tokens of each sample
 *   score = gamma norm + (1 - gamma) attention_t
 * gamma 0 to 1 (the code's default 0.5). attention may be NULL with gamma 1. All [batch, tokens]; excess (REL, may be NULL) and
 * scores get 0 outside responses. With gamma 0 the losses are still read. */
TAMIS_MUST_CHECK tamis_status tamis_sstoken_scores(const double *current, const double *history, const double *attention,
                                                   const int64_t *labels, int64_t batch, int64_t tokens, double gamma,
                                                   double *excess, double *scores);

typedef int32_t tamis_token_scope;
#define TAMIS_TOKENS_OF_SAMPLE 0 /* k of each sample */
#define TAMIS_TOKENS_OF_BATCH 1  /* k of all samples together */

typedef int32_t tamis_rounding;
#define TAMIS_ROUND_UP 0   /* k = ceil(n ratio): ssToken */
#define TAMIS_ROUND_DOWN 1 /* k = floor(n ratio): the loss-only baseline, whose score is loss_base - loss_reference */

/* Keeps the k response tokens with the largest scores: selected [batch, tokens] are the labels of these, -100 elsewhere. n is
 * the number of response tokens in the scope; ratio in [0, 1]. kept [batch] (may be NULL): how many of each sample. An empty
 * response keeps its labels. selected may be labels. */
TAMIS_MUST_CHECK tamis_status tamis_select_tokens(const double *scores, const int64_t *labels, int64_t batch, int64_t tokens,
                                                  double ratio, tamis_rounding rounding, tamis_token_scope scope,
                                                  int64_t *selected, int64_t *kept);

/* The history model as a moving average: history = alpha history + (1 - alpha) current, in f64, rounded to history's dtype.
 * Tensors of one shape, f32, f16 or bf16; history has contiguous rows. alpha 0 to 1. */
TAMIS_MUST_CHECK tamis_status tamis_ema_update(tamis_context *context, const tamis_tensor *history,
                                               const tamis_tensor *current, double alpha);

/* ------------------------------------------------------------------------------------------------ cDPO */

typedef int32_t tamis_answer_side;
#define TAMIS_ANSWER_CHOSEN 0
#define TAMIS_ANSWER_REJECTED 1

typedef struct tamis_cdpo_weight_options {
  uint32_t struct_size;
  tamis_answer_side side;     /* TAMIS_ANSWER_REJECTED */
  int32_t only_negative;      /* 1: weights of a chosen answer are 1 */
  int32_t log_scores;         /* 0; 1: scores are ln s */
  int32_t append_eos;         /* 1: one more weight, 1, for the EOS that training appends */
  int32_t leading_zero;       /* 0; 1: one weight, 0, before the others, as the code has it for Qwen, which has no BOS; 1 where
                                 only_negative makes all weights 1 */
} tamis_cdpo_weight_options;

#define TAMIS_CDPO_WEIGHT_OPTIONS_INIT {sizeof(tamis_cdpo_weight_options), TAMIS_ANSWER_REJECTED, 1, 0, 1, 0}
void tamis_cdpo_weight_options_init(tamis_cdpo_weight_options *options);

/* Token weights of cDPO (arXiv 2411.19943) from the contrastive scores s_t in [0, 1] of n >= 0 tokens: rejected 1 - s_t, chosen
 * s_t or 1. weights [leading_zero + n + append_eos]. Scores above 1 by rounding (1e-6) count as 1. */
TAMIS_MUST_CHECK tamis_status tamis_cdpo_weights(const tamis_cdpo_weight_options *options, const double *scores, int64_t n,
                                                 double *weights);

/* One side of pairs of answers, arrays [batch, tokens] of log-probabilities of the answer's own tokens. */
typedef struct tamis_answers {
  const double *policy;
  const double *reference;
  const double *weights;  /* cDPO: token weights, NULL: 1; T-REG: token rewards */
  const uint8_t *response;/* mask; NULL: every token */
  double *gradient;       /* d loss / d policy, 0 outside responses; may be NULL */
} tamis_answers;

typedef int32_t tamis_pair_reduction;
#define TAMIS_SUM_THEN_SIGMOID 0 /* PROPOSED: -ln sigmoid(beta (sum w+ D+ - sum w- D-)), mean over pairs */
#define TAMIS_BY_POSITION 1      /* the code: -ln sigmoid(beta (w+_t D+_t - w-_t D-_t)), mean over pairs and all positions; a
                                    position outside both responses adds ln 2 */

/* Token-weighted DPO, D = policy - reference. beta above 0 (0.1). loss: mean over pairs; losses: of each [batch], may be
 * NULL. */
TAMIS_MUST_CHECK tamis_status tamis_cdpo_loss(const tamis_answers *chosen, const tamis_answers *rejected, int64_t batch,
                                              int64_t tokens, double beta, tamis_pair_reduction reduction, double *loss,
                                              double *losses);

/* The critical token of a wrong answer from rollouts: correct[i], 0 to samples, of `samples` continuations of prefix i are
 * right. Prefixes are scanned by length: the candidate is the first with none right; it is discarded when a later prefix has
 * more than `tolerance` (3) right, and the search goes on behind that one. `critical` receives the last candidate that
 * survives, or else the last one discarded, or -1 when there was none. n >= 0. */
TAMIS_MUST_CHECK tamis_status tamis_critical_token(const int64_t *correct, int64_t n, int64_t samples, int64_t tolerance,
                                                   int64_t *critical);

/* pass[i] = 1 - C(n - c_i, k) / C(n, k), as a product of factors in [0, 1]: c_i of n samples are right, 1 <= k <= n. */
TAMIS_MUST_CHECK tamis_status tamis_pass_at_k(const int64_t *correct, int64_t count, int64_t n, int64_t k, double *pass);

/* ------------------------------------------------------------------------------------------------ T-REG */

/* Token rewards (arXiv 2412.02685): sigmoid(better_t - worse_t) - 0.5, of the reference model's log-probabilities of one answer
 * after a prompt that asks for a better revision and one that asks for a worse. Swapped prompts give the exact negative.
 * All [n]. */
TAMIS_MUST_CHECK tamis_status tamis_treg_rewards(const double *better, const double *worse, int64_t n, double *rewards);

typedef struct tamis_treg_options {
  uint32_t struct_size;
  int32_t weighted;        /* 1: w = sigmoid(r(rejected) - r(chosen)), r = beta sum (policy - reference); 0: w = 1 */
  int32_t stop_gradient;   /* 1, PROPOSED: w is a constant in gradients */
  int32_t reserved;        /* 0 */
  double beta;             /* 0.1, PROPOSED */
  double alpha;            /* 0.25; the paper tries 0.1, 0.25, 0.5 */
} tamis_treg_options;

#define TAMIS_TREG_OPTIONS_INIT {sizeof(tamis_treg_options), 1, 1, 0, 0.1, 0.25}
void tamis_treg_options_init(tamis_treg_options *options);

/* L = L_DPO + alpha w (L_REG(chosen) + L_REG(rejected)), L_REG = -sum_t beta reward_t policy_t, mean over pairs.
 * answers.weights are the token rewards of each side and must be there. losses, pair_weights (w): [batch], may be NULL. */
TAMIS_MUST_CHECK tamis_status tamis_treg_loss(const tamis_treg_options *options, const tamis_answers *chosen,
                                              const tamis_answers *rejected, int64_t batch, int64_t tokens, double *loss,
                                              double *losses, double *pair_weights);

/* ------------------------------------------------------------------------------------------------ RMT */

typedef struct tamis_rmt_options {
  uint32_t struct_size;
  int32_t reserved;         /* 0 */
  int64_t steps;            /* 1000: T, training steps in all; 1 to 2^53 */
  int64_t first_budget;     /* 800: B_0; 1 to 2^53 */
  int64_t least_budget;     /* 1: B_min; 1 to 2^53 */
  double decay;             /* 0.2: gamma, above 0 and at most 1 */
  double phase1;            /* 0.3: t1 / T; until then the first mixture of tiers */
  double phase2;            /* 0.7: t2 / T, at least phase1; from then the second */
  double easy1, medium1, hard1; /* 0.6, 0.3, 0.1, PROPOSED: the first mixture; adds up to 1 */
  double easy2, medium2, hard2; /* 0.1, 0.3, 0.6, PROPOSED: the second */
  double length_weight;     /* 0.1, PROPOSED: w */
  double largest_reward;    /* 1, PROPOSED: r_max */
} tamis_rmt_options;

#define TAMIS_RMT_OPTIONS_INIT \
  {sizeof(tamis_rmt_options), 0, 1000, 800, 1, 0.2, 0.3, 0.7, 0.6, 0.3, 0.1, 0.1, 0.3, 0.6, 0.1, 1.0}
void tamis_rmt_options_init(tamis_rmt_options *options);

#define TAMIS_TIER_EASY 0
#define TAMIS_TIER_MEDIUM 1
#define TAMIS_TIER_HARD 2
#define TAMIS_TIER_NONE 255

/* The schedules at step 0 to options->steps (arXiv 2509.24375): budget B_t = max(B_min, floor(B_0 gamma^(t / T))), and
 * probabilities [3] of the tiers: the first mixture, a line to the second, the second. Either may be NULL. */
TAMIS_MUST_CHECK tamis_status tamis_rmt_schedule(const tamis_rmt_options *options, int64_t step, int64_t *budget,
                                                 double *probabilities);

/* Rewards (1 - w) correct_i + w r_len(lengths_i) at a step: r_len rises from 0 to r_max at B_t, falls to 0 at 2 B_t, and is 0
 * beyond. correct 0 or 1, lengths in tokens, at least 0. rewards, length_rewards (r_len): [n], either may be NULL. */
TAMIS_MUST_CHECK tamis_status tamis_rmt_rewards(const tamis_rmt_options *options, int64_t step, const uint8_t *correct,
                                                const int64_t *lengths, int64_t n, double *rewards, double *length_rewards);

/* Tiers of tokens by the entropy of the model's prediction: easy up to thresholds[0], medium up to thresholds[1], hard above.
 * thresholds NULL: the terciles of the n_used tokens in the mask (PROPOSED), entropies of ranks ceil(n_used / 3) and
 * ceil(2 n_used / 3), so that equal entropies share a tier. mask NULL: all; others get TAMIS_TIER_NONE. used [2] (may be
 * NULL): the thresholds, NaN when no token is used. */
TAMIS_MUST_CHECK tamis_status tamis_rmt_tiers(const double *entropies, const uint8_t *mask, int64_t n, const double *thresholds,
                                              uint8_t *tiers, double *used);

/* Draws tokens for a step, with replacement: a tier by the step's probabilities (over the tiers that have tokens; uniform over
 * these when their probabilities are all 0), then a token of it. Generator: SplitMix64 from `seed`, two numbers a draw. The
 * first, its upper 53 bits as a number u in [0, 1), takes the first tier whose cumulated probability exceeds u times their
 * sum; the second, x, takes token floor(x m / 2^64) of its m tokens in order. Same seed, same draws, on every machine.
 * positions [draws]. */
TAMIS_MUST_CHECK tamis_status tamis_rmt_sample(const tamis_rmt_options *options, int64_t step, uint64_t seed,
                                               const uint8_t *tiers, int64_t n, int64_t draws, int64_t *positions);

/* ------------------------------------------------------------------------------------------------ TL-Training */

#define TAMIS_CALL_OTHER 0
#define TAMIS_CALL_KEY 1
#define TAMIS_CALL_END 2
#define TAMIS_CALL_NONE 255 /* no response token */

/* Weights of the tokens of a tool call (arXiv 2412.15495): classes TAMIS_CALL_*. w_K = min(|O| / |K|, max_weight) if |K| < |O|,
 * else 1; others 1; NONE 0. max_weight at least 1 (9). Dropping the turns whose tool answered with an error is the caller's.
 * All [n]. */
TAMIS_MUST_CHECK tamis_status tamis_tool_call_weights(const uint8_t *classes, int64_t n, double max_weight, double *weights);

/* loss = sum w_t f(ce_t) / sum w_t, f(ce) = ce for q = 0 and (1 - p^q) / q with p = exp(-ce) for q in (0, 1] (generalised cross
 * entropy). ce at least 0 [n]; gradient (may be NULL): d loss / d ce. At least one token must not be NONE. */
TAMIS_MUST_CHECK tamis_status tamis_tool_call_loss(const double *ce, const uint8_t *classes, int64_t n, double max_weight,
                                                   double q, double *loss, double *gradient);

/* Places of the key tokens in the name of a tool: 0, and behind the common prefix with each other tool's name that begins
 * alike. name [length] and others: token ids of the names as they stand in the call. places, ascending, has room for
 * others->count + 1; `count` receives how many. A name that begins another one gives `length`: the token behind it. An equal
 * name counts for nothing. */
TAMIS_MUST_CHECK tamis_status tamis_tool_name_keys(const int32_t *name, int64_t length, const tamis_token_lists *others,
                                                   int64_t *places, int64_t *count);

/* ------------------------------------------------------------------------------------------------ CAFT */

typedef int32_t tamis_caft_schedule;
#define TAMIS_CAFT_RSINE 0    /* sin(pi/2 (S - step) / S) */
#define TAMIS_CAFT_SINE 1     /* sin(pi/2 step / S) */
#define TAMIS_CAFT_LINEAR 2   /* step / S */
#define TAMIS_CAFT_CONSTANT 3 /* 1 */
#define TAMIS_CAFT_SINE_R 4   /* sin(pi/2 step / (r S)) up to r S, then 1 */

typedef struct tamis_caft_options {
  uint32_t struct_size;
  int32_t heads;              /* 4: auxiliary heads H; 0 to 1024 */
  tamis_caft_schedule schedule; /* TAMIS_CAFT_RSINE */
  int32_t omit_first;         /* 0; 1: without L_0, for training the heads alone */
  int64_t step;               /* 0 */
  int64_t steps;              /* 1: S, at least step; to 2^53 */
  double scale;               /* 0.01: c */
  double decay;               /* 0.8: d */
  double rise;                /* 0.5: r, above 0 and at most 1 */
} tamis_caft_options;

#define TAMIS_CAFT_OPTIONS_INIT {sizeof(tamis_caft_options), 4, TAMIS_CAFT_RSINE, 0, 0, 1, 0.01, 0.8, 0.5}
void tamis_caft_options_init(tamis_caft_options *options);

/* Concept-aware fine-tuning (arXiv 2506.07833): L = L_0 + c s(step) sum_i d^i L_i, L_i the mean of ce[i, b, t] over the places
 * whose label labels[b, t + 1 + i] exists and is not -100; a head without any adds 0 (PROPOSED; torch gives NaN). s (may be
 * NULL) receives s(step). weights [heads + 1, batch, tokens], may be NULL: d L / d ce, 0 at places without a label. */
TAMIS_MUST_CHECK tamis_status tamis_caft_weights(const tamis_caft_options *options, const int64_t *labels, int64_t batch,
                                                 int64_t tokens, double *s, double *weights);

/* ce [heads + 1, batch, tokens] at the logits' places: ce[i, b, t] of logits_i[b, t] and labels[b, t + 1 + i]. head_losses
 * [heads + 1] (may be NULL): L_i. */
TAMIS_MUST_CHECK tamis_status tamis_caft_loss(const tamis_caft_options *options, const double *ce, const int64_t *labels,
                                              int64_t batch, int64_t tokens, double *loss, double *head_losses);

#ifdef __cplusplus
}
#endif

#endif /* TAMIS_TOKEN_SIGNALS_H */
