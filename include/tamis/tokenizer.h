/* tamis/tokenizer.h: text to token ids and back, with the place in the text that every token came from.
 *
 * A tokenizer is read from what a model was published with:
 *   tokenizer.json                 Hugging Face tokenizers: BPE, WordPiece, Unigram, WordLevel and every component that BERT,
 *                                  XLM-R, GPT-2, Llama-3, Gemma, Qwen2 and ELECTRA name; another one is refused by its name
 *   *.model                        SentencePiece: Unigram and BPE, its own normaliser and ids; no template
 *   vocab.txt                      WordPiece, one piece a line, with BERT's normaliser; lower-cased unless
 *                                  tokenizer_config.json beside it or a capital letter in the vocabulary says otherwise
 *   vocab.json + merges.txt        byte-level BPE with the GPT-2 pattern
 *   *.tiktoken                     byte-level BPE by rank; the pattern and the special tokens are chosen by the file's name
 *                                  (r50k, p50k, cl100k, o200k)
 *
 * Ids, offsets and word numbers are those of the `tokenizers` package; ids of a .model are those of `sentencepiece`, of
 * .tiktoken
 * those of `tiktoken`.
 * Three things differ on purpose: nothing is cut or padded because the file says so (a file's truncation is reported, and
 * applied only through max_tokens); offsets are bytes unless characters are asked for; and text that is not UTF-8 counts as
 * U+FFFD, one for each maximal ill-formed part, with the offsets of its bytes.
 *
 * A tokenizer never changes once made, so any number of threads may use one. Words seen before come from caches that calls
 * borrow from the tokenizer, one for each call at a time.
 */
#ifndef TAMIS_TOKENIZER_H
#define TAMIS_TOKENIZER_H

#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tamis_tokenizer tamis_tokenizer;

typedef int32_t tamis_tokenizer_format;
#define TAMIS_TOKENIZER_JSON 0          /* tokenizer.json */
#define TAMIS_TOKENIZER_SENTENCEPIECE 1 /* a ModelProto */
#define TAMIS_TOKENIZER_VOCAB_TXT 2
#define TAMIS_TOKENIZER_TIKTOKEN 3      /* base64 SPACE rank, a line each; `pattern` names the splitting rule */

/* Reads a file of one of the kinds above, or a folder: tokenizer.json if it holds one, else a .model (tokenizer.model,
 * sentencepiece.bpe.model, spiece.model), else vocab.json with merges.txt, else vocab.txt.
 * Errors: INVALID_ARGUMENT, NOT_FOUND (no file, or a folder without any of these), IO, FORMAT (truncated, corrupt, ids twice,
 * a merge of unknown pieces), UNSUPPORTED (a component, option or model type that is not implemented, by name),
 * OUT_OF_MEMORY. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_tokenizer_open(const char *path, tamis_tokenizer **out);

/* The same from memory, which may be freed afterwards.
 *   pattern  TAMIS_TOKENIZER_TIKTOKEN: "r50k_base", "p50k_base", "cl100k_base", "o200k_base" (with their special tokens), or a
 *            regular expression (without any); others: NULL
 * Errors: as tamis_tokenizer_open. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_tokenizer_from_bytes(const void *bytes, size_t n_bytes, tamis_tokenizer_format format,
                                                         const char *pattern, tamis_tokenizer **out);

/* Encodings and decoders made with it stay usable. Thread: per handle. */
void tamis_tokenizer_destroy(tamis_tokenizer *tokenizer);

typedef int32_t tamis_tokenizer_model;
#define TAMIS_MODEL_BPE 0
#define TAMIS_MODEL_WORDPIECE 1
#define TAMIS_MODEL_UNIGRAM 2
#define TAMIS_MODEL_WORDLEVEL 3

typedef struct tamis_tokenizer_info {
  uint32_t struct_size;
  tamis_tokenizer_model model;
  int32_t vocabulary_size; /* largest id + 1, added tokens included; an embedding may have more rows */
  int32_t added_tokens;
  int32_t unknown_id;      /* -1: none */
  int32_t pad_id;          /* of the file's padding, else of [PAD], <pad> or <|pad|>; -1: none */
  int32_t byte_level;      /* 1: any bytes can be spelled, decode(encode(x)) is x */
  int32_t template_tokens; /* tokens that the template adds to one text */
  int32_t pair_tokens;     /* .. to a pair of texts */
  int32_t reserved;
  int64_t max_tokens;      /* of the file's truncation; 0: none. It is not applied unless asked for */
} tamis_tokenizer_info;

#define TAMIS_TOKENIZER_INFO_INIT {sizeof(tamis_tokenizer_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

/* Errors: INVALID_ARGUMENT. Thread: any. */
tamis_status tamis_tokenizer_get_info(const tamis_tokenizer *tokenizer, tamis_tokenizer_info *info);

/* The piece of an id as its vocabulary writes it: "##ing", "\xe2\x96\x81The" (U+2581), and for byte-level vocabularies the
 * printable alphabet of GPT-2. Errors: INVALID_ARGUMENT, NOT_FOUND (no piece has this id), BUFFER_TOO_SMALL. Thread: any. */
tamis_status tamis_tokenizer_piece(const tamis_tokenizer *tokenizer, int32_t id, char *buffer, size_t capacity,
                                   size_t *needed);

/* The id of a piece, written as above; added tokens first. Errors: INVALID_ARGUMENT, NOT_FOUND. Thread: any. */
tamis_status tamis_tokenizer_id(const tamis_tokenizer *tokenizer, const char *piece, size_t n_bytes, int32_t *id);

/* 1 when the id is that of a special token, else 0. Thread: any. */
int32_t tamis_tokenizer_is_special(const tamis_tokenizer *tokenizer, int32_t id);

typedef int32_t tamis_token_flags;
#define TAMIS_TOKEN_SPECIAL 1     /* left out by decode with skip_special, not parsed in untrusted text */
#define TAMIS_TOKEN_SINGLE_WORD 2 /* only where no word character stands beside it */
#define TAMIS_TOKEN_LSTRIP 4      /* takes the whitespace before it */
#define TAMIS_TOKEN_RSTRIP 8      /* takes the whitespace after it */
#define TAMIS_TOKEN_NORMALIZED 16 /* looked for after the normaliser, in its normalised form */

/* A copy with n more tokens. One that the vocabulary has keeps its id; the others get the next free ids in this order.
 *   contents  UTF-8, one after another; token i is bytes [offsets[i], offsets[i + 1])
 *   offsets   n + 1 ascending offsets from 0 on
 *   flags     n, or NULL: all TAMIS_TOKEN_SPECIAL
 * Errors: INVALID_ARGUMENT (an empty token, not UTF-8, unknown flags), OUT_OF_MEMORY. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_tokenizer_add(const tamis_tokenizer *tokenizer, const char *contents,
                                                  const int64_t *offsets, int32_t n, const tamis_token_flags *flags,
                                                  tamis_tokenizer **out);

/* ---------------------------------------------------------------------------------------------- encode */

typedef int32_t tamis_offsets;
#define TAMIS_OFFSETS_BYTES 0
#define TAMIS_OFFSETS_CHARACTERS 1 /* Unicode scalar values, as the `tokenizers` package counts in Python */

typedef struct tamis_encode_options {
  uint32_t struct_size;
  int32_t add_special;   /* 1: adds what the template adds ([CLS] .. [SEP]) */
  int32_t parse_special; /* 1: "<|im_start|>" in the text is the special token; 0, for untrusted text: plain text */
  tamis_offsets offsets; /* TAMIS_OFFSETS_BYTES */
  int64_t max_tokens;    /* cuts the end of the text (of a pair: of the longer one, token by token) so that at most this many
                            tokens remain, the template's included; 0: no cut */
} tamis_encode_options;

#define TAMIS_ENCODE_OPTIONS_INIT {sizeof(tamis_encode_options), 1, 1, TAMIS_OFFSETS_BYTES, 0}
void tamis_encode_options_init(tamis_encode_options *options);

/* Token ids of one or more texts, with what is known of each. */
typedef struct tamis_encoding tamis_encoding;

/* Encodes one text, or a pair of texts with the template's pair form.
 *   text, n_bytes   at most 2^31 - 1 bytes; NULL with 0 bytes is the empty text
 *   pair, n_pair    NULL: no pair
 * The encoding has one sequence. Empty text gives the template's tokens alone.
 * Errors: INVALID_ARGUMENT (too long, max_tokens below the template's tokens), UNSUPPORTED (a word cannot be spelled and the
 * model has no unknown token; a pair with a template that has none), OUT_OF_MEMORY. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_tokenizer_encode(const tamis_tokenizer *tokenizer, const tamis_encode_options *options,
                                                     const char *text, size_t n_bytes, const char *pair, size_t n_pair,
                                                     tamis_encoding **out);

/* Encodes n texts on the context's threads: text i is bytes [offsets[i], offsets[i + 1]), its tokens are sequence i, and its
 * offsets count from its own first byte.
 *   offsets   n + 1 ascending offsets from 0 on
 *   progress  may be NULL; called from the calling thread
 * Errors: as tamis_tokenizer_encode, CANCELLED. Thread: any (calls on one context are serialised). */
TAMIS_MUST_CHECK tamis_status tamis_tokenizer_encode_batch(tamis_context *context, const tamis_tokenizer *tokenizer,
                                                           const tamis_encode_options *options, const char *texts,
                                                           const int64_t *offsets, int64_t n, tamis_progress_fn progress,
                                                           void *progress_user, tamis_encoding **out);

void tamis_encoding_destroy(tamis_encoding *encoding);

/* Number of sequences; 0 when encoding is NULL. Thread: any. */
int64_t tamis_encoding_count(const tamis_encoding *encoding);

/* One sequence. The arrays belong to the encoding. */
typedef struct tamis_encoded {
  uint32_t struct_size;
  uint32_t reserved;
  int64_t n;
  const int32_t *ids;
  const int32_t *starts; /* token i came from [starts[i], ends[i]) of its text; 0, 0: a token of the template */
  const int32_t *ends;
  const int32_t *words;  /* which pre-token of its text the token is a part of, from 0 on; -1: a token of the template */
  const int32_t *types;  /* segment ids of the template */
} tamis_encoded;

#define TAMIS_ENCODED_INIT {sizeof(tamis_encoded), 0, 0, NULL, NULL, NULL, NULL, NULL}

/* Errors: INVALID_ARGUMENT. Thread: any. */
tamis_status tamis_encoding_get(const tamis_encoding *encoding, int64_t i, tamis_encoded *out);

/* Number of tokens that tamis_tokenizer_encode would give; keeps no encoding. Errors: as there. Thread: any. */
tamis_status tamis_tokenizer_count(const tamis_tokenizer *tokenizer, const tamis_encode_options *options, const char *text,
                                   size_t n_bytes, int64_t *n);

/* ---------------------------------------------------------------------------------------------- decode */

/* Text of n ids by the file's decoders; ids without a piece give nothing. Bytes that are no UTF-8 come out as U+FFFD.
 *   skip_special  1: special tokens give nothing
 * Errors: INVALID_ARGUMENT, BUFFER_TOO_SMALL, OUT_OF_MEMORY. Thread: any. */
tamis_status tamis_tokenizer_decode(const tamis_tokenizer *tokenizer, const int32_t *ids, int64_t n, int32_t skip_special,
                                    char *buffer, size_t capacity, size_t *needed);

/* Text of a list of pieces, as in tamis_tokenizer_add, by the file's decoders alone. Errors and thread: as above. */
tamis_status tamis_tokenizer_decode_pieces(const tamis_tokenizer *tokenizer, const char *pieces, const int64_t *offsets,
                                           int64_t n, char *buffer, size_t capacity, size_t *needed);

/* Text as ids come, one at a time: what each id adds, held back while it ends inside a character. The texts of a stream joined
 * are the text of all of its ids. */
typedef struct tamis_decoder tamis_decoder;

/* Errors: INVALID_ARGUMENT, OUT_OF_MEMORY. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_decoder_create(const tamis_tokenizer *tokenizer, int32_t skip_special,
                                                   tamis_decoder **out);
void tamis_decoder_destroy(tamis_decoder *decoder);

/* Adds one id and writes the text that is certain now, often "". After BUFFER_TOO_SMALL the id is not yet added.
 * Errors: INVALID_ARGUMENT, BUFFER_TOO_SMALL. Thread: per handle. */
tamis_status tamis_decoder_push(tamis_decoder *decoder, int32_t id, char *buffer, size_t capacity, size_t *needed);

/* Writes what was held back (U+FFFD for a character that never ended) and starts anew.
 * Errors: INVALID_ARGUMENT, BUFFER_TOO_SMALL. Thread: per handle. */
tamis_status tamis_decoder_finish(tamis_decoder *decoder, char *buffer, size_t capacity, size_t *needed);

#ifdef __cplusplus
}
#endif

#endif /* TAMIS_TOKENIZER_H */
