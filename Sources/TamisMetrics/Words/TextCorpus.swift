public import TamisCore
public import TamisDevice

/// Hypotheses and reference texts of a corpus, cut by one tokenizer: segment i has hypothesis i and text i of every
/// reference stream.
public final class TextCorpus {
  private let words: WordIDs
  private let segments: Int
  private let streams: Int

  /// - Throws: `invalidArgument`: no reference stream, streams of other lengths.
  public init(
    hypotheses: [ArraySlice<UInt8>], references: [[ArraySlice<UInt8>]], _ options: ScoringTokenizerOptions, context: Context
  ) throws(TamisError) {
    try require(!references.isEmpty, "references has no streams; expected at least one")
    for (j, stream) in references.enumerated() {
      try require(
        stream.count == hypotheses.count,
        "references[\(j)] has \(stream.count) texts for \(hypotheses.count) hypotheses; expected as many")
    }
    segments = hypotheses.count
    streams = references.count
    var bytes: [UInt8] = []
    bytes.reserveCapacity(hypotheses.reduce(0) { $0 + $1.count } * (1 + streams))
    var starts: [Int64] = [0]
    func add(_ text: ArraySlice<UInt8>) {
      bytes += text
      starts.append(Int64(bytes.count))
    }
    for text in hypotheses { add(text) }
    for i in 0..<segments { for stream in references { add(stream[i]) } }
    words = try bytes.withUnsafeBufferPointer { (bytes) throws(TamisError) in
      try starts.withUnsafeBufferPointer { (starts) throws(TamisError) in
        try WordIDs(options, bytes, starts, context: context)
      }
    }
  }

  public func withBatch<R>(_ body: (ScoredBatch) throws(TamisError) -> R) throws(TamisError) -> R {
    try words.ids.withUnsafeBufferPointer { (ids) throws(TamisError) in
      try words.starts.withUnsafeBufferPointer { (starts) throws(TamisError) in
        let base = starts.baseAddress!
        return try body(
          try ScoredBatch(
            TokenLists(ids: ids.baseAddress, starts: base, count: segments),
            TokenLists(ids: ids.baseAddress, starts: base + segments, count: segments * streams)))
      }
    }
  }
}
