public import TamisCore
import TamisDevice

/// A method with its budget, bound to a cache: attention of the last tokens of a sequence over the tokens the method selects.
///
/// Long runs of queries are cut into chunks. Chunk i sees the cache as it was when its own last token was appended, so a prompt
/// in one call and the same prompt in calls of one chunk each give the same result. Every public method takes the context's
/// lock. A steady decode step allocates nothing.
public final class Selector: @unchecked Sendable {
  public let cache: KVCache
  /// In effect: query heads and scale resolved.
  public let options: SelectorOptions

  private let method: any SelectionMethod
  private let budget: Budget?
  private let backend: any Backend
  private let scores: any TokenScores
  private let selection: any TokenSelection
  private var selections = SelectionCache()
  private let rotation: ScoringRotation
  /// q' [qHeads][headDim], and room to convert one row of q.
  private let query: UnsafeMutablePointer<Float>
  private let room: UnsafeMutablePointer<Float>
  private let bias: UnsafeMutablePointer<Float>?
  private let denseRule: AttentionRule
  private let listRule: AttentionRule

  /// - Throws: `invalidArgument`.
  public init(cache: KVCache, options: SelectorOptions) throws(TamisError) {
    let options = try options.resolved(for: cache.options)
    self.cache = cache
    self.options = options
    method = options.method.rule
    budget = method.budget(options)
    backend = cache.context.backend
    scores = backend.makeScores()
    selection = backend.makeSelection()
    rotation = ScoringRotation(cache.options.rope, first: options.recent)
    query = .allocate(capacity: options.qHeads * cache.options.headDim)
    room = .allocate(capacity: cache.options.headDim)
    bias = options.keyZeroBias.map { values in
      let copy = UnsafeMutablePointer<Float>.allocate(capacity: values.count)
      for (i, value) in values.enumerated() { copy[i] = value }
      return copy
    }
    var rule = AttentionRule(scale: options.scale)
    rule.softcap = options.softcap
    rule.keyZeroBias = bias.map { UnsafePointer($0) }
    rule.rope = cache.options.rope
    rule.positions = options.positions
    listRule = rule
    rule.positions = .natural
    rule.window = options.window
    denseRule = rule
  }

  deinit {
    query.deallocate()
    room.deallocate()
    bias?.deallocate()
  }

  /// Forgets the cached selections of one sequence; nil: of all.
  public func reset(_ id: SequenceID?) {
    try? cache.context.withLock { () throws(TamisError) in selections.reset(id) }
  }

  // MARK: attention over what the method selects

  /// q and out [qHeads, c, headDim], lse [qHeads, c]: attention of the last c tokens, which are in the cache already.
  public func attend(
    _ id: SequenceID, layer: Int, q: TensorView, out: TensorView, lse: TensorView?, stats: inout RetrievalStats
  ) throws(TamisError) {
    var done = RetrievalStats()
    try cache.context.withLock { () throws(TamisError) in
      let (sequence, total) = try check(id, layer: layer, q: q)
      try check(out: out, lse: lse, count: q.shape[1])
      let c = q.shape[1]
      var first = 0
      while first < c {
        let count = min(options.chunk, c - first)
        let keys = CachedKeys(
          store: cache.store, layer: layer, pages: UnsafePointer(sequence.pages), count: total - c + first + count)
        try attend(
          id, sequence, keys: keys, q: q.narrowed(1, from: first, count: count),
          out: out.narrowed(1, from: first, count: count), lse: lse?.narrowed(1, from: first, count: count),
          isDecode: c == 1, &done)
        first += count
      }
    }
    stats.add(done)
  }

  private func attend(
    _ id: SequenceID, _ sequence: CachedSequence, keys: CachedKeys, q: TensorView, out: TensorView, lse: TensorView?,
    isDecode: Bool, _ stats: inout RetrievalStats
  ) throws(TamisError) {
    let n = keys.count
    let c = q.shape[1]
    stats.queries += Int64(c)
    let caches = isDecode && method.scores && options.similarity <= 1
    let entry = caches ? selections.entry(id, sequence, layer: keys.layer, width: width, in: cache) : nil
    guard let budget, !budget.covers(n) else {
      entry?.forget()
      let tokens = windowed(n, queries: c)
      try backend.attend(q: q, over: keys, tokens: tokens, rule: denseRule, out: out, lse: lse)
      stats.chunksDense += 1
      stats.attended(tokens.count, by: c, window: options.window, of: n, cache.options)
      return
    }
    var tokens = AttendedTokens(sinks: budget.sinks, selected: nil, recent: n - budget.recent..<n)
    if method.scores && budget.topK > 0 {
      method.query(of: ChunkQueries(q, room: room), rotation: rotation, options, into: query)
      if let entry, entry.serves(query, threshold: options.similarity) {
        tokens.selected = entry.selection
        stats.cacheHits += 1
      } else {
        let chosen = entry?.selection ?? selection
        // What the entry held is gone once `select` starts to write it.
        entry?.forget()
        try select(budget, over: keys, into: chosen, &stats)
        entry?.keep(query)
        tokens.selected = chosen
      }
    }
    try backend.attend(q: q, over: keys, tokens: tokens, rule: listRule, out: out, lse: lse)
    stats.attended(tokens.count, by: c, window: 0, of: n, cache.options)
  }

  private var width: Int { options.qHeads * cache.options.headDim }

  /// Scores with `query` and spends the budget.
  private func select(
    _ budget: Budget, over keys: CachedKeys, into chosen: any TokenSelection, _ stats: inout RetrievalStats
  ) throws(TamisError) {
    let candidates = budget.candidates(of: keys.count)
    try method.score(query, over: keys, candidates: candidates, options, on: backend, into: scores)
    try backend.select(budget.topK, from: scores, into: chosen)
    stats.scored(candidates.count, cache.options)
  }

  /// The tokens that some query of the chunk can see, all of them or those of the window.
  private func windowed(_ n: Int, queries c: Int) -> AttendedTokens {
    guard options.window > 0, options.window < n - c + 1 else { return .all(n) }
    return AttendedTokens(sinks: 0, selected: nil, recent: n - c + 1 - options.window..<n)
  }

  // MARK: the selection alone

  /// The tokens `attend` would use for these c <= chunk queries, ascending; their number. Nil indices: only the number, without
  /// scoring unless votes are asked for.
  /// - Parameter votes: N scores, NaN for tokens that are no candidates. Computed afresh, without the selection cache.
  public func retrieve(
    _ id: SequenceID, layer: Int, q: TensorView, indices: UnsafeMutableBufferPointer<Int32>?,
    votes: UnsafeMutableBufferPointer<Float>?
  ) throws(TamisError) -> Int {
    try cache.context.withLock { () throws(TamisError) in
      let (sequence, n) = try check(id, layer: layer, q: q)
      try require(
        q.shape[1] <= options.chunk, "q: shape[1] is \(q.shape[1]); expected at most chunk (\(options.chunk)) queries")
      let covered = budget?.covers(n) ?? true
      let plan =
        covered ? AttendedTokens.all(n) : AttendedTokens(sinks: budget!.sinks, selected: nil, recent: n - budget!.recent..<n)
      let picks = covered || !method.scores ? 0 : budget!.topK
      let count = plan.count + picks
      if let indices, indices.count < count {
        throw TamisError(.bufferTooSmall, "capacity is \(indices.count); the selection has \(count) tokens")
      }
      if let votes, votes.count < n {
        throw TamisError(.bufferTooSmall, "votes has room for \(votes.count) values; the sequence has \(n) tokens")
      }
      votes?.baseAddress?.update(repeating: .nan, count: n)
      if picks > 0 && (indices != nil || votes != nil) {
        let keys = CachedKeys(store: cache.store, layer: layer, pages: UnsafePointer(sequence.pages), count: n)
        var unused = RetrievalStats()
        method.query(of: ChunkQueries(q, room: room), rotation: rotation, options, into: query)
        try select(budget!, over: keys, into: selection, &unused)
        if let base = votes?.baseAddress { try scores.read(into: base + scores.candidates.lowerBound) }
      }
      if let base = indices?.baseAddress {
        for i in 0..<plan.sinks { base[i] = Int32(i) }
        if picks > 0 { try selection.read(into: base + plan.sinks) }
        for (i, token) in plan.recent.enumerated() { base[plan.sinks + picks + i] = Int32(token) }
      }
      return count
    }
  }

  // MARK: attention over a list of the caller's

  /// As `attend`, over tokens the caller chose: ascending, unique, and with compact positions ending with the c query tokens.
  public func attend(
    _ id: SequenceID, layer: Int, q: TensorView, tokens: UnsafeBufferPointer<Int32>, out: TensorView, lse: TensorView?,
    stats: inout RetrievalStats
  ) throws(TamisError) {
    var done = RetrievalStats()
    try cache.context.withLock { () throws(TamisError) in
      let (sequence, n) = try check(id, layer: layer, q: q)
      let c = q.shape[1]
      try check(out: out, lse: lse, count: c)
      let legal = try check(tokens: tokens, n: n, queries: c)
      try selection.assign(tokens.baseAddress ?? UnsafePointer(emptyList), count: tokens.count)
      let keys = CachedKeys(store: cache.store, layer: layer, pages: UnsafePointer(sequence.pages), count: n)
      let list = AttendedTokens(sinks: 0, selected: selection, recent: n..<n)
      try backend.attend(q: q, over: keys, tokens: list, rule: listRule, out: out, lse: lse)
      done.queries = Int64(c)
      done.tokensAttended = legal
      done.kvBytesRead = Int64(tokens.count) * attentionRowBytes(cache.options)
    }
    stats.add(done)
  }

  private var emptyList: UnsafeMutablePointer<Int32> {
    UnsafeMutableRawPointer(room).assumingMemoryBound(to: Int32.self)
  }

  /// Sum over the queries of the listed tokens up to their own.
  private func check(tokens: UnsafeBufferPointer<Int32>, n: Int, queries c: Int) throws(TamisError) -> Int64 {
    var last = -1
    var legal: Int64 = 0
    for (place, token) in tokens.enumerated() {
      try require(
        Int(token) > last,
        "tokens[\(place)] is \(token) after \(last); expected ascending, unique tokens from 0")
      try require(Int(token) < n, "tokens[\(place)] is \(token); the sequence has \(n) tokens in this layer")
      last = Int(token)
      // Query i stands at n - c + i: it and the later ones see the token.
      legal += Int64(min(c, n - last))
    }
    if options.positions == .compact {
      let tail = tokens.count >= c && (c == 0 || tokens[tokens.count - c] == Int32(n - c))
      try require(
        tail, "tokens: with compact positions the list must end with the \(c) query tokens, \(n - c) to \(n - 1)")
    }
    return legal
  }

  // MARK: arguments

  private func check(_ id: SequenceID, layer: Int, q: TensorView) throws(TamisError) -> (CachedSequence, Int) {
    let sequence = try cache.sequence(id)
    try cache.check(layer: layer)
    try check(shape: q, "q")
    let n = sequence.lengths[layer]
    try require(
      (1...max(n, 1)).contains(q.shape[1]) && n > 0,
      "q: shape[1] is \(q.shape[1]); layer \(layer) of sequence \(id) has \(n) tokens, and the queries are its last ones")
    return (sequence, n)
  }

  private func check(out: TensorView, lse: TensorView?, count c: Int) throws(TamisError) {
    try check(shape: out, "out")
    try require(out.shape[1] == c, "out: shape[1] is \(out.shape[1]); expected \(c) as in q")
    guard let lse else { return }
    try require(lse.dtype == .f32, "lse is \(lse.dtype.name); expected f32")
    try require(
      lse.ndim == 2 && lse.shape[0] == options.qHeads && lse.shape[1] == c,
      "lse has another shape; expected [q_heads, c] = [\(options.qHeads), \(c)]")
  }

  private func check(shape x: TensorView, _ name: String) throws(TamisError) {
    try require(x.ndim == 3, "\(name) has \(x.ndim) dimensions; expected 3, [q_heads, c, head_dim]")
    try require(x.dtype.isFloat, "\(name) is \(x.dtype.name); expected f32, f16 or bf16")
    try require(x.shape[0] == options.qHeads, "\(name): shape[0] is \(x.shape[0]); expected \(options.qHeads) q_heads")
    try require(
      x.shape[2] == cache.options.headDim, "\(name): shape[2] is \(x.shape[2]); the cache has head_dim \(cache.options.headDim)"
    )
  }
}
