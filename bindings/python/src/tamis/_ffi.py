"""ctypes declarations of include/tamis/*.h, one to one. tests/test_ffi.py compares every line with the headers."""

from __future__ import annotations

from ctypes import (
    CFUNCTYPE, POINTER, Structure, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p,
)
from typing import Any

# ------------------------------------------------------------------------------------------------------ core.h

TAMIS_OK = 0
TAMIS_ERR_INVALID_ARGUMENT = -1
TAMIS_ERR_UNSUPPORTED = -2
TAMIS_ERR_OUT_OF_MEMORY = -3
TAMIS_ERR_BUFFER_TOO_SMALL = -4
TAMIS_ERR_CACHE_FULL = -10
TAMIS_ERR_NOT_FOUND = -11
TAMIS_ERR_IO = -20
TAMIS_ERR_FORMAT = -21
TAMIS_ERR_NO_DEVICE = -30
TAMIS_ERR_DEVICE = -31
TAMIS_ERR_CANCELLED = -40
TAMIS_ERR_INTERNAL = -99

TAMIS_VERSION_MAJOR = 0
TAMIS_VERSION_MINOR = 1
TAMIS_VERSION_PATCH = 0
TAMIS_VERSION_NUMBER = TAMIS_VERSION_MAJOR * 1000000 + TAMIS_VERSION_MINOR * 1000 + TAMIS_VERSION_PATCH

TAMIS_F32 = 0
TAMIS_F16 = 1
TAMIS_BF16 = 2
TAMIS_I8 = 3
TAMIS_I32 = 4

TAMIS_MAX_DIMS = 6

TAMIS_DEVICE_CPU = 0
TAMIS_DEVICE_OPENCL = 1

TAMIS_LOG_ERROR = 0
TAMIS_LOG_WARNING = 1
TAMIS_LOG_INFO = 2
TAMIS_LOG_DEBUG = 3

tamis_status = c_int32
tamis_dtype = c_int32
tamis_device = c_int32
tamis_log_level = c_int32

tamis_progress_fn = CFUNCTYPE(c_int32, c_double, c_void_p)
tamis_log_fn = CFUNCTYPE(None, tamis_log_level, c_char_p, c_void_p)


class tamis_tensor(Structure):
    _fields_ = [
        ("data", c_void_p),
        ("dtype", tamis_dtype),
        ("ndim", c_int32),
        ("shape", c_int64 * TAMIS_MAX_DIMS),
        ("stride", c_int64 * TAMIS_MAX_DIMS),
        ("scale", POINTER(c_float)),
        ("scale_stride", c_int64 * TAMIS_MAX_DIMS),
    ]


class tamis_context_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("device", tamis_device),
        ("n_threads", c_int32),
        ("opencl_index", c_int32),
        ("log_level", tamis_log_level),
        ("log", tamis_log_fn),
        ("log_user", c_void_p),
    ]


class tamis_context(Structure):
    """Opaque."""


# ------------------------------------------------------------------------------------------------- attention.h

TAMIS_AT_END = -(2**63)

TAMIS_COMPUTE_AUTO = 0
TAMIS_COMPUTE_F32 = 1
TAMIS_COMPUTE_BLAS = 2

tamis_compute = c_int32


class tamis_attention_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("causal", c_int32),
        ("q_offset", c_int64),
        ("window", c_int64),
        ("scale", c_float),
        ("softcap", c_float),
        ("key0_bias", POINTER(c_float)),
        ("compute", tamis_compute),
        ("progress", tamis_progress_fn),
        ("progress_user", c_void_p),
    ]


# ------------------------------------------------------------------------------------------ sparse_attention.h


class tamis_tiles(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("heads", c_int32),
        ("query_block", c_int32),
        ("key_block", c_int32),
        ("row_ptr", POINTER(c_int64)),
        ("index", POINTER(c_int32)),
        ("n_rows", c_int64),
    ]


class tamis_sparse_mask(Structure):
    pass


class tamis_sparse_stats(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("calls_sparse", c_int64),
        ("calls_dense", c_int64),
        ("tiles_listed", c_int64),
        ("tiles_legal", c_int64),
        ("pairs_attended", c_int64),
        ("pairs_legal", c_int64),
        ("select_ns", c_int64),
        ("attend_ns", c_int64),
    ]


# -------------------------------------------------------------------------------------------------- kv_cache.h

TAMIS_ROPE_NONE = 0
TAMIS_ROPE_HALF = 1
TAMIS_ROPE_INTERLEAVED = 2

tamis_rope_style = c_int32
tamis_sequence = c_int64


class tamis_rope(Structure):
    _fields_ = [
        ("style", tamis_rope_style),
        ("rotary_dims", c_int32),
        ("base", c_double),
        ("scale", c_double),
    ]


class tamis_kv_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("layers", c_int32),
        ("kv_heads", c_int32),
        ("head_dim", c_int32),
        ("dtype", tamis_dtype),
        ("page_tokens", c_int32),
        ("max_tokens", c_int64),
        ("rope", tamis_rope),
        ("scoring_copy", tamis_dtype),
    ]


class tamis_kv_cache(Structure):
    """Opaque."""


class tamis_kv_memory(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("sequences", c_int32),
        ("pages_total", c_int64),
        ("pages_used", c_int64),
        ("pages_shared", c_int64),
        ("page_bytes", c_int64),
        ("bytes_used", c_int64),
        ("bytes_scoring_copy", c_int64),
        ("tokens", c_int64),
    ]


# ------------------------------------------------------------------------------------------------- retrieval.h

TAMIS_SELECT_DENSE = 0
TAMIS_SELECT_STREAMING = 1
TAMIS_SELECT_TOKENSELECT = 2

TAMIS_VOTE_SOFT = 0
TAMIS_VOTE_TOPK = 1
TAMIS_VOTE_HEADS = 2

TAMIS_HEADS_GROUP = 0
TAMIS_HEADS_MODULO = 1

TAMIS_POSITIONS_COMPACT = 0
TAMIS_POSITIONS_NATURAL = 1

tamis_method = c_int32
tamis_vote = c_int32
tamis_head_map = c_int32
tamis_positions = c_int32


class tamis_selector_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("method", tamis_method),
        ("q_heads", c_int32),
        ("n_sink", c_int32),
        ("n_recent", c_int32),
        ("top_k", c_int32),
        ("chunk", c_int32),
        ("similarity", c_float),
        ("vote", tamis_vote),
        ("head_map", tamis_head_map),
        ("pool", c_int32),
        ("positions", tamis_positions),
        ("scale", c_float),
        ("softcap", c_float),
        ("window", c_int64),
        ("key0_bias", POINTER(c_float)),
    ]


class tamis_selector(Structure):
    """Opaque."""


class tamis_retrieval_stats(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("queries", c_int64),
        ("tokens_attended", c_int64),
        ("tokens_scored", c_int64),
        ("kv_bytes_read", c_int64),
        ("chunks_dense", c_int64),
        ("selections", c_int64),
        ("cache_hits", c_int64),
    ]


# --------------------------------------------------------------------------------------------------- weights.h


class tamis_weights(Structure):
    """Opaque."""


# --------------------------------------------------------------------------------------------------- encoder.h

TAMIS_PRECISION_STORED = -1
TAMIS_PRECISION_F32 = 0
TAMIS_PRECISION_BF16 = 1
TAMIS_PRECISION_I8 = 2

TAMIS_ENCODER_BERT = 0
TAMIS_ENCODER_ROBERTA = 1
TAMIS_ENCODER_ELECTRA = 2

TAMIS_POOLING_STORED = -1
TAMIS_POOLING_MEAN = 0
TAMIS_POOLING_CLS = 1
TAMIS_POOLING_MAX = 2

TAMIS_CLASS_LOGITS = 0
TAMIS_CLASS_PROBABILITIES = 1

tamis_precision = c_int32
tamis_encoder_kind = c_int32
tamis_pooling = c_int32
tamis_class_form = c_int32


class tamis_encoder_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("precision", tamis_precision),
        ("added_rows", c_int32),
        ("progress", tamis_progress_fn),
        ("progress_user", c_void_p),
    ]


class tamis_encoder(Structure):
    """Opaque."""


class tamis_encoder_info(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("kind", tamis_encoder_kind),
        ("precision", tamis_precision),
        ("layers", c_int32),
        ("hidden", c_int32),
        ("heads", c_int32),
        ("vocabulary", c_int32),
        ("types", c_int32),
        ("max_tokens", c_int32),
        ("pad_id", c_int32),
        ("labels", c_int32),
        ("pooling", tamis_pooling),
        ("normalise", c_int32),
        ("embed_tokens", c_int32),
        ("parameters", c_int64),
        ("bytes", c_int64),
    ]


class tamis_ragged(Structure):
    _fields_ = [
        ("ids", POINTER(c_int32)),
        ("starts", POINTER(c_int64)),
        ("sequences", c_int64),
        ("types", POINTER(c_int32)),
    ]


# ------------------------------------------------------------------------------------------------- tokenizer.h

TAMIS_TOKENIZER_JSON = 0
TAMIS_TOKENIZER_SENTENCEPIECE = 1
TAMIS_TOKENIZER_VOCAB_TXT = 2
TAMIS_TOKENIZER_TIKTOKEN = 3

TAMIS_MODEL_BPE = 0
TAMIS_MODEL_WORDPIECE = 1
TAMIS_MODEL_UNIGRAM = 2
TAMIS_MODEL_WORDLEVEL = 3

TAMIS_TOKEN_SPECIAL = 1
TAMIS_TOKEN_SINGLE_WORD = 2
TAMIS_TOKEN_LSTRIP = 4
TAMIS_TOKEN_RSTRIP = 8
TAMIS_TOKEN_NORMALIZED = 16

TAMIS_OFFSETS_BYTES = 0
TAMIS_OFFSETS_CHARACTERS = 1

tamis_tokenizer_format = c_int32
tamis_tokenizer_model = c_int32
tamis_token_flags = c_int32
tamis_offsets = c_int32


class tamis_tokenizer(Structure):
    """Opaque."""


class tamis_tokenizer_info(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("model", tamis_tokenizer_model),
        ("vocabulary_size", c_int32),
        ("added_tokens", c_int32),
        ("unknown_id", c_int32),
        ("pad_id", c_int32),
        ("byte_level", c_int32),
        ("template_tokens", c_int32),
        ("pair_tokens", c_int32),
        ("reserved", c_int32),
        ("max_tokens", c_int64),
    ]


class tamis_encode_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("add_special", c_int32),
        ("parse_special", c_int32),
        ("offsets", tamis_offsets),
        ("max_tokens", c_int64),
    ]


class tamis_encoding(Structure):
    """Opaque."""


class tamis_encoded(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("n", c_int64),
        ("ids", POINTER(c_int32)),
        ("starts", POINTER(c_int32)),
        ("ends", POINTER(c_int32)),
        ("words", POINTER(c_int32)),
        ("types", POINTER(c_int32)),
    ]


class tamis_decoder(Structure):
    """Opaque."""


# ------------------------------------------------------------------------------------------------- compression.h

TAMIS_COMPRESS_NATIVE = 0
TAMIS_COMPRESS_COMPAT = 1

TAMIS_SCOPE_CHUNK = 0
TAMIS_SCOPE_CONTEXT = 1
TAMIS_SCOPE_PROMPT = 2

TAMIS_WORD_MEAN = 0
TAMIS_WORD_FIRST = 1

TAMIS_PROTECT_CODE = 1
TAMIS_PROTECT_URLS = 2
TAMIS_PROTECT_LINKS = 4
TAMIS_PROTECT_TABLES = 8
TAMIS_PROTECT_JSON = 16
TAMIS_PROTECT_SPEAKERS = 32

TAMIS_LINE_BREAKS_FOLLOW = 0
TAMIS_LINE_BREAKS_KEEP = 1

TAMIS_WORD_KEPT = 1
TAMIS_WORD_FORCED = 2

tamis_compress_mode = c_int32
tamis_threshold_scope = c_int32
tamis_word_probability = c_int32
tamis_line_breaks = c_int32


class tamis_compressor_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("chunk_tokens", c_int32),
        ("batch_chunks", c_int32),
        ("max_force_token", c_int32),
        ("placeholders", c_int32),
        ("reserved", c_int32),
    ]


class tamis_compressor(Structure):
    """Opaque."""


class tamis_compress_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("mode", tamis_compress_mode),
        ("rate", c_double),
        ("target_token", c_int64),
        ("threshold", c_double),
        ("scope", tamis_threshold_scope),
        ("token_to_word", tamis_word_probability),
        ("force_reserve_digit", c_int32),
        ("drop_consecutive", c_int32),
        ("use_token_level_filter", c_int32),
        ("use_context_level_filter", c_int32),
        ("target_context", c_int32),
        ("protect", c_uint32),
        ("context_level_rate", c_double),
        ("context_level_target_token", c_int64),
        ("force_tokens", POINTER(c_char_p)),
        ("chunk_end_tokens", POINTER(c_char_p)),
        ("force_context_ids", POINTER(c_int32)),
        ("n_force_tokens", c_int32),
        ("n_chunk_end_tokens", c_int32),
        ("n_force_context_ids", c_int32),
        ("line_breaks", tamis_line_breaks),
        ("progress", tamis_progress_fn),
        ("progress_user", c_void_p),
    ]


class tamis_compression(Structure):
    """Opaque."""


class tamis_compression_report(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("contexts", c_int32),
        ("origin_tokens", c_int64),
        ("compressed_tokens", c_int64),
        ("words", c_int64),
        ("words_kept", c_int64),
        ("encoder_tokens", c_int64),
        ("chunks", c_int64),
        ("encoder_seconds", c_double),
        ("seconds", c_double),
    ]


class tamis_context_report(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("kept", c_int32),
        ("origin_tokens", c_int64),
        ("compressed_tokens", c_int64),
        ("score", c_double),
    ]


class tamis_span(Structure):
    _fields_ = [
        ("start", c_int64),
        ("end", c_int64),
    ]


class tamis_word(Structure):
    _fields_ = [
        ("start", c_int64),
        ("end", c_int64),
        ("probability", c_float),
        ("tokens", c_int32),
        ("flags", c_uint32),
        ("pieces", c_uint32),
    ]


# -------------------------------------------------------------------------------------- span.h, text_scores.h


TAMIS_UNIT_WORD = 0
TAMIS_UNIT_SENTENCE = 1

TAMIS_REDUCE_MAX = 0
TAMIS_REDUCE_SUM = 1

TAMIS_SMOOTH_MAX = 0
TAMIS_SMOOTH_MEAN = 1
TAMIS_SMOOTH_NONE = 2

tamis_unit = c_int32
tamis_reduction = c_int32
tamis_smoothing = c_int32


class tamis_specpc_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("window", c_int32),
        ("starting_layer", c_int32),
        ("reduction", tamis_reduction),
        ("weighted_query", c_int32),
        ("smoothing", tamis_smoothing),
        ("kernel", c_int32),
        ("neighbours", c_int32),
        ("capacity", c_int64),
    ]


class tamis_specpc(Structure):
    """Opaque."""


# -------------------------------------------------------------------------------------------------- clusters.h


class tamis_cluster_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("k", c_int32),
        ("restarts", c_int32),
        ("max_iterations", c_int32),
        ("tolerance", c_double),
        ("seed", c_uint64),
        ("normalise", c_int32),
        ("reserved", c_int32),
        ("progress", tamis_progress_fn),
        ("progress_user", c_void_p),
    ]


class tamis_cluster_report(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("k", c_int32),
        ("iterations", c_int32),
        ("converged", c_int32),
        ("inertia", c_double),
        ("silhouette", c_double),
    ]


# ------------------------------------------------------------------------------------------------ annotation.h

TAMIS_ALIGN_EXACT = 0
TAMIS_ALIGN_WINDOW = 1

TAMIS_FILTER_NONE = 0
TAMIS_FILTER_PAPER = 1
TAMIS_FILTER_OFFICIAL = 2

tamis_alignment = c_int32
tamis_filter = c_int32

tamis_bad_line_fn = CFUNCTYPE(None, c_int64, c_char_p, c_void_p)


class tamis_annotation(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("words", c_int32),
        ("compressed_words", c_int32),
        ("labelled", c_int32),
        ("alignment", tamis_alignment),
        ("reserved", c_int32),
        ("variation_rate", c_double),
        ("hitting_rate", c_double),
        ("matching_rate", c_double),
        ("alignment_gap", c_double),
    ]


class tamis_annotate_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("alignment", tamis_alignment),
        ("window", c_int32),
        ("filter", tamis_filter),
        ("drop_variation", c_double),
        ("drop_gap", c_double),
        ("strict", c_int32),
        ("reserved", c_int32),
        ("progress", tamis_progress_fn),
        ("progress_user", c_void_p),
        ("bad_line", tamis_bad_line_fn),
        ("bad_line_user", c_void_p),
    ]


class tamis_annotate_report(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("pairs", c_int64),
        ("bad_lines", c_int64),
        ("empty", c_int64),
        ("dropped_variation", c_int64),
        ("dropped_gap", c_int64),
        ("kept", c_int64),
        ("words", c_int64),
        ("labelled", c_int64),
    ]


# ------------------------------------------------------------------------------------------------------ sinks.h

TAMIS_ZERO_TUNING_HEADS = 0
TAMIS_ZERO_TUNING_LAYER_HEADS = 1
TAMIS_ZERO_TUNING_LAYERS = 2

tamis_zero_tuning_unit = c_int32

tamis_zero_tuning_score_fn = CFUNCTYPE(c_int32, POINTER(c_float), c_int32, c_int32, POINTER(c_double), c_void_p)


class tamis_zero_tuning_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("layers", c_int32),
        ("heads", c_int32),
        ("unit", tamis_zero_tuning_unit),
        ("probe_gamma", c_float),
        ("share", c_float),
        ("gamma_min", c_float),
        ("gamma_max", c_float),
        ("gamma_step", c_float),
    ]


class tamis_zero_tuning_result(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("evaluations", c_int32),
        ("up", c_int32),
        ("down", c_int32),
        ("neutral", c_int32),
        ("tuned", c_int32),
        ("gamma", c_float),
        ("reserved", c_uint32),
        ("baseline", c_double),
        ("best", c_double),
    ]


class tamis_act_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("threshold", c_float),
        ("beta", c_float),
        ("min_rows", c_int32),
        ("heads", POINTER(c_uint8)),
    ]


class tamis_act_state(Structure):
    """Opaque."""


# ------------------------------------------------------------------------------------------------------ dhsa.h

TAMIS_CHUNK_SQRT = 0
TAMIS_CHUNK_MEAN = 1

tamis_chunk_pooling = c_int32


class tamis_boundary_predictor(Structure):
    """Opaque."""


class tamis_boundary_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("threshold", c_float),
        ("min_gap", c_int32),
        ("max_per_block", c_int32),
        ("query_block", c_int32),
        ("window", c_int32),
        ("instruction_tokens", c_int64),
    ]


class tamis_chunk_index(Structure):
    """Opaque."""


class tamis_chunk_index_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("kv_heads", c_int32),
        ("head_dim", c_int32),
        ("open_tokens", c_int32),
        ("pooling", tamis_chunk_pooling),
        ("sinks", c_int32),
        ("local", c_int32),
    ]


# -------------------------------------------------------------------------------------------- sparse_prefill.h

TAMIS_SPARSE_DENSE = 0
TAMIS_SPARSE_DHSA = 1
TAMIS_SPARSE_DHSA_TOPK = 2
TAMIS_SPARSE_DHSA_A = 3
TAMIS_SPARSE_DHSA_VS = 4
TAMIS_SPARSE_DHSA_VSB = 5
TAMIS_SPARSE_BLOCK = 6
TAMIS_SPARSE_A_SHAPE = 7
TAMIS_SPARSE_VERTICAL_SLASH = 8
TAMIS_SPARSE_BLOCK_TOPK = 9
TAMIS_SPARSE_MINFERENCE = 10
TAMIS_SPARSE_FLEXPREFILL = 11
TAMIS_SPARSE_XATTENTION = 12
TAMIS_SPARSE_SPARGE = 13
TAMIS_SPARSE_COMPAT_DHSA = 101
TAMIS_SPARSE_COMPAT_DHSA_TOPK = 102
TAMIS_SPARSE_COMPAT_DHSA_VSB = 103

TAMIS_BLOCK_SCORE_LSE8 = 0
TAMIS_BLOCK_SCORE_MEAN = 1

TAMIS_GRANULARITY_TILES = 0
TAMIS_GRANULARITY_TOKENS = 1

tamis_sparse_method = c_int32
tamis_block_score = c_int32
tamis_granularity = c_int32


class tamis_head_pattern(Structure):
    _fields_ = [
        ("method", tamis_sparse_method),
        ("first", c_int32),
        ("second", c_int32),
    ]


class tamis_sparse_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("method", tamis_sparse_method),
        ("query_block", c_int32),
        ("key_block", c_int32),
        ("share_group", c_int32),
        ("sinks", c_int32),
        ("dense_below", c_int64),
        ("density", c_float),
        ("coverage", c_float),
        ("budget", c_int64),
        ("local", c_int64),
        ("instruction_tokens", c_int64),
        ("predictor", POINTER(tamis_boundary_predictor)),
        ("boundaries", POINTER(c_int64)),
        ("n_boundaries", c_int64),
        ("boundary_options", POINTER(tamis_boundary_options)),
        ("granularity", tamis_granularity),
        ("pooling", tamis_chunk_pooling),
        ("score", tamis_block_score),
        ("row_min", c_float),
        ("row_max", c_float),
        ("vertical_ratio", c_float),
        ("sampled_rows", c_int32),
        ("vertical", c_int32),
        ("slash", c_int32),
        ("max_blocks", c_int32),
        ("patterns", POINTER(tamis_head_pattern)),
        ("similarity", c_float),
        ("min_budget", c_int64),
        ("max_budget", c_int64),
        ("stride", c_int32),
        ("top_share", c_float),
        ("smooth_keys", c_int32),
        ("pv_threshold", c_float),
        ("head_coverage", POINTER(c_float)),
        ("progress", tamis_progress_fn),
        ("progress_user", c_void_p),
        ("head_lists", c_int32),
        ("reserved", c_uint32),
    ]


# ------------------------------------------------------------------------------------------------------ bleu.h

TAMIS_BLEU_SACREBLEU = 0
TAMIS_BLEU_NLTK = 1
TAMIS_BLEU_TORCHMETRICS = 2
TAMIS_BLEU_TENSORBLEU = 3

TAMIS_BLEU_SMOOTH_DEFAULT = -1
TAMIS_BLEU_METHOD0 = 0
TAMIS_BLEU_METHOD1 = 1
TAMIS_BLEU_METHOD2 = 2
TAMIS_BLEU_METHOD3 = 3
TAMIS_BLEU_METHOD4 = 4
TAMIS_BLEU_METHOD5 = 5
TAMIS_BLEU_METHOD6 = 6
TAMIS_BLEU_METHOD7 = 7
TAMIS_BLEU_SMOOTH_NONE = 16
TAMIS_BLEU_SMOOTH_EXP = 17
TAMIS_BLEU_SMOOTH_FLOOR = 18
TAMIS_BLEU_SMOOTH_ADD_K = 19

TAMIS_LENGTH_SHORTEST = 0
TAMIS_LENGTH_FIRST = 1

TAMIS_BLEU_MAX_N = 16

tamis_bleu_rule = c_int32
tamis_bleu_smoothing = c_int32
tamis_length_rule = c_int32


class tamis_token_lists(Structure):
    _fields_ = [
        ("ids", POINTER(c_int32)),
        ("starts", POINTER(c_int64)),
        ("lengths", POINTER(c_int64)),
        ("count", c_int64),
        ("width", c_int64),
    ]


class tamis_bleu_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("rule", tamis_bleu_rule),
        ("smoothing", tamis_bleu_smoothing),
        ("max_n", c_int32),
        ("effective_order", c_int32),
        ("auto_reweigh", c_int32),
        ("exact", c_int32),
        ("has_pad", c_int32),
        ("pad_id", c_int32),
        ("weight_lists", c_int32),
        ("value", c_double),
        ("alpha", c_double),
        ("k", c_double),
        ("weights", POINTER(c_double)),
        ("weight_counts", POINTER(c_int32)),
        ("progress", tamis_progress_fn),
        ("progress_user", c_void_p),
    ]


class tamis_bleu_report(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("max_n", c_int32),
        ("score", c_double),
        ("brevity_penalty", c_double),
        ("length", c_int64),
        ("reference_length", c_int64),
        ("precisions", c_double * TAMIS_BLEU_MAX_N),
        ("matches", c_double * TAMIS_BLEU_MAX_N),
        ("totals", c_double * TAMIS_BLEU_MAX_N),
    ]


# -------------------------------------------------------------------------------------------------- word_ids.h

TAMIS_WORDS_NONE = 0
TAMIS_WORDS_13A = 1
TAMIS_WORDS_INTL = 2
TAMIS_WORDS_CHAR = 3
TAMIS_WORDS_ZH = 4
TAMIS_WORDS_TER = 5
TAMIS_WORDS_ROUGE = 6
TAMIS_WORDS_ROUGE_STEM = 7
TAMIS_WORDS_SQUAD = 8
TAMIS_WORDS_CHRF = 9
TAMIS_WORDS_CODE_POINTS = 10
TAMIS_WORDS_CHRF_CHARS = 11

tamis_word_tokenizer = c_int32


class tamis_word_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("tokenizer", tamis_word_tokenizer),
        ("lowercase", c_int32),
        ("normalised", c_int32),
        ("no_punctuation", c_int32),
        ("twice_from", c_int32),
        ("context", POINTER(tamis_context)),
    ]


class tamis_word_ids(Structure):
    """Opaque."""


class tamis_token_batch(Structure):
    """Opaque."""


# ------------------------------------------------------------------------------------------ sequence_metrics.h

TAMIS_EDIT_LEVENSHTEIN = 0
TAMIS_EDIT_INDEL = 1
TAMIS_EDIT_OSA = 2

TAMIS_EDIT_MATCH = 0
TAMIS_EDIT_SUBSTITUTE = 1
TAMIS_EDIT_DELETE = 2
TAMIS_EDIT_INSERT = 3

tamis_edit_kind = c_int32


class tamis_chrf_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("char_order", c_int32),
        ("word_order", c_int32),
        ("eps_smoothing", c_int32),
        ("beta", c_double),
        ("progress", tamis_progress_fn),
        ("progress_user", c_void_p),
    ]


# ------------------------------------------------------------------------------------ tokenization_metrics.h


class tamis_token_statistics(Structure):
    """Opaque."""


class tamis_token_sums(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("texts", c_int64),
        ("empty_texts", c_int64),
        ("tokens", c_int64),
        ("unknown_tokens", c_int64),
        ("bytes", c_int64),
        ("code_points", c_int64),
        ("words", c_int64),
        ("aligned_words", c_int64),
        ("continued_words", c_int64),
        ("whole_words", c_int64),
        ("vocabulary", c_int64),
    ]


class tamis_token_report_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("alpha", c_double),
        ("vocabulary", c_int64),
        ("percentile_from", c_double),
        ("percentile_to", c_double),
    ]


class tamis_token_report(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("fertility", c_double),
        ("continued_word_rate", c_double),
        ("whole_word_rate", c_double),
        ("bytes_per_token", c_double),
        ("code_points_per_token", c_double),
        ("unknown_rate", c_double),
        ("tokens_per_text", c_double),
        ("shannon_entropy", c_double),
        ("shannon_efficiency", c_double),
        ("renyi_entropy", c_double),
        ("renyi_efficiency", c_double),
        ("percentile_frequency", c_double),
        ("bits", c_double),
    ]


# ----------------------------------------------------------------------------------------------- charbench.h

TAMIS_CHARBENCH_COUNT_UNIQUE = 0
TAMIS_CHARBENCH_COUNT_CHARACTER = 1
TAMIS_CHARBENCH_FIND_FIRST = 2
TAMIS_CHARBENCH_FIND_LAST = 3

tamis_charbench_task = c_int32


class tamis_charbench(Structure):
    """Opaque."""


class tamis_charbench_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("min_length", c_int32),
        ("max_length", c_int32),
        ("rows", c_int32),
        ("seed", c_uint64),
        ("progress", tamis_progress_fn),
        ("progress_user", c_void_p),
    ]


class tamis_charbench_row(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("task", tamis_charbench_task),
        ("word", c_char_p),
        ("word_length", c_int32),
        ("character", c_int32),
        ("gold", c_int32),
        ("unique_characters", c_int32),
    ]


class tamis_charbench_features(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("word_length", c_int32),
        ("number_of_tokens", c_int32),
        ("target_token_length", c_int32),
        ("gold", c_int32),
        ("unique_characters", c_int32),
        ("compression_rate", c_double),
        ("gold_share", c_double),
    ]


# ---------------------------------------------------------------------------------------- needle_threading.h

TAMIS_NEEDLE_SINGLE = 0
TAMIS_NEEDLE_MULTIPLE = 1
TAMIS_NEEDLE_CONDITIONAL = 2
TAMIS_NEEDLE_THREADING = 3
TAMIS_NEEDLE_MULTI_THREADING = 4

TAMIS_NEEDLE_RANDOM = 0
TAMIS_NEEDLE_CLUSTERED = 1

TAMIS_THREAD_FORWARD = 0
TAMIS_THREAD_BACKWARD = 1
TAMIS_THREAD_RANDOM = 2

tamis_needle_kind = c_int32
tamis_needle_placement = c_int32
tamis_thread_direction = c_int32


class tamis_needle_task(Structure):
    """Opaque."""


class tamis_needle_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("kind", tamis_needle_kind),
        ("pairs", c_int64),
        ("seed", c_uint64),
        ("depth", c_double),
        ("needles", c_int32),
        ("placement", tamis_needle_placement),
        ("conditional_character", c_int32),
        ("thread_length", c_int32),
        ("direction", tamis_thread_direction),
        ("threads", c_int32),
    ]


class tamis_needle_view(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("kind", tamis_needle_kind),
        ("haystack", c_char_p),
        ("haystack_bytes", c_int64),
        ("keys", POINTER(c_char_p)),
        ("n_keys", c_int64),
        ("answers", POINTER(c_char_p)),
        ("n_answers", c_int64),
        ("positions", POINTER(c_int64)),
        ("n_positions", c_int64),
    ]


class tamis_needle_score(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("correct", c_int32),
        ("expected", c_int64),
        ("predicted", c_int64),
        ("matched", c_int64),
        ("accuracy", c_double),
        ("precision", c_double),
        ("f1", c_double),
    ]


# ------------------------------------------------------------------------------------------- token_signals.h

TAMIS_NO_LABEL = -100
TAMIS_PROMPT_MASK = 0
TAMIS_PROMPT_PREFIX = 1
TAMIS_TOKENS_OF_SAMPLE = 0
TAMIS_TOKENS_OF_BATCH = 1
TAMIS_ROUND_UP = 0
TAMIS_ROUND_DOWN = 1
TAMIS_ANSWER_CHOSEN = 0
TAMIS_ANSWER_REJECTED = 1
TAMIS_SUM_THEN_SIGMOID = 0
TAMIS_BY_POSITION = 1
TAMIS_TIER_EASY = 0
TAMIS_TIER_MEDIUM = 1
TAMIS_TIER_HARD = 2
TAMIS_TIER_NONE = 255
TAMIS_CALL_OTHER = 0
TAMIS_CALL_KEY = 1
TAMIS_CALL_END = 2
TAMIS_CALL_NONE = 255
TAMIS_CAFT_RSINE = 0
TAMIS_CAFT_SINE = 1
TAMIS_CAFT_LINEAR = 2
TAMIS_CAFT_CONSTANT = 3
TAMIS_CAFT_SINE_R = 4

tamis_prompt_rule = c_int32
tamis_token_scope = c_int32
tamis_rounding = c_int32
tamis_answer_side = c_int32
tamis_pair_reduction = c_int32
tamis_caft_schedule = c_int32


class tamis_cdpo_weight_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("side", tamis_answer_side),
        ("only_negative", c_int32),
        ("log_scores", c_int32),
        ("append_eos", c_int32),
        ("leading_zero", c_int32),
    ]


class tamis_answers(Structure):
    _fields_ = [
        ("policy", POINTER(c_double)),
        ("reference", POINTER(c_double)),
        ("weights", POINTER(c_double)),
        ("response", POINTER(c_uint8)),
        ("gradient", POINTER(c_double)),
    ]


class tamis_treg_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("weighted", c_int32),
        ("stop_gradient", c_int32),
        ("reserved", c_int32),
        ("beta", c_double),
        ("alpha", c_double),
    ]


class tamis_rmt_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("steps", c_int64),
        ("first_budget", c_int64),
        ("least_budget", c_int64),
        ("decay", c_double),
        ("phase1", c_double),
        ("phase2", c_double),
        ("easy1", c_double),
        ("medium1", c_double),
        ("hard1", c_double),
        ("easy2", c_double),
        ("medium2", c_double),
        ("hard2", c_double),
        ("length_weight", c_double),
        ("largest_reward", c_double),
    ]


class tamis_caft_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("heads", c_int32),
        ("schedule", tamis_caft_schedule),
        ("omit_first", c_int32),
        ("step", c_int64),
        ("steps", c_int64),
        ("scale", c_double),
        ("decay", c_double),
        ("rise", c_double),
    ]


# -------------------------------------------------------------------------------------- vocabulary_signals.h

TAMIS_FUNCTION_FUNCTION = 0
TAMIS_FUNCTION_CONTENT = 1
TAMIS_CONTENT_FUNCTION = 2
TAMIS_CONTENT_CONTENT = 3



class tamis_sparse_targets(Structure):
    _fields_ = [
        ("tokens", POINTER(c_int32)),
        ("q", POINTER(c_double)),
        ("starts", POINTER(c_int64)),
        ("rows", c_int64),
    ]


class tamis_key_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("main", c_int64),
        ("top", c_int64),
    ]


class tamis_key_report(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("inside", c_int64),
        ("outside", c_int64),
        ("share", c_double),
        ("inside_rank", c_double),
        ("outside_rank", c_double),
        ("inside_accuracy", c_double),
        ("outside_accuracy", c_double),
        ("precision", c_double),
        ("entropy", c_double),
        ("correlation", c_double),
    ]


# -------------------------------------------------------------------------------------------------- logit_metrics.h

TAMIS_LOGIT_SUM_NLL = 1
TAMIS_LOGIT_SUM_LOSS = 2
TAMIS_LOGIT_SUM_ENTROPY = 4
TAMIS_LOGIT_SUM_CORRECT = 8
TAMIS_LOGIT_SUM_TOP_K = 16
TAMIS_LOGIT_SUM_BRIER = 32

tamis_calibration_norm = c_int32
TAMIS_CALIBRATION_L1 = 0
TAMIS_CALIBRATION_L2 = 1
TAMIS_CALIBRATION_MAX = 2


class tamis_logit_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("top_k", c_int32),
        ("ignore_index", c_int32),
        ("reserved", c_uint32),
        ("temperature", c_double),
        ("label_smoothing", c_double),
        ("progress", tamis_progress_fn),
        ("progress_user", c_void_p),
    ]


class tamis_logit_outputs(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        *((name, POINTER(c_float)) for name in (
            "nll", "loss", "lse", "entropy", "varentropy", "collision", "confidence", "margin", "probability", "brier",
            "top_k_mass", "mean")),
        *((name, POINTER(c_int32)) for name in ("top", "rank", "ties")),
    ]


class tamis_logit_summary(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("sums", c_int32),
        ("n_bins", c_int32),
        ("reserved", c_uint32),
        ("bins", POINTER(c_double)),
        ("tokens", c_int64),
        ("nan_rows", c_int64),
        ("correct", c_int64),
        ("within_top_k", c_int64),
        ("nll", c_double),
        ("loss", c_double),
        ("entropy", c_double),
        ("brier", c_double),
    ]


class tamis_divergence_outputs(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        *((name, POINTER(c_float)) for name in ("kl", "reverse_kl", "js", "total_variation")),
    ]


# --------------------------------------------------------------------------------------------------- functions

_context = POINTER(tamis_context)
_cache = POINTER(tamis_kv_cache)
_selector = POINTER(tamis_selector)
_weights = POINTER(tamis_weights)
_encoder = POINTER(tamis_encoder)
_ragged = POINTER(tamis_ragged)
_tokenizer = POINTER(tamis_tokenizer)
_encoding = POINTER(tamis_encoding)
_encode_options = POINTER(tamis_encode_options)
_decoder = POINTER(tamis_decoder)
_compressor = POINTER(tamis_compressor)
_compression = POINTER(tamis_compression)
_texts = POINTER(c_char_p)
_tensor = POINTER(tamis_tensor)
_stats = POINTER(tamis_retrieval_stats)
_size = POINTER(c_size_t)
_i32 = POINTER(c_int32)
_i64 = POINTER(c_int64)
_f32 = POINTER(c_float)
_f64 = POINTER(c_double)
_span = POINTER(tamis_span)
_specpc = POINTER(tamis_specpc)
_tiles = POINTER(tamis_tiles)
_sparse_mask = POINTER(tamis_sparse_mask)
_sequence = POINTER(tamis_sequence)
_predictor = POINTER(tamis_boundary_predictor)
_chunk_index = POINTER(tamis_chunk_index)

_act_state = POINTER(tamis_act_state)
_lists = POINTER(tamis_token_lists)
_bleu_options = POINTER(tamis_bleu_options)
_words = POINTER(tamis_word_ids)
_token_batch = POINTER(tamis_token_batch)
_u8 = POINTER(c_uint8)
_token_statistics = POINTER(tamis_token_statistics)
_charbench = POINTER(tamis_charbench)
_needle_task = POINTER(tamis_needle_task)
_u64 = POINTER(c_uint64)
_answers = POINTER(tamis_answers)
_targets = POINTER(tamis_sparse_targets)
_logit_options = POINTER(tamis_logit_options)

Status = tamis_status

#: name -> (return type, argument types); None is void.
FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    # core.h
    "tamis_status_name": (c_char_p, (tamis_status,)),
    "tamis_last_error": (c_char_p, ()),
    "tamis_version": (c_char_p, ()),
    "tamis_version_number": (c_uint32, ()),
    "tamis_build_info": (Status, (c_char_p, c_size_t, _size)),
    "tamis_dtype_size": (c_size_t, (tamis_dtype,)),
    "tamis_context_options_init": (None, (POINTER(tamis_context_options),)),
    "tamis_context_create": (Status, (POINTER(tamis_context_options), POINTER(_context))),
    "tamis_context_destroy": (None, (_context,)),
    "tamis_context_threads": (c_int32, (_context,)),
    "tamis_context_device_name": (Status, (_context, c_char_p, c_size_t, _size)),
    # attention.h
    "tamis_attention_options_init": (None, (POINTER(tamis_attention_options),)),
    "tamis_attention": (
        Status, (_context, POINTER(tamis_attention_options), _tensor, _tensor, _tensor, _tensor, _tensor)),
    "tamis_attention_merge": (Status, (_context, c_int32, _tensor, _tensor, _tensor, _tensor)),
    # sparse_attention.h
    "tamis_sparse_attention": (
        Status, (_context, POINTER(tamis_attention_options), _tiles, c_float, _tensor, _tensor, _tensor, _tensor, _tensor)),
    "tamis_sparse_mask_create": (Status, (_tiles, c_int64, c_int64, c_int64, POINTER(_sparse_mask))),
    "tamis_sparse_mask_destroy": (None, (_sparse_mask,)),
    "tamis_sparse_mask_tiles": (Status, (_sparse_mask, _tiles)),
    "tamis_sparse_mask_boundaries": (Status, (_sparse_mask, POINTER(_i64), _i64)),
    "tamis_sparse_mask_stats": (
        Status, (_sparse_mask, POINTER(tamis_attention_options), c_int32, POINTER(tamis_sparse_stats))),
    # sparse_prefill.h
    "tamis_sparse_options_init": (None, (POINTER(tamis_sparse_options),)),
    "tamis_sparse_select": (
        Status,
        (_context, POINTER(tamis_sparse_options), POINTER(tamis_attention_options), _tensor, _tensor, POINTER(_sparse_mask))),
    "tamis_sparse_prefill": (
        Status,
        (_context, POINTER(tamis_sparse_options), POINTER(tamis_attention_options), _tensor, _tensor, _tensor, _tensor, _tensor,
         POINTER(_sparse_mask), POINTER(tamis_sparse_stats))),
    # kv_cache.h
    "tamis_kv_options_init": (None, (POINTER(tamis_kv_options),)),
    "tamis_kv_create": (Status, (_context, POINTER(tamis_kv_options), POINTER(_cache))),
    "tamis_kv_destroy": (None, (_cache,)),
    "tamis_kv_get_options": (Status, (_cache, POINTER(tamis_kv_options))),
    "tamis_kv_sequence_create": (Status, (_cache, _sequence)),
    "tamis_kv_sequence_fork": (Status, (_cache, tamis_sequence, c_int64, _sequence)),
    "tamis_kv_sequence_destroy": (Status, (_cache, tamis_sequence)),
    "tamis_kv_append": (Status, (_cache, tamis_sequence, c_int32, _tensor, _tensor)),
    "tamis_kv_length": (Status, (_cache, tamis_sequence, c_int32, _i64)),
    "tamis_kv_truncate": (Status, (_cache, tamis_sequence, c_int64)),
    "tamis_kv_read": (Status, (_cache, tamis_sequence, c_int32, c_int64, _tensor, _tensor)),
    "tamis_kv_memory_report": (Status, (_cache, POINTER(tamis_kv_memory))),
    "tamis_kv_save": (Status, (_cache, _sequence, c_int32, c_char_p, c_int32, tamis_progress_fn, c_void_p)),
    "tamis_kv_restore": (Status, (_cache, c_char_p, _sequence, c_int32, _i32, tamis_progress_fn, c_void_p)),
    "tamis_kv_snapshot_info": (Status, (c_char_p, POINTER(tamis_kv_options), _i32)),
    # retrieval.h
    "tamis_selector_options_init": (None, (POINTER(tamis_selector_options),)),
    "tamis_selector_create": (Status, (_cache, POINTER(tamis_selector_options), POINTER(_selector))),
    "tamis_selector_destroy": (None, (_selector,)),
    "tamis_selector_reset": (Status, (_selector, tamis_sequence)),
    "tamis_attend": (Status, (_selector, tamis_sequence, c_int32, _tensor, _tensor, _tensor, _stats)),
    "tamis_retrieve": (Status, (_selector, tamis_sequence, c_int32, _tensor, _i32, c_int64, _i64, _f32)),
    "tamis_attend_tokens": (
        Status, (_selector, tamis_sequence, c_int32, _tensor, _i32, c_int64, _tensor, _tensor, _stats)),
    # ops.h
    "tamis_convert": (Status, (_context, _tensor, _tensor)),
    "tamis_rope_apply": (Status, (_context, POINTER(tamis_rope), _tensor, _i64, c_int64, _tensor)),
    "tamis_top_k": (Status, (_context, _f32, c_int64, c_int64, _i32, _i64)),
    # sinks.h
    "tamis_zero_tuning_bias": (Status, (_f32, c_int64, _f32)),
    "tamis_zero_tuning_options_init": (None, (POINTER(tamis_zero_tuning_options),)),
    "tamis_zero_tuning_search": (
        Status,
        (POINTER(tamis_zero_tuning_options), tamis_zero_tuning_score_fn, c_void_p, _f32, _f64, POINTER(tamis_zero_tuning_result))),
    "tamis_act_options_init": (None, (POINTER(tamis_act_options),)),
    "tamis_act_state_create": (Status, (_context, c_int32, POINTER(_act_state))),
    "tamis_act_state_destroy": (None, (_act_state,)),
    "tamis_act_state_reset": (Status, (_act_state,)),
    "tamis_act_attention": (
        Status,
        (_context, POINTER(tamis_attention_options), POINTER(tamis_act_options), _act_state, _tensor, _tensor, _tensor, _tensor,
         _tensor)),
    "tamis_act_sinks": (Status, (_act_state, c_int32, _i32, c_int64, _i64)),
    # weights.h
    "tamis_weights_open": (Status, (c_char_p, POINTER(_weights))),
    "tamis_weights_close": (None, (_weights,)),
    "tamis_weights_count": (c_int64, (_weights,)),
    "tamis_weights_name": (Status, (_weights, c_int64, c_char_p, c_size_t, _size)),
    "tamis_weights_get": (Status, (_weights, c_char_p, _tensor)),
    # encoder.h
    "tamis_encoder_options_init": (None, (POINTER(tamis_encoder_options),)),
    "tamis_encoder_create": (Status, (_context, c_char_p, POINTER(tamis_encoder_options), POINTER(_encoder))),
    "tamis_encoder_destroy": (None, (_encoder,)),
    "tamis_encoder_get_info": (Status, (_encoder, POINTER(tamis_encoder_info))),
    "tamis_encoder_label": (Status, (_encoder, c_int32, c_char_p, c_size_t, _size)),
    "tamis_encoder_states": (Status, (_encoder, _ragged, _tensor, tamis_progress_fn, c_void_p)),
    "tamis_encoder_classify": (Status, (_encoder, _ragged, tamis_class_form, _tensor, tamis_progress_fn, c_void_p)),
    "tamis_encoder_embed": (Status, (_encoder, _ragged, tamis_pooling, c_int32, _tensor, tamis_progress_fn, c_void_p)),
    # tokenizer.h
    "tamis_tokenizer_open": (Status, (c_char_p, POINTER(_tokenizer))),
    "tamis_tokenizer_from_bytes": (
        Status, (c_void_p, c_size_t, tamis_tokenizer_format, c_char_p, POINTER(_tokenizer))),
    "tamis_tokenizer_destroy": (None, (_tokenizer,)),
    "tamis_tokenizer_get_info": (Status, (_tokenizer, POINTER(tamis_tokenizer_info))),
    "tamis_tokenizer_piece": (Status, (_tokenizer, c_int32, c_char_p, c_size_t, _size)),
    "tamis_tokenizer_id": (Status, (_tokenizer, c_char_p, c_size_t, _i32)),
    "tamis_tokenizer_is_special": (c_int32, (_tokenizer, c_int32)),
    "tamis_tokenizer_add": (
        Status, (_tokenizer, c_char_p, _i64, c_int32, POINTER(tamis_token_flags), POINTER(_tokenizer))),
    "tamis_encode_options_init": (None, (_encode_options,)),
    "tamis_tokenizer_encode": (
        Status, (_tokenizer, _encode_options, c_char_p, c_size_t, c_char_p, c_size_t, POINTER(_encoding))),
    "tamis_tokenizer_encode_batch": (
        Status, (_context, _tokenizer, _encode_options, c_char_p, _i64, c_int64, tamis_progress_fn, c_void_p,
                 POINTER(_encoding))),
    "tamis_encoding_destroy": (None, (_encoding,)),
    "tamis_encoding_count": (c_int64, (_encoding,)),
    "tamis_encoding_get": (Status, (_encoding, c_int64, POINTER(tamis_encoded))),
    "tamis_tokenizer_count": (Status, (_tokenizer, _encode_options, c_char_p, c_size_t, _i64)),
    "tamis_tokenizer_decode": (Status, (_tokenizer, _i32, c_int64, c_int32, c_char_p, c_size_t, _size)),
    "tamis_tokenizer_decode_pieces": (Status, (_tokenizer, c_char_p, _i64, c_int64, c_char_p, c_size_t, _size)),
    "tamis_decoder_create": (Status, (_tokenizer, c_int32, POINTER(_decoder))),
    "tamis_decoder_destroy": (None, (_decoder,)),
    "tamis_decoder_push": (Status, (_decoder, c_int32, c_char_p, c_size_t, _size)),
    "tamis_decoder_finish": (Status, (_decoder, c_char_p, c_size_t, _size)),
    # compression.h
    "tamis_compressor_options_init": (None, (POINTER(tamis_compressor_options),)),
    "tamis_compressor_create": (
        Status, (_context, _encoder, _tokenizer, _tokenizer, POINTER(tamis_compressor_options), POINTER(_compressor))),
    "tamis_compressor_open": (
        Status, (_context, c_char_p, c_char_p, tamis_precision, POINTER(tamis_compressor_options), POINTER(_compressor))),
    "tamis_compressor_default_path": (Status, (c_char_p, c_size_t, _size)),
    "tamis_compressor_destroy": (None, (_compressor,)),
    "tamis_compressor_count": (Status, (_compressor, c_char_p, c_size_t, _i64)),
    "tamis_compress_options_init": (None, (POINTER(tamis_compress_options),)),
    "tamis_compress": (
        Status, (_compressor, _texts, _size, c_int64, POINTER(tamis_compress_options), POINTER(_compression))),
    "tamis_compression_destroy": (None, (_compression,)),
    "tamis_compression_get_report": (Status, (_compression, POINTER(tamis_compression_report))),
    "tamis_compression_get_context": (Status, (_compression, c_int64, POINTER(tamis_context_report))),
    "tamis_compression_text": (Status, (_compression, c_int64, _texts, _size)),
    "tamis_compression_spans": (Status, (_compression, c_int64, POINTER(POINTER(tamis_span)), _i64)),
    "tamis_compression_words": (Status, (_compression, c_int64, POINTER(POINTER(tamis_word)), _i64)),
    "tamis_compression_word_text": (Status, (_compression, c_int64, _texts, _size)),
    # text_scores.h
    "tamis_split_text": (Status, (c_char_p, c_size_t, tamis_unit, _span, c_int64, _i64)),
    "tamis_kept_spans": (Status, (_span, c_int64, _i32, c_int64, _span, _i64)),
    "tamis_kept_text": (Status, (c_char_p, c_size_t, _span, c_int64, c_char_p, c_size_t, _size)),
    "tamis_self_information": (Status, (_context, _tensor, _i32, _f32)),
    "tamis_unit_scores": (Status, (_span, _f32, c_int64, _span, c_int64, _f32)),
    "tamis_keep_informative": (Status, (_f32, c_int64, c_double, _i32, _i64, _f64)),
    "tamis_specpc_options_init": (None, (POINTER(tamis_specpc_options),)),
    "tamis_specpc_create": (Status, (POINTER(tamis_specpc_options), c_int64, POINTER(_specpc))),
    "tamis_specpc_destroy": (None, (_specpc,)),
    "tamis_specpc_add": (Status, (_specpc, c_int32, _tensor)),
    "tamis_specpc_add_keys": (Status, (_specpc, _context, c_int32, _tensor, _tensor, c_float)),
    "tamis_specpc_scores": (Status, (_specpc, _f32)),
    "tamis_specpc_select": (Status, (_specpc, _i32, _i64)),
    # clusters.h
    "tamis_cluster_options_init": (None, (POINTER(tamis_cluster_options),)),
    "tamis_cluster": (
        Status,
        (_context, POINTER(tamis_cluster_options), _tensor, _i32, _i32, _i32, _tensor, POINTER(tamis_cluster_report))),
    "tamis_representatives": (Status, (_i32, _i32, c_int32, _i32, c_int64, _i32, _i64)),
    # annotation.h
    "tamis_annotate": (
        Status,
        (c_char_p, c_size_t, c_char_p, c_size_t, tamis_alignment, c_int32, _span, _i32, c_int64, _i64,
         POINTER(tamis_annotation))),
    "tamis_filter_annotations": (Status, (_f64, _f64, c_int64, tamis_filter, c_double, c_double, _i32, _i64)),
    "tamis_annotate_options_init": (None, (POINTER(tamis_annotate_options),)),
    "tamis_annotate_file": (
        Status, (c_char_p, c_char_p, POINTER(tamis_annotate_options), POINTER(tamis_annotate_report))),
    # dhsa.h
    "tamis_boundary_predictor_load": (Status, (_context, c_char_p, c_int32, tamis_precision, POINTER(_predictor))),
    "tamis_boundary_predictor_destroy": (None, (_predictor,)),
    "tamis_boundary_predictor_info": (Status, (_predictor, _i32, _i32, _i32)),
    "tamis_boundary_predictor_run": (Status, (_predictor, _tensor, _tensor, tamis_progress_fn, c_void_p)),
    "tamis_boundary_options_init": (None, (POINTER(tamis_boundary_options),)),
    "tamis_boundaries_from_logits": (
        Status, (POINTER(tamis_boundary_options), _f32, c_int64, _i64, c_int64, _i64)),
    "tamis_chunk_index_options_init": (None, (POINTER(tamis_chunk_index_options),)),
    "tamis_chunk_index_create": (Status, (_context, POINTER(tamis_chunk_index_options), POINTER(_chunk_index))),
    "tamis_chunk_index_destroy": (None, (_chunk_index,)),
    "tamis_chunk_index_append": (Status, (_chunk_index, _tensor, _i64, c_int64)),
    "tamis_chunk_index_truncate": (Status, (_chunk_index, c_int64)),
    "tamis_chunk_index_select": (Status, (_chunk_index, _tensor, c_int64, _i32, c_int64, _i64)),
    # bleu.h
    "tamis_bleu_options_init": (None, (_bleu_options,)),
    "tamis_ngram_statistics": (
        Status, (_context, _lists, _lists, _i64, c_int64, c_int32, tamis_length_rule, c_int32, c_int32, _i64,
                 tamis_progress_fn, c_void_p)),
    "tamis_token_batch_create": (Status, (_context, _lists, _lists, _i64, c_int64, POINTER(_token_batch))),
    "tamis_token_batch_destroy": (None, (_token_batch,)),
    "tamis_token_batch_statistics": (Status, (_token_batch, c_int32, tamis_length_rule, c_int32, c_int32, _i64)),
    "tamis_bleu_finish": (Status, (_bleu_options, _i64, c_int64, c_int32, _f64, _f64)),
    "tamis_bleu": (Status, (_context, _bleu_options, _lists, _lists, _i64, c_int64, _f64, _f64)),
    "tamis_bleu_details": (Status, (_bleu_options, _i64, c_int64, c_int32, POINTER(tamis_bleu_report))),
    "tamis_bleu_resample": (
        Status, (_context, _bleu_options, _i64, c_int64, c_int32, _i32, c_int64, c_int32, _f64)),
    # word_ids.h
    "tamis_word_options_init": (None, (POINTER(tamis_word_options),)),
    "tamis_word_ids_create": (Status, (POINTER(tamis_word_options), c_char_p, _i64, c_int64, POINTER(_words))),
    "tamis_word_ids_destroy": (None, (_words,)),
    "tamis_word_ids_get": (Status, (_words, _lists, _i64)),
    # sequence_metrics.h
    "tamis_chrf_options_init": (None, (POINTER(tamis_chrf_options),)),
    "tamis_chrf": (
        Status, (_context, POINTER(tamis_chrf_options), _lists, _lists, _lists, _lists, _i64, _f64, _f64, _i64)),
    "tamis_ter": (Status, (_context, _lists, _lists, _i64, _f64, _f64, _i64, _f64, tamis_progress_fn, c_void_p)),
    "tamis_rouge": (Status, (_context, c_int32, _lists, _lists, _f64, tamis_progress_fn, c_void_p)),
    "tamis_rouge_lsum": (
        Status, (_context, _lists, _i64, _lists, _i64, c_int64, _f64, tamis_progress_fn, c_void_p)),
    "tamis_meteor": (Status, (_context, _lists, _lists, _i64, c_double, c_double, c_double, _f64)),
    "tamis_token_f1": (Status, (_context, _lists, _lists, _i64, _f64, _f64)),
    "tamis_edit_distance": (
        Status, (_context, tamis_edit_kind, _lists, _lists, _i64, _i64, tamis_progress_fn, c_void_p)),
    "tamis_edit_alignment": (Status, (_i32, c_int64, _i32, c_int64, _u8, c_int64, _i64)),
    "tamis_distinct_ngrams": (Status, (_lists, c_int32, _i64, _i64)),
    "tamis_self_bleu": (Status, (_lists, c_int32, _f64)),
    "tamis_repetition": (Status, (_lists, c_int64, _i64)),
    # logit_metrics.h
    "tamis_logit_options_init": (None, (_logit_options,)),
    "tamis_logit_metrics": (
        Status,
        (_context, _logit_options, _tensor, _i32, POINTER(tamis_logit_outputs), POINTER(tamis_logit_summary))),
    "tamis_logit_divergence": (Status, (_context, _logit_options, _tensor, _tensor, POINTER(tamis_divergence_outputs))),
    "tamis_contrastive_log_probs": (Status, (_context, _logit_options, _tensor, _tensor, _i32, c_double, _f32)),
    "tamis_perplexity": (c_double, (c_double, c_double)),
    "tamis_bits_per_unit": (c_double, (c_double, c_double)),
    "tamis_calibration_error": (Status, (_f64, c_int32, tamis_calibration_norm, _f64)),
    "tamis_adaptive_calibration_error": (Status, (_f32, _u8, c_int64, c_int32, tamis_calibration_norm, _f64)),
    "tamis_fit_temperature": (Status, (_context, _logit_options, _tensor, _i32, _f64, _f64, _i32)),
    "tamis_sliding_window_count": (Status, (c_int64, c_int64, c_int64, _i64)),
    "tamis_sliding_window": (Status, (c_int64, c_int64, c_int64, c_int64, _i64, _i64, _i64)),
    # tokenization_metrics.h
    "tamis_token_statistics_create": (Status, (c_int32, POINTER(_token_statistics))),
    "tamis_token_statistics_destroy": (None, (_token_statistics,)),
    "tamis_token_statistics_add": (
        Status, (_token_statistics, _lists, c_char_p, _i64, _i32, _i32, tamis_progress_fn, c_void_p)),
    "tamis_token_statistics_encode": (
        Status, (_token_statistics, _context, _tokenizer, _encode_options, c_char_p, _i64, c_int64, tamis_progress_fn,
                 c_void_p)),
    "tamis_token_statistics_merge": (Status, (_token_statistics, _token_statistics)),
    "tamis_token_statistics_sums": (Status, (_token_statistics, POINTER(tamis_token_sums))),
    "tamis_token_statistics_frequencies": (Status, (_token_statistics, _i32, _i64, c_int64, _i64)),
    "tamis_token_report_options_init": (None, (POINTER(tamis_token_report_options),)),
    "tamis_token_statistics_report": (
        Status, (_token_statistics, POINTER(tamis_token_report_options), POINTER(tamis_token_report))),
    "tamis_token_premium": (Status, (_token_statistics, _token_statistics, _f64, _f64)),
    "tamis_tokens_to_characters": (Status, (_token_statistics, c_int64, _i64)),
    "tamis_characters_to_tokens": (Status, (_token_statistics, c_int64, _i64)),
    # charbench.h
    "tamis_charbench_options_init": (None, (POINTER(tamis_charbench_options),)),
    "tamis_charbench_create": (Status, (POINTER(tamis_charbench_options), c_char_p, _i64, c_int64, POINTER(_charbench))),
    "tamis_charbench_destroy": (None, (_charbench,)),
    "tamis_charbench_count": (c_int64, (_charbench,)),
    "tamis_charbench_get": (Status, (_charbench, c_int64, POINTER(tamis_charbench_row))),
    "tamis_charbench_prompt": (Status, (_charbench, c_int64, c_char_p, c_size_t, _size)),
    "tamis_charbench_features_of": (Status, (_charbench, c_int64, _i32, c_int64, POINTER(tamis_charbench_features))),
    "tamis_charbench_score": (Status, (c_char_p, c_size_t, c_int64, _i32, _i32, _i64)),
    "tamis_charbench_correlation": (Status, (_f64, _u8, c_int64, _f64)),
    "tamis_charbench_accuracy_by_value": (Status, (_f64, _u8, c_int64, _f64, _i64, _f64, _f64, c_int64, _i64)),
    "tamis_charbench_error_overlap": (Status, (_u8, _u8, c_int64, _f64)),
    "tamis_charbench_bias": (Status, (_i64, _i64, _u8, c_int64, _f64)),
    # needle_threading.h
    "tamis_needle_options_init": (None, (POINTER(tamis_needle_options),)),
    "tamis_needle_task_create": (Status, (POINTER(tamis_needle_options), POINTER(_needle_task))),
    "tamis_needle_task_destroy": (None, (_needle_task,)),
    "tamis_needle_task_get": (Status, (_needle_task, POINTER(tamis_needle_view))),
    "tamis_needle_task_prompt": (Status, (_needle_task, c_char_p, c_char_p, c_size_t, _size)),
    "tamis_needle_task_score": (Status, (_needle_task, c_char_p, c_size_t, POINTER(tamis_needle_score))),
    "tamis_wilson_interval": (Status, (c_int64, c_int64, c_double, _f64, _f64)),
    "tamis_effective_context_length": (Status, (_f64, _f64, c_int64, c_double, _f64)),
    # token_signals.h
    "tamis_prompt_attention": (Status, (_context, _tensor, _u8, tamis_prompt_rule, _f64)),
    "tamis_prompt_attention_keys": (
        Status, (_context, POINTER(tamis_attention_options), _tensor, _tensor, _u8, tamis_prompt_rule, _f64)),
    "tamis_sstoken_scores": (Status, (_f64, _f64, _f64, _i64, c_int64, c_int64, c_double, _f64, _f64)),
    "tamis_select_tokens": (Status, (_f64, _i64, c_int64, c_int64, c_double, tamis_rounding, tamis_token_scope, _i64, _i64)),
    "tamis_ema_update": (Status, (_context, _tensor, _tensor, c_double)),
    "tamis_cdpo_weight_options_init": (None, (POINTER(tamis_cdpo_weight_options),)),
    "tamis_cdpo_weights": (Status, (POINTER(tamis_cdpo_weight_options), _f64, c_int64, _f64)),
    "tamis_cdpo_loss": (Status, (_answers, _answers, c_int64, c_int64, c_double, tamis_pair_reduction, _f64, _f64)),
    "tamis_critical_token": (Status, (_i64, c_int64, c_int64, c_int64, _i64)),
    "tamis_pass_at_k": (Status, (_i64, c_int64, c_int64, c_int64, _f64)),
    "tamis_treg_rewards": (Status, (_f64, _f64, c_int64, _f64)),
    "tamis_treg_options_init": (None, (POINTER(tamis_treg_options),)),
    "tamis_treg_loss": (Status, (POINTER(tamis_treg_options), _answers, _answers, c_int64, c_int64, _f64, _f64, _f64)),
    "tamis_rmt_options_init": (None, (POINTER(tamis_rmt_options),)),
    "tamis_rmt_schedule": (Status, (POINTER(tamis_rmt_options), c_int64, _i64, _f64)),
    "tamis_rmt_rewards": (Status, (POINTER(tamis_rmt_options), c_int64, _u8, _i64, c_int64, _f64, _f64)),
    "tamis_rmt_tiers": (Status, (_f64, _u8, c_int64, _f64, _u8, _f64)),
    "tamis_rmt_sample": (Status, (POINTER(tamis_rmt_options), c_int64, c_uint64, _u8, c_int64, c_int64, _i64)),
    "tamis_tool_call_weights": (Status, (_u8, c_int64, c_double, _f64)),
    "tamis_tool_call_loss": (Status, (_f64, _u8, c_int64, c_double, c_double, _f64, _f64)),
    "tamis_tool_name_keys": (Status, (_i32, c_int64, _lists, _i64, _i64)),
    "tamis_caft_options_init": (None, (POINTER(tamis_caft_options),)),
    "tamis_caft_weights": (Status, (POINTER(tamis_caft_options), _i64, c_int64, c_int64, _f64, _f64)),
    "tamis_caft_loss": (Status, (POINTER(tamis_caft_options), _f64, _i64, c_int64, c_int64, _f64, _f64)),
    # vocabulary_signals.h
    "tamis_token_counts": (Status, (_lists, c_int64, _u64, _i64)),
    "tamis_function_tokens": (Status, (_u64, c_int64, c_double, _u8, _i64)),
    "tamis_function_nll": (Status, (_lists, _u8, c_int64, _f64, _u8, _f64, _i64)),
    "tamis_inverse_document_frequency": (Status, (_i64, c_int64, c_int64, _f64)),
    "tamis_text_target": (Status, (_i32, c_int64, _f64, _u8, c_int64, _i32, _f64, _i64)),
    "tamis_model_target": (Status, (_context, _tensor, _u8, _u8, c_int64, _i32, _f64, _i64, _f64)),
    "tamis_mix_targets": (Status, (_targets, _targets, c_double, _i32, _f64, _i64)),
    "tamis_target_kl": (Status, (_context, _tensor, _targets, _f64)),
    "tamis_text_overlap": (Status, (_context, _tensor, _lists, c_int64, _f64, _f64)),
    "tamis_key_options_init": (None, (POINTER(tamis_key_options),)),
    "tamis_key_diagnostic": (
        Status, (_context, POINTER(tamis_key_options), _tensor, _i32, _tensor, _u8, _i32, POINTER(tamis_key_report))),
    "tamis_key_neighbors": (Status, (_context, _tensor, _i32, c_int64, c_int64, _i32, _f32)),
    "tamis_decorrelated_rank": (Status, (_i32, c_int64, _i32, c_int64, _i32)),
    "tamis_unused_token": (Status, (_tensor, _u8, _i32)),
}

#: Functions whose NOT_FOUND means a file.
OPENS_FILES = frozenset({
    "tamis_kv_restore", "tamis_kv_snapshot_info", "tamis_weights_open", "tamis_encoder_create", "tamis_tokenizer_open",
    "tamis_compressor_open", "tamis_compressor_default_path", "tamis_annotate_file",
    "tamis_boundary_predictor_load",
})

#: Functions that return tamis_status; the two taken out return a number of the same C type.
FALLIBLE = frozenset(name for name, (result, _) in FUNCTIONS.items() if result is Status) - {
    "tamis_context_threads", "tamis_tokenizer_is_special"}
