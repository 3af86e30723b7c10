/* The layout of every public struct, as released: a change here breaks hosts that are already compiled. */
#include <stddef.h>
#include <tamis.h>

#define SIZE(type, n) _Static_assert(sizeof(type) == (n), "size of " #type)
#define AT(type, field, n) _Static_assert(offsetof(type, field) == (n), #type "." #field)

SIZE(tamis_tensor, 168);
AT(tamis_tensor, data, 0);
AT(tamis_tensor, dtype, 8);
AT(tamis_tensor, ndim, 12);
AT(tamis_tensor, shape, 16);
AT(tamis_tensor, stride, 64);
AT(tamis_tensor, scale, 112);
AT(tamis_tensor, scale_stride, 120);

SIZE(tamis_context_options, 40);
AT(tamis_context_options, struct_size, 0);
AT(tamis_context_options, device, 4);
AT(tamis_context_options, n_threads, 8);
AT(tamis_context_options, opencl_index, 12);
AT(tamis_context_options, log_level, 16);
AT(tamis_context_options, log, 24);
AT(tamis_context_options, log_user, 32);

SIZE(tamis_attention_options, 64);
AT(tamis_attention_options, struct_size, 0);
AT(tamis_attention_options, causal, 4);
AT(tamis_attention_options, q_offset, 8);
AT(tamis_attention_options, window, 16);
AT(tamis_attention_options, scale, 24);
AT(tamis_attention_options, softcap, 28);
AT(tamis_attention_options, key0_bias, 32);
AT(tamis_attention_options, compute, 40);
AT(tamis_attention_options, progress, 48);
AT(tamis_attention_options, progress_user, 56);

SIZE(tamis_zero_tuning_options, 36);
AT(tamis_zero_tuning_options, struct_size, 0);
AT(tamis_zero_tuning_options, layers, 4);
AT(tamis_zero_tuning_options, heads, 8);
AT(tamis_zero_tuning_options, unit, 12);
AT(tamis_zero_tuning_options, probe_gamma, 16);
AT(tamis_zero_tuning_options, share, 20);
AT(tamis_zero_tuning_options, gamma_min, 24);
AT(tamis_zero_tuning_options, gamma_max, 28);
AT(tamis_zero_tuning_options, gamma_step, 32);

SIZE(tamis_zero_tuning_result, 48);
AT(tamis_zero_tuning_result, struct_size, 0);
AT(tamis_zero_tuning_result, evaluations, 4);
AT(tamis_zero_tuning_result, up, 8);
AT(tamis_zero_tuning_result, down, 12);
AT(tamis_zero_tuning_result, neutral, 16);
AT(tamis_zero_tuning_result, tuned, 20);
AT(tamis_zero_tuning_result, gamma, 24);
AT(tamis_zero_tuning_result, reserved, 28);
AT(tamis_zero_tuning_result, baseline, 32);
AT(tamis_zero_tuning_result, best, 40);

SIZE(tamis_act_options, 24);
AT(tamis_act_options, struct_size, 0);
AT(tamis_act_options, threshold, 4);
AT(tamis_act_options, beta, 8);
AT(tamis_act_options, min_rows, 12);
AT(tamis_act_options, heads, 16);

SIZE(tamis_tiles, 40);
AT(tamis_tiles, struct_size, 0);
AT(tamis_tiles, heads, 4);
AT(tamis_tiles, query_block, 8);
AT(tamis_tiles, key_block, 12);
AT(tamis_tiles, row_ptr, 16);
AT(tamis_tiles, index, 24);
AT(tamis_tiles, n_rows, 32);

SIZE(tamis_sparse_stats, 72);
AT(tamis_sparse_stats, struct_size, 0);
AT(tamis_sparse_stats, reserved, 4);
AT(tamis_sparse_stats, calls_sparse, 8);
AT(tamis_sparse_stats, calls_dense, 16);
AT(tamis_sparse_stats, tiles_listed, 24);
AT(tamis_sparse_stats, tiles_legal, 32);
AT(tamis_sparse_stats, pairs_attended, 40);
AT(tamis_sparse_stats, pairs_legal, 48);
AT(tamis_sparse_stats, select_ns, 56);
AT(tamis_sparse_stats, attend_ns, 64);

SIZE(tamis_rope, 24);
AT(tamis_rope, style, 0);
AT(tamis_rope, rotary_dims, 4);
AT(tamis_rope, base, 8);
AT(tamis_rope, scale, 16);

SIZE(tamis_kv_options, 64);
AT(tamis_kv_options, struct_size, 0);
AT(tamis_kv_options, layers, 4);
AT(tamis_kv_options, kv_heads, 8);
AT(tamis_kv_options, head_dim, 12);
AT(tamis_kv_options, dtype, 16);
AT(tamis_kv_options, page_tokens, 20);
AT(tamis_kv_options, max_tokens, 24);
AT(tamis_kv_options, rope, 32);
AT(tamis_kv_options, scoring_copy, 56);

SIZE(tamis_kv_memory, 64);
AT(tamis_kv_memory, struct_size, 0);
AT(tamis_kv_memory, sequences, 4);
AT(tamis_kv_memory, pages_total, 8);
AT(tamis_kv_memory, pages_used, 16);
AT(tamis_kv_memory, pages_shared, 24);
AT(tamis_kv_memory, page_bytes, 32);
AT(tamis_kv_memory, bytes_used, 40);
AT(tamis_kv_memory, bytes_scoring_copy, 48);
AT(tamis_kv_memory, tokens, 56);

SIZE(tamis_selector_options, 72);
AT(tamis_selector_options, struct_size, 0);
AT(tamis_selector_options, method, 4);
AT(tamis_selector_options, q_heads, 8);
AT(tamis_selector_options, n_sink, 12);
AT(tamis_selector_options, n_recent, 16);
AT(tamis_selector_options, top_k, 20);
AT(tamis_selector_options, chunk, 24);
AT(tamis_selector_options, similarity, 28);
AT(tamis_selector_options, vote, 32);
AT(tamis_selector_options, head_map, 36);
AT(tamis_selector_options, pool, 40);
AT(tamis_selector_options, positions, 44);
AT(tamis_selector_options, scale, 48);
AT(tamis_selector_options, softcap, 52);
AT(tamis_selector_options, window, 56);
AT(tamis_selector_options, key0_bias, 64);

SIZE(tamis_retrieval_stats, 64);
AT(tamis_retrieval_stats, struct_size, 0);
AT(tamis_retrieval_stats, reserved, 4);
AT(tamis_retrieval_stats, queries, 8);
AT(tamis_retrieval_stats, tokens_attended, 16);
AT(tamis_retrieval_stats, tokens_scored, 24);
AT(tamis_retrieval_stats, kv_bytes_read, 32);
AT(tamis_retrieval_stats, chunks_dense, 40);
AT(tamis_retrieval_stats, selections, 48);
AT(tamis_retrieval_stats, cache_hits, 56);

SIZE(tamis_sparse_options, 208);
AT(tamis_sparse_options, struct_size, 0);
AT(tamis_sparse_options, method, 4);
AT(tamis_sparse_options, query_block, 8);
AT(tamis_sparse_options, key_block, 12);
AT(tamis_sparse_options, share_group, 16);
AT(tamis_sparse_options, sinks, 20);
AT(tamis_sparse_options, dense_below, 24);
AT(tamis_sparse_options, density, 32);
AT(tamis_sparse_options, coverage, 36);
AT(tamis_sparse_options, budget, 40);
AT(tamis_sparse_options, local, 48);
AT(tamis_sparse_options, instruction_tokens, 56);
AT(tamis_sparse_options, predictor, 64);
AT(tamis_sparse_options, boundaries, 72);
AT(tamis_sparse_options, n_boundaries, 80);
AT(tamis_sparse_options, boundary_options, 88);
AT(tamis_sparse_options, granularity, 96);
AT(tamis_sparse_options, pooling, 100);
AT(tamis_sparse_options, score, 104);
AT(tamis_sparse_options, row_min, 108);
AT(tamis_sparse_options, row_max, 112);
AT(tamis_sparse_options, vertical_ratio, 116);
AT(tamis_sparse_options, sampled_rows, 120);
AT(tamis_sparse_options, vertical, 124);
AT(tamis_sparse_options, slash, 128);
AT(tamis_sparse_options, max_blocks, 132);
AT(tamis_sparse_options, patterns, 136);
AT(tamis_sparse_options, similarity, 144);
AT(tamis_sparse_options, min_budget, 152);
AT(tamis_sparse_options, max_budget, 160);
AT(tamis_sparse_options, stride, 168);
AT(tamis_sparse_options, top_share, 172);
AT(tamis_sparse_options, smooth_keys, 176);
AT(tamis_sparse_options, pv_threshold, 180);
AT(tamis_sparse_options, head_coverage, 184);
AT(tamis_sparse_options, progress, 192);
AT(tamis_sparse_options, progress_user, 200);

SIZE(tamis_head_pattern, 12);
AT(tamis_head_pattern, method, 0);
AT(tamis_head_pattern, first, 4);
AT(tamis_head_pattern, second, 8);

SIZE(tamis_encoder_options, 32);
AT(tamis_encoder_options, struct_size, 0);
AT(tamis_encoder_options, precision, 4);
AT(tamis_encoder_options, added_rows, 8);
AT(tamis_encoder_options, progress, 16);
AT(tamis_encoder_options, progress_user, 24);

SIZE(tamis_encoder_info, 72);
AT(tamis_encoder_info, struct_size, 0);
AT(tamis_encoder_info, kind, 4);
AT(tamis_encoder_info, precision, 8);
AT(tamis_encoder_info, layers, 12);
AT(tamis_encoder_info, hidden, 16);
AT(tamis_encoder_info, heads, 20);
AT(tamis_encoder_info, vocabulary, 24);
AT(tamis_encoder_info, types, 28);
AT(tamis_encoder_info, max_tokens, 32);
AT(tamis_encoder_info, pad_id, 36);
AT(tamis_encoder_info, labels, 40);
AT(tamis_encoder_info, pooling, 44);
AT(tamis_encoder_info, normalise, 48);
AT(tamis_encoder_info, embed_tokens, 52);
AT(tamis_encoder_info, parameters, 56);
AT(tamis_encoder_info, bytes, 64);

SIZE(tamis_ragged, 32);
AT(tamis_ragged, ids, 0);
AT(tamis_ragged, starts, 8);
AT(tamis_ragged, sequences, 16);
AT(tamis_ragged, types, 24);
SIZE(tamis_span, 16);
AT(tamis_span, start, 0);
AT(tamis_span, end, 8);

SIZE(tamis_specpc_options, 40);
AT(tamis_specpc_options, struct_size, 0);
AT(tamis_specpc_options, window, 4);
AT(tamis_specpc_options, starting_layer, 8);
AT(tamis_specpc_options, reduction, 12);
AT(tamis_specpc_options, weighted_query, 16);
AT(tamis_specpc_options, smoothing, 20);
AT(tamis_specpc_options, kernel, 24);
AT(tamis_specpc_options, neighbours, 28);
AT(tamis_specpc_options, capacity, 32);

SIZE(tamis_cluster_options, 56);
AT(tamis_cluster_options, struct_size, 0);
AT(tamis_cluster_options, k, 4);
AT(tamis_cluster_options, restarts, 8);
AT(tamis_cluster_options, max_iterations, 12);
AT(tamis_cluster_options, tolerance, 16);
AT(tamis_cluster_options, seed, 24);
AT(tamis_cluster_options, normalise, 32);
AT(tamis_cluster_options, reserved, 36);
AT(tamis_cluster_options, progress, 40);
AT(tamis_cluster_options, progress_user, 48);

SIZE(tamis_cluster_report, 32);
AT(tamis_cluster_report, struct_size, 0);
AT(tamis_cluster_report, k, 4);
AT(tamis_cluster_report, iterations, 8);
AT(tamis_cluster_report, converged, 12);
AT(tamis_cluster_report, inertia, 16);
AT(tamis_cluster_report, silhouette, 24);

SIZE(tamis_annotation, 56);
AT(tamis_annotation, struct_size, 0);
AT(tamis_annotation, words, 4);
AT(tamis_annotation, compressed_words, 8);
AT(tamis_annotation, labelled, 12);
AT(tamis_annotation, alignment, 16);
AT(tamis_annotation, reserved, 20);
AT(tamis_annotation, variation_rate, 24);
AT(tamis_annotation, hitting_rate, 32);
AT(tamis_annotation, matching_rate, 40);
AT(tamis_annotation, alignment_gap, 48);

SIZE(tamis_annotate_options, 72);
AT(tamis_annotate_options, struct_size, 0);
AT(tamis_annotate_options, alignment, 4);
AT(tamis_annotate_options, window, 8);
AT(tamis_annotate_options, filter, 12);
AT(tamis_annotate_options, drop_variation, 16);
AT(tamis_annotate_options, drop_gap, 24);
AT(tamis_annotate_options, strict, 32);
AT(tamis_annotate_options, reserved, 36);
AT(tamis_annotate_options, progress, 40);
AT(tamis_annotate_options, progress_user, 48);
AT(tamis_annotate_options, bad_line, 56);
AT(tamis_annotate_options, bad_line_user, 64);

SIZE(tamis_annotate_report, 72);
AT(tamis_annotate_report, struct_size, 0);
AT(tamis_annotate_report, reserved, 4);
AT(tamis_annotate_report, pairs, 8);
AT(tamis_annotate_report, bad_lines, 16);
AT(tamis_annotate_report, empty, 24);
AT(tamis_annotate_report, dropped_variation, 32);
AT(tamis_annotate_report, dropped_gap, 40);
AT(tamis_annotate_report, kept, 48);
AT(tamis_annotate_report, words, 56);
AT(tamis_annotate_report, labelled, 64);

SIZE(tamis_compressor_options, 24);
AT(tamis_compressor_options, struct_size, 0);
AT(tamis_compressor_options, chunk_tokens, 4);
AT(tamis_compressor_options, batch_chunks, 8);
AT(tamis_compressor_options, max_force_token, 12);
AT(tamis_compressor_options, placeholders, 16);
AT(tamis_compressor_options, reserved, 20);

SIZE(tamis_compress_options, 136);
AT(tamis_compress_options, struct_size, 0);
AT(tamis_compress_options, mode, 4);
AT(tamis_compress_options, rate, 8);
AT(tamis_compress_options, target_token, 16);
AT(tamis_compress_options, threshold, 24);
AT(tamis_compress_options, scope, 32);
AT(tamis_compress_options, token_to_word, 36);
AT(tamis_compress_options, force_reserve_digit, 40);
AT(tamis_compress_options, drop_consecutive, 44);
AT(tamis_compress_options, use_token_level_filter, 48);
AT(tamis_compress_options, use_context_level_filter, 52);
AT(tamis_compress_options, target_context, 56);
AT(tamis_compress_options, protect, 60);
AT(tamis_compress_options, context_level_rate, 64);
AT(tamis_compress_options, context_level_target_token, 72);
AT(tamis_compress_options, force_tokens, 80);
AT(tamis_compress_options, chunk_end_tokens, 88);
AT(tamis_compress_options, force_context_ids, 96);
AT(tamis_compress_options, n_force_tokens, 104);
AT(tamis_compress_options, n_chunk_end_tokens, 108);
AT(tamis_compress_options, n_force_context_ids, 112);
AT(tamis_compress_options, line_breaks, 116);
AT(tamis_compress_options, progress, 120);
AT(tamis_compress_options, progress_user, 128);

SIZE(tamis_compression_report, 72);
AT(tamis_compression_report, struct_size, 0);
AT(tamis_compression_report, contexts, 4);
AT(tamis_compression_report, origin_tokens, 8);
AT(tamis_compression_report, compressed_tokens, 16);
AT(tamis_compression_report, words, 24);
AT(tamis_compression_report, words_kept, 32);
AT(tamis_compression_report, encoder_tokens, 40);
AT(tamis_compression_report, chunks, 48);
AT(tamis_compression_report, encoder_seconds, 56);
AT(tamis_compression_report, seconds, 64);

SIZE(tamis_context_report, 32);
AT(tamis_context_report, struct_size, 0);
AT(tamis_context_report, kept, 4);
AT(tamis_context_report, origin_tokens, 8);
AT(tamis_context_report, compressed_tokens, 16);
AT(tamis_context_report, score, 24);

SIZE(tamis_word, 32);
AT(tamis_word, start, 0);
AT(tamis_word, end, 8);
AT(tamis_word, probability, 16);
AT(tamis_word, tokens, 20);
AT(tamis_word, flags, 24);
AT(tamis_word, pieces, 28);

SIZE(tamis_tokenizer_info, 48);
AT(tamis_tokenizer_info, struct_size, 0);
AT(tamis_tokenizer_info, model, 4);
AT(tamis_tokenizer_info, vocabulary_size, 8);
AT(tamis_tokenizer_info, added_tokens, 12);
AT(tamis_tokenizer_info, unknown_id, 16);
AT(tamis_tokenizer_info, pad_id, 20);
AT(tamis_tokenizer_info, byte_level, 24);
AT(tamis_tokenizer_info, template_tokens, 28);
AT(tamis_tokenizer_info, pair_tokens, 32);
AT(tamis_tokenizer_info, reserved, 36);
AT(tamis_tokenizer_info, max_tokens, 40);

SIZE(tamis_encode_options, 24);
AT(tamis_encode_options, struct_size, 0);
AT(tamis_encode_options, add_special, 4);
AT(tamis_encode_options, parse_special, 8);
AT(tamis_encode_options, offsets, 12);
AT(tamis_encode_options, max_tokens, 16);

SIZE(tamis_encoded, 56);
AT(tamis_encoded, struct_size, 0);
AT(tamis_encoded, reserved, 4);
AT(tamis_encoded, n, 8);
AT(tamis_encoded, ids, 16);
AT(tamis_encoded, starts, 24);
AT(tamis_encoded, ends, 32);
AT(tamis_encoded, words, 40);
AT(tamis_encoded, types, 48);

SIZE(tamis_boundary_options, 32);
AT(tamis_boundary_options, struct_size, 0);
AT(tamis_boundary_options, threshold, 4);
AT(tamis_boundary_options, min_gap, 8);
AT(tamis_boundary_options, max_per_block, 12);
AT(tamis_boundary_options, query_block, 16);
AT(tamis_boundary_options, window, 20);
AT(tamis_boundary_options, instruction_tokens, 24);

SIZE(tamis_chunk_index_options, 28);
AT(tamis_chunk_index_options, struct_size, 0);
AT(tamis_chunk_index_options, kv_heads, 4);
AT(tamis_chunk_index_options, head_dim, 8);
AT(tamis_chunk_index_options, open_tokens, 12);
AT(tamis_chunk_index_options, pooling, 16);
AT(tamis_chunk_index_options, sinks, 20);
AT(tamis_chunk_index_options, local, 24);

SIZE(tamis_token_lists, 40);
AT(tamis_token_lists, ids, 0);
AT(tamis_token_lists, starts, 8);
AT(tamis_token_lists, lengths, 16);
AT(tamis_token_lists, count, 24);
AT(tamis_token_lists, width, 32);

SIZE(tamis_bleu_options, 96);
AT(tamis_bleu_options, struct_size, 0);
AT(tamis_bleu_options, rule, 4);
AT(tamis_bleu_options, smoothing, 8);
AT(tamis_bleu_options, max_n, 12);
AT(tamis_bleu_options, effective_order, 16);
AT(tamis_bleu_options, auto_reweigh, 20);
AT(tamis_bleu_options, exact, 24);
AT(tamis_bleu_options, has_pad, 28);
AT(tamis_bleu_options, pad_id, 32);
AT(tamis_bleu_options, weight_lists, 36);
AT(tamis_bleu_options, value, 40);
AT(tamis_bleu_options, alpha, 48);
AT(tamis_bleu_options, k, 56);
AT(tamis_bleu_options, weights, 64);
AT(tamis_bleu_options, weight_counts, 72);
AT(tamis_bleu_options, progress, 80);
AT(tamis_bleu_options, progress_user, 88);

SIZE(tamis_bleu_report, 424);
AT(tamis_bleu_report, struct_size, 0);
AT(tamis_bleu_report, max_n, 4);
AT(tamis_bleu_report, score, 8);
AT(tamis_bleu_report, brevity_penalty, 16);
AT(tamis_bleu_report, length, 24);
AT(tamis_bleu_report, reference_length, 32);
AT(tamis_bleu_report, precisions, 40);
AT(tamis_bleu_report, matches, 168);
AT(tamis_bleu_report, totals, 296);

SIZE(tamis_word_options, 32);
AT(tamis_word_options, struct_size, 0);
AT(tamis_word_options, tokenizer, 4);
AT(tamis_word_options, lowercase, 8);
AT(tamis_word_options, normalised, 12);
AT(tamis_word_options, no_punctuation, 16);
AT(tamis_word_options, twice_from, 20);
AT(tamis_word_options, context, 24);

SIZE(tamis_chrf_options, 40);
AT(tamis_chrf_options, struct_size, 0);
AT(tamis_chrf_options, char_order, 4);
AT(tamis_chrf_options, word_order, 8);
AT(tamis_chrf_options, eps_smoothing, 12);
AT(tamis_chrf_options, beta, 16);
AT(tamis_chrf_options, progress, 24);
AT(tamis_chrf_options, progress_user, 32);
