public import TamisCore

/// From the logits of a boundary predictor to the ends of chunks: threshold and non-maximum suppression of the official code of
/// DHSA (arXiv 2510.24606 v1). Boundaries ascend from 0 to the number of tokens; chunk c is tokens [b[c], b[c + 1]).
public struct BoundaryOptions: Sendable, Equatable {
  /// Candidates have logits above it.
  public var threshold: Float
  /// Accepted ends of chunks are more than this many tokens apart.
  public var minGap: Int
  /// At most floor(n / queryBlock) * maxPerBlock ends are accepted, that of the instruction included.
  public var maxPerBlock: Int
  public var queryBlock: Int
  /// The first window - 1 and the last window tokens are no candidates: their windows hold padding.
  public var window: Int
  /// A chunk ends after token n - instructionTokens, and no candidate behind it is taken. 0: none.
  public var instructionTokens: Int

  public init(
    threshold: Float = 1.1, minGap: Int = 8, maxPerBlock: Int = 8, queryBlock: Int = 128, window: Int = 4,
    instructionTokens: Int = 64
  ) {
    self.threshold = threshold
    self.minGap = minGap
    self.maxPerBlock = maxPerBlock
    self.queryBlock = queryBlock
    self.window = window
    self.instructionTokens = instructionTokens
  }

  /// - Throws: `invalidArgument`.
  func check() throws(TamisError) {
    try require(!threshold.isNaN, "threshold is \(threshold); expected a number")
    try require(minGap >= 0, "min_gap is \(minGap); expected at least 0")
    try require(maxPerBlock >= 0, "max_per_block is \(maxPerBlock); expected at least 0")
    try require(queryBlock >= 1, "query_block is \(queryBlock); expected at least 1")
    try require(window >= 1, "window is \(window); expected at least 1")
    try require(instructionTokens >= 0, "instruction_tokens is \(instructionTokens); expected at least 0")
  }

  /// Boundaries of n tokens from logits[i], how strongly a chunk ends after token i. The best logits come first, of equal ones
  /// the lower position; NaN is no candidate. Without a candidate: 0, the instruction's start, n. O(n log n).
  /// - Throws: `invalidArgument` for options out of range, or no tokens.
  public func boundaries(_ logits: [Float]) throws(TamisError) -> [Int64] {
    try check()
    let n = logits.count
    try require(n >= 1 && n <= Int(Int32.max), "n is \(n); expected 1 to \(Int32.max)")
    let instruction = instructionTokens > 0 && instructionTokens < n ? n - instructionTokens : nil
    let (room, overflow) = (n / queryBlock).multipliedReportingOverflow(by: maxPerBlock)
    let most = overflow ? n : room

    var candidates: [Int32] = []
    let first = window - 1
    let last = min(n - window - 1, instruction ?? n)
    if first <= last {
      for i in first...last where logits[i] > threshold { candidates.append(Int32(i)) }
    }
    candidates.sort { a, b in
      let (x, y) = (logits[Int(a)], logits[Int(b)])
      return x > y || (x == y && a < b)
    }
    var blocked = [Bool](repeating: false, count: n)
    var ends: [Int] = []
    func accept(_ i: Int) {
      ends.append(i)
      for j in max(0, i - minGap)...min(n - 1, i + min(minGap, n)) { blocked[j] = true }
    }
    if let instruction { accept(instruction) }
    for candidate in candidates {
      if ends.count >= most { break }
      if !blocked[Int(candidate)] { accept(Int(candidate)) }
    }
    ends.sort()
    var boundaries: [Int64] = [0]
    for end in ends where end + 1 < n { boundaries.append(Int64(end + 1)) }
    boundaries.append(Int64(n))
    return boundaries
  }
}

enum Boundaries {
  /// Every `length` tokens of n, the last chunk being what is left.
  static func uniform(_ length: Int, _ n: Int) -> [Int64] {
    var boundaries = stride(from: Int64(0), to: Int64(n), by: length).map { $0 }
    boundaries.append(Int64(n))
    return boundaries
  }

  /// Whether they ascend strictly from 0 to n.
  /// - Throws: `invalidArgument`.
  static func check(_ boundaries: [Int64], _ n: Int) throws(TamisError) {
    guard boundaries.count >= 2 else {
      throw .invalid("n_boundaries is \(boundaries.count); expected at least 2: boundaries run from 0 to \(n)")
    }
    try require(boundaries[0] == 0, "boundaries[0] is \(boundaries[0]); expected 0")
    for i in 1..<boundaries.count where boundaries[i] <= boundaries[i - 1] {
      throw .invalid("boundaries[\(i)] is \(boundaries[i]) after \(boundaries[i - 1]); expected ascending positions")
    }
    let last = boundaries[boundaries.count - 1]
    try require(last == Int64(n), "boundaries[\(boundaries.count - 1)] is \(last); expected \(n), the number of keys")
  }
}
