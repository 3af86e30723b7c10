public import TamisCore

/// Token ids of hypotheses and their references, one after another in host memory.
public struct TokenBatch: Sendable {
  /// Hypotheses first, then references.
  public var ids: [Int32]
  /// [hypotheses + references + 1] offsets.
  public var starts: [Int32]
  /// [segments + 1] indices of references.
  public var referenceStarts: [Int32]
  public var hypotheses: Int
  /// Hypotheses of one segment.
  public var candidates: Int

  public init(ids: [Int32], starts: [Int32], referenceStarts: [Int32], hypotheses: Int, candidates: Int) {
    self.ids = ids
    self.starts = starts
    self.referenceStarts = referenceStarts
    self.hypotheses = hypotheses
    self.candidates = candidates
  }
}

/// A batch where a backend counts it.
public protocol StoredTokens: AnyObject {
  /// matches [hypotheses][maxN]: sum over n-grams of min(count in the hypothesis, largest count in one reference). Places that
  /// hold `excluded` are in no n-gram. The context's lock is held.
  func countMatches(maxN: Int, excluded: Int32?, into matches: UnsafeMutablePointer<Int32>) throws(TamisError)
}

/// Backends that leave the counting of n-grams to the host.
extension Backend {
  public var countsNGrams: Bool { false }
  public func store(_ batch: TokenBatch) throws(TamisError) -> any StoredTokens {
    throw TamisError(.unsupported, "\(name) doesn't count n-grams; the host does")
  }
}
