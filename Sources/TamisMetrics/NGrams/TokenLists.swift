public import TamisCore

/// Sequences of token ids in memory that someone else owns: one after another (`starts`), or rows of one width of which each
/// uses its first tokens (`lengths`).
public struct TokenLists: @unchecked Sendable {
  public let count: Int
  private let ids: UnsafePointer<Int32>?
  private let starts: UnsafePointer<Int64>?
  private let lengths: UnsafePointer<Int64>?
  private let width: Int

  /// Sequence i is ids[starts[i] ..< starts[i + 1]]; `starts` has count + 1 ascending offsets.
  public init(ids: UnsafePointer<Int32>?, starts: UnsafePointer<Int64>, count: Int) {
    self.ids = ids
    self.starts = starts
    lengths = nil
    self.count = count
    width = 0
  }

  /// Sequence i is the first lengths[i] tokens of row i of ids [count, width]; all of them where `lengths` is nil.
  public init(ids: UnsafePointer<Int32>?, lengths: UnsafePointer<Int64>?, count: Int, width: Int) {
    self.ids = ids
    starts = nil
    self.lengths = lengths
    self.count = count
    self.width = width
  }

  @inline(__always)
  public subscript(i: Int) -> UnsafeBufferPointer<Int32> {
    let start: Int
    let n: Int
    if let starts {
      start = Int(starts[i])
      n = Int(starts[i &+ 1]) &- start
    } else {
      start = i &* width
      n = lengths.map { Int($0[i]) } ?? width
    }
    guard n > 0, let ids else { return UnsafeBufferPointer(start: nil, count: 0) }
    return UnsafeBufferPointer(start: ids + start, count: n)
  }

  /// Where sequence i begins in an array laid out like `ids`, and how long such an array is.
  func place(_ i: Int) -> Int { starts.map { Int($0[i]) } ?? i * width }
  public var extent: Int { starts.map { Int($0[count]) } ?? count * width }

  /// Tokens of all sequences.
  public var total: Int { tokens(0..<count) }

  /// Tokens of sequences [range].
  func tokens(_ range: Range<Int>) -> Int {
    if let starts { return Int(starts[range.upperBound] - starts[range.lowerBound]) }
    guard let lengths else { return range.count * width }
    return range.reduce(0) { $0 + Int(lengths[$1]) }
  }
}

/// What a batch of hypotheses is compared with. Segment s has `candidates` hypotheses, s * candidates and on, and the reference
/// sequences of `references(of: s)`.
public struct ScoredBatch: @unchecked Sendable {
  public let hypotheses: TokenLists
  public let references: TokenLists
  public let candidates: Int
  public let segments: Int
  private let referenceStarts: UnsafePointer<Int64>?
  private let referencesEach: Int

  /// - Parameter referenceStarts: [segments + 1] ascending indices of references; nil: every segment has as many.
  /// - Throws: `invalidArgument`: a segment without a reference, counts that do not fit.
  public init(
    _ hypotheses: TokenLists, _ references: TokenLists, referenceStarts: UnsafePointer<Int64>? = nil, candidates: Int = 1
  ) throws(TamisError) {
    try require(candidates >= 1, "candidates is \(candidates); expected at least 1")
    try require(
      hypotheses.count % candidates == 0,
      "hypotheses has \(hypotheses.count) sequences; expected a multiple of candidates, \(candidates)")
    segments = hypotheses.count / candidates
    self.hypotheses = hypotheses
    self.references = references
    self.candidates = candidates
    self.referenceStarts = referenceStarts
    referencesEach = segments == 0 ? 0 : references.count / segments
    if let starts = referenceStarts {
      try require(starts[0] == 0, "reference_starts[0] is \(starts[0]); expected 0")
      for s in 0..<segments {
        try require(
          starts[s + 1] > starts[s] && starts[s + 1] <= Int64(references.count),
          "reference_starts[\(s + 1)] is \(starts[s + 1]) after \(starts[s]); expected at least one reference a segment and "
            + "at most \(references.count) in all")
      }
      try require(
        starts[segments] == Int64(references.count),
        "reference_starts[\(segments)] is \(starts[segments]); expected all of the \(references.count) references")
    } else {
      try require(
        segments == 0 || (referencesEach >= 1 && references.count % segments == 0),
        "references has \(references.count) sequences for \(segments) segments; expected as many for each, at least one")
    }
  }

  @inline(__always)
  public func references(of segment: Int) -> Range<Int> {
    if let starts = referenceStarts { return Int(starts[segment])..<Int(starts[segment &+ 1]) }
    return segment &* referencesEach..<(segment &+ 1) &* referencesEach
  }

  @inline(__always)
  public func hypotheses(of segment: Int) -> Range<Int> { segment &* candidates..<(segment &+ 1) &* candidates }

  /// Tokens on both sides.
  public var total: Int { hypotheses.total + references.total }
}
