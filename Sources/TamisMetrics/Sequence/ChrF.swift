public import TamisCore
public import TamisDevice

/// chrF and chrF++ (Popovic 2015, 2017) as sacreBLEU 2.6.0 has them, bit by bit.
public struct ChrF: Sendable {
  public struct Options: Sendable {
    public var characterOrder = 6
    public var wordOrder = 0
    public var beta = 2.0
    /// The mean of F over all orders, in place of F of the means over those that exist.
    public var epsilonSmoothing = false
    public init() {}
  }

  public let options: Options
  public var orders: Int { options.characterOrder + options.wordOrder }

  /// - Throws: `invalidArgument`
  public init(_ options: Options) throws(TamisError) {
    let most = NGramStatistics.mostOrders
    try require(
      (1...most).contains(options.characterOrder), "char_order is \(options.characterOrder); expected 1 to \(most)")
    try require((0...most).contains(options.wordOrder), "word_order is \(options.wordOrder); expected 0 to \(most)")
    try require(
      options.beta.isFinite && options.beta > 0, "beta is \(options.beta); expected a finite number above 0")
    self.options = options
  }

  /// Counts [count][3 * orders]: n-grams of the hypothesis (0 where the reference has none), of the reference, matches; of the
  /// reference with the largest F, the first of equals.
  /// - Parameter words: the same texts cut into words; read when the word order is above 0.
  public func count(
    characters: ScoredBatch, words: ScoredBatch?, context: Context, progress: Progress? = nil
  ) throws(TamisError) -> [Int64] {
    try require(
      words != nil || options.wordOrder == 0, "words are NULL; expected them for a word_order of \(options.wordOrder)")
    if let words {
      try require(
        words.hypotheses.count == characters.hypotheses.count && words.references.count == characters.references.count
          && words.candidates == characters.candidates,
        "words have \(words.hypotheses.count) hypotheses and \(words.references.count) references; expected as many as "
          + "characters, \(characters.hypotheses.count) and \(characters.references.count)")
    }
    let width = 3 * orders
    var rows = [Int64](repeating: 0, count: characters.hypotheses.count * width)
    try rows.withUnsafeMutableBufferPointer { (rows) throws(TamisError) in
      nonisolated(unsafe) let rows = rows
      try SegmentRounds.run(
        characters.segments, tokens: 4 * characters.total, context: context, progress: progress
      ) { segments in
        let matcher = NGramMatcher()
        var row = [Int64](repeating: 0, count: width)
        var matches = [Int64](repeating: 0, count: NGramStatistics.mostOrders)
        for s in segments {
          for h in characters.hypotheses(of: s) {
            var best = -1.0
            for r in characters.references(of: s) {
              count(characters, h, r, 0, options.characterOrder, matcher, &matches, &row)
              if let words { count(words, h, r, options.characterOrder, options.wordOrder, matcher, &matches, &row) }
              let score = row.withUnsafeBufferPointer { self.score($0) }
              if score > best {
                best = score
                for i in 0..<width { rows[h * width + i] = row[i] }
              }
            }
          }
        }
      }
    }
    return rows
  }

  private func count(
    _ batch: ScoredBatch, _ h: Int, _ r: Int, _ first: Int, _ orders: Int, _ matcher: NGramMatcher, _ matches: inout [Int64],
    _ row: inout [Int64]
  ) {
    if orders == 0 { return }
    matches.withUnsafeMutableBufferPointer {
      matcher.match(batch.hypotheses, h..<h + 1, batch.references, r..<r + 1, maxN: orders, $0.baseAddress!)
    }
    let (length, referenceLength) = (batch.hypotheses[h].count, batch.references[r].count)
    for n in 1...orders {
      let i = 3 * (first + n - 1)
      let total = max(0, referenceLength - n + 1)
      row[i] = total > 0 ? Int64(max(0, length - n + 1)) : 0
      row[i + 1] = Int64(total)
      row[i + 2] = matches[n - 1]
    }
  }

  /// 0 to 100, of a row or of a sum of rows.
  public func score(_ row: UnsafeBufferPointer<Int64>) -> Double {
    let epsilon = 1e-16
    let factor = options.beta * options.beta
    var sum = 0.0
    var (precision, recall, used) = (0.0, 0.0, 0)
    for i in 0..<orders {
      let (h, r, m) = (row[3 * i], row[3 * i + 1], Double(row[3 * i + 2]))
      let p = h > 0 ? m / Double(h) : epsilon
      let q = r > 0 ? m / Double(r) : epsilon
      let denominator = factor * p + q
      sum += denominator > 0 ? (1 + factor) * p * q / denominator : epsilon
      if h > 0 && r > 0 {
        precision += p
        recall += q
        used += 1
      }
    }
    if options.epsilonSmoothing { return 100 * sum / Double(orders) }
    if used == 0 { return 0 }
    precision /= Double(used)
    recall /= Double(used)
    if precision + recall == 0 { return 0 }
    return 100 * ((1 + factor) * precision * recall / (factor * precision + recall))
  }

  /// The sum of rows, scored.
  public func corpusScore(_ rows: [Int64]) -> Double {
    let width = 3 * orders
    var total = [Int64](repeating: 0, count: width)
    for i in 0..<rows.count { total[i % width] += rows[i] }
    return total.withUnsafeBufferPointer { score($0) }
  }
}
