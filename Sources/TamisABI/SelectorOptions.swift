// The options and reports of retrieval.h to and from Swift.
import CTamis
import Tamis

extension SelectorOptions {
  init(_ raw: tamis_selector_options, kvHeads: Int) throws(TamisError) {
    let heads = try count(raw.q_heads, "options->q_heads")
    let pool = try count(raw.pool, "options->pool")
    try require(
      heads % kvHeads == 0, "options->q_heads is \(heads); expected 0 or a multiple of the \(kvHeads) kv_heads of the cache")
    try require(pool == 0 || pool % 2 == 1, "options->pool is \(pool); expected 0 (off) or an odd number")
    let chunk = try count(raw.chunk, "options->chunk", from: 1)
    let recent = try count(raw.n_recent, "options->n_recent")
    try require(recent >= chunk, "options->n_recent is \(recent); expected at least the chunk, \(chunk)")
    self.init(
      method: try choice(
        raw.method, "options->method", Method.self, "TAMIS_SELECT_DENSE, TAMIS_SELECT_STREAMING or TAMIS_SELECT_TOKENSELECT"),
      qHeads: heads == 0 ? kvHeads : heads, sinks: try count(raw.n_sink, "options->n_sink"), recent: recent,
      topK: try count(raw.top_k, "options->top_k"), chunk: chunk,
      similarity: try finite(raw.similarity, "options->similarity", from: -.greatestFiniteMagnitude),
      vote: try choice(raw.vote, "options->vote", VoteRule.Kind.self, "TAMIS_VOTE_SOFT, TAMIS_VOTE_TOPK or TAMIS_VOTE_HEADS"),
      headMap: try choice(
        raw.head_map, "options->head_map", VoteRule.HeadMap.self, "TAMIS_HEADS_GROUP or TAMIS_HEADS_MODULO"),
      pool: pool,
      positions: try choice(
        raw.positions, "options->positions", AttentionRule.Positions.self, "TAMIS_POSITIONS_COMPACT or TAMIS_POSITIONS_NATURAL"),
      scale: try finite(raw.scale, "options->scale", from: -.greatestFiniteMagnitude),
      softcap: try finite(raw.softcap, "options->softcap"), window: try windowLength(raw.window),
      keyZeroBias: try biasList(raw.key0_bias, heads == 0 ? kvHeads : heads))
  }
}

private func biasList(_ bias: UnsafePointer<Float>?, _ heads: Int) throws(TamisError) -> [Float]? {
  guard bias != nil else { return nil }
  let bias = try need(bias, "options->key0_bias")
  try requireExtent(bias, heads, "options->key0_bias")
  return Array(UnsafeBufferPointer(start: bias, count: heads))
}

extension RetrievalStats {
  /// Counts of one call from 0 on; checks the caller's struct, which may be NULL.
  static func start(_ stats: UnsafeMutablePointer<tamis_retrieval_stats>?) throws(TamisError) -> RetrievalStats {
    if stats != nil { try checkOutput(stats, "stats") }
    return RetrievalStats()
  }

  /// Adds to the caller's sums; they wrap rather than trap.
  func add(to stats: UnsafeMutablePointer<tamis_retrieval_stats>?) {
    guard let stats else { return }
    stats.pointee.queries &+= queries
    stats.pointee.tokens_attended &+= tokensAttended
    stats.pointee.tokens_scored &+= tokensScored
    stats.pointee.kv_bytes_read &+= kvBytesRead
    stats.pointee.chunks_dense &+= chunksDense
    stats.pointee.selections &+= selections
    stats.pointee.cache_hits &+= cacheHits
  }
}
