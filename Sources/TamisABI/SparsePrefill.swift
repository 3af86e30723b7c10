// include/tamis/sparse_prefill.h
import CTamis
import Tamis

extension tamis_sparse_options: VersionedStruct {
  static var firstSize: Int { 208 }
  static var defaults: Self {
    Self(
      struct_size: currentSize, method: TAMIS_SPARSE_DHSA_TOPK, query_block: 0, key_block: 0, share_group: 0, sinks: 0,
      dense_below: -1, density: 0, coverage: 0, budget: 0, local: 0, instruction_tokens: 0, predictor: nil, boundaries: nil,
      n_boundaries: 0, boundary_options: nil, granularity: TAMIS_GRANULARITY_TILES, pooling: TAMIS_CHUNK_SQRT,
      score: TAMIS_BLOCK_SCORE_LSE8, row_min: 0, row_max: 0, vertical_ratio: 0, sampled_rows: 0, vertical: 0, slash: 0,
      max_blocks: 0, patterns: nil, similarity: -2, min_budget: 0, max_budget: 0, stride: 0, top_share: 0, smooth_keys: 0,
      pv_threshold: 0, head_coverage: nil, progress: nil, progress_user: nil)
  }
}

@c @implementation public func tamis_sparse_options_init(_ options: UnsafeMutablePointer<tamis_sparse_options>!) {
  options?.initialize(to: .defaults)
}

@c @implementation public func tamis_sparse_select(
  _ handle: OpaquePointer!, _ options: UnsafePointer<tamis_sparse_options>!, _ attention: UnsafePointer<tamis_attention_options>!,
  _ q: UnsafePointer<tamis_tensor>!, _ k: UnsafePointer<tamis_tensor>!, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let raw = try read(options, "options")
    let t = try QueryKeys(q: q, k: k)
    let out = try need(out, "out")
    let (rule, mask) = try sparseRule(attention, q: t.q.view, k: t.k.view)
    let method = try SparseMethod(raw, q: t.q.view, k: t.k.view, mask: mask)
    let chosen = try SparsePrefill.select(
      context, method.selector, shareGroup: method.shareGroup, q: t.q.view, k: t.k.view, rule: rule, mask: mask,
      progress: progress(raw.progress, raw.progress_user))
    out.pointee = Handle.make(chosen, .sparse_mask)
  }
}

/// As `attentionRule`, for an argument that is called `attention`.
private func sparseRule(_ attention: UnsafePointer<tamis_attention_options>?, q: TensorView, k: TensorView)
  throws(TamisError) -> (AttentionRule, DenseMask)
{
  let attention = try read(attention, "attention")
  do throws(TamisError) {
    return try attentionRule(attention, q: q, k: k)
  } catch {
    let prefix = "options->"
    let message = error.message
    throw TamisError(error.status, message.hasPrefix(prefix) ? "attention->" + message.dropFirst(prefix.count) : message)
  }
}
