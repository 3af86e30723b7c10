// Caches and selectors over plain f32 memory: the number of tokens follows from the number of elements.

extension KVCache {
  /// Appends tokens to one layer of a sequence.
  /// - Parameter k: [kvHeads, n, headDim], row-major.
  /// - Parameter v: as k.
  /// - Throws: `invalidArgument`, `notFound`, `cacheFull`, `outOfMemory`, `device`; nothing is appended then.
  public func append(_ sequence: SequenceID, layer: Int, k: Span<Float>, v: Span<Float>) throws(TamisError) {
    let shape = try rows(k.count, "k", heads: options.kvHeads, headDim: options.headDim)
    try k.withTensor(shape) { (kView) throws(TamisError) in
      try v.withTensor(shape) { (vView) throws(TamisError) in
        try append(sequence, layer: layer, k: kView, v: vView)
      }
    }
  }

  /// The same with arrays.
  public func append(_ sequence: SequenceID, layer: Int, k: [Float], v: [Float]) throws(TamisError) {
    try append(sequence, layer: layer, k: k.span, v: v.span)
  }
}

extension Selector {
  /// Attention of the last c tokens of a sequence, whose keys and values are in the cache already, over the tokens the method
  /// selects for them.
  /// - Parameter q: [qHeads, c, headDim], row-major; un-rotated when the cache has a RoPE rule.
  /// - Parameter out: as q.
  /// - Returns: what the call did.
  /// - Throws: `invalidArgument`, `notFound`, `outOfMemory`, `device`.
  @discardableResult
  public func attend(
    _ sequence: SequenceID, layer: Int, q: Span<Float>, into out: inout MutableSpan<Float>
  ) throws(TamisError) -> RetrievalStats {
    let shape = try rows(q.count, "q", heads: options.qHeads, headDim: cache.options.headDim)
    var stats = RetrievalStats()
    try q.withTensor(shape) { (qView) throws(TamisError) in
      try out.withTensor(shape) { (outView) throws(TamisError) in
        try attend(sequence, layer: layer, q: qView, out: outView, lse: nil, stats: &stats)
      }
    }
    return stats
  }

  /// The same with arrays: q [qHeads, c, headDim] in, the attention output of the same shape back.
  public func attend(_ sequence: SequenceID, layer: Int, q: [Float]) throws(TamisError) -> [Float] {
    var out = [Float](repeating: 0, count: q.count)
    var span = out.mutableSpan
    try attend(sequence, layer: layer, q: q.span, into: &span)
    return out
  }

  /// The tokens `attend` would use for these c <= chunk queries, ascending.
  /// - Parameter q: [qHeads, c, headDim], row-major.
  /// - Throws: as `attend`.
  public func retrieve(_ sequence: SequenceID, layer: Int, q: Span<Float>) throws(TamisError) -> [Int32] {
    let shape = try rows(q.count, "q", heads: options.qHeads, headDim: cache.options.headDim)
    return try q.withTensor(shape) { (qView) throws(TamisError) in
      let length = try cache.length(of: sequence, layer: layer)
      var tokens = [Int32](repeating: 0, count: length)
      let count = try tokens.withUnsafeMutableBufferPointer { (buffer) throws(TamisError) in
        try retrieve(sequence, layer: layer, q: qView, indices: buffer, votes: nil)
      }
      tokens.removeLast(length - count)
      return tokens
    }
  }

  /// The same with an array.
  public func retrieve(_ sequence: SequenceID, layer: Int, q: [Float]) throws(TamisError) -> [Int32] {
    try retrieve(sequence, layer: layer, q: q.span)
  }
}

/// [heads, n, headDim] for this many elements.
private func rows(_ count: Int, _ name: String, heads: Int, headDim: Int) throws(TamisError) -> [Int] {
  let token = heads * headDim
  try require(
    count > 0 && count % token == 0, "\(name) holds \(count) elements; expected a multiple of \(heads) heads * \(headDim)")
  return [heads, count / token, headDim]
}
