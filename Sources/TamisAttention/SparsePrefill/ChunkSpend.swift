import TamisCore

/// A budget spent on the keys [low, high) in units of `unit` keys: what is kept whatever its score, then chunks, best first.
/// Unit u is keys [u * unit, (u + 1) * unit).
struct ChunkSpend {
  let low, high, unit: Int
  /// Units taken so far.
  private(set) var count = 0
  private var taken: [Bool]
  private let firstUnit: Int

  /// `memory` is used again; `release` gives it back.
  init(_ legal: Range<Int>, unit: Int, memory: consuming [Bool] = []) {
    low = legal.lowerBound
    high = legal.upperBound
    self.unit = unit
    firstUnit = low / unit
    taken = memory
    taken.removeAll(keepingCapacity: true)
    let units = legal.isEmpty ? 0 : (high - 1) / unit + 1 - firstUnit
    taken.append(contentsOf: repeatElement(false, count: units))
  }

  consuming func release() -> [Bool] { taken }

  /// Takes every unit that holds one of these keys.
  mutating func keep(_ keys: Range<Int>) { take(keys, upTo: .max) }

  /// Takes units of the best chunks until there are `units`; a chunk that does not fit whole from its end.
  mutating func fill(upTo units: Int, from ranking: inout ChunkRanking, _ boundaries: UnsafePointer<Int64>) {
    while count < units, count < taken.count, let c = ranking.next() {
      take(Int(boundaries[c])..<Int(boundaries[c + 1]), upTo: units)
    }
  }

  private mutating func take(_ keys: Range<Int>, upTo units: Int) {
    let keys = keys.clamped(to: low..<high)
    if keys.isEmpty { return }
    var u = (keys.upperBound - 1) / unit - firstUnit
    let first = keys.lowerBound / unit - firstUnit
    while u >= first && count < units {
      if !taken[u] {
        taken[u] = true
        count += 1
      }
      u -= 1
    }
  }

  /// The units taken, ascending.
  func write(to list: UnsafeMutablePointer<Int32>) {
    var n = 0
    for u in taken.indices where taken[u] {
      list[n] = Int32(truncatingIfNeeded: firstUnit + u)
      n += 1
    }
  }

  func list() -> ContiguousArray<Int32> {
    ContiguousArray(unsafeUninitializedCapacity: count) { buffer, n in
      if count > 0 { write(to: buffer.baseAddress!) }
      n = count
    }
  }

  /// Keys that are kept whatever their score, of a budget of n: the first, at most a quarter of the budget, and the last
  /// `local`, as far as the budget goes, but no fewer than `own`.
  static func kept(_ n: Int, legal: Range<Int>, sinks: Int, local: Int, own: Int) -> (sinks: Range<Int>, band: Range<Int>) {
    let first = min(sinks, n / 4, legal.count)
    let last = min(max(own, min(local, n - first)), legal.count)
    return (legal.lowerBound..<legal.lowerBound + first, legal.upperBound - last..<legal.upperBound)
  }
}

/// The list of one query block of `DHSA`.
struct ChunkRow {
  private let method: DHSA
  private let input: SparseInput
  private let queries: Range<Int>
  /// The query head that the list is for; nil: all of them, by their mean.
  private let head: Int?
  private let boundaries: [Int64]
  private let vectors: ChunkVectors

  init(
    _ method: DHSA, _ input: SparseInput, _ block: Int, head: Int?, _ boundaries: [Int64], _ vectors: ChunkVectors
  ) {
    self.method = method
    self.input = input
    self.head = head
    queries = block * method.queryBlock..<min((block + 1) * method.queryBlock, input.queries)
    self.boundaries = boundaries
    self.vectors = vectors
  }

  func list() -> ContiguousArray<Int32> {
    let first = input.legal(queries.lowerBound)
    let last = input.legal(queries.upperBound - 1)
    let legal = first.lowerBound..<max(first.lowerBound, last.upperBound)
    if queries.upperBound > input.queries - method.instructionTokens {
      var spend = ChunkSpend(legal, unit: method.keyBlock)
      spend.keep(legal)
      return spend.list()
    }
    return method.literal ? literal() : safe(legal)
  }

  private func safe(_ legal: Range<Int>) -> ContiguousArray<Int32> {
    let budget = method.budget(input.keys)
    var spend = ChunkSpend(legal, unit: method.keyBlock)
    if budget >= legal.count {
      spend.keep(legal)
      return spend.list()
    }
    let position = input.mask.queryOffset + queries.lowerBound
    let own = legal.upperBound - min(max(position, legal.lowerBound), legal.upperBound)
    let kept = ChunkSpend.kept(budget, legal: legal, sinks: method.sinks, local: method.local, own: own)
    spend.keep(kept.band)
    spend.keep(kept.sinks)
    let units = (budget + method.keyBlock - 1) / method.keyBlock
    if spend.count < units {
      var ranking = rank(legal)
      boundaries.withUnsafeBufferPointer { spend.fill(upTo: units, from: &ranking, $0.baseAddress!) }
    }
    return spend.list()
  }

  /// The official code's list at block 128: `local` recent keys, the best others, and then its first `sinks` entries, the
  /// lowest keys, overwritten with the first keys of the prompt or window. Where too few keys are legal it is padded with the
  /// last key of the prompt, which is masked later and is left out here.
  private func literal() -> ContiguousArray<Int32> {
    let window = input.rule.window
    let start = input.mask.queryOffset + queries.lowerBound
    let blockEnd = start + method.queryBlock
    let high = min(max(blockEnd, 0), input.keys)
    let low = window > 0 ? min(max(blockEnd - window, 0), high) : 0
    let budget = min(method.budget(input.keys), window > 0 ? window : .max)
    var spend = ChunkSpend(low..<high, unit: 1)
    spend.keep(high - min(method.local, budget, high - low)..<high)
    var ranking = rank(low..<high)
    boundaries.withUnsafeBufferPointer { spend.fill(upTo: budget, from: &ranking, $0.baseAddress!) }
    let chosen = spend.list()
    let overwritten = min(method.sinks, chosen.count)
    let windowStart = window > 0 ? max(0, start - window) : 0
    var list = ContiguousArray<Int32>()
    for j in 0..<overwritten where windowStart + j < high { list.append(Int32(windowStart + j)) }
    let last = list.last ?? -1
    list.append(contentsOf: chosen[overwritten...].lazy.filter { $0 > last })
    return list
  }

  /// The chunks that hold one of these keys, ranked by the product of their vector with the mean query: every positive factor
  /// of the query leaves the ranking alone.
  private func rank(_ legal: Range<Int>) -> ChunkRanking {
    var ranking = ChunkRanking()
    let first = chunk(of: legal.lowerBound)
    let count = chunk(of: legal.upperBound - 1) + 1 - first
    let d = input.headDim
    withUnsafeTemporaryAllocation(of: Float.self, capacity: d + count) { memory in
      let query = memory.baseAddress!
      let sum = VectorSum(input.q)
      let heads = head.map { $0..<$0 + 1 } ?? 0..<input.heads
      for h in heads { sum.add(head: h, queries) }
      sum.write(times: 1 / Double(heads.count * queries.count), to: query)
      vectors.score(query, head: head.map { $0 / input.group } ?? 0, first: first, count: count, into: query + d)
      ranking.start(query + d, first: first, count: count)
    }
    return ranking
  }

  /// The chunk that holds a key.
  private func chunk(of key: Int) -> Int {
    var (low, high) = (0, boundaries.count - 1)
    while high - low > 1 {
      let middle = (low + high) / 2
      if boundaries[middle] <= Int64(key) { low = middle } else { high = middle }
    }
    return low
  }
}
