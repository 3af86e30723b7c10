/// Replies and figures of CharBench (arXiv 2508.02591).
public enum CharBenchScores {
  /// The integer of a reply, stripped of white space, as Python's `int` takes it: a sign, ASCII digits, single underscores
  /// between them. The nearest Int of one that does not fit.
  public static func integer(_ reply: UnsafeBufferPointer<UInt8>) -> Int? {
    let words = WordSpans(reply)
    guard words.count == 1 else { return nil }
    var digits = reply[words.starts[0]..<words.ends[0]]
    let isNegative = digits.first == 0x2d
    if isNegative || digits.first == 0x2b { digits = digits.dropFirst() }
    var value = 0
    var isAfterDigit = false
    for c in digits {
      if c == 0x5f {
        guard isAfterDigit else { return nil }
        isAfterDigit = false
        continue
      }
      guard c >= 0x30 && c <= 0x39 else { return nil }
      isAfterDigit = true
      let digit = Int(c) - 0x30
      let (times, over) = value.multipliedReportingOverflow(by: 10)
      let (sum, beyond) = isNegative ? times.subtractingReportingOverflow(digit) : times.addingReportingOverflow(digit)
      value = over || beyond ? (isNegative ? Int.min : Int.max) : sum
    }
    return isAfterDigit ? value : nil
  }

  /// Pearson's r; NaN for fewer than two rows or where one of them never changes.
  public static func correlation(_ feature: some RandomAccessCollection<Double>, _ isCorrect: [Bool]) -> Double {
    let n = Double(isCorrect.count)
    guard n >= 2 else { return .nan }
    // Feature means of huge numbers: scaled first, so that their sum is finite.
    let scale = feature.reduce(0) { max($0, abs($1)) }
    guard scale > 0 else { return .nan }
    let mean = feature.reduce(0) { $0 + $1 / scale / n }
    let share = Double(isCorrect.reduce(0) { $0 + ($1 ? 1 : 0) }) / n
    var (xx, yy, xy) = (0.0, 0.0, 0.0)
    for (x, y) in zip(feature, isCorrect) {
      let (dx, dy) = (x / scale - mean, (y ? 1 : 0) - share)
      xx += dx * dx
      yy += dy * dy
      xy += dx * dy
    }
    // Rounding of the mean must not make a constant feature look as if it changed.
    let first = feature.first
    guard feature.contains(where: { $0 != first }), yy > 0, xx > 0 else { return .nan }
    return min(max(xy / (xx.squareRoot() * yy.squareRoot()), -1), 1)
  }

  public struct ValueAccuracy: Sendable {
    public let value: Double
    public let count: Int
    public let accuracy: Double
    /// sqrt(p (1 - p) / count)
    public var standardError: Double { (accuracy * (1 - accuracy) / Double(count)).squareRoot() }
  }

  /// Accuracy at each different value of a feature, values ascending.
  public static func accuracyByValue(
    _ feature: some RandomAccessCollection<Double>, _ isCorrect: [Bool]
  ) -> [ValueAccuracy] {
    let rows = zip(feature, isCorrect).sorted { $0.0 < $1.0 }
    var found: [ValueAccuracy] = []
    var start = 0
    while start < rows.count {
      var (end, right) = (start, 0)
      while end < rows.count && rows[end].0 == rows[start].0 {
        if rows[end].1 { right += 1 }
        end += 1
      }
      found.append(
        ValueAccuracy(value: rows[start].0 + 0, count: end - start, accuracy: Double(right) / Double(end - start)))
      start = end
    }
    return found
  }

  /// Jaccard index of the rows that two models get wrong; 1 when neither errs.
  public static func errorOverlap(_ a: [Bool], _ b: [Bool]) -> Double {
    var (both, either) = (0, 0)
    for (x, y) in zip(a, b) {
      if !x && !y { both += 1 }
      if !x || !y { either += 1 }
    }
    return either == 0 ? 1 : Double(both) / Double(either)
  }

  /// Mean of value - gold over rows that are wrong, parsed, and whose gold is not 0; NaN when there is none.
  public static func bias(
    _ values: some RandomAccessCollection<Int64>, gold: some RandomAccessCollection<Int64>, isParsed: [Bool]?
  ) -> Double {
    var (sum, used) = (0.0, 0)
    for (i, (value, gold)) in zip(values, gold).enumerated() where value != gold && gold != 0 && isParsed?[i] != false {
      sum += Double(value) - Double(gold)
      used += 1
    }
    return sum / Double(used)
  }
}
