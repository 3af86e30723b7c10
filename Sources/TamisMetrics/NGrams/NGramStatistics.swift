public import TamisCore
public import TamisDevice

/// The integers that every BLEU is made of, per hypothesis: length, length of the chosen reference, clipped matches and n-gram
/// totals for n = 1 to orders.
public struct NGramStatistics: Sendable {
  /// Which reference length counts where two are as near.
  public enum LengthRule: Int32, Sendable {
    case shortest = 0
    case first = 1
  }

  public struct Options: Sendable {
    public var orders = 4
    public var lengthRule = LengthRule.shortest
    /// An id that is no token: n-grams do not cross it, and lengths do not count it.
    public var excluded: Int32?
    /// The largest n that the j-th reference of every segment takes part in; nil: all orders.
    var columnOrders: [Int32]?
    public init() {}
  }

  public static let mostOrders = 16

  public let orders: Int
  /// [count][2 + 2 * orders]: length, reference length, matches, totals.
  public var rows: [Int64]

  public init(orders: Int, rows: [Int64]) {
    self.orders = orders
    self.rows = rows
  }

  public static func width(_ orders: Int) -> Int { 2 + 2 * orders }
  public var width: Int { Self.width(orders) }
  public var count: Int { rows.count / width }

  public subscript(i: Int) -> Row { Row(orders: orders, values: rows[i * width..<(i + 1) * width]) }

  /// The sums over all rows.
  public var total: Row {
    var sum = [Int64](repeating: 0, count: width)
    for i in 0..<count { for j in 0..<width { sum[j] &+= rows[i * width + j] } }
    return Row(orders: orders, values: sum[...])
  }

  public struct Row: Sendable {
    public let orders: Int
    let values: ArraySlice<Int64>
    public var length: Int64 { values[values.startIndex] }
    public var referenceLength: Int64 { values[values.startIndex + 1] }
    /// n from 1.
    public func matches(_ n: Int) -> Int64 { values[values.startIndex + 1 + n] }
    public func total(_ n: Int) -> Int64 { values[values.startIndex + 1 + orders + n] }
  }

  /// Counts a batch. Memory: the rows, and what the longest segment takes (about 60 bytes a token a thread).
  public static func count(
    _ batch: ScoredBatch, _ options: Options, context: Context, progress: Progress? = nil
  ) throws(TamisError) -> NGramStatistics {
    let orders = options.orders
    try require((1...mostOrders).contains(orders), "max_n is \(orders); expected 1 to \(mostOrders)")
    // The quirk of column orders is counted on the host.
    if context.backend.countsNGrams && options.columnOrders == nil {
      return try StoredBatch(batch, context: context).count(options, progress: progress)
    }
    let width = width(orders)
    var rows = [Int64](repeating: 0, count: batch.hypotheses.count * width)
    try rows.withUnsafeMutableBufferPointer { (rows) throws(TamisError) in
      guard let base = rows.baseAddress else { return }
      nonisolated(unsafe) let out = base
      try SegmentRounds.run(batch.segments, tokens: batch.total, context: context, progress: progress) { segments in
        let matcher = NGramMatcher()
        var matches = [Int64](repeating: 0, count: batch.candidates * orders)
        var lengths: [Int64] = []
        for s in segments {
          let references = batch.references(of: s)
          let hypotheses = batch.hypotheses(of: s)
          lengths.removeAll(keepingCapacity: true)
          for j in references { lengths.append(Self.length(batch.references[j], options.excluded)) }
          matches.withUnsafeMutableBufferPointer { matches in
            matcher.match(
              batch.hypotheses, hypotheses, batch.references, references, maxN: orders, excluded: options.excluded,
              orders: options.columnOrders, matches.baseAddress!)
          }
          for (k, h) in hypotheses.enumerated() {
            let row = out + h * width
            let length = Self.totals(batch.hypotheses[h], options.excluded, orders, row + 2 + orders)
            row[0] = length
            row[1] = Self.closest(lengths, to: length, options.lengthRule)
            for n in 0..<orders { row[2 + n] = matches[k * orders + n] }
          }
        }
      }
    }
    return NGramStatistics(orders: orders, rows: rows)
  }

  static func length(_ ids: UnsafeBufferPointer<Int32>, _ excluded: Int32?) -> Int64 {
    guard let excluded else { return Int64(ids.count) }
    return ids.reduce(0) { $0 &+ ($1 == excluded ? 0 : 1) }
  }

  /// The n-grams of a sequence for each n, and its length.
  static func totals(
    _ ids: UnsafeBufferPointer<Int32>, _ excluded: Int32?, _ orders: Int, _ totals: UnsafeMutablePointer<Int64>
  ) -> Int64 {
    guard let excluded else {
      for n in 1...orders { totals[n - 1] = Int64(max(0, ids.count - n + 1)) }
      return Int64(ids.count)
    }
    for n in 0..<orders { totals[n] = 0 }
    var length: Int64 = 0
    var run = 0
    for i in 0...ids.count {
      if i < ids.count && ids[i] != excluded {
        run += 1
        length += 1
      } else if run > 0 {
        for n in 1...orders { totals[n - 1] += Int64(max(0, run - n + 1)) }
        run = 0
      }
    }
    return length
  }

  static func closest(_ lengths: [Int64], to length: Int64, _ rule: LengthRule) -> Int64 {
    var best = lengths[0]
    for other in lengths.dropFirst() {
      let (near, far) = (abs(other - length), abs(best - length))
      if near < far || (near == far && rule == .shortest && other < best) { best = other }
    }
    return best
  }
}
