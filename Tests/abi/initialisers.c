/* Every INIT macro initialises its struct without a warning, in C and in C++. */
#include <tamis.h>

uint32_t tamis_test_initialisers(void);

uint32_t tamis_test_initialisers(void) {
  tamis_context_options context = TAMIS_CONTEXT_OPTIONS_INIT;
  tamis_attention_options attention = TAMIS_ATTENTION_OPTIONS_INIT;
  tamis_zero_tuning_options zero = TAMIS_ZERO_TUNING_OPTIONS_INIT;
  tamis_zero_tuning_result tuned = TAMIS_ZERO_TUNING_RESULT_INIT;
  tamis_act_options act = TAMIS_ACT_OPTIONS_INIT;
  tamis_tiles tiles = TAMIS_TILES_INIT;
  tamis_sparse_options prefill = TAMIS_SPARSE_OPTIONS_INIT;
  tamis_sparse_stats sparse = TAMIS_SPARSE_STATS_INIT;
  tamis_kv_options kv = TAMIS_KV_OPTIONS_INIT;
  tamis_selector_options selector = TAMIS_SELECTOR_OPTIONS_INIT;
  tamis_retrieval_stats stats = TAMIS_RETRIEVAL_STATS_INIT;
  tamis_rope rope = TAMIS_ROPE_INIT;
  tamis_encoder_options encoder = TAMIS_ENCODER_OPTIONS_INIT;
  tamis_encoder_info info = TAMIS_ENCODER_INFO_INIT;
  tamis_specpc_options specpc = TAMIS_SPECPC_OPTIONS_INIT;
  tamis_cluster_options cluster = TAMIS_CLUSTER_OPTIONS_INIT;
  tamis_cluster_report clusters = TAMIS_CLUSTER_REPORT_INIT;
  tamis_annotation annotation = TAMIS_ANNOTATION_INIT;
  tamis_annotate_options annotate = TAMIS_ANNOTATE_OPTIONS_INIT;
  tamis_annotate_report annotated = TAMIS_ANNOTATE_REPORT_INIT;
  tamis_compressor_options compressor = TAMIS_COMPRESSOR_OPTIONS_INIT;
  tamis_compress_options compress = TAMIS_COMPRESS_OPTIONS_INIT;
  tamis_compression_report compression = TAMIS_COMPRESSION_REPORT_INIT;
  tamis_context_report text = TAMIS_CONTEXT_REPORT_INIT;
  tamis_tokenizer_info tokenizer = TAMIS_TOKENIZER_INFO_INIT;
  tamis_encode_options encode = TAMIS_ENCODE_OPTIONS_INIT;
  tamis_encoded encoded = TAMIS_ENCODED_INIT;
  tamis_boundary_options boundaries = TAMIS_BOUNDARY_OPTIONS_INIT;
  tamis_chunk_index_options chunks = TAMIS_CHUNK_INDEX_OPTIONS_INIT;
  tamis_bleu_options bleu = TAMIS_BLEU_OPTIONS_INIT;
  tamis_bleu_report bleu_report = TAMIS_BLEU_REPORT_INIT;
  tamis_word_options words = TAMIS_WORD_OPTIONS_INIT;
  tamis_chrf_options chrf = TAMIS_CHRF_OPTIONS_INIT;
  tamis_token_sums token_sums = TAMIS_TOKEN_SUMS_INIT;
  tamis_token_report_options report_options = TAMIS_TOKEN_REPORT_OPTIONS_INIT;
  tamis_token_report report = TAMIS_TOKEN_REPORT_INIT;
  tamis_charbench_options charbench = TAMIS_CHARBENCH_OPTIONS_INIT;
  tamis_charbench_row row = TAMIS_CHARBENCH_ROW_INIT;
  tamis_charbench_features features = TAMIS_CHARBENCH_FEATURES_INIT;
  tamis_needle_options needle = TAMIS_NEEDLE_OPTIONS_INIT;
  tamis_needle_view view = TAMIS_NEEDLE_VIEW_INIT;
  tamis_needle_score score = TAMIS_NEEDLE_SCORE_INIT;
  const uint32_t tasks = token_sums.struct_size + report_options.struct_size + report.struct_size + charbench.struct_size +
                         row.struct_size + features.struct_size + needle.struct_size + view.struct_size + score.struct_size;
  tamis_cdpo_weight_options cdpo = TAMIS_CDPO_WEIGHT_OPTIONS_INIT;
  tamis_treg_options treg = TAMIS_TREG_OPTIONS_INIT;
  tamis_rmt_options rmt = TAMIS_RMT_OPTIONS_INIT;
  tamis_caft_options caft = TAMIS_CAFT_OPTIONS_INIT;
  tamis_key_options keys = TAMIS_KEY_OPTIONS_INIT;
  tamis_key_report key_report = TAMIS_KEY_REPORT_INIT;
  tamis_logit_options logit = TAMIS_LOGIT_OPTIONS_INIT;
  tamis_logit_outputs logit_outputs = TAMIS_LOGIT_OUTPUTS_INIT;
  tamis_logit_summary logit_summary = TAMIS_LOGIT_SUMMARY_INIT;
  tamis_divergence_outputs divergence = TAMIS_DIVERGENCE_OUTPUTS_INIT;
  const uint32_t logits = logit.struct_size + logit_outputs.struct_size + logit_summary.struct_size + divergence.struct_size;
  return logits + tasks + cdpo.struct_size + treg.struct_size + rmt.struct_size + caft.struct_size + keys.struct_size +
         key_report.struct_size + bleu.struct_size + bleu_report.struct_size + words.struct_size + chrf.struct_size +
         zero.struct_size + tuned.struct_size + act.struct_size + prefill.struct_size + boundaries.struct_size +
         chunks.struct_size + tokenizer.struct_size + encode.struct_size + encoded.struct_size +
         compressor.struct_size + compress.struct_size + compression.struct_size + text.struct_size +
         specpc.struct_size + cluster.struct_size + clusters.struct_size + annotation.struct_size +
         annotate.struct_size + annotated.struct_size + context.struct_size + attention.struct_size + kv.struct_size +
         selector.struct_size + stats.struct_size + tiles.struct_size + sparse.struct_size + (uint32_t)rope.style +
         encoder.struct_size + info.struct_size;
}
