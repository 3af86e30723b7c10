public import TamisCore
public import TamisDevice

extension BLEU {
  /// Corpus scores of samples of the rows, with repetition (Koehn 2004): picks [samples, count] are rows.
  public func resampled(
    _ statistics: NGramStatistics, _ picks: UnsafeBufferPointer<Int32>, samples: Int, context: Context
  ) throws(TamisError) -> [Double] {
    let (width, count) = (statistics.width, statistics.count)
    var scores = [Double](repeating: 0, count: samples)
    try scores.withUnsafeMutableBufferPointer { (scores) throws(TamisError) in
      nonisolated(unsafe) let out = scores
      nonisolated(unsafe) let picks = picks
      try SegmentRounds.run(samples, tokens: samples * count, context: context, progress: nil) { range in
        var sums = [Int64](repeating: 0, count: width)
        for sample in range {
          for j in 0..<width { sums[j] = 0 }
          statistics.rows.withUnsafeBufferPointer { rows in
            for i in 0..<count {
              let row = Int(picks[sample * count + i]) * width
              for j in 0..<width { sums[j] &+= rows[row + j] }
            }
          }
          out[sample] = SacreBLEU(options: options)
            .score(NGramStatistics.Row(orders: statistics.orders, values: sums[...]), weights: options.weights.first).score
        }
      }
    }
    return scores
  }
}
