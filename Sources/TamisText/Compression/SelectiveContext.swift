import TamisCore

/// Selective Context (arXiv 2310.06201): units of a text that a language model finds predictable are dropped.
///
/// Score: self-information I(x_t) = -ln p(x_t | x_<t) (eq. 1), which the host's model gives per token; that of a unit is the
/// mean over its tokens. Spend: units below a percentile go. Use: `KeptText`.
public enum SelectiveContext {
  public static let defaultReduceRatio = 0.35

  /// Scores of units from scores of tokens. A token's score is split over the units it overlaps, by bytes of overlap, and a
  /// unit's score is the mean of the parts it got; NaN where it got none. Tokens: starts and ends never fall. Units: ascending,
  /// not overlapping.
  public static func unitScores(
    tokens: UnsafeBufferPointer<TextSpan>, scores: UnsafeBufferPointer<Float>, units: UnsafeBufferPointer<TextSpan>
  ) throws(TamisError) -> [Float] {
    try tokens.requireAscending("tokens", apart: false)
    try units.requireAscending("units", apart: true)
    var sums = [Double](repeating: 0, count: units.count)
    var parts = [Int](repeating: 0, count: units.count)
    var first = 0
    for (token, score) in zip(tokens, scores) where !token.isEmpty {
      while first < units.count && units[first].end <= token.start { first += 1 }
      var overlapped = 0
      var past = first
      while past < units.count && units[past].start < token.end {
        overlapped += overlap(units[past], token)
        past += 1
      }
      for u in first..<past {
        let share = overlap(units[u], token)
        if share == 0 { continue }
        sums[u] += Double(score) * (Double(share) / Double(overlapped))
        parts[u] += 1
      }
    }
    return zip(sums, parts).map { sum, n in n == 0 ? .nan : Float(sum / Double(n)) }
  }

  private static func overlap(_ a: TextSpan, _ b: TextSpan) -> Int {
    max(0, Int(min(a.end, b.end)) - Int(max(a.start, b.start)))
  }

  /// The units whose score is not below the percentile 100 * reduceRatio of the scores that are not NaN, ascending, and that
  /// percentile. A unit without a score (NaN) is kept, as in the official code: nothing is known against it.
  public static func keep(_ scores: UnsafeBufferPointer<Float>, reduceRatio: Double = defaultReduceRatio) throws(TamisError)
    -> (indices: [Int32], threshold: Double)
  {
    try require((0...1).contains(reduceRatio), "reduce_ratio is \(reduceRatio); expected 0 to 1")
    let threshold = Quantile.linear(scores.filter { !$0.isNaN }.map(Double.init).sorted(), reduceRatio)
    let indices = scores.indices.filter { !(Double(scores[$0]) < threshold) }
    return (indices.map { Int32(truncatingIfNeeded: $0) }, threshold)
  }
}
