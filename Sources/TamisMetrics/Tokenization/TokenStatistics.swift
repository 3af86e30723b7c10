public import TamisCore

/// What a tokenizer made of some texts, in whole numbers that add up over shards (include/tamis/tokenization_metrics.h).
public struct TokenSums: Sendable, Equatable {
  public var texts = 0
  /// Texts without a token.
  public var emptyTexts = 0
  public var tokens = 0
  public var unknownTokens = 0
  public var bytes = 0
  public var codePoints = 0
  public var words = 0
  /// Words of texts whose token offsets were given.
  public var alignedWords = 0
  /// Of these: with two or more tokens.
  public var continuedWords = 0
  /// Of these: with one token, which holds every byte of the word.
  public var wholeWords = 0
  public init() {}

  static func + (a: TokenSums, b: TokenSums) -> TokenSums {
    var sum = a
    sum.texts += b.texts
    sum.emptyTexts += b.emptyTexts
    sum.tokens += b.tokens
    sum.unknownTokens += b.unknownTokens
    sum.bytes += b.bytes
    sum.codePoints += b.codePoints
    sum.words += b.words
    sum.alignedWords += b.alignedWords
    sum.continuedWords += b.continuedWords
    sum.wholeWords += b.wholeWords
    return sum
  }
}

/// Counts of tokens over any number of texts, and how often each id occurs.
public struct TokenStatistics: Sendable {
  public let unknownID: Int32?
  public private(set) var sums = TokenSums()
  /// How often each id occurs.
  public private(set) var counts: [Int32: Int] = [:]
  /// Tokens of each text.
  public private(set) var lengths: [Int] = []

  public init(unknownID: Int32? = nil) { self.unknownID = unknownID }

  public var vocabulary: Int { counts.count }

  /// Counts one text.
  /// - Parameters:
  ///   - starts, ends: the bytes of the text that each token came from; nil: it is not known which tokens are a word's.
  /// - Throws: `invalidArgument`: offsets outside the text, or not as many as ids; nothing is counted then.
  public mutating func add(
    _ text: UnsafeBufferPointer<UInt8>, ids: UnsafeBufferPointer<Int32>, starts: UnsafeBufferPointer<Int32>? = nil,
    ends: UnsafeBufferPointer<Int32>? = nil, unknownID: Int32? = nil
  ) throws(TamisError) {
    let words = WordSpans(text)
    var found = TokenSums()
    if let starts, let ends {
      try require(
        starts.count == ids.count && ends.count == ids.count,
        "starts and ends have \(starts.count) and \(ends.count) offsets; expected one for each of \(ids.count) tokens")
      var owned = [UInt8](repeating: 0, count: words.count)
      for i in 0..<ids.count {
        let (start, end) = (Int(starts[i]), Int(ends[i]))
        try require(
          start >= 0 && start <= end && end <= text.count,
          "token \(i) has the bytes [\(start), \(end)) of a text of \(text.count); expected 0 <= start <= end <= \(text.count)")
        guard let word = words.owner(start: start, end: end) else { continue }
        // 1: one token, a part of the word; 2: more than one; 3: one token, all of the word.
        let isWhole = start <= words.starts[word] && end >= words.ends[word]
        owned[word] = owned[word] == 0 ? (isWhole ? 3 : 1) : 2
      }
      found.alignedWords = words.count
      for state in owned {
        if state == 2 { found.continuedWords += 1 }
        if state == 3 { found.wholeWords += 1 }
      }
    }
    found.texts = 1
    found.emptyTexts = ids.isEmpty ? 1 : 0
    found.tokens = ids.count
    found.bytes = text.count
    found.codePoints = words.codePoints
    found.words = words.count
    let unknown = unknownID ?? self.unknownID
    for id in ids {
      counts[id, default: 0] += 1
      if id == unknown { found.unknownTokens += 1 }
    }
    lengths.append(ids.count)
    sums = sums + found
  }

  /// Adds the counts of others, their texts after those there are.
  public mutating func merge(_ other: TokenStatistics) {
    sums = sums + other.sums
    for (id, count) in other.counts { counts[id, default: 0] += count }
    lengths += other.lengths
  }

  /// The different ids and how often each occurs, the most frequent first, of equals the lower id.
  public var frequencies: [(id: Int32, count: Int)] {
    counts.map { (id: $0.key, count: $0.value) }.sorted { $0.count != $1.count ? $0.count > $1.count : $0.id < $1.id }
  }

  /// Tokens of text i over those of text i of `pivot`: of all texts, and the mean of the texts' own ratios, without those that
  /// have no token in `pivot`.
  /// - Throws: `invalidArgument`: other numbers of texts.
  public func premium(over pivot: TokenStatistics) throws(TamisError) -> (corpus: Double, mean: Double) {
    try require(
      lengths.count == pivot.lengths.count,
      "a has \(lengths.count) texts and b \(pivot.lengths.count); expected as many of both")
    var (sum, used) = (0.0, 0)
    for (a, b) in zip(lengths, pivot.lengths) where b > 0 {
      sum += Double(a) / Double(b)
      used += 1
    }
    let total = pivot.sums.tokens
    return (total == 0 ? .nan : Double(sums.tokens) / Double(total), used == 0 ? .nan : sum / Double(used))
  }

  /// Code points that so many tokens of such text hold, rounded down.
  /// - Throws: `invalidArgument`: no token was counted, or the result is beyond Int.
  public func characters(ofTokens tokens: Int) throws(TamisError) -> Int {
    try Self.scaled(tokens, sums.codePoints, sums.tokens, roundUp: false, ("tokens", "token"))
  }

  /// Tokens that so many code points of such text take, rounded up.
  /// - Throws: `invalidArgument`: no character was counted, or the result is beyond Int.
  public func tokens(ofCharacters characters: Int) throws(TamisError) -> Int {
    try Self.scaled(characters, sums.tokens, sums.codePoints, roundUp: true, ("characters", "character"))
  }

  private static func scaled(
    _ value: Int, _ numerator: Int, _ denominator: Int, roundUp: Bool, _ names: (String, String)
  ) throws(TamisError) -> Int {
    try require(value >= 0, "\(names.0) is \(value); expected at least 0")
    try require(denominator > 0, "statistics holds no \(names.1); expected a text that has some")
    let product = UInt(value).multipliedFullWidth(by: UInt(numerator))
    let fits = product.high < UInt(denominator)
    let (quotient, remainder) = fits ? UInt(denominator).dividingFullWidth(product) : (UInt.max, 0)
    try require(fits && quotient < UInt(Int.max), "\(names.0) is \(value); expected one whose length fits 64 bits")
    return Int(quotient) + (roundUp && remainder > 0 ? 1 : 0)
  }
}
