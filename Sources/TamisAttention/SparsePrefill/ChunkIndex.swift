public import TamisCore
public import TamisDevice

/// Chunks of one layer's cached keys that grow with the sequence, for decode with a budget (arXiv 2510.24606 v1 describes it;
/// the official code leaves decode dense): the prompt's chunks, then one for every `openTokens` generated tokens, the last
/// still open. Calls take the context's lock.
///
/// Keeps the mean key of every token (headDim f32), so that it can be cut anywhere, and a vector per chunk. A step adds one
/// row to the open chunk and scores chunks: O(chunks * headDim).
public final class ChunkIndex: @unchecked Sendable {
  public let context: Context
  public let kvHeads, headDim: Int
  public let openTokens: Int
  public let pooling: ChunkPooling
  /// At most a quarter of a budget.
  public let sinks: Int
  public let local: Int

  /// [tokens][headDim]: keys averaged over heads.
  private var means: [Float] = []
  /// [chunks][headDim]: pooled.
  private var vectors: [Float] = []
  /// chunks + 1, from 0 to the number of tokens.
  private var boundaries: [Int64] = [0]
  /// Whether a chunk is of generated tokens, and may be open.
  private var generated: [Bool] = []
  /// Whether the last chunk takes the next token.
  private var isOpen = false
  /// Sum of the last chunk's means.
  private var openSum: [Double]

  private var row: [Float]
  private var query: [Float]
  private var scores: [Float] = []
  private var ranking = ChunkRanking()
  private var taken: [Bool] = []

  /// - Throws: `invalidArgument`.
  public init(
    context: Context, kvHeads: Int = 1, headDim: Int = 64, openTokens: Int = 64, pooling: ChunkPooling = .squareRoot,
    sinks: Int = 128, local: Int = 128
  ) throws(TamisError) {
    try require(kvHeads >= 1 && kvHeads <= 4096, "kv_heads is \(kvHeads); expected 1 to 4096")
    try require(
      headDim % 8 == 0 && (8...256).contains(headDim), "head_dim is \(headDim); expected a multiple of 8 from 8 to 256")
    try require(openTokens >= 1, "open_tokens is \(openTokens); expected at least 1")
    try require(sinks >= 0, "sinks is \(sinks); expected at least 0")
    try require(local >= 0, "local is \(local); expected at least 0")
    self.context = context
    self.kvHeads = kvHeads
    self.headDim = headDim
    self.openTokens = openTokens
    self.pooling = pooling
    self.sinks = sinks
    self.local = local
    openSum = .init(repeating: 0, count: headDim)
    row = .init(repeating: 0, count: headDim)
    query = .init(repeating: 0, count: headDim)
  }

  public var tokens: Int { Int(boundaries[boundaries.count - 1]) }
  public var chunks: Int { generated.count }

  /// Adds keys k [kvHeads, n, headDim]. `boundaries`: their chunks, from 0 to n, which close what was open; nil: they join the
  /// open chunk.
  /// - Throws: `invalidArgument`.
  public func append(_ k: TensorView, boundaries given: [Int64]? = nil) throws(TamisError) {
    try require(k.shape[0] == kvHeads, "k->shape[0] is \(k.shape[0]); expected \(kvHeads), the kv_heads of the index")
    try require(k.shape[2] == headDim, "k->shape[2] is \(k.shape[2]); expected \(headDim), the head_dim of the index")
    let n = k.shape[1]
    try require(
      tokens + n <= Int(Int32.max), "k->shape[1] is \(n) after \(tokens) tokens; expected at most \(Int32.max) in all")
    if let given { try Boundaries.check(given, n) }
    try context.withLock { () throws(TamisError) in
      if let given {
        for c in 0..<given.count - 1 {
          startChunk(generated: false)
          for t in Int(given[c])..<Int(given[c + 1]) { add(k, t) }
          finishVector()
        }
        isOpen = false
      } else {
        for t in 0..<n {
          if !isOpen { startChunk(generated: true) }
          isOpen = true
          add(k, t)
          if lastLength == openTokens {
            finishVector()
            isOpen = false
          }
        }
        if isOpen { finishVector() }
      }
    }
  }

  private var lastLength: Int { Int(boundaries[boundaries.count - 1] - boundaries[boundaries.count - 2]) }

  private func startChunk(generated isGenerated: Bool) {
    boundaries.append(boundaries[boundaries.count - 1])
    generated.append(isGenerated)
    vectors.append(contentsOf: repeatElement(0, count: headDim))
    for i in 0..<headDim { openSum[i] = 0 }
  }

  private func add(_ k: TensorView, _ t: Int) {
    let start = means.count
    means.append(contentsOf: repeatElement(0, count: headDim))
    let table = Kernels.active
    row.withUnsafeMutableBufferPointer { row in
      means.withUnsafeMutableBufferPointer { means in
        let mean = means.baseAddress! + start
        for h in 0..<kvHeads {
          k.loadRow(h, t, to: row.baseAddress!, table)
          table.pointee.add_scaled(mean, row.baseAddress!, headDim, 1 / Float(kvHeads))
        }
      }
    }
    for i in 0..<headDim { openSum[i] += Double(means[start + i]) }
    boundaries[boundaries.count - 1] += 1
  }

  private func finishVector() {
    let weight = pooling.weight(lastLength)
    let start = vectors.count - headDim
    for i in 0..<headDim { vectors[start + i] = Float(openSum[i] * weight) }
  }

  /// Forgets tokens from n on: the index is as it was when it had n tokens, but that a prompt's chunk may have been cut short.
  /// - Throws: `invalidArgument`.
  public func truncate(to n: Int) throws(TamisError) {
    try require(n >= 0 && n <= tokens, "n_tokens is \(n); expected 0 to \(tokens), the tokens of the index")
    try context.withLock { () throws(TamisError) in
      while let first = boundaries.dropLast().last, first >= Int64(n) {
        boundaries.removeLast()
        generated.removeLast()
        vectors.removeLast(headDim)
      }
      means.removeLast(means.count - n * headDim)
      boundaries[boundaries.count - 1] = Int64(n)
      guard let isGenerated = generated.last else {
        isOpen = false
        return
      }
      isOpen = isGenerated && lastLength < openTokens
      for i in 0..<headDim { openSum[i] = 0 }
      for t in n - lastLength..<n {
        for i in 0..<headDim { openSum[i] += Double(means[t * headDim + i]) }
      }
      finishVector()
    }
  }

  /// How many tokens a budget gets of the index: -1 is all.
  /// - Throws: `invalidArgument`.
  public func count(budget: Int) throws(TamisError) -> Int {
    try require(budget == -1 || budget >= 1, "budget is \(budget); expected -1 (all) or at least 1")
    return budget == -1 ? tokens : min(budget, tokens)
  }

  /// Writes `count(budget:)` tokens for the query q [heads, 1, headDim], ascending: the first, the best chunks', the last.
  /// - Throws: `invalidArgument`.
  public func select(_ q: TensorView, budget: Int, into list: UnsafeMutablePointer<Int32>) throws(TamisError) -> Int {
    try require(
      q.shape[0] % kvHeads == 0, "q->shape[0] is \(q.shape[0]); expected a multiple of \(kvHeads), the kv_heads of the index")
    try require(q.shape[1] == 1, "q->shape[1] is \(q.shape[1]); expected 1: the query of one step")
    try require(q.shape[2] == headDim, "q->shape[2] is \(q.shape[2]); expected \(headDim), the head_dim of the index")
    let wanted = try count(budget: budget)
    return try context.withLock { () throws(TamisError) in
      if wanted == tokens {
        for t in 0..<wanted { list[t] = Int32(truncatingIfNeeded: t) }
        return wanted
      }
      let kept = ChunkSpend.kept(wanted, legal: 0..<tokens, sinks: sinks, local: local, own: 1)
      var spend = ChunkSpend(0..<tokens, unit: 1, memory: take(&taken))
      spend.keep(kept.band)
      spend.keep(kept.sinks)
      if spend.count < wanted {
        rank(q)
        boundaries.withUnsafeBufferPointer { spend.fill(upTo: wanted, from: &ranking, $0.baseAddress!) }
      }
      spend.write(to: list)
      taken = spend.release()
      return wanted
    }
  }

  private func take(_ memory: inout [Bool]) -> [Bool] {
    var own: [Bool] = []
    swap(&own, &memory)
    return own
  }

  private func rank(_ q: TensorView) {
    let table = Kernels.active
    for i in 0..<headDim { query[i] = 0 }
    if scores.count < chunks { scores.append(contentsOf: repeatElement(0, count: 2 * chunks - scores.count)) }
    row.withUnsafeMutableBufferPointer { row in
      query.withUnsafeMutableBufferPointer { query in
        for h in 0..<q.shape[0] {
          q.loadRow(h, 0, to: row.baseAddress!, table)
          table.pointee.add_scaled(query.baseAddress!, row.baseAddress!, headDim, 1 / Float(q.shape[0]))
        }
        scores.withUnsafeMutableBufferPointer { scores in
          vectors.withUnsafeBufferPointer {
            dotRows(query.baseAddress!, $0.baseAddress!, headDim, chunks, scores.baseAddress!)
          }
          ranking.start(scores.baseAddress!, first: 0, count: chunks)
        }
      }
    }
  }
}
