// include/tamis/sparse_prefill.h
import CTamis
import Tamis

extension tamis_sparse_options: VersionedStruct {
  static var firstSize: Int { 216 }
  static var defaults: Self {
    Self(
      struct_size: currentSize, method: TAMIS_SPARSE_DHSA_TOPK, query_block: 0, key_block: 0, share_group: 0, sinks: 0,
      dense_below: -1, density: 0, coverage: 0, budget: 0, local: 0, instruction_tokens: 0, predictor: nil, boundaries: nil,
      n_boundaries: 0, boundary_options: nil, granularity: TAMIS_GRANULARITY_TILES, pooling: TAMIS_CHUNK_SQRT,
      score: TAMIS_BLOCK_SCORE_LSE8, row_min: 0, row_max: 0, vertical_ratio: 0, sampled_rows: 0, vertical: 0, slash: 0,
      max_blocks: 0, patterns: nil, similarity: -2, min_budget: 0, max_budget: 0, stride: 0, top_share: 0, smooth_keys: 0,
      pv_threshold: 0, head_coverage: nil, progress: nil, progress_user: nil, head_lists: 0,
      reserved: 0)
  }
}

@c @implementation public func tamis_sparse_options_init(_ options: UnsafeMutablePointer<tamis_sparse_options>!) {
  options?.initialize(to: .defaults)
}

@c @implementation public func tamis_sparse_select(
  _ handle: OpaquePointer!, _ options: UnsafePointer<tamis_sparse_options>!,
  _ attention: UnsafePointer<tamis_attention_options>!,
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

@c @implementation public func tamis_sparse_prefill(
  _ handle: OpaquePointer!, _ options: UnsafePointer<tamis_sparse_options>!,
  _ attention: UnsafePointer<tamis_attention_options>!,
  _ q: UnsafePointer<tamis_tensor>!, _ k: UnsafePointer<tamis_tensor>!, _ v: UnsafePointer<tamis_tensor>!,
  _ out: UnsafePointer<tamis_tensor>!, _ lse: UnsafePointer<tamis_tensor>!, _ mask_out: UnsafeMutablePointer<OpaquePointer?>!,
  _ stats: UnsafeMutablePointer<tamis_sparse_stats>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let raw = try read(options, "options")
    let t = try AttentionTensors(q: q, k: k, v: v, out: out, lse: lse)
    let maskOut = try allow(mask_out, "mask")
    if stats != nil { try checkOutput(stats, "stats") }
    var (rule, mask) = try sparseRule(attention, q: t.q.view, k: t.k.view)
    let method = try SparseMethod(raw, q: t.q.view, k: t.k.view, mask: mask)
    mask.pvThreshold = method.pvThreshold
    let done = try SparsePrefill.attend(
      context, method.selector, shareGroup: method.shareGroup, denseBelow: try denseBelow(raw.dense_below), q: t.q.view,
      k: t.k.view, v: t.v.view, rule: rule, mask: mask, out: t.out.view, lse: t.lse?.view,
      progress: progress(raw.progress, raw.progress_user))
    if let maskOut { maskOut.pointee = done.mask.map { Handle.make($0, .sparse_mask) } }
    if let stats { done.stats.add(to: stats) }
  }
}

/// -1 is the default.
private func denseBelow(_ keys: Int64) throws(TamisError) -> Int {
  try require(keys >= -1, "options->dense_below is \(keys); expected -1 (\(SparsePrefill.denseBelow)) or at least 0")
  return keys == -1 ? SparsePrefill.denseBelow : Int(keys)
}

extension SparseStats {
  /// Adds to the caller's sums; they wrap rather than trap.
  fileprivate func add(to stats: UnsafeMutablePointer<tamis_sparse_stats>) {
    stats.pointee.calls_sparse &+= isSparse ? 1 : 0
    stats.pointee.calls_dense &+= isSparse ? 0 : 1
    stats.pointee.select_ns &+= selectNanoseconds
    stats.pointee.attend_ns &+= attendNanoseconds
    counts.add(to: stats)
  }
}
