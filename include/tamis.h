/* tamis: token selection for long-context language models.
 *
 * This header and the ones it includes are the reference manual of libtamis.
 * They compile as C99 and as C++11. Nothing unprefixed is declared: every name begins with tamis_ or TAMIS_.
 *
 *   core.h        status codes, last error, version, context, tensor views
 *   attention.h   exact attention over tensors, merge of partial results
 *   sinks.h       attention paid to token 0 and to other sinks re-weighted: ZeroTuning, ACT
 *   sparse_attention.h  exact attention over lists of key tiles
 *   sparse_prefill.h    which tiles the queries of a prompt need: DHSA, MInference, FlexPrefill, XAttention, SpargeAttn
 *   kv_cache.h    paged KV cache, sequences, fork, snapshots
 *   retrieval.h   which cached tokens a query needs, and attention over them
 *   ops.h         the numeric pieces by themselves: convert, RoPE, top-k
 *   weights.h     safetensors files, memory-mapped
 *   encoder.h     BERT, XLM-RoBERTa and ELECTRA encoders
 *   tokenizer.h   text to token ids and back, with byte offsets
 *   compression.h shorter prompts: words kept or dropped by an encoder's probabilities
 *   text_scores.h prompts shortened by scores the host has: Selective Context, SpecPC
 *   clusters.h    few documents for many: k-means, representatives (CRAG)
 *   dhsa.h        chunks of keys between learned boundaries, in a prompt and at decode (DHSA)
 *   annotation.h  word labels from pairs of a text and its compression (LLMLingua-2)
 *   bleu.h        BLEU of token ids as NLTK, sacreBLEU, torchmetrics and TensorBLEU have it; n-gram statistics
 *   word_ids.h    texts as the scorers cut them, as ids
 *   sequence_metrics.h  chrF, TER, ROUGE, METEOR, F1, edit distances, diversity
 *   logit_metrics.h     from logits: NLL, entropy, ranks, calibration, divergences
 *   tokenization_metrics.h  fertility, compression, parity, Renyi efficiency of tokenizers
 *   charbench.h   CharBench: questions about the characters of words
 *   needle_threading.h  Needle Threading: long-context tasks of UUID pairs, their scores, effective context length
 *   token_signals.h     which tokens to train on: ssToken, cDPO, T-REG, RMT, TL-Training, CAFT
 *   vocabulary_signals.h  function tokens, Text2Token targets, clusters of LM-head keys (KeyNavi, ICN)
 */
#ifndef TAMIS_H
#define TAMIS_H

#include "tamis/core.h"
#include "tamis/attention.h"
#include "tamis/sinks.h"
#include "tamis/sparse_attention.h"
#include "tamis/sparse_prefill.h"
#include "tamis/kv_cache.h"
#include "tamis/retrieval.h"
#include "tamis/ops.h"
#include "tamis/weights.h"
#include "tamis/encoder.h"
#include "tamis/tokenizer.h"
#include "tamis/compression.h"
#include "tamis/text_scores.h"
#include "tamis/clusters.h"
#include "tamis/dhsa.h"
#include "tamis/annotation.h"
#include "tamis/bleu.h"
#include "tamis/word_ids.h"
#include "tamis/sequence_metrics.h"
#include "tamis/logit_metrics.h"
#include "tamis/tokenization_metrics.h"
#include "tamis/charbench.h"
#include "tamis/needle_threading.h"
#include "tamis/token_signals.h"
#include "tamis/vocabulary_signals.h"

#endif /* TAMIS_H */
