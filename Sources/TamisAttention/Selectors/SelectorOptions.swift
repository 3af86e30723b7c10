public import TamisCore

/// How tokens are chosen; a method is one file beside this one.
public enum Method: Int32, Sendable, CaseIterable {
  case dense = 0
  case streaming = 1
  case tokenSelect = 2

  var rule: any SelectionMethod {
    switch self {
    case .dense: DenseSelection()
    case .streaming: Streaming()
    case .tokenSelect: TokenSelect()
    }
  }
}

/// A method with its budget: `tamis_selector_options`.
public struct SelectorOptions: Sendable, Equatable {
  public var method: Method
  /// 0: the KV heads of the cache; else a multiple of them.
  public var qHeads: Int
  public var sinks: Int
  /// At least `chunk`.
  public var recent: Int
  public var topK: Int
  /// A longer run of queries is cut into chunks of this many; each shares one selection.
  public var chunk: Int
  /// Smallest cosine between decode queries for which a cached selection is reused; above 1: never.
  public var similarity: Float
  public var vote: VoteRule.Kind
  public var headMap: VoteRule.HeadMap
  /// 0: off; odd: max-pool of the votes over that many neighbouring tokens.
  public var pool: Int
  public var positions: AttentionRule.Positions
  /// 0: 1 / sqrt(headDim).
  public var scale: Float
  public var softcap: Float
  /// `Method.dense` only: sliding window, 0: none.
  public var window: Int
  /// One per query head, added to the logit of token 0.
  public var keyZeroBias: [Float]?

  public init(
    method: Method = .tokenSelect, qHeads: Int = 0, sinks: Int = 128, recent: Int = 512, topK: Int = 2048, chunk: Int = 512,
    similarity: Float = 0.9, vote: VoteRule.Kind = .soft, headMap: VoteRule.HeadMap = .group, pool: Int = 0,
    positions: AttentionRule.Positions = .compact, scale: Float = 0, softcap: Float = 0, window: Int = 0,
    keyZeroBias: [Float]? = nil
  ) {
    self.method = method
    self.qHeads = qHeads
    self.sinks = sinks
    self.recent = recent
    self.topK = topK
    self.chunk = chunk
    self.similarity = similarity
    self.vote = vote
    self.headMap = headMap
    self.pool = pool
    self.positions = positions
    self.scale = scale
    self.softcap = softcap
    self.window = window
    self.keyZeroBias = keyZeroBias
  }

  /// The options in effect for a cache: query heads and scale resolved.
  /// - Throws: `invalidArgument` naming the field.
  func resolved(for cache: KVCacheOptions) throws(TamisError) -> SelectorOptions {
    var options = self
    if qHeads == 0 { options.qHeads = cache.kvHeads }
    let most = Int(Int32.max)
    try require(
      (1...KVCacheOptions.most).contains(options.qHeads) && options.qHeads % cache.kvHeads == 0,
      "q_heads is \(qHeads); expected 0 or a multiple of the cache's \(cache.kvHeads) kv_heads, at most \(KVCacheOptions.most)")
    try require((0...most).contains(sinks), "n_sink is \(sinks); expected 0 to \(most)")
    try require((0...most).contains(topK), "top_k is \(topK); expected 0 to \(most)")
    try require((1...most).contains(chunk), "chunk is \(chunk); expected 1 to \(most)")
    try require(
      (chunk...most).contains(recent),
      "n_recent is \(recent); expected at least chunk (\(chunk)): a chunk must see its own tokens")
    try require(!similarity.isNaN, "similarity is NaN; expected a cosine, or more than 1 for no selection cache")
    try require(
      pool == 0 || ((1...most).contains(pool) && pool % 2 == 1), "pool is \(pool); expected 0 or an odd number")
    try require(scale.isFinite && scale >= 0, "scale is \(scale); expected 0 (1/sqrt(head_dim)) or a finite number above 0")
    try require(softcap.isFinite && softcap >= 0, "softcap is \(softcap); expected 0 (none) or a finite number above 0")
    try require(window >= 0, "window is \(window); expected 0 (none) or more")
    try require(
      window == 0 || method == .dense, "window is \(window); only the dense method has a window, others have n_recent")
    try require(
      keyZeroBias == nil || keyZeroBias!.count == options.qHeads,
      "key0_bias has \(keyZeroBias?.count ?? 0) values; expected one per query head (\(options.qHeads))")
    if scale == 0 { options.scale = 1 / Float(cache.headDim).squareRoot() }
    return options
  }
}
