/* tamis/encoder.h: BERT, XLM-RoBERTa and ELECTRA encoders, as published on disk, over batches without padding.
 *
 * A model is a folder as Hugging Face writes it:
 *   config.json      model_type bert, roberta, xlm-roberta, camembert or electra; absolute positions, no decoder, no
 *                    cross-attention. Anything else that would change the forward pass is refused by name.
 *   weights          the first of these that exists: model.safetensors, model.safetensors.index.json (shards),
 *                    pytorch_model.bin, pytorch_model.bin.index.json. f32, f16, bf16 (f64 in .bin); or this library's int8:
 *                    X.weight I8 [out, in] with X.weight_scale F32 [out]. Names with or without the prefix bert., roberta. or
 *                    electra.
 *   modules.json     of a sentence-transformers folder, if there: where the encoder lies, and how it pools.
 * A .bin file is a pickle. It is read by an interpreter that knows tensors, dictionaries and numbers and nothing else: a file
 * that names any other object is refused, with that name, and nothing in it is ever executed.
 *
 * The forward pass is the post-LN transformer (arXiv 1810.04805; 1911.02116; 2003.10555):
 *   x = LN(word + position + type);  x = W x + b where the embedding is narrower than the hidden state (ELECTRA)
 *   x = LN(x + Wo attention(x) + bo);  x = LN(x + W2 act(W1 x + b1) + b2)                              for every layer
 *   logits = Wc x + bc
 * Positions are 0, 1, 2, .. (BERT, ELECTRA), or padding_id + 1 + the number of earlier ids that are not the padding id
 * (RoBERTa). Special tokens are the caller's: nothing is added. The result of a sequence does not depend on the others in the batch (same
 * bits), nor on the number of threads. LayerNorm, softmax, GELU, sums and the head are f32 in every precision.
 */
#ifndef TAMIS_ENCODER_H
#define TAMIS_ENCODER_H

#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Arithmetic of the linear layers. */
typedef int32_t tamis_precision;
#define TAMIS_PRECISION_STORED (-1) /* int8 files: I8; bf16 files: BF16; all others: F32 */
#define TAMIS_PRECISION_F32 0
#define TAMIS_PRECISION_BF16 1      /* weights and inputs rounded to bf16, sums in f32 */
#define TAMIS_PRECISION_I8 2        /* weights int8, a scale per output; inputs int8, a scale per row found as they come */

typedef struct tamis_encoder_options {
  uint32_t struct_size;
  tamis_precision precision;  /* TAMIS_PRECISION_STORED */
  int32_t added_rows;         /* 0: rows appended to the vocabulary, each the mean of the file's rows (placeholder tokens) */
  tamis_progress_fn progress; /* of the reading; NULL: none */
  void *progress_user;
} tamis_encoder_options;

#define TAMIS_ENCODER_OPTIONS_INIT {sizeof(tamis_encoder_options), TAMIS_PRECISION_STORED, 0, NULL, NULL}
void tamis_encoder_options_init(tamis_encoder_options *options);

/* A model on the device of a context, with its weights packed for one precision. */
typedef struct tamis_encoder tamis_encoder;

/* Reads the folder `path` (UTF-8). The files are not needed afterwards.
 * Errors: INVALID_ARGUMENT; NOT_FOUND (folder, config.json or weights); IO; FORMAT (a file that is truncated, corrupt, lacks a
 * tensor, has one of another shape than config.json says, or holds code); UNSUPPORTED (an architecture, option, dtype, file
 * format or head dim the library or the device cannot do); OUT_OF_MEMORY; DEVICE; CANCELLED. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_encoder_create(tamis_context *context, const char *path,
                                                   const tamis_encoder_options *options, tamis_encoder **out);
/* Thread: per handle. */
void tamis_encoder_destroy(tamis_encoder *encoder);

typedef int32_t tamis_encoder_kind;
#define TAMIS_ENCODER_BERT 0
#define TAMIS_ENCODER_ROBERTA 1 /* roberta, xlm-roberta, camembert */
#define TAMIS_ENCODER_ELECTRA 2

/* How the states of a sequence become one vector. */
typedef int32_t tamis_pooling;
#define TAMIS_POOLING_STORED (-1) /* as modules.json says; without that file the mean */
#define TAMIS_POOLING_MEAN 0
#define TAMIS_POOLING_CLS 1       /* the first token's */
#define TAMIS_POOLING_MAX 2       /* of each element */

typedef struct tamis_encoder_info {
  uint32_t struct_size;
  tamis_encoder_kind kind;
  tamis_precision precision;  /* in effect */
  int32_t layers;
  int32_t hidden;
  int32_t heads;
  int32_t vocabulary;         /* ids are 0 .. vocabulary - 1, added rows included */
  int32_t types;              /* segment ids are 0 .. types - 1 */
  int32_t max_tokens;         /* tokens of a sequence at most, special tokens included */
  int32_t pad_id;             /* -1: none */
  int32_t labels;             /* of the classification head; 0: there is none */
  tamis_pooling pooling;      /* what TAMIS_POOLING_STORED stands for */
  int32_t normalise;          /* 1: modules.json asks for vectors of length 1 */
  int32_t embed_tokens;       /* tokens at which a sentence embedder cuts its texts (max_seq_length); else max_tokens */
  int64_t parameters;
  int64_t bytes;              /* of packed weights on the device */
} tamis_encoder_info;

#define TAMIS_ENCODER_INFO_INIT {sizeof(tamis_encoder_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

/* Errors: INVALID_ARGUMENT. Thread: any. */
tamis_status tamis_encoder_get_info(const tamis_encoder *encoder, tamis_encoder_info *info);

/* Name of label i: id2label of config.json, else "LABEL_i". Errors: INVALID_ARGUMENT, BUFFER_TOO_SMALL. Thread: any. */
tamis_status tamis_encoder_label(const tamis_encoder *encoder, int32_t i, char *buffer, size_t capacity, size_t *needed);

/* Sequences of token ids one after another: sequence s is ids[starts[s]] .. ids[starts[s + 1] - 1], and may be empty. Never
 * changes, so it has no struct_size. */
typedef struct tamis_ragged {
  const int32_t *ids;
  const int64_t *starts;  /* sequences + 1 ascending offsets, the first 0 */
  int64_t sequences;
  const int32_t *types;   /* segment ids, one per token; NULL: all 0 */
} tamis_ragged;

/* The three calls below: INVALID_ARGUMENT also for an id or a type the model has no row for, offsets that do not ascend, a
 * sequence longer than max_tokens, and an `out` of another shape; `out` is f32, its rows one after another, apart from the
 * inputs. Batches of any size are cut into pieces of bounded memory. Further errors: OUT_OF_MEMORY, DEVICE, CANCELLED.
 * Thread: any (calls on one context wait for each other). */

/* The last hidden states: out [tokens, hidden], tokens = starts[sequences] >= 1. */
TAMIS_MUST_CHECK tamis_status tamis_encoder_states(tamis_encoder *encoder, const tamis_ragged *tokens, const tamis_tensor *out,
                                                   tamis_progress_fn progress, void *progress_user);

typedef int32_t tamis_class_form;
#define TAMIS_CLASS_LOGITS 0
#define TAMIS_CLASS_PROBABILITIES 1 /* softmax over the labels; of a single label, its logistic function */

/* The token classification head: out [tokens, labels]. For ElectraForPreTraining the one label is "replaced".
 * UNSUPPORTED when the model has no head. */
TAMIS_MUST_CHECK tamis_status tamis_encoder_classify(tamis_encoder *encoder, const tamis_ragged *tokens, tamis_class_form form,
                                                     const tamis_tensor *out, tamis_progress_fn progress, void *progress_user);

/* One vector per sequence: out [sequences, hidden]. `normalise` 1: divided by its length (at least 1e-12), 0: as it is, -1: as
 * modules.json says. An empty sequence gives zeros. */
TAMIS_MUST_CHECK tamis_status tamis_encoder_embed(tamis_encoder *encoder, const tamis_ragged *tokens, tamis_pooling pooling,
                                                  int32_t normalise, const tamis_tensor *out, tamis_progress_fn progress,
                                                  void *progress_user);

#ifdef __cplusplus
}
#endif

#endif /* TAMIS_ENCODER_H */
