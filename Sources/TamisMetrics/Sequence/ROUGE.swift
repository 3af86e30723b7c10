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
  private var alphabet = LocalAlphabet()
  private var target: [Int32] = []
  private var prediction: [Int32] = []
  private var left: [(target: Int, prediction: Int)] = []
  private var union: [Bool] = []
  private var table: [Int32] = []
  private var room = UnsafeMutableBufferPointer<Int32>.allocate(capacity: 64)

  public init() {}
  deinit { room.deallocate() }

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
    // Tokens by their numbers among those of the target; 0 for others.
    alphabet.number(tokens(targets, wanted, m), into: &target)
    alphabet.look(tokens(predictions, predicted, n), into: &prediction)
    left.removeAll(keepingCapacity: true)
    left.append(contentsOf: repeatElement((target: 0, prediction: 0), count: alphabet.count + 1))
    for id in target { left[Int(id)].target += 1 }
    for id in prediction { left[Int(id)].prediction += 1 }
    var hits = 0
    target.withUnsafeBufferPointer { target in
      prediction.withUnsafeBufferPointer { prediction in
        var first = 0
        for s in wanted {
          let sentence = UnsafeBufferPointer(rebasing: target[first..<first + targets[s].count])
          first += sentence.count
          union.removeAll(keepingCapacity: true)
          union.append(contentsOf: repeatElement(false, count: sentence.count))
          var start = 0
          for p in predicted {
            let other = UnsafeBufferPointer(rebasing: prediction[start..<start + predictions[p].count])
            start += other.count
            mark(sentence, other)
          }
          for i in 0..<sentence.count where union[i] {
            let counts = left[Int(sentence[i])]
            if counts.target > 0 && counts.prediction > 0 {
              left[Int(sentence[i])] = (counts.target - 1, counts.prediction - 1)
              hits += 1
            }
          }
        }
      }
    }
    return PrecisionRecall(precision: Double(hits) / Double(n), recall: Double(hits) / Double(m))
  }

  /// The tokens of sequences [range], which lie one after another or as rows, in one piece.
  private func tokens(_ lists: TokenLists, _ range: Range<Int>, _ count: Int) -> UnsafeBufferPointer<Int32> {
    if room.count < count {
      room.deallocate()
      room = .allocate(capacity: 2 * count)
    }
    var used = 0
    for i in range {
      let ids = lists[i]
      if let base = ids.baseAddress { (room.baseAddress! + used).update(from: base, count: ids.count) }
      used += ids.count
    }
    return UnsafeBufferPointer(start: room.baseAddress, count: count)
  }

  /// Places of a longest common subsequence in the target: from the ends, equal tokens are taken, else to the left where that
  /// is longer, else up.
  private func mark(_ target: UnsafeBufferPointer<Int32>, _ prediction: UnsafeBufferPointer<Int32>) {
    let width = prediction.count + 1
    let cells = (target.count + 1) * width
    if table.count < cells || table.count > 1 << 20 { table = [Int32](repeating: 0, count: cells) }
    table.withUnsafeMutableBufferPointer { table in
      for j in 0..<width { table[j] = 0 }
      for i in 0..<target.count {
        let token = target[i]
        let (above, row) = (i &* width, (i &+ 1) &* width)
        table[row] = 0
        var before: Int32 = 0
        for j in 0..<prediction.count {
          let longer = max(table[above &+ j &+ 1], before)
          before = token == prediction[j] ? table[above &+ j] &+ 1 : longer
          table[row &+ j &+ 1] = before
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
}
