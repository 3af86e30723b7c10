public import TamisCore
public import TamisDevice

/// Keys and values of all layers of one model for many sequences, in pages on the context's device.
///
/// Every public method takes the context's lock. A failed call changes nothing. Keys are stored as appended; with a RoPE rule
/// they are expected un-rotated and attention rotates at use (TokenSelect, arXiv 2411.02886).
public final class KVCache: @unchecked Sendable {
  public let context: Context
  /// In effect: as asked for and rounded.
  public let options: KVCacheOptions

  let store: any KVStore
  var pages: PageTable
  var sequences: [SequenceID: CachedSequence] = [:]
  private var lastID: SequenceID = 0
  /// Sequences destroyed so far; selectors sweep their caches when it changes.
  private(set) var destroyed = 0

  /// - Throws: `invalidArgument`, `unsupported`, `outOfMemory`, `device`.
  public init(context: Context, options: KVCacheOptions) throws(TamisError) {
    let options = try options.resolved()
    self.context = context
    self.options = options
    store = try context.withLock { () throws(TamisError) in try context.backend.makeStore(options.layout) }
    pages = PageTable(total: options.layout.maxPages)
  }

  // MARK: sequences

  /// A new, empty sequence.
  public func makeSequence() throws(TamisError) -> SequenceID {
    try context.withLock { () throws(TamisError) in adopt(emptySequence()) }
  }

  /// A new sequence that shares the first tokens (nil: all that every layer has). A partly filled last page is copied when
  /// either side appends to it.
  /// - Throws: `notFound`; `invalidArgument` for more tokens than the shortest layer has.
  public func fork(_ from: SequenceID, tokens: Int? = nil) throws(TamisError) -> SequenceID {
    try context.withLock { () throws(TamisError) in
      let source = try sequence(from)
      let shortest = source.shortest
      let count = tokens ?? shortest
      try require(
        (0...shortest).contains(count),
        "n_tokens is \(count); expected 0 to \(shortest), the length of the shortest layer of sequence \(from)")
      let fork = emptySequence()
      for i in 0..<pagesHolding(count) {
        pages.retain(source.pages[i])
        fork.push(source.pages[i])
      }
      fork.lengths.update(repeating: count, count: options.layers)
      return adopt(fork)
    }
  }

  /// Frees the pages no other sequence shares.
  public func destroy(_ id: SequenceID) throws(TamisError) {
    try context.withLock { () throws(TamisError) in
      drop(from: try sequence(id), beyond: 0)
      sequences[id] = nil
      destroyed += 1
    }
  }

  /// Tokens held by one layer of a sequence.
  public func length(of id: SequenceID, layer: Int) throws(TamisError) -> Int {
    try context.withLock { () throws(TamisError) in
      let sequence = try sequence(id)
      try check(layer: layer)
      return sequence.lengths[layer]
    }
  }

  /// Drops every token from `tokens` on, in every layer; a shorter layer stays as it is.
  public func truncate(_ id: SequenceID, to tokens: Int) throws(TamisError) {
    try context.withLock { () throws(TamisError) in
      let sequence = try sequence(id)
      try require(tokens >= 0, "n_tokens is \(tokens); expected at least 0")
      for layer in 0..<options.layers { sequence.lengths[layer] = min(sequence.lengths[layer], tokens) }
      drop(from: sequence, beyond: pagesHolding(sequence.longest))
      sequence.epoch += 1
    }
  }

  // MARK: tokens

  /// Appends n tokens, k and v [kvHeads, n, headDim] (f32, f16, bf16 or i8, rows contiguous), to one layer.
  /// - Throws: `notFound`, `invalidArgument`, `cacheFull`, `outOfMemory`, `device`; nothing is appended then.
  public func append(_ id: SequenceID, layer: Int, k: TensorView, v: TensorView) throws(TamisError) {
    try context.withLock { () throws(TamisError) in
      let sequence = try sequence(id)
      try check(layer: layer)
      try check(rows: k, "k", contiguous: true, integers: true)
      try check(rows: v, "v", contiguous: true, integers: true)
      let n = k.shape[1]
      try require(v.shape[1] == n, "v: shape[1] is \(v.shape[1]); expected \(n) as in k")
      guard n <= options.maxTokens else { throw full(n, needs: n / options.pageTokens) }
      let start = sequence.lengths[layer]
      let end = start + n
      try makeRoom(in: sequence, start: start, end: end)
      let old = sequence.pageCount
      for _ in old..<max(old, pagesHolding(end)) { sequence.push(pages.take()) }
      do throws(TamisError) {
        try forEachRun(sequence, start, n) { (page, slot, count, row) throws(TamisError) in
          try store.write(layer: layer, page: page, slot: slot, count: count, k: k, v: v, from: row)
        }
      } catch {
        drop(from: sequence, beyond: old)
        throw error
      }
      sequence.lengths[layer] = end
    }
  }

  /// Reads back k.shape[1] tokens from `start` on, as stored, into k and v [kvHeads, n, headDim] (f32, f16 or bf16).
  public func read(_ id: SequenceID, layer: Int, from start: Int, k: TensorView?, v: TensorView?) throws(TamisError) {
    try context.withLock { () throws(TamisError) in
      let sequence = try sequence(id)
      try check(layer: layer)
      if let k { try check(rows: k, "k", contiguous: false, integers: false) }
      if let v { try check(rows: v, "v", contiguous: false, integers: false) }
      guard let n = k?.shape[1] ?? v?.shape[1] else { return }
      if let k, let v {
        try require(v.shape[1] == k.shape[1], "v: shape[1] is \(v.shape[1]); expected \(k.shape[1]) as in k")
      }
      let length = sequence.lengths[layer]
      try require(
        start >= 0 && start <= length && n <= length - start,
        "start is \(start) for \(n) tokens; layer \(layer) of sequence \(id) has \(length)")
      try forEachRun(sequence, start, n) { (page, slot, count, row) throws(TamisError) in
        try store.read(layer: layer, page: page, slot: slot, count: count, k: k, v: v, at: row)
      }
    }
  }

  public var memory: KVMemory {
    // The closure does not throw, so this cannot.
    (try? context.withLock { () throws(TamisError) in
      KVMemory(
        sequences: sequences.count, pagesTotal: pages.total, pagesUsed: pages.used, pagesShared: pages.shared,
        pageBytes: options.layout.pageBytes, bytesUsed: pages.used * options.layout.pageBytes,
        bytesScoringCopy: pages.used * options.layers * options.layout.layerScoringBytes,
        tokens: sequences.values.reduce(0) { $0 + $1.longest })
    })!
  }

  // MARK: inside the lock

  func sequence(_ id: SequenceID) throws(TamisError) -> CachedSequence {
    guard let sequence = sequences[id] else {
      throw TamisError(.notFound, "sequence is \(id); this cache has no such sequence")
    }
    return sequence
  }

  func check(layer: Int) throws(TamisError) {
    try require(
      layer >= 0 && layer < options.layers, "layer is \(layer); expected 0 to \(options.layers - 1)")
  }

  /// The page list is reserved ahead, so that a steady append allocates nothing.
  func emptySequence(reserving count: Int = 1024) -> CachedSequence {
    CachedSequence(layers: options.layers, reserving: min(pages.total, count))
  }

  /// Gives a sequence its name.
  func adopt(_ sequence: CachedSequence) -> SequenceID {
    lastID += 1
    sequences[lastID] = sequence
    return lastID
  }

  func pagesHolding(_ tokens: Int) -> Int { (tokens + options.pageTokens - 1) / options.pageTokens }

  func release(_ page: Int32) {
    if pages.release(page) { store.releasePage(page) }
  }

  private func drop(from sequence: CachedSequence, beyond count: Int) {
    while sequence.pageCount > count { release(sequence.pop()) }
  }

  private func full(_ tokens: Int, needs: Int) -> TamisError {
    TamisError(
      .cacheFull, "k: \(tokens) tokens need \(needs) more pages; \(pages.available) of \(pages.total) are free")
  }

  /// Sees to it that enough pages are free for tokens [start, end) and that no page among them is shared.
  private func makeRoom(in sequence: CachedSequence, start: Int, end: Int) throws(TamisError) {
    let written = start / options.pageTokens..<pagesHolding(end)
    let present = written.clamped(to: 0..<sequence.pageCount)
    var needed = max(0, written.upperBound - sequence.pageCount)
    for i in present where pages.isShared(sequence.pages[i]) { needed += 1 }
    guard needed <= pages.available else { throw full(end - start, needs: needed) }
    for i in present where pages.isShared(sequence.pages[i]) {
      let copy = pages.take()
      do throws(TamisError) {
        try store.copyPage(from: sequence.pages[i], to: copy)
      } catch {
        release(copy)
        throw error
      }
      release(sequence.pages[i])
      sequence.pages[i] = copy
    }
  }

  /// Cuts tokens [start, start + n) at page borders; `row` counts from 0.
  private func forEachRun(
    _ sequence: CachedSequence, _ start: Int, _ n: Int,
    _ body: (_ page: Int32, _ slot: Int, _ count: Int, _ row: Int) throws(TamisError) -> Void
  ) throws(TamisError) {
    var row = 0
    while row < n {
      let token = start + row
      let slot = token % options.pageTokens
      let count = min(options.pageTokens - slot, n - row)
      try body(sequence.pages[token / options.pageTokens], slot, count, row)
      row += count
    }
  }

  private func check(rows x: TensorView, _ name: String, contiguous: Bool, integers: Bool) throws(TamisError) {
    try require(x.ndim == 3, "\(name) has \(x.ndim) dimensions; expected 3, [kv_heads, n, head_dim]")
    try require(
      x.dtype.isFloat || (integers && x.dtype == .i8),
      "\(name) is \(x.dtype.name); expected f32, f16\(integers ? ", bf16 or i8" : " or bf16")")
    try require(x.shape[0] == options.kvHeads, "\(name): shape[0] is \(x.shape[0]); the cache has \(options.kvHeads) kv_heads")
    try require(x.shape[1] >= 1, "\(name): shape[1] is \(x.shape[1]); expected at least 1 token")
    try require(x.shape[2] == options.headDim, "\(name): shape[2] is \(x.shape[2]); the cache has head_dim \(options.headDim)")
    try require(
      !contiguous || x.stride[2] == 1, "\(name): stride[2] is \(x.stride[2]); expected 1, rows must be contiguous")
  }
}
