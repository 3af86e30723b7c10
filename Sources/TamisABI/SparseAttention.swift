// include/tamis/sparse_attention.h
import CTamis
import Tamis

extension tamis_sparse_stats: VersionedStruct {
  static var firstSize: Int { 72 }
  static var defaults: Self { Self() }
}

@c @implementation public func tamis_sparse_attention(
  _ handle: OpaquePointer!, _ options: UnsafePointer<tamis_attention_options>!, _ tiles: UnsafePointer<tamis_tiles>!,
  _ pv_threshold: Float, _ q: UnsafePointer<tamis_tensor>!, _ k: UnsafePointer<tamis_tensor>!,
  _ v: UnsafePointer<tamis_tensor>!, _ out: UnsafePointer<tamis_tensor>!, _ lse: UnsafePointer<tamis_tensor>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let options = try read(options, "options")
    let t = try AttentionTensors(q: q, k: k, v: v, out: out, lse: lse)
    var (rule, mask) = try attentionRule(options, t)
    mask.pvThreshold = try finite(pv_threshold, "pv_threshold")
    let lists = tiles == nil ? nil : try tileLists(tiles, t)
    try SparseAttention.attend(
      context, q: t.q.view, k: t.k.view, v: t.v.view, rule: rule, mask: mask, tiles: lists, out: t.out.view, lse: t.lse?.view,
      progress: progress(options.progress, options.progress_user))
  }
}

private func tileLists(_ tiles: UnsafePointer<tamis_tiles>, _ t: AttentionTensors) throws(TamisError) -> TileLists {
  let (q, k, h) = (t.q.view, t.k.view, t.heads)
  let argument = try TileArgument(
    tiles, batch: h == 1 ? q.shape[0] : 1, queries: q.shape[h + 1], keys: k.shape[h + 1], heads: (k.shape[h], q.shape[h]))
  try argument.requireApart(from: t.out)
  if let lse = t.lse { try argument.requireApart(from: lse) }
  return argument.lists
}

// MARK: masks

@c @implementation public func tamis_sparse_mask_create(
  _ tiles: UnsafePointer<tamis_tiles>!, _ batch: Int64, _ q_len: Int64, _ k_len: Int64,
  _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> tamis_status {
  status { () throws(TamisError) in
    let out = try need(out, "out")
    let batch = try count(batch, "batch", from: 1)
    let queries = try count(q_len, "q_len", from: 1)
    let keys = try count(k_len, "k_len", from: 1)
    let argument = try TileArgument(tiles, batch: batch, queries: queries, keys: keys, heads: nil)
    out.pointee = Handle.make(
      TileMask(copying: argument.lists, batch: batch, queries: queries, keys: keys), .sparse_mask)
  }
}

@c @implementation public func tamis_sparse_mask_destroy(_ mask: OpaquePointer!) {
  Handle<TileMask>.destroy(mask, .sparse_mask)
}

@c @implementation public func tamis_sparse_mask_tiles(_ handle: OpaquePointer!, _ tiles: UnsafeMutablePointer<tamis_tiles>!)
  -> tamis_status
{
  status { () throws(TamisError) in
    let mask = try mask(handle)
    try checkOutput(tiles, "tiles")
    write(
      tamis_tiles(
        struct_size: 0, heads: Int32(mask.heads), query_block: Int32(mask.queryBlock), key_block: Int32(mask.keyBlock),
        row_ptr: UnsafePointer(mask.rowStart.baseAddress!), index: UnsafePointer(mask.index.baseAddress!),
        n_rows: Int64(mask.batch * mask.heads * mask.blocks)), to: tiles)
  }
}

@c @implementation public func tamis_sparse_mask_boundaries(
  _ handle: OpaquePointer!, _ boundaries: UnsafeMutablePointer<UnsafePointer<Int64>?>!, _ n: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let mask = try mask(handle)
    let boundaries = try need(boundaries, "boundaries")
    let n = try need(n, "n")
    boundaries.pointee = mask.boundaryCount == 0 ? nil : UnsafePointer(mask.boundaries.baseAddress!)
    n.pointee = Int64(mask.boundaryCount)
  }
}

@c @implementation public func tamis_sparse_mask_stats(
  _ handle: OpaquePointer!, _ attention: UnsafePointer<tamis_attention_options>!, _ q_heads: Int32,
  _ stats: UnsafeMutablePointer<tamis_sparse_stats>!
) -> tamis_status {
  status { () throws(TamisError) in
    let mask = try mask(handle)
    let options = try read(attention, "attention")
    let heads = try count(q_heads, "q_heads", from: 1)
    try require(heads % mask.heads == 0, "q_heads is \(heads); expected a multiple of the \(mask.heads) heads of the mask")
    try checkOutput(stats, "stats")
    let placement = try placement(options, queries: mask.queries, keys: mask.keys)
    mask.counts(placement, window: try windowLength(options.window), heads: heads).add(to: stats)
  }
}

extension TileCounts {
  /// Adds to the caller's sums; they wrap rather than trap.
  func add(to stats: UnsafeMutablePointer<tamis_sparse_stats>) {
    stats.pointee.tiles_listed &+= Int64(tilesListed)
    stats.pointee.tiles_legal &+= Int64(tilesLegal)
    stats.pointee.pairs_attended &+= Int64(pairsAttended)
    stats.pointee.pairs_legal &+= Int64(pairsLegal)
  }
}
