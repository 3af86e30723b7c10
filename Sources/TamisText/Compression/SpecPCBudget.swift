import TamisCore

/// What SpecPC spends (arXiv 2506.08373, section 4): smoothing, the best tokens with their neighbours, the window, a capacity;
/// steps 4 to 7 of the official code.
public struct SpecPCBudget: Sendable {
  public enum Smoothing: Int32, Sendable {
    case max = 0
    case mean = 1
    case none = 2
  }

  /// Tokens that are kept.
  public var capacity = 1024
  public var smoothing = Smoothing.max
  /// Width of the smoothing: (kernel - 1) / 2 tokens to the left, kernel / 2 to the right, zeros beyond the ends.
  public var kernel = 32
  /// Tokens taken along around each chosen one; nil: as kernel.
  public var neighbours: Int?

  public init() {}

  func check() throws(TamisError) {
    try require(kernel >= 1, "options->kernel is \(kernel); expected at least 1")
    try require(capacity >= 0, "options->capacity is \(capacity); expected at least 0")
    try require((neighbours ?? 0) >= 0, "options->neighbours is \(neighbours ?? 0); expected at least 0, or -1 for the kernel")
  }

  /// The tokens that are kept of scores.count, ascending. Ties go to the lower index, NaN counts as -inf. window <=
  /// scores.count.
  public func select(_ scores: [Float], window: Int) -> [Int32] {
    let n = scores.count
    if capacity >= n { return (0..<n).map { Int32(truncatingIfNeeded: $0) } }
    let smooth = smoothed(scores)
    var best = [Int32](repeating: 0, count: capacity)
    TopK.select(smooth, count: n, k: capacity, into: &best)
    let rank = { (i: Int32) -> Float in smooth[Int(i)].isNaN ? -.infinity : smooth[Int(i)] }
    best.sort { rank($0) > rank($1) || rank($0) == rank($1) && $0 < $1 }

    var isKept = [Bool](repeating: false, count: n)
    var kept = 0
    func take(_ i: Int) {
      if kept < capacity && !isKept[i] {
        isKept[i] = true
        kept += 1
      }
    }
    for i in n - window..<n { take(i) }
    let offsets = offsetsByDistance()
    for i in best where kept < capacity {
      for offset in offsets { take(min(max(Int(i) + offset, 0), n - 1)) }
    }
    return (0..<n).filter { isKept[$0] }.map { Int32(truncatingIfNeeded: $0) }
  }

  /// 0, -1, 1, -2, .. of the neighbourhood [-(m - 1) / 2, m - 1 - (m - 1) / 2], nearest first.
  private func offsetsByDistance() -> [Int] {
    let m = neighbours ?? kernel
    if m == 0 { return [0] }
    let left = (m - 1) / 2
    let right = m - 1 - left
    // The kept tokens number no more than the capacity, and so do the offsets that can matter.
    let reach = min(max(left, right), capacity)
    var offsets = [0]
    for d in 1..<reach + 1 {
      if d <= left { offsets.append(-d) }
      if d <= right { offsets.append(d) }
    }
    return offsets
  }

  private func smoothed(_ scores: [Float]) -> [Float] {
    let n = scores.count
    let left = (kernel - 1) / 2
    let right = kernel - 1 - left
    switch smoothing {
    case .none: return scores
    case .mean:
      return (0..<n).map { j in
        var sum = 0.0
        for i in max(j - left, 0)...min(j + right, n - 1) { sum += Double(scores[i]) }
        return Float(sum / Double(kernel))
      }
    case .max:
      return (0..<n).map { j in
        // The zeros beyond the ends take part.
        var top: Float = j < left || j + right >= n ? 0 : -.infinity
        for i in max(j - left, 0)...min(j + right, n - 1) where scores[i] > top { top = scores[i] }
        return top
      }
    }
  }
}
