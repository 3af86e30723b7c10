public import TamisCore
public import TamisDevice

/// A batch that stays where its context counts, for more than one count: on an OpenCL device, or copied in host memory.
/// Immutable.
public final class StoredBatch: @unchecked Sendable {
  public let context: Context
  private let batch: TokenBatch
  private let stored: (any StoredTokens)?

  /// - Throws: `invalidArgument`: more than 2^31 - 1 tokens; what the device says.
  public init(_ batch: ScoredBatch, context: Context) throws(TamisError) {
    let lists = [batch.hypotheses, batch.references]
    let total = batch.total
    try require(total < 1 << 31, "hypotheses and references have \(total) tokens; expected at most 2^31 - 1 for one batch")
    var ids: [Int32] = []
    ids.reserveCapacity(total)
    var starts: [Int32] = [0]
    starts.reserveCapacity(batch.hypotheses.count + batch.references.count + 1)
    for list in lists {
      for i in 0..<list.count {
        ids.append(contentsOf: list[i])
        starts.append(Int32(ids.count))
      }
    }
    let referenceStarts = [Int32(0)] + (0..<batch.segments).map { Int32(batch.references(of: $0).upperBound) }
    let packed = TokenBatch(
      ids: ids, starts: starts, referenceStarts: referenceStarts, hypotheses: batch.hypotheses.count,
      candidates: batch.candidates)
    self.context = context
    self.batch = packed
    stored = context.backend.countsNGrams && packed.hypotheses > 0
      ? try context.withLock { () throws(TamisError) in try context.backend.store(packed) } : nil
  }

  public var count: Int { batch.hypotheses }

  /// As `NGramStatistics.count`.
  public func count(_ options: NGramStatistics.Options, progress: Progress? = nil) throws(TamisError) -> NGramStatistics {
    if batch.hypotheses == 0 { return NGramStatistics(orders: options.orders, rows: []) }
    let starts = batch.starts.map(Int64.init), referenceStarts = batch.referenceStarts.map(Int64.init)
    return try batch.ids.withUnsafeBufferPointer { (ids) throws(TamisError) in
      try starts.withUnsafeBufferPointer { (starts) throws(TamisError) in
        try referenceStarts.withUnsafeBufferPointer { (referenceStarts) throws(TamisError) in
          let base = starts.baseAddress!
          let scored = try ScoredBatch(
            TokenLists(ids: ids.baseAddress, starts: base, count: batch.hypotheses),
            TokenLists(ids: ids.baseAddress, starts: base + batch.hypotheses, count: starts.count - 1 - batch.hypotheses),
            referenceStarts: referenceStarts.baseAddress, candidates: batch.candidates)
          guard let stored else {
            return try NGramStatistics.count(scored, options, context: context, progress: progress)
          }
          return try finish(scored, options, stored)
        }
      }
    }
  }

  private func finish(
    _ scored: ScoredBatch, _ options: NGramStatistics.Options, _ stored: any StoredTokens
  ) throws(TamisError) -> NGramStatistics {
    let orders = options.orders, width = NGramStatistics.width(orders)
    try require(
      (1...NGramStatistics.mostOrders).contains(orders), "max_n is \(orders); expected 1 to \(NGramStatistics.mostOrders)")
    var matches = [Int32](repeating: 0, count: scored.hypotheses.count * orders)
    try matches.withUnsafeMutableBufferPointer { (matches) throws(TamisError) in
      let base = matches.baseAddress!
      try context.withLock { () throws(TamisError) in
        try stored.countMatches(maxN: orders, excluded: options.excluded, into: base)
      }
    }
    var rows = [Int64](repeating: 0, count: scored.hypotheses.count * width)
    rows.withUnsafeMutableBufferPointer { rows in
      for s in 0..<scored.segments {
        let lengths = scored.references(of: s).map { NGramStatistics.length(scored.references[$0], options.excluded) }
        for h in scored.hypotheses(of: s) {
          let row = rows.baseAddress! + h * width
          row[0] = NGramStatistics.totals(scored.hypotheses[h], options.excluded, orders, row + 2 + orders)
          row[1] = NGramStatistics.closest(lengths, to: row[0], options.lengthRule)
          for n in 0..<orders { row[2 + n] = Int64(matches[h * orders + n]) }
        }
      }
    }
    return NGramStatistics(orders: orders, rows: rows)
  }
}
