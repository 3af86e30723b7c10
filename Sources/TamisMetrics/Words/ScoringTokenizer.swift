/// How a scorer cuts a text into what it counts.
public enum ScoringTokenizer: Int32, Sendable {
  /// At white space.
  case none = 0
  /// sacreBLEU's.
  case v13a, international, characters, chinese
  /// TER's: lower case apart, white space, and what its options say.
  case ter
  /// rouge-score's: runs of a to z and 0 to 9 of the lower-cased text; stemmed: Porter's stems of those longer than 3.
  case rouge, rougeStemmed
  /// SQuAD's: lower case, no ASCII punctuation, no articles.
  case squad
  /// chrF++'s words: punctuation at one end apart.
  case chrF
  /// Every code point, its own number.
  case codePoints
  /// The same without white space: chrF's characters.
  case visibleCodePoints
}

public struct ScoringTokenizerOptions: Sendable {
  public var tokenizer = ScoringTokenizer.none
  public var lowercase = false
  /// TER: normalisation of mteval, and no punctuation.
  public var normalised = false
  public var noPunctuation = false
  public init() {}
}
