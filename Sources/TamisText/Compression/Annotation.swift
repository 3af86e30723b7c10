public import TamisCore

/// Word labels of one pair of a text and its compression: the data pipeline of LLMLingua-2 (arXiv 2403.12968, section 3.2).
public struct Annotation: Sendable {
  /// Runs of bytes without white space.
  public var words: [TextSpan] = []
  /// Whether the compression kept each word.
  public var labels: [Bool] = []
  public var compressedWords = 0
  /// Words of the compression that the text has.
  public var found = 0
  /// The alignment that was used in the end.
  public var alignment = WordAlignment.exact

  public static let defaultWindow = 150

  /// `exact` falls back to `window` where the compression is no in-order subsequence of the text's words.
  public init(
    _ text: TextBytes, compressed: TextBytes, alignment: WordAlignment = .exact, window: Int = defaultWindow
  ) throws(TamisError) {
    try require(window >= 1 && window <= 1 << 30, "window is \(window); expected 1 to 2^30")
    words = try TextUnits.split(text, .words)
    let kept = try TextUnits.split(compressed, .words)
    var numbers = WordNumbers()
    let original = words.map { numbers.number(WordKey.of(text, $0)) }
    let known = numbers.count
    let wanted = kept.map { numbers.number(WordKey.of(compressed, $0)) }
    compressedWords = kept.count
    found = wanted.count { Int($0) < known }
    self.alignment = alignment
    if alignment == .exact {
      let embedding = WordAlignment.exact(original, wanted, lines: Self.lines(text, words)) { j, i in
        text[words[j].range].elementsEqual(compressed[kept[i].range])
      }
      if let embedding {
        labels = embedding
        return
      }
      self.alignment = .window
    }
    labels = WordAlignment.window(original, wanted, window: window)
  }

  /// Number of the line that each word stands on.
  static func lines(_ text: TextBytes, _ words: [TextSpan]) -> [Int32] {
    var line: Int32 = 0
    var at = 0
    return words.map { word in
      while at < Int(word.start) {
        if text[at] == UInt8(ascii: "\n") { line &+= 1 }
        at += 1
      }
      return line
    }
  }

  public var labelled: Int { labels.count { $0 } }

  /// VR: share of the compression's words that the text does not have; 1 for a compression without words, as the official code
  /// has it.
  public var variationRate: Double { compressedWords == 0 ? 1 : 1 - Double(found) / Double(compressedWords) }
  /// HR: words of the compression that the text has, per word of the text.
  public var hittingRate: Double { words.isEmpty ? 0 : Double(found) / Double(words.count) }
  /// MR: share of the text's words that are labelled.
  public var matchingRate: Double { words.isEmpty ? 0 : Double(labelled) / Double(words.count) }
  /// AG = HR - MR.
  public var alignmentGap: Double { words.isEmpty ? 0 : Double(found - labelled) / Double(words.count) }
}

/// Which annotated pairs to train on.
public enum AnnotationFilter: Int32, Sendable {
  case none = 0
  /// Drops VR above its 95th percentile, then AG above its 90th among those left (arXiv 2403.12968, section 3.2).
  case paper = 1
  /// Drops VR at or above its 90th percentile, then AG at or above its 90th among those left: `filter.py` of the official code.
  /// Where many values are equal it drops far more than a tenth, and everything where all are.
  case official = 2

  public struct Outcome: Sendable {
    /// Indices of the pairs that stay, ascending.
    public var kept: [Int32]
    public var droppedForVariation: Int
    public var droppedForGap: Int
  }

  /// dropVariation, dropGap: shares in [0, 1] that replace the filter's own. Percentiles are numpy's; NaN is neither counted
  /// nor kept.
  public func apply(
    variationRates: [Double], alignmentGaps: [Double], dropVariation: Double? = nil, dropGap: Double? = nil
  ) throws(TamisError) -> Outcome {
    try require(
      alignmentGaps.count == variationRates.count,
      "alignment_gaps holds \(alignmentGaps.count) numbers; expected \(variationRates.count), as variation_rates")
    for (share, name) in [(dropVariation, "drop_variation"), (dropGap, "drop_gap")] {
      try require(
        (0...1).contains(share ?? 0), "\(name) is \(share ?? 0); expected 0 to 1, or less than 0 for the filter's own")
    }
    let all = variationRates.indices.map { Int32(truncatingIfNeeded: $0) }
    if self == .none { return Outcome(kept: all, droppedForVariation: 0, droppedForGap: 0) }
    let varied = survivors(all, variationRates, dropVariation ?? (self == .paper ? 0.05 : 0.1))
    let kept = survivors(varied, alignmentGaps, dropGap ?? 0.1)
    return Outcome(kept: kept, droppedForVariation: all.count - varied.count, droppedForGap: varied.count - kept.count)
  }

  private func survivors(_ pairs: [Int32], _ values: [Double], _ share: Double) -> [Int32] {
    let threshold = Quantile.linear(pairs.map { values[Int($0)] }.filter { !$0.isNaN }.sorted(), 1 - share)
    return pairs.filter { self == .paper ? values[Int($0)] <= threshold : values[Int($0)] < threshold }
  }
}
