import TamisCore
import TamisDevice

/// A method: what it may keep, and how it scores the tokens between sinks and window. Top-k, attention, chunking, caching and
/// positions are the `Selector`'s, the same for all methods.
protocol SelectionMethod: Sendable {
  /// nil: every token, so attention is dense.
  func budget(_ options: SelectorOptions) -> Budget?

  /// Whether tokens between sinks and window are chosen by score. When not, the two below are never called.
  var scores: Bool { get }

  /// The query q' that scores for a whole chunk, [qHeads][headDim].
  func query(
    of chunk: ChunkQueries, rotation: ScoringRotation, _ options: SelectorOptions, into query: UnsafeMutablePointer<Float>)

  /// Scores of the candidates.
  func score(
    _ query: UnsafePointer<Float>, over keys: CachedKeys, candidates: Range<Int>, _ options: SelectorOptions,
    on backend: any Backend, into scores: any TokenScores
  ) throws(TamisError)
}

extension SelectionMethod {
  var scores: Bool { false }
  func query(
    of chunk: ChunkQueries, rotation: ScoringRotation, _ options: SelectorOptions, into query: UnsafeMutablePointer<Float>
  ) {}
  func score(
    _ query: UnsafePointer<Float>, over keys: CachedKeys, candidates: Range<Int>, _ options: SelectorOptions,
    on backend: any Backend, into scores: any TokenScores
  ) throws(TamisError) {}
}
