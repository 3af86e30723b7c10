/// A score of a pair: precision, recall, F1.
public struct PrecisionRecall: Sendable, Equatable {
  public var precision: Double
  public var recall: Double
  public var f: Double

  public init(precision: Double, recall: Double) {
    self.precision = precision
    self.recall = recall
    f = precision + recall > 0 ? 2 * precision * recall / (precision + recall) : 0
  }
}

/// ROUGE (Lin 2004) of token ids, as rouge-score 0.1.2.
public final class ROUGE {
  private let matcher = NGramMatcher()
  private let distance = EditDistance()
  private var matches = [Int64](repeating: 0, count: NGramStatistics.mostOrders)

  public init() {}

  /// ROUGE-n of prediction i and target i.
  public func nGrams(_ n: Int, _ predictions: TokenLists, _ targets: TokenLists, _ i: Int) -> PrecisionRecall {
    matches.withUnsafeMutableBufferPointer {
      matcher.match(predictions, i..<i + 1, targets, i..<i + 1, maxN: n, $0.baseAddress!)
    }
    let shared = Double(matches[n - 1])
    return PrecisionRecall(
      precision: shared / Double(max(1, predictions[i].count - n + 1)),
      recall: shared / Double(max(1, targets[i].count - n + 1)))
  }

  /// ROUGE-L: the longest common subsequence.
  public func longest(_ prediction: UnsafeBufferPointer<Int32>, _ target: UnsafeBufferPointer<Int32>) -> PrecisionRecall {
    if prediction.isEmpty || target.isEmpty { return PrecisionRecall(precision: 0, recall: 0) }
    let shared = Double(distance.longestCommonSubsequence(target, prediction))
    return PrecisionRecall(precision: shared / Double(prediction.count), recall: shared / Double(target.count))
  }

  /// ROUGE-Lsum: for each sentence of the target the union, over the sentences of the prediction, of the places of one longest
  /// common subsequence; a place counts while both texts have its token left.
  public func summary(
    _ predictions: TokenLists, _ predicted: Range<Int>, _ targets: TokenLists, _ wanted: Range<Int>
  ) -> PrecisionRecall {
    let (n, m) = (predictions.tokens(predicted), targets.tokens(wanted))
    if n == 0 || m == 0 { return PrecisionRecall(precision: 0, recall: 0) }
    var left: [Int32: (target: Int, prediction: Int)] = [:]
    for s in wanted { for id in targets[s] { left[id, default: (0, 0)].target += 1 } }
    for s in predicted { for id in predictions[s] { left[id, default: (0, 0)].prediction += 1 } }
    var hits = 0
    for s in wanted {
      let target = targets[s]
      var union = [Bool](repeating: false, count: target.count)
      for p in predicted { Self.mark(target, predictions[p], &union) }
      for i in 0..<target.count where union[i] {
        let id = target[i]
        guard let counts = left[id], counts.target > 0, counts.prediction > 0 else { continue }
        left[id] = (counts.target - 1, counts.prediction - 1)
        hits += 1
      }
    }
    return PrecisionRecall(precision: Double(hits) / Double(n), recall: Double(hits) / Double(m))
  }

  /// Places of a longest common subsequence in the target: from the ends, equal tokens are taken, else to the left where that
  /// is longer, else up.
  private static func mark(
    _ target: UnsafeBufferPointer<Int32>, _ prediction: UnsafeBufferPointer<Int32>, _ union: inout [Bool]
  ) {
    let width = prediction.count + 1
    var table = [Int32](repeating: 0, count: (target.count + 1) * width)
    table.withUnsafeMutableBufferPointer { table in
      for i in 0..<target.count {
        for j in 0..<prediction.count {
          let (up, at) = (i * width + j, (i + 1) * width + j)
          table[at + 1] = target[i] == prediction[j] ? table[up] + 1 : max(table[up + 1], table[at])
        }
      }
    }
    var (i, j) = (target.count, prediction.count)
    while i > 0 && j > 0 {
      if target[i - 1] == prediction[j - 1] {
        union[i - 1] = true
        i -= 1
        j -= 1
      } else if table[i * width + j - 1] > table[(i - 1) * width + j] {
        j -= 1
      } else {
        i -= 1
      }
    }
  }
}
